import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.fft import dct
from torch import Tensor

from slvr.eval.embed import Features, embed
from slvr.eval.embedders import MEL_STATISTICS, EncoderEmbedder, MelStatistics
from slvr.eval.pieces import cut, n_pieces
from slvr.eval.sets import EvaluatedSet
from slvr.model.encoders.resnet18 import ResNet18
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.shards.read import ShardDirectory

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


def embedded(model, directory: ShardDirectory, cache: Path, batch: int = 5, **changes) -> Features:
    data = EvaluatedSet(directory, **({"split": "train", "piece_s": 0.2} | changes))
    return embed(model, data, cache, batch, CPU)


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
def test_the_original_s_last_piece_repeats_what_is_left(n: int, expected: list[list[int]]) -> None:
    np.testing.assert_array_equal(cut(np.arange(n, dtype=np.int16), 4, "filled"), expected)


@pytest.mark.parametrize(
    ("n", "starts"),
    [
        (4, [0]),
        (5, [0]),  # a tail of less than half a piece is no piece
        (6, [0, 2]),
        (9, [0, 5]),
        (10, [0, 3, 6]),
        (11, [0, 4, 7]),  # 3.5 is rounded up
        (16, [0, 4, 8, 12]),
    ],
)
def test_pieces_are_full_and_spread_from_the_beginning_to_the_end(
    n: int, starts: list[int]
) -> None:
    pieces = cut(np.arange(n, dtype=np.int16), 4)
    np.testing.assert_array_equal(pieces, np.add.outer(starts, range(4)))
    assert int(n_pieces(np.array(n), 4, "spread")) == len(pieces)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("loop", [7, 8, 9, 7, 8, 9, 7]),
        ("silence", [7, 8, 9, 0, 0, 0, 0]),
        ("centre", [0, 0, 7, 8, 9, 0, 0]),
    ],
)
@pytest.mark.parametrize("cutting", ["spread", "filled"])
def test_a_short_clip_is_filled_as_it_is_asked_for(
    how: str, expected: list[int], cutting: str
) -> None:
    wave = np.array([7, 8, 9], dtype=np.int16)
    np.testing.assert_array_equal(cut(wave, 7, cutting, how), [expected])


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
            assert (found["key"], found["piece"]) == (clips["key"][i], number)
            assert list(found["labels"]) == clips["labels"][i]
            expected = [piece.mean(), piece.max()]
            np.testing.assert_allclose(features.values[row], expected, atol=1e-6)
            row += 1
    assert row == len(features.values)


def test_a_second_call_embeds_nothing(
    make_directory: MakeDirectory, tmp_path: Path, capsys
) -> None:
    directory = make_directory()
    first = embedded(Moments(), directory, tmp_path / "cache")
    again = Moments()
    capsys.readouterr()
    second = embedded(again, directory, tmp_path / "cache")
    assert again.batches == [] and capsys.readouterr().err == ""
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
        (Moments(), directory, {"cutting": "filled"}),
        (Moments(), directory, {"short": "centre"}),
    ):
        embedded(model, source, cache, **changes)
        assert model.batches


