"""A tail of a clip moves no accuracy: silence or sound of up to 0.1 s at the end of every clip."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import described
from slvr.eval.cli import main
from slvr.eval.pieces import cut
from slvr.shards.audio import with_audio
from slvr.shards.clip import SAMPLE_RATE_HZ, Clip, Source
from slvr.shards.write import ShardWriter, finish

N_CLASSES, N_CLIPS = 8, 64
LENGTHS_S = (5.0, 5.4, 7.45, 10.0, 12.45)
"""Of pieces of 5 s: one; one and a bit; nearly two; two; nearly three. 0.1 s makes them two, and
three."""
TAILS = {
    "plain": (0, "silence"),
    "sound": (0.001, "sound"),
    "silence": (0.001, "silence"),
    "long_sound": (0.1, "sound"),
    "long_silence": (0.1, "silence"),
}
ENCODER = """
import torch

torch.manual_seed(0)
filters = torch.randn(32, 1, 256) * torch.hann_window(256)

def embed(waves):
    heard = torch.nn.functional.conv1d(waves[:, None], filters, stride=128)
    return heard.relu().mean(-1).sqrt()
"""


def write_set(path: Path, tail_s: float, tail: str) -> None:
    """Tones in noise; clip i has class `i mod N_CLASSES`, whose pitches overlap with others'."""
    path.mkdir()
    with ShardWriter(path, "eval-000000", "eval", "wav") as writer:
        for i in range(N_CLIPS):
            rng = np.random.default_rng(i)
            n = round(LENGTHS_S[i % len(LENGTHS_S)] * SAMPLE_RATE_HZ)
            pitch_hz = 400 * 2 ** ((i % N_CLASSES) / 6 + rng.normal(0, 0.1))
            level = 3000 * 10 ** rng.normal(0, 0.05)
            time_s = np.arange(n + round(tail_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
            wave = np.sin(2 * np.pi * pitch_hz * time_s) + rng.normal(0, 0.3, len(time_s))
            wave *= level
            if tail == "silence":
                wave[n:] = 0
            clip = Clip(
                key=f"clip_{i:04d}",
                split="eval",
                source=Source(f"made/{i}.wav", 0.0, 1.0),
                labels=(f"class_{i % N_CLASSES}",),
            )
            writer.write(with_audio(clip, wave.astype(np.int16), "wav"))
    labels = {f"class_{i}": "" for i in range(N_CLASSES)}
    finish(path, writer.rows, [writer.info], described(path.name, codec="wav", labels=labels))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("tails")
    (here / "bank.py").write_text(ENCODER)
    for name, (tail_s, tail) in TAILS.items():
        write_set(here / name, tail_s, tail)
    return here


def scored(here: Path, protocol: str, *sets: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy and interval of an encoder and the baselines (rows) on each set (columns)."""
    args = ["--encoder", f"{here / 'bank.py'}:embed", "--shards", *(str(here / s) for s in sets)]
    args += ["--classifier", "centroid", "--n-tasks", "2000", "--protocol", protocol]
    args += ["--out", str(here / protocol), "--cache", str(here / "cache"), "--device", "cpu"]
    assert main(args) == 0
    results = pd.read_csv(here / protocol / "results.csv")
    wide = results.pivot_table(["accuracy", "ci95"], "model", "set", sort=False)
    return wide["accuracy"], wide["ci95"]


def test_a_tail_moves_an_accuracy_by_less_than_its_interval(here: Path) -> None:
    accuracy, ci95 = scored(here, "matched", *TAILS)
    assert accuracy["plain"].between(0.3, 0.95).all()  # neither chance nor solved
    moved = accuracy.sub(accuracy["plain"], axis=0).abs()
    assert (moved <= ci95).all(axis=None), moved


def test_silence_behind_a_short_clip_is_nothing_where_silence_fills_it() -> None:
    short = np.random.default_rng(0).integers(-9, 9, 3000)
    longer = np.append(short, np.zeros(1600, dtype=short.dtype))
    filled, longer_filled = (cut(wave, 80_000, "spread", "silence") for wave in (short, longer))
    np.testing.assert_array_equal(filled, longer_filled)
    assert (cut(short, 80_000) != cut(longer, 80_000)).any()  # the loop has another period


def test_the_original_s_rule_is_moved_by_a_millisecond(here: Path) -> None:
    accuracy, ci95 = scored(here, "later", "plain", "silence")
    lost = accuracy["plain"] - accuracy["silence"]
    assert (lost > 2 * ci95["plain"]).all(), lost
