"""What containers declare of themselves, held against what is in them."""

import ast
import functools
import io
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fuzz_decode import DECLARED, ENCODED_S, FRAGMENTS, KINDS, UNDECLARED, by_ffmpeg, by_soundfile
from slvr.ingest.decode import decode_file
from slvr.ingest.recipe import ClipFailure
from slvr.shards.clip import STATUSES


def faststart(content: bytes) -> bytes:
    """The MP4 with its moov box before the samples; their offsets moved."""
    places, at = {}, 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        places[content[at + 4 : at + 8]] = (at, at + size)
        at += size
    moov = bytearray(content[slice(*places[b"moov"])])
    table = moov.index(b"stco") + 12
    n = int.from_bytes(moov[table - 4 : table], "big")
    for entry in range(table, table + 4 * n, 4):
        moved = int.from_bytes(moov[entry : entry + 4], "big") + len(moov)
        moov[entry : entry + 4] = moved.to_bytes(4, "big")
    first, last = places[b"ftyp"][1], places[b"moov"][0]
    return content[:first] + bytes(moov) + content[first:last]


MORE = {
    "aifc": lambda: by_soundfile("AIFF", "ULAW"),
    "adpcm in wav": lambda: by_ffmpeg("wav", "adpcm_ms", 44_100),
    "mp3 in wav": lambda: by_ffmpeg("wav", "mp3", 44_100),
    "ac3 in wav": lambda: by_ffmpeg("wav", "ac3"),
    "flac of 24 bits": lambda: by_soundfile("FLAC", "PCM_24", 48_000, 2),
    "alac": lambda: by_ffmpeg("ipod", "alac", 44_100, 2),
    "alac in caf": lambda: by_ffmpeg("caf", "alac", 44_100, 2),
    "mov": lambda: by_ffmpeg("mov", "pcm_s16le"),
    "3gp": lambda: by_ffmpeg("3gp", "aac"),
    "faststart": lambda: faststart(by_ffmpeg("mp4", "aac")),
    "opus in mp4": lambda: by_ffmpeg("mp4", "libopus"),
    "mka of integers": lambda: by_ffmpeg("matroska", "pcm_s16le", 44_100, 2),
    "ac3 in mkv": lambda: by_ffmpeg("matroska", "ac3"),
    "avi": lambda: by_ffmpeg("avi", "pcm_s16le", 44_100),
    "mp3 in avi": lambda: by_ffmpeg("avi", "mp3", 44_100),
    "wavpack": lambda: by_ffmpeg("wv", "wavpack", 44_100),
    "tta": lambda: by_ffmpeg("tta", "tta", 44_100),
    "mp3 of lame": lambda: by_ffmpeg("mp3", "mp3", 44_100, 2),
    "ogg of ffmpeg": lambda: by_ffmpeg("ogg", "libopus"),
}
UNSAID = {
    "ac3": lambda: by_ffmpeg("ac3", "ac3"),
    "mp2": lambda: by_ffmpeg("mp2", "mp2"),
    "flv": lambda: by_ffmpeg("flv", "aac", 44_100),
    "vob": lambda: by_ffmpeg("vob", "ac3"),
    "voc": lambda: by_ffmpeg("voc", "pcm_u8", 8000),
    "latm": lambda: by_ffmpeg("latm", "aac"),
    "fragments": lambda: by_ffmpeg("mp4", "aac", movflags=f"{FRAGMENTS}+skip_trailer"),
}


@functools.cache
def made(kind: str) -> bytes:
    return (KINDS | MORE | UNSAID)[kind]()


def outcome(content: bytes, *part: float) -> tuple[str, str, float, str]:
    try:
        decoded = decode_file(content, *part)
    except ClipFailure as fault:
        return fault.status, fault.reason, 0.0, fault.detail
    return "ok", "", len(decoded.pcm) / 16_000, decoded.note


@pytest.mark.parametrize("kind", [*KINDS, *MORE, *UNSAID])
def test_a_sound_file_is_ok_and_says_no_more_than_it_must(kind: str) -> None:
    status, _, length_s, note = outcome(made(kind))
    assert status == "ok" and abs(length_s - ENCODED_S) < 0.05
    unsaid = kind in UNDECLARED or kind in UNSAID
    assert note.startswith("length_undeclared") if unsaid else note == ""