def test_progress_counts_every_clip_once(
    make_directory: MakeDirectory, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slvr.command.progress.LINE_EVERY_S", 0)
    embedded(Moments(), make_directory(), tmp_path / "cache")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 2 and lines[-1].startswith("embed data train, moments: 12/12 ")
    done = [int(line.split(": ")[1].split("/")[0]) for line in lines]
    assert done == sorted(done)


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


class Stops(Moments):
    """Interrupted at a batch."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def embed(self, waves: Tensor) -> Tensor:
        if len(self.batches) == self.at:
            raise KeyboardInterrupt
        return super().embed(waves)


@pytest.mark.parametrize("piece_s", [0.2, 0.13, None])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_an_interrupted_call_goes_on_at_its_batch(
    make_directory: MakeDirectory, tmp_path: Path, capsys, piece_s: float | None, at: int
) -> None:
    directory = make_directory()
    whole = Moments()
    expected = embedded(whole, directory, tmp_path / "a", piece_s=piece_s)
    with pytest.raises(KeyboardInterrupt):
        embedded(Stops(at), directory, tmp_path / "b", piece_s=piece_s)
    rest = Moments()
    resumed = embedded(rest, directory, tmp_path / "b", piece_s=piece_s)
    assert rest.batches == whole.batches[at:] and ": 12/12 " in capsys.readouterr().err
    torch.testing.assert_close(resumed.values, expected.values, rtol=0, atol=0)
    (folder,) = (tmp_path / "b").iterdir()
    assert {path.name for path in folder.iterdir()} == {"features.npy", "pieces.parquet"}


def test_a_killed_process_is_gone_on_from(make_directory: MakeDirectory, tmp_path: Path) -> None:
    directory, cache = make_directory(), tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        embedded(Stops(2), directory, cache)
    (partial,) = cache.iterdir()
    # what stands there after a kill between two saves: rows beyond those that count
    values = np.load(partial / "features.npy", mmap_mode="r+")
    values[10:] = 7
    values.flush()
    rest = Moments()
    features = embedded(rest, directory, cache)
    assert len(rest.batches) > 0 and not (features.values == 7).any()
    # and a folder in which nothing counts is begun anew
    other = Moments("other")
    embedded(other, directory, cache)
    with pytest.raises(KeyboardInterrupt):
        embedded(Stops(2), directory, cache, piece_s=0.1)
    (partial,) = cache.glob(".partial-*")
    (partial / "rows-done.txt").write_text("many")
    anew = Moments()
    embedded(anew, directory, cache, piece_s=0.1)
    assert sum(anew.batches) == 6 * 2 + 6 * 5


def test_a_full_disk_is_found_before_the_first_row(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    """A limit on file sizes fails the reservation as a full disk does."""

    class Wide(Stops):
        def embed(self, waves: Tensor) -> Tensor:
            return super().embed(waves).repeat(1, 500)

    directory, cache = make_directory(), tmp_path / "cache"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"features\.npy"):
            embedded(Wide(1), directory, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with pytest.raises(KeyboardInterrupt):
        embedded(Wide(1), directory, cache)
    (values,) = cache.glob(".partial-*/features.npy")
    begun = values.stat()
    assert begun.st_blocks * 512 >= begun.st_size > 90_000


def test_whole_clips_share_batches_of_one_length(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    directory = make_directory(n_clips=9, lengths_s=(0.3, 0.05, 0.2))
    model = Moments()
    features = embedded(model, directory, tmp_path / "cache", piece_s=None)
    assert model.batches == [3, 3, 3] and features.n_pieces.tolist() == [1] * 9
    dataset = directory.dataset("train")
    for i in range(9):
        wave = np.resize(dataset[i], max(len(dataset[i]), 1024)).astype(np.float32) / 32768
        np.testing.assert_allclose(features.values[i], [wave.mean(), wave.max()], atol=1e-6)


def test_batches_of_long_pieces_are_smaller(make_directory: MakeDirectory, tmp_path: Path) -> None:
    directory = make_directory(n_clips=3, n_shards=1, lengths_s=(33.0,))
    for piece_s, expected in ((16.5, [3, 3]), (None, [1, 1, 1]), (7.0, [8, 7])):
        model = Moments()
        embedded(model, directory, tmp_path / "cache", piece_s=piece_s, batch=12)
        assert model.batches == expected


def test_clip_means_are_over_the_pieces_of_a_clip(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    features = embedded(Moments(), make_directory(), tmp_path / "cache")
    by_clip = pd.DataFrame(features.values.numpy()).groupby(features.pieces["key"], sort=False)
    np.testing.assert_allclose(features.clip_means, by_clip.mean(), atol=1e-6)


def test_damaged_features_are_named(make_directory: MakeDirectory, tmp_path: Path) -> None:
    directory, cache = make_directory(), tmp_path / "cache"
    embedded(Moments(), directory, cache)
    (values,) = cache.glob("*/features.npy")
    values.write_bytes(values.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"damaged features .* delete the folder"):
        embedded(Moments(), directory, cache)


@pytest.mark.parametrize("normalisation", ["published", "per-clip", "none"])
def test_the_encoder_embeds_a_piece_by_itself_with_both_heads(normalisation: str) -> None:
    torch.manual_seed(0)
    encoder = ResNet18("parallel", dim=16, width=4).eval()
    model = EncoderEmbedder("x", encoder, MTSLVR(), normalisation, CPU)
    waves = 0.1 * torch.randn(3, 8000)
    with torch.inference_mode():
        together = model.embed(waves)
        alone = torch.cat([model.embed(wave[None]) for wave in waves])
    assert together.shape == (3, 16)
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3 * float(together.std()))


def test_the_fingerprint_follows_weights_and_normalisation() -> None:
    encoder = ResNet18("split", dim=8, width=4)

    def fingerprint(encoder: ResNet18, normalisation: str = "published") -> str:
        return EncoderEmbedder("any name", encoder, MTSLVR(), normalisation, CPU).fingerprint

    before = fingerprint(encoder)
    assert before == fingerprint(encoder)
    assert before != fingerprint(encoder, "per-clip")
    with torch.no_grad():
        encoder.layer3[0].conv1.conv.weight[0, 0, 0, 0] += 1e-3
    assert before != fingerprint(encoder)


def test_untrained_has_the_same_shape_and_weights_of_its_own_seed() -> None:
    encoder = ResNet18("series", dim=12, width=4)
    state = torch.get_rng_state()
    first, again, other = (encoder.untrained(seed) for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    shapes = {name: tensor.shape for name, tensor in encoder.state_dict().items()}
    assert {name: tensor.shape for name, tensor in first.state_dict().items()} == shapes
    assert first.variant == "series"
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    assert not torch.equal(first.conv1.weight, encoder.conv1.weight)


def test_mean_log_mel_peaks_where_the_tone_is_and_follows_its_level_in_db() -> None:
    model = MelStatistics("mean log-mel", "none", CPU)
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


def test_mean_and_deviation_of_log_mel_stand_side_by_side() -> None:
    waves = 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    found = MelStatistics("mean + deviation of log-mel", "none", CPU).embed(waves)
    bands = MTSLVR()(waves)[:, 0]
    expected = torch.cat([bands.mean(2), bands.var(2, correction=0).sqrt()], dim=1)
    torch.testing.assert_close(found, expected)


def test_cepstral_coefficients_are_scipys() -> None:
    waves = 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    model = MelStatistics("mean + deviation of MFCC", "none", CPU)
    cepstra = dct(MTSLVR()(waves)[:, 0].numpy(), type=2, axis=1, norm="ortho")[:, :20]
    expected = np.concatenate([cepstra.mean(2), cepstra.std(2)], axis=1)
    np.testing.assert_allclose(model.embed(waves), expected, rtol=1e-4, atol=1e-3)
    assert model.heads == {"all": slice(0, 40)}


@pytest.mark.parametrize("name", MEL_STATISTICS)
@pytest.mark.parametrize("normalisation", ["none", "published"])
def test_digital_silence_is_not_in_the_statistics(name: str, normalisation: str) -> None:
    model = MelStatistics(name, normalisation, CPU)
    wave = 0.1 * torch.randn(1, 80_000, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(wave, (0, 40_000))
    difference = (model.embed(padded) - model.embed(wave)).abs().max()
    assert float(difference) < 2.0  # dB: frames at the edge hold some of both
    assert model.embed(torch.zeros(1, 8000)).isfinite().all()
