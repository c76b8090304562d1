"""What lies where a file of sound is expected: pointers, playlists, pages."""

import re

from slvr.ingest.decode.content import Bytes
from slvr.ingest.recipe import ClipFailure

_PLAYLIST = re.compile(
    r"#EXT(M3U|INF|-X-)|ffconcat\s+version|\[playlist\]|\[Reference\]|<(\?xml[^>]*>\s*)?(<!--.*?-->\s*)?"
    r"(<!DOCTYPE[^>]*>\s*)?(MPD|smil|asx|playlist|wpl|SmoothStreamingMedia)\b|<asx\b|<smil\b|<MPD\b"
    r"|RTSPtext|v=0\r?\no=|SMIL|(https?|rtsp|rtmp|mms|file)://\S+\s*$",
    re.IGNORECASE | re.DOTALL,
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
    text = text.lstrip("\ufeff \t\r\n\0")
    if _PLAYLIST.match(text):
        raise ClipFailure("corrupt", "playlist", "a list of other files, which are not opened")
    if text[:9].lower().startswith(("<!doctype", "<html", "<?xml", "{")):
        raise ClipFailure("corrupt", "not_audio", "a text document")


def _text(head: bytes) -> str | None:
    """The beginning as text, or None where it is none."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = head.decode("utf-16", "replace")
        return text if text[:64].isascii() else None
    text = head[3 if head[:3] == b"\xef\xbb\xbf" else 0 :].decode("latin-1")
    return text if "\0" not in text[:32] else None
