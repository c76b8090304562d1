"""Archives are read in place; whatever no official archive holds is refused with a sentence."""

import gzip
import io
import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import command
from evaluation_sets import TOYS, packed, sound, tar_of, zip_of
from slvr.ingest.archives import tars
from slvr.ingest.archives import volume as limits
from slvr.ingest.archives.find import find_volumes, open_volume
from slvr.ingest.archives.volume import Volume
from slvr.ingest.recipes import RECIPES
from slvr.ingest.recipes.speechcommands import SpeechCommands

MEMBERS = {f"a/{i}.bin": os.urandom(20_000 + i) for i in range(40)} | {"ü ,'.txt": b"", "z": b"z"}


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def refusal(path: Path, content: bytes) -> str:
    """What is said of an archive, on opening it or on reading its members."""
    with pytest.raises(ValueError) as caught:
        for volume in find_volumes(written(path, content), path.parent / "indices"):
            reader = open_volume(volume)
            for name in reader.names():
                reader.read(name)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tgz", "tree"])
def test_members_are_read_in_any_order(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    if kind == "tree":
        for name, content in MEMBERS.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    else:
        path.write_bytes(zip_of(MEMBERS) if kind == "zip" else tar_of(MEMBERS, kind[4:] or ""))
        if kind == "tgz":
            path.write_bytes(tar_of(MEMBERS))
    (volume,) = find_volumes(path, tmp_path / "indices")
    reader = open_volume(volume)
    assert sorted(reader.names()) == sorted(MEMBERS)
    for name in reversed(reader.names()):
        assert reader.read(name) == MEMBERS[name]


def test_a_tar_gz_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "x.tar.gz", tar_of(MEMBERS))
    (volume,) = find_volumes(path, tmp_path / "indices")
    open_volume(volume)
    open_volume.cache_clear()
    monkeypatch.setattr(tars.TarReader, "_build_index", lambda _: pytest.fail("read again"))
    assert open_volume(volume).read("a/7.bin") == MEMBERS["a/7.bin"]