@pytest.mark.parametrize("kind", [*DECLARED, *MORE])
def test_a_file_cut_anywhere_is_no_clip(kind: str) -> None:
    content, draw = made(kind), np.random.default_rng(3)
    for share in (0.9, 0.6, *draw.uniform(0.02, 0.9, 6)):  # 0.1 s may be missing
        cut = content[: int(share * len(content))]
        status, reason, _, _ = outcome(cut)
        assert status in ("truncated", "corrupt", "too_short"), (share, reason)
        if kind in ("rf64", "w64", "au", "caf", "nist", "wav", "aiff", "ogg", "mkv", "flac"):
            assert share < 0.1 or status == "truncated", (share, reason)


@pytest.mark.parametrize("kind", [*UNDECLARED, *UNSAID])
def test_what_declares_no_length_says_so(kind: str) -> None:
    content = made(kind)
    for share in (0.9, 0.6, 0.4):
        status, _, length_s, note = outcome(content[: int(share * len(content))])
        assert status in ("corrupt", "truncated") or "length_undeclared" in note
        assert length_s < ENCODED_S


@pytest.mark.parametrize("kind", ["ogg", "opus", "flac"])
def test_one_flipped_bit_is_no_shorter_clip(kind: str) -> None:
    content, draw = made(kind), np.random.default_rng(4)
    for _ in range(40):
        changed = bytearray(content)
        changed[int(draw.integers(len(content)))] ^= 1 << int(draw.integers(8))
        status, _, length_s, _ = outcome(bytes(changed))
        assert status != "ok" or abs(length_s - ENCODED_S) < 0.01


@pytest.mark.parametrize("kind", [*DECLARED, "faststart", "alac", "mka of integers", "3gp"])
def test_a_part_is_that_of_the_whole(kind: str) -> None:
    content = made(kind)
    whole = decode_file(content).pcm.astype(float)
    part = decode_file(content, 0.4, 1.2).pcm.astype(float)
    assert len(part) == 12_800
    delays = np.correlate(part[1000:11_000], whole[7000:17_800], "valid")
    assert abs(int(np.argmax(delays)) - 400) <= 16  # WebM and Matroska count ms
    assert outcome(content, 5.0, 6.0)[:2] == ("too_short", "source_ends_early")


def test_a_cut_mp4_of_fragments() -> None:
    whole = by_ffmpeg("mp4", "aac", movflags=FRAGMENTS, frag_duration="300000")
    assert outcome(whole)[0] == "ok"
    ends = [at for at in range(len(whole)) if whole[at + 4 : at + 8] == b"moof"]
    status, _, _, note = outcome(whole[: ends[2]])  # between two fragments
    assert status == "ok" and "length_undeclared" in note
    assert outcome(whole[: ends[2] + 50])[0] == "truncated"


def test_ogg_without_its_last_or_a_middle_page() -> None:
    content = by_soundfile("OGG", "VORBIS", 44_100, 2) * 1
    pages = [at for at in range(len(content)) if content[at : at + 4] == b"OggS"]
    assert outcome(content[: pages[-1]])[:2] == ("truncated", "cut_off")
    gone = content[: pages[3]] + content[pages[4] :]
    assert outcome(gone)[:2] == ("corrupt", "damaged_page")
    assert outcome(content[: pages[3]] + b"xx" + content[pages[3] :])[1] == "damaged_page"
    status, _, _, note = outcome(content + b"junk")
    assert status == "ok" and note == "4 bytes after the last Ogg page"


def test_a_flac_whose_length_is_less_than_its_frames() -> None:
    content = bytearray(made("flac"))
    about = int.from_bytes(content[18:26], "big")
    content[18:26] = (about - 30_000).to_bytes(8, "big")
    assert outcome(bytes(content))[:2] == ("corrupt", "inconsistent_header")
    no_md5 = bytearray(made("flac"))
    no_md5[26:42] = bytes(16)
    assert outcome(bytes(no_md5))[0] == "ok"
    tagged = b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + made("flac") + b"TAG" + bytes(125)
    assert outcome(tagged)[0] == "ok"


