from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from eval.embed import Features, clip_labels, cut, embed
from eval.embedders import EncoderEmbedder, MeanLogMel, untrained
from model.encoder import Encoder
from shards.read import ShardDirectory

MakeDirectory = Callable[..., ShardDirectory]
CPU = torch.device("cpu")


class Moments:
    """Mean and maximum of a piece, and a count of the batches it was asked for."""

    def __init__(self, fingerprint: str = "moments") -> None:
        self.name, self.fingerprint = "moments", fingerprint
        self.batches: list[int] = []

    def embed(self, waves: Tensor) -> Tensor:
        self.batches.append(len(waves))
        return torch.stack([waves.mean(1), waves.amax(1)], dim=1)


def embedded(model, directory: ShardDirectory, cache: Path, **changes) -> Features:
    options = {"split": "train", "piece_s": 0.2, "batch": 5, "device": CPU} | changes
    return embed(model, directory, cache=cache, **options)


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (4, [[0, 1, 2, 3]]),
        (8, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (6, [[0, 1, 2, 3], [4, 5, 4, 5]]),
        (7, [[0, 1, 2, 3], [4, 5, 6, 4]]),
        (1, [[0, 0, 0, 0]]),
    ],
)
def test_the_last_piece_repeats_what_is_left(n: int, expected: list[list[int]]) -> None:
    np.testing.assert_array_equal(cut(np.arange(n, dtype=np.int16), 4), expected)


