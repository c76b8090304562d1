"""What lies where a file of sound is expected: pointers, playlists, pages."""

import re

from slvr.ingest.decode.content import Bytes
from slvr.ingest.recipe import ClipFailure

_PROLOGUE = re.compile(r"(<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE[^>]*>|\s)+", re.IGNORECASE | re.DOTALL)
_PLAYLIST = re.compile(
    r"#EXT(M3U|INF|-X-)|ffconcat\s+version|\[playlist\]|\[Reference\]|RTSPtext|v=0\r?\no="
    r"|<(MPD|smil|asx|playlist|wpl|SmoothStreamingMedia)\b|(https?|rtsp|rtmp|mms|file)://\S+\s*$",
    re.IGNORECASE,
)
_LFS = b"version https://git-lfs.github.com/spec/"


def refuse_foreign(data: Bytes) -> None:
    """Refuses what names other files, and what stands for one.

    Raises:
        ClipFailure: it is a Git LFS pointer, a playlist or a page.
    """
    head = data[:2048]
    if head.startswith(_LFS):
        raise ClipFailure(
            "missing", "git_lfs_pointer", "a Git LFS pointer; fetch its file: git lfs pull"
        )
    text = _text(head)
    if text is None:
        return
    prologue = _PROLOGUE.match(text)
    if _PLAYLIST.match(text[prologue.end() if prologue else 0 :]):
        raise ClipFailure("corrupt", "playlist", "a list of other files, which are not opened")
    if text[:9].lower().startswith(("<!doctype", "<html", "<?xml", "{")):
        raise ClipFailure("corrupt", "not_audio", "a text document")


def _text(head: bytes) -> str | None:
    """The beginning as text, or None where it is none."""
    wide = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    text = head.decode("utf-16" if wide else "utf-8", "replace").lstrip("\ufeff \t\r\n\0")
    return text if text and text[:32].isascii() and "\0" not in text[:32] else None