@pytest.mark.parametrize(
    ("kind", "at", "value"),
    [
        ("wav", b"data", struct.pack("<I", 9000)),
        ("wav", b"fmt ", struct.pack("<IHHI", 16, 1, 1, 16_000 + 65_536)),
        ("au", b".snd", struct.pack(">II", 24, 9000)),
        ("au", b".snd", struct.pack(">IIIII", 24, 48_000, 3, 57_216, 1)),
        ("w64", b"data", bytes.fromhex("f3acd3118cd100c04f8edb8a") + struct.pack("<Q", 9024)),
        ("caf", b"lpcm", struct.pack(">IIIII", 2, 2, 1, 1, 21)),
        ("caf", b"lpcm", struct.pack(">IIIII", 2, 2, 1, 3, 16)),
        ("aiff", b"COMM", struct.pack(">IHI", 18, 1, 9000)),
    ],
)
def test_a_header_that_contradicts_itself_is_no_shorter_clip(
    kind: str, at: bytes, value: bytes
) -> None:
    content = bytearray(made(kind))
    place = content.index(at) + 4
    content[place : place + len(value)] = value
    assert outcome(bytes(content))[0] == "corrupt"


def test_an_mp3_with_less_frames_than_counted_or_more() -> None:
    content = made("mp3")
    assert outcome(content[: int(0.9 * len(content))])[:2] == ("truncated", "cut_off")
    longer = content + content[len(content) // 2 :]
    status, _, length_s, note = outcome(longer)
    assert status == "ok" and length_s > 2.1 and "2 MPEG streams joined" in note
    hole = content[:8000] + b"\x11" * 300 + content[8000:]
    status, _, length_s, note = outcome(hole)
    assert (status != "ok") or (length_s > ENCODED_S - 0.1 and "no sound" in note)


def test_samples_do_not_depend_on_path_or_bytes(tmp_path) -> None:
    for kind in KINDS:
        path = tmp_path / "a"
        path.write_bytes(made(kind))
        np.testing.assert_array_equal(decode_file(path).pcm, decode_file(made(kind)).pcm)


def test_silence_and_quiet_sound_are_told_apart() -> None:
    draw = np.random.default_rng(5)

    def stored(samples: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, 16_000, format="WAV", subtype="FLOAT")
        return buffer.getvalue()

    one = draw.normal(0, 0.1, 16_000)
    assert outcome(stored(np.stack([one, -one], 1)))[1] == "channels_cancel"
    assert outcome(stored(np.stack([one, -one, one, -one], 1)))[1] == "channels_cancel"
    assert outcome(stored(np.stack([one, -0.9 * one], 1)))[0] == "ok"
    assert outcome(stored(np.stack([one * 1e-3, one * 1e-3], 1)))[0] == "ok"
    assert outcome(stored(np.stack([one * 1e-7, -one * 1e-7], 1)))[1] == "all_zero"
    # a part in which they do not cancel, of a file in which they do
    both = np.stack([one, -one], 1)
    both[8000:, 1] = one[8000:] * 1e-2
    both[8000:, 0] = one[8000:] * 1e-2
    assert outcome(stored(both), 0.5, 1.0)[0] == "ok"
    assert outcome(stored(both), 0.0, 0.5)[1] == "channels_cancel"


def test_the_page_for_people_has_every_reason() -> None:
    root = Path(__file__).parents[1]
    page = (root / "docs" / "audio-files.md").read_text(encoding="utf-8")
    told, status = set(), ""
    for line in page.split("## Statuses and reasons")[1].splitlines():
        if match := re.match(r"\| (?:`(\w+)`)? ?\| `(\w+)` \|(.+)\|(.+)\|", line):
            status = match[1] or status
            assert match[3].strip() and match[4].strip()
            told.add((status, match[2]))
    raised = set()
    for path in (root / "ingest" / "decode").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ClipFailure":
                raised.add(tuple(ast.literal_eval(argument) for argument in node.args[:2]))
    guarded = (root / "ingest" / "building" / "guarded.py").read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(guarded)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "failed":
            raised.add(tuple(ast.literal_eval(argument) for argument in node.args[:2]))
    assert told == raised
    assert all(status in STATUSES for status, _ in told)
