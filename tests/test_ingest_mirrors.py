"""`ingest audioset --from-mirror`: AudioSet from the copies that people have."""

import shutil
from pathlib import Path

import pytest

from audioset_runs import video
from mirror_runs import (
    LACKING,
    MIRRORS,
    N,
    ingest,
    manifest,
    mirror,
    pcm_of,
    rows,
    sha256,
    sound,
    sounds,
)
from slvr.ingest.decode import decode_file

SAID = {
    "parquet": ("parquet files, 2 of them", "data/bal_train/0"),
    "webdataset": ("tars, 1 of them", "shard-00000.tar#sample-0"),
    "tar": ("tars, 1 of them; 1 other files are ignored", "bal_train00.tar#audio/bal_train/"),
    "tar.gz": ("tars, 1 of them", "bal_train00.tar.gz#audio/bal_train/"),
    "zip": ("zips, 1 of them", "unbalanced_train_segments_part00_full.zip#part00/Y"),
    "zip -s": ("zips, 1 of them", "eval_segments.zip#"),
    "folder": ("audio files, 6 of them; 1 other files are ignored", ""),
}


@pytest.mark.parametrize("kind", MIRRORS)
def test_every_layout_gives_the_clips(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "zip -s" and shutil.which("zip") is None:
        pytest.skip("no program zip here")
    held = sounds()
    assert ingest(tmp_path, mirror(tmp_path / "in", kind, held)) == 0
    said, begins = SAID[kind]
    assert said in capsys.readouterr().out
    made = rows(tmp_path)
    assert len(made) == N
    lacking = made.pop(LACKING).clip
    assert (lacking.status, lacking.reason) == ("missing", "not_in_mirror")
    for i in range(N):
        if video(i) == LACKING:
            continue
        clip = made[video(i)].clip
        assert (clip.status, clip.detail) == ("ok", "")
        assert clip.labels == (("/m/09x0r", "/t/dd00088")[i % 2],)  # the official list's
        assert clip.source.uri.startswith(begins) and (clip.source.start_s, clip.n_samples) == (
            *(0.5, 24_000),
        )
        assert clip.source_sha256 == sha256(held[video(i)])
        pcm = decode_file(held[video(i)]).pcm
        assert clip.pcm_sha256 == sha256(pcm.astype("<i2").tobytes())
    extra = manifest(tmp_path)
    assert "layout" in str(extra)
