"""Which files of a folder are audio: by their ending, without one by how they begin."""

import re
from pathlib import Path

AUDIO_ENDINGS = frozenset(
    {
        # recordings without compression, or with one that loses nothing
        *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".caf", ".au"),
        *(".snd", ".sph", ".nist", ".voc", ".flac", ".wv", ".tta", ".ape", ".tak", ".dsf", ".dff"),
        # coded for the ear
        *(".mp3", ".mp2", ".mp1", ".mpga", ".aac", ".adts", ".m4a", ".m4b", ".m4r", ".f4a"),
        *(".ogg", ".oga", ".opus", ".spx", ".ogx", ".wma", ".ac3", ".eac3", ".dts", ".amr"),
        *(".awb", ".gsm", ".mpc", ".ra", ".qcp", ".oma", ".mka", ".weba"),
        # films, of which the sound is taken
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3gpp", ".3g2", ".mkv", ".webm", ".ogv"),
        *(".avi", ".flv", ".f4v", ".asf", ".wmv", ".mpg", ".mpeg", ".vob", ".mts", ".m2ts"),
        *(".rm", ".rmvb"),
    }
)
"""Of files that libsndfile or FFmpeg read. Playlists (m3u, m3u8, pls, ffconcat) are no audio."""
UNSURE_ENDINGS = frozenset({"", ".ts"})
"""Of audio and of other things (TypeScript): the first bytes decide."""
HEAD_BYTES = 400

_ENDING = re.compile(r"\.(?=[0-9]*[a-z])[a-z0-9_~+-]{1,12}")
_BEGINNINGS = re.compile(
    rb"RIFF....(?:WAVE|AVI )|(?:RF64|BW64)....WAVE|RIFX....WAVE|FORM....AIF[FC]|caff\0\x01|\.snd"
    rb"|riff\x2e\x91\xcf\x11|NIST_1A|Creative Voice|fLaC|OggS|wvpk|TTA1|MAC |tBaK|DSD |FRM8"
    rb"|ID3[\x02-\x04]|#!AMR|\x1aE\xdf\xa3|FLV\x01|\x30\x26\xb2\x75\x8e\x66\xcf\x11|\x0bw"
    rb"|\0\0\x01\xba|MPCK|MP\+|\.RMF|\.ra\xfd"
    # QuickTime and its heirs; pictures (HEIC, AVIF) are of the same family
    rb"|....ftyp(?!heic|heix|hevc|heim|heis|mif1|msf1|avif|avis|crx )"
    # MPEG transport streams: a packet every 188 bytes, or every 192
    rb"|G.{187}G|.{4}G.{191}G",
    re.DOTALL,
)


def ending_of(name: str) -> str:
    """The ending of a file name in lower case with its dot, or nothing.

    What stands behind the dot of `take.2` or `at 12.30 h` is no ending.
    """
    _, dot, last = name.rpartition(".")
    found = _ENDING.fullmatch((dot + last).lower())
    return found[0] if found else ""


def begins_like_audio(path: Path) -> bool:
    """Whether the first bytes of a file are those of audio that can be read."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    return _BEGINNINGS.match(head) is not None or _is_mpeg_frame(head)


def _is_mpeg_frame(head: bytes) -> bool:
    """Whether a frame of MPEG audio (ISO 11172-3) or of AAC (ADTS) begins here.

    Eleven bits of one; then version, layer, rates, of which some values are reserved. The mark of
    UTF-16 text, ff fe, is no frame.
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0 or head[1] == 0xFE:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    if layer == 0:  # ADTS: twelve bits of one, layer 0; then profile and one of 13 rates
        return head[1] & 0xF0 == 0xF0 and head[2] >> 2 & 15 < 13
    return version != 1 and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3