def test_seek_points_serve_a_reader_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tars, "MIN_SPACING_BYTES", 1 << 16)
    path = written(tmp_path / "x.tar.gz", tar_of(MEMBERS))
    (volume,) = find_volumes(path, tmp_path / "indices")
    open_volume(volume)
    points = next((tmp_path / "indices").glob("*.gzidx"))
    assert points.stat().st_size > 3 * 32_768  # one window each
    code = (
        "import sys; from pathlib import Path; from slvr.ingest.archives.find import *;"
        f"v, = find_volumes(Path({str(path)!r}), Path({str(tmp_path / 'indices')!r}));"
        "sys.stdout.buffer.write(open_volume(v).read('a/33.bin'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == MEMBERS["a/33.bin"]


@pytest.mark.parametrize(
    "names", [("x_partaa", "x_partab", "x_partac"), ("x.zip.001", "x.zip.002")]
)
def test_byte_slices_are_one_zip(tmp_path: Path, names: tuple[str, ...]) -> None:
    whole = zip_of(MEMBERS)
    cuts = [len(whole) * i // len(names) for i in range(len(names) + 1)]
    for i, name in enumerate(names):
        written(tmp_path / name, whole[cuts[i] : cuts[i + 1]])
    for source in (tmp_path, tmp_path / names[1]):
        volume = find_volumes(source, tmp_path / "indices")[0]
        assert len(volume.paths) == len(names)
        reader = open_volume(volume)
        assert {name: reader.read(name) for name in reader.names()} == MEMBERS
    (tmp_path / names[0]).unlink()
    with pytest.raises(ValueError, match="fetch the archive again"):
        open_volume(find_volumes(tmp_path, tmp_path / "indices")[0])


BAD_NAMES = ("../up.wav", "/etc/passwd", "a/../../up.wav", "C:\\up.wav", "a\\..\\up.wav", "\\x")


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_names_that_lead_out_are_refused(
    tmp_path: Path, name: str, make: Callable[..., bytes]
) -> None:
    path = tmp_path / "in" / ("x.zip" if make is zip_of else "x.tar.gz")
    path.parent.mkdir()
    said = refusal(path, make({"good.wav": b"x", name: b"x"}))
    assert "leads out of the archive" in said and "refused" in said
    left = {p.relative_to(tmp_path).parts[0] for p in tmp_path.rglob("*")}
    assert left == {"in"}


safe_parts = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/\\:"), min_size=1
).filter(lambda part: part not in (".", ".."))


@given(st.lists(safe_parts, min_size=1, max_size=4), st.integers(0, 4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_names_that_climb_are_refused(parts: list[str], at: int) -> None:
    volume = limits.Volume((Path("x.zip"),))
    limits.check_name(volume, "/".join(parts))
    parts.insert(at, "..")
    with pytest.raises(ValueError, match="leads out"):
        limits.check_name(volume, "/".join(parts))


TAR_KINDS = {
    "symlink": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "pipe": tarfile.FIFOTYPE,
    "sparse": tarfile.GNUTYPE_SPARSE,
}


@pytest.mark.parametrize("kind", TAR_KINDS)
def test_links_and_devices_in_tars_are_refused(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("a/bad.wav")
        info.type, info.linkname = TAR_KINDS[kind], "/etc/passwd"
        tar.addfile(info)
    assert "is a link, a device or sparse" in refusal(tmp_path / "x.tar", buffer.getvalue())


def zip_with(change: Callable[[zipfile.ZipInfo], None], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        info = zipfile.ZipInfo("a/bad.wav")
        info.compress_type = method
        change(info)
        made.writestr(info, b"content" * 100)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_zips_are_refused(tmp_path: Path, kind: int) -> None:
    content = zip_with(lambda info: setattr(info, "external_attr", (kind | 0o644) << 16))
    assert "is a link or a device" in refusal(tmp_path / "x.zip", content)


def test_encrypted_zips_and_other_methods_are_refused(tmp_path: Path) -> None:
    content = bytearray(zip_with(lambda _: None))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert "is encrypted" in refusal(tmp_path / "e.zip", bytes(content))
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        said = refusal(tmp_path / f"{method}.zip", zip_with(lambda _: None, method))
        assert "neither stored nor deflated" in said


def test_bombs_are_refused_before_they_unpack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ALLOWANCE_BYTES", 1 << 20)
    zeros = bytes(4 << 20)
    assert "would grow" in refusal(tmp_path / "one.zip", zip_of({"a.wav": zeros}))
    many = {f"{i}.wav": zeros[: 1 << 20] for i in range(8)}
    assert "would unpack to" in refusal(tmp_path / "many.zip", zip_of(many))
    assert "would unpack to" in refusal(tmp_path / "one.tar.gz", tar_of({"a.wav": zeros}))
    monkeypatch.setattr(limits, "MAX_MEMBER_BYTES", 1 << 19)
    assert "has 4194304 bytes" in refusal(tmp_path / "big.tar", tar_of({"a.wav": zeros}, ""))


def test_a_zip_that_understates_a_member_yields_no_more_than_it_states(tmp_path: Path) -> None:
    content = bytearray(zip_of({"a.wav": bytes(1 << 20)}))
    at = content.index(b"PK\x01\x02")
    content[at + 24 : at + 28] = (100).to_bytes(4, "little")
    assert "fetch the archive again" in refusal(tmp_path / "x.zip", bytes(content))


def test_headers_of_gigabytes_are_not_read(tmp_path: Path) -> None:
    """A GNU long name is read into memory before anything can be asked about it."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 6 << 30
    content = info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240)
    assert "a header of 6442450944 bytes" in refusal(tmp_path / "x.tar", content)


def test_repeated_members_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made, pytest.warns(UserWarning, match="Duplicate"):
        made.writestr("a.wav", b"one")
        made.writestr("a.wav", b"two")
    assert "is there twice" in refusal(tmp_path / "x.zip", buffer.getvalue())
    tar = tar_of({"a.wav": b"1" * 512}, "")[:1024]
    assert "is there twice" in refusal(tmp_path / "x.tar", tar + tar + bytes(1024))


@pytest.mark.parametrize("kept", [0, 1, 300, 0.5, 0.99])
@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_cut_off_archives_are_damaged(tmp_path: Path, name: str, kept: float) -> None:
    content = zip_of(MEMBERS)
    if name != "x.zip":
        content = tar_of(MEMBERS, "gz" if name.endswith("gz") else "")
    n = round(kept * len(content)) if isinstance(kept, float) else kept
    assert "fetch the archive again" in refusal(tmp_path / name, content[:n])


def test_flipped_bytes_are_found(tmp_path: Path) -> None:
    for name, content in (("x.zip", zip_of(MEMBERS)), ("x.tar.gz", tar_of(MEMBERS))):
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 1
        assert "damaged" in refusal(tmp_path / name, bytes(flipped))


def test_the_checksum_of_a_gzip_is_looked_at(tmp_path: Path) -> None:
    content = tar_of(MEMBERS)
    wrong = bytes(byte ^ 1 for byte in content[-8:-4])
    said = refusal(tmp_path / "x.tar.gz", content[:-8] + wrong + content[-4:])
    assert "CRC" in said


def test_a_crowd_of_members_is_listed_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = {f"{i}": b"" for i in range(10_000)}
    for name, content in (("x.zip", zip_of(crowd)), ("x.tar.gz", tar_of(crowd))):
        (volume,) = find_volumes(written(tmp_path / name, content), tmp_path / "indices")
        assert len(open_volume(volume).names()) == 10_000
    monkeypatch.setattr(limits, "MAX_MEMBERS", 9_999)
    for name, content in (("y.zip", zip_of(crowd)), ("y.tar.gz", tar_of(crowd))):
        assert "more than 9999 members" in refusal(tmp_path / name, content)


def test_backslashes_of_a_zip_made_on_windows_are_folders(tmp_path: Path) -> None:
    toy = TOYS["esc50"]()
    (members,) = toy.archives.values()
    windows = {name.replace("/", "\\"): content for name, content in members.items()}
    path = written(tmp_path / "x.zip", zip_of({"top\\audio\\": b""} | windows))
    assert sorted(open_volume(Volume((path,))).names()) == sorted(members)
    (tmp_path / "parts.json").write_text('{"train": ["dog"], "val": [], "test": []}')
    recipe = RECIPES["esc50"](source=str(path), split_file=str(tmp_path / "parts.json"))
    clips = recipe.plan(tmp_path).clips
    assert {clip.key for clip in clips} == set(toy.labels)
    assert {recipe.make(clip, "flac").status for clip in clips} == {"ok"}
    both = zip_of({"a\\b.wav": b"1", "a/b.wav": b"2"})
    assert "is there twice" in refusal(tmp_path / "both.zip", both)


def test_a_list_that_is_a_git_lfs_pointer_is_told(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (members,) = TOYS["esc50"]().archives.values()
    content = {name: pointer if ".csv" in name else file for name, file in members.items()}
    path = written(tmp_path / "x.zip", zip_of(content))
    with pytest.raises(ValueError, match=r"esc50.csv is a Git LFS pointer.*run `git lfs pull`"):
        RECIPES["esc50"](source=str(path)).plan(tmp_path)


@pytest.mark.parametrize("kind", ["tar", "zip", "tree"])
def test_names_that_are_no_utf8_become_printable_rows(tmp_path: Path, kind: str) -> None:
    name = b"Caf\xe9/1.wav".decode("utf-8", "surrogateescape")
    wave = sound("WAV", 16_000)
    if kind == "zip":
        content = zip_of({"Cafe/1.wav": wave}).replace(b"Cafe/1.wav", b"Caf\xe9/1.wav")
        source = written(tmp_path / "x.zip", content)
    elif kind == "tar":
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
            info = tarfile.TarInfo(name)
            info.size = len(wave)
            tar.addfile(info, io.BytesIO(wave))
        source = written(tmp_path / "x.tar", buffer.getvalue())
    else:
        source = tmp_path / "tree"
        (source / name).parent.mkdir(parents=True)
        (source / name).write_bytes(wave)
    from slvr.ingest.recipes.watkins import Watkins

    recipe = Watkins(source=str(source))
    (clip,) = recipe.plan(tmp_path / "cache").clips
    assert clip.source.uri.encode() and clip.labels[0].startswith("Caf")
    assert recipe.make(clip, "flac").status == "ok"


def test_pipes_and_linked_folders_in_a_tree_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "tree" / "a").mkdir(parents=True)
    (tmp_path / "tree" / "a" / "1.wav").write_bytes(b"x")
    os.mkfifo(tmp_path / "tree" / "a" / "2.wav")
    (tmp_path / "tree" / "b").symlink_to(tmp_path / "tree", target_is_directory=True)
    (volume,) = find_volumes(tmp_path / "tree", tmp_path / "indices")
    assert open_volume(volume).names() == ["a/1.wav"]


def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    """Listing and reading 32 MB takes no more than 8 MB in Python."""
    import tracemalloc

    noise = np.random.default_rng(0).bytes(1 << 20)
    members = {f"{i}.wav": noise for i in range(32)}
    paths = [written(tmp_path / "x.zip", zip_of(members))]
    with gzip.open(tmp_path / "x.tar.gz", "wb", compresslevel=1) as file:
        file.write(tar_of(members, ""))
    paths.append(tmp_path / "x.tar.gz")
    del members
    for path in paths:
        tracemalloc.start()
        reader = open_volume(find_volumes(path, tmp_path / "indices")[0])
        for name in reader.names():
            assert len(reader.read(name)) == 1 << 20
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
        tracemalloc.stop()


@pytest.mark.long
@pytest.mark.parametrize(("kind", "bound_mb"), [("zip", 32), ("tar.gz", 64)])
def test_no_process_grows_with_the_archive(tmp_path: Path, kind: str, bound_mb: int) -> None:
    """The whole command on 100 MB and on 400 MB of sounds; a tar.gz's seek points may take 64."""
    # a process's peak begins with that of the one that started it: a small one does so here
    largest_process = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, "
        "capture_output=True); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    waves = [sound("WAV", 44_100, 1, 5.0, seed) for seed in range(8)]
    peaks_kb = []
    for n in (228, 912):
        path = tmp_path / f"{n}.{kind}"
        members = {f"whale {i % 5}/{i}.wav": waves[i % 8] for i in range(n)}
        path.write_bytes(zip_of(members) if kind == "zip" else tar_of(members))
        line = command("ingest", "watkins", "--source", str(path), "--out", str(tmp_path / f"{n}"))
        line += ["--workers", "2"]
        small = [sys.executable, "-c", largest_process, *line]
        done = subprocess.run(small, cwd=tmp_path, check=True, capture_output=True, text=True)
        peaks_kb.append(int(done.stdout))
    assert peaks_kb[1] < peaks_kb[0] + 1000 * bound_mb, peaks_kb


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_mutated_archives_never_crash_and_lose_no_clip(tmp_path: Path, kind: str) -> None:
    """1,000 random changes of each: a sentence, or every planned clip with a status."""
    files = packed(TOYS["speechcommands"]())
    (content,) = files.values()
    if kind == "zip":
        content = zip_of(TOYS["speechcommands"]().archives["speech_commands_v0.02.tar.gz"])
    draw = np.random.default_rng(0)
    n_refused = 0
    for number in range(1000):
        changed = bytearray(content)
        for _ in range(int(draw.integers(1, 8))):
            at = int(draw.integers(len(changed)))
            match draw.integers(3):
                case 0:
                    changed[at] = int(draw.integers(256))
                case 1:
                    del changed[at : at + int(draw.integers(1, 2000))]
                case _:
                    changed[at:at] = draw.bytes(int(draw.integers(1, 50)))
            changed = changed or bytearray(b"\0")
        path = written(tmp_path / f"{number}.{kind}", bytes(changed))
        recipe = SpeechCommands(source=str(path))
        try:
            plan = recipe.plan(tmp_path / "cache")
        except ValueError:
            n_refused += 1
        else:
            made = [recipe.make(clip, "wav") for clip in plan.clips]
            assert all(clip.status != "planned" for clip in made)
        open_volume.cache_clear()
        path.unlink()
    assert 100 < n_refused <= 1000
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}


def test_audio_of_mutated_files_never_crashes() -> None:
    """Mutated WAV, FLAC and MP3 decode or fail with a status of the contract."""
    from slvr.ingest.decode import decode_file
    from slvr.ingest.recipe import ClipFailure
    from slvr.shards.clip import STATUSES

    draw = np.random.default_rng(1)
    for content in (sound("WAV", 16_000), sound("FLAC", 44_100, 2), sound("MP3", 48_000)):
        for _ in range(200):
            changed = bytearray(content)
            for _ in range(int(draw.integers(1, 6))):
                changed[int(draw.integers(len(changed)))] = int(draw.integers(256))
            try:
                assert len(decode_file(bytes(changed[: draw.integers(1, len(changed) + 1)])).pcm)
            except ClipFailure as fault:
                assert fault.status in STATUSES