def test_rows_are_the_pieces_of_the_clips_in_order(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    directory = make_directory(n_clips=7, lengths_s=(0.2, 0.5, 0.05))
    model = Moments()
    features = embedded(model, directory, tmp_path / "cache")
    assert set(model.batches[:-1]) == {5} and sum(model.batches) == len(features.pieces)
    dataset, row = directory.dataset("train"), 0
    clips = directory.clips("train")
    for i in range(len(dataset)):
        pieces = cut(dataset[i], 3200).astype(np.float32) / 32768
        assert (features.first_piece[i], features.n_pieces[i]) == (row, len(pieces))
        for number, piece in enumerate(pieces):
            found = features.pieces.iloc[row]
            assert tuple(found) == (clips["key"][i], number, clips["labels"][i][0])
            expected = [piece.mean(), piece.max()]
            np.testing.assert_allclose(features.values[row], expected, atol=1e-6)
            row += 1
    assert row == len(features.values)


def test_a_second_call_embeds_nothing(make_directory: MakeDirectory, tmp_path: Path) -> None:
    directory = make_directory()
    first = embedded(Moments(), directory, tmp_path / "cache")
    again = Moments()
    told: list[int] = []
    second = embedded(again, directory, tmp_path / "cache", progress=told.append)
    assert again.batches == [] and sum(told) == 12
    torch.testing.assert_close(first.values, second.values, rtol=0, atol=0)
    pd.testing.assert_frame_equal(first.pieces, second.pieces)


def test_another_model_set_or_piece_is_embedded_anew(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    directory, cache = make_directory(), tmp_path / "cache"
    embedded(Moments(), directory, cache)
    other_set = make_directory("other", n_classes=4)
    for model, source, changes in (
        (Moments("other"), directory, {}),
        (Moments(), other_set, {}),
        (Moments(), directory, {"piece_s": 0.1}),
    ):
        embedded(model, source, cache, **changes)
        assert model.batches


def test_progress_counts_every_clip_once(make_directory: MakeDirectory, tmp_path: Path) -> None:
    told: list[int] = []
    embedded(Moments(), make_directory(), tmp_path / "cache", progress=told.append)
    assert sum(told) == 12 and len(told) > 1


def test_features_that_are_not_finite_are_refused_and_leave_nothing(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    class Diverged(Moments):
        def embed(self, waves: Tensor) -> Tensor:
            out = super().embed(waves)
            if len(self.batches) == 2:
                out[1] = torch.nan
            return out

    directory, cache = make_directory(), tmp_path / "cache"
    with pytest.raises(ValueError, match=r"clip clip_\d+ are not finite") as error:
        embedded(Diverged(), directory, cache)
    assert list(cache.iterdir()) == []
    bad = embedded(Moments(), directory, cache).pieces["key"].iloc[5 + 1]
    assert f"clip {bad} " in str(error.value)


def test_damaged_features_are_named(make_directory: MakeDirectory, tmp_path: Path) -> None:
    directory, cache = make_directory(), tmp_path / "cache"
    embedded(Moments(), directory, cache)
    (values,) = cache.glob("*/features.npy")
    values.write_bytes(values.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"damaged features .* delete the folder"):
        embedded(Moments(), directory, cache)


def test_clips_need_one_label_each(make_directory: MakeDirectory) -> None:
    labelled = make_directory()
    assert clip_labels(labelled, "train") == [
        labels[0] for labels in labelled.clips("train")["labels"]
    ]
    with pytest.raises(ValueError, match="12 of 12 clips have no label"):
        clip_labels(make_directory("bare", n_classes=0), "train")


def test_clips_of_several_labels_are_refused(
    make_directory: MakeDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make_directory()
    clips = directory.clips("train")
    clips.at[3, "labels"] = ["dog", "rain"]
    monkeypatch.setattr(ShardDirectory, "clips", lambda self, split: clips)
    with pytest.raises(ValueError, match="1 of 12 clips have several labels"):
        clip_labels(directory, "train")


@pytest.mark.parametrize("normalisation", ["published", "per-clip"])
def test_the_encoder_embeds_a_piece_by_itself_with_both_heads(normalisation: str) -> None:
    torch.manual_seed(0)
    encoder = Encoder("parallel", dim=16, width=4).eval()
    model = EncoderEmbedder("x", encoder, normalisation, CPU)
    waves = 0.1 * torch.randn(3, 8000)
    with torch.inference_mode():
        together = model.embed(waves)
        alone = torch.cat([model.embed(wave[None]) for wave in waves])
    assert together.shape == (3, 16)
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3 * float(together.std()))


def test_the_fingerprint_follows_weights_and_normalisation() -> None:
    encoder = Encoder("split", dim=8, width=4)

    def fingerprint(encoder: Encoder, normalisation: str = "published") -> str:
        return EncoderEmbedder("any name", encoder, normalisation, CPU).fingerprint

    before = fingerprint(encoder)
    assert before == fingerprint(encoder)
    assert before != fingerprint(encoder, "per-clip")
    with torch.no_grad():
        encoder.layer3[0].conv1.conv.weight[0, 0, 0, 0] += 1e-3
    assert before != fingerprint(encoder)


def test_untrained_has_the_same_shape_and_weights_of_its_own_seed() -> None:
    encoder = Encoder("series", dim=12, width=4)
    state = torch.get_rng_state()
    first, again, other = untrained(encoder, 0), untrained(encoder, 0), untrained(encoder, 1)
    assert torch.equal(state, torch.get_rng_state())
    shapes = {name: tensor.shape for name, tensor in encoder.state_dict().items()}
    assert {name: tensor.shape for name, tensor in first.state_dict().items()} == shapes
    assert first.variant == "series"
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    assert not torch.equal(first.conv1.weight, encoder.conv1.weight)


def test_mean_log_mel_peaks_where_the_tone_is_and_follows_its_level_in_db() -> None:
    model = MeanLogMel(CPU)
    time_s = torch.arange(16_000) / 16_000
    tones = torch.stack([torch.sin(2 * torch.pi * f * time_s) for f in (500.0, 2000.0)])
    features = model.embed(tones)
    assert features.shape == (2, 128)

    def mel(hz: float) -> float:
        return 2595 * np.log10(1 + hz / 700)

    for feature, hz in zip(features, (500.0, 2000.0), strict=True):
        assert abs(int(feature.argmax()) + 1 - 129 * mel(hz) / mel(8000.0)) < 1
    peak = features.argmax(1, keepdim=True)
    softer = model.embed(tones / 10)
    drop = (features - softer).gather(1, peak)
    torch.testing.assert_close(drop, torch.full_like(drop, 20.0), rtol=0, atol=1e-2)
