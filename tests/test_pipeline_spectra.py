"""SpecAugment behind any view maker.

Letters: V views, B clips, C channels, F bands, L frames.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from slvr.pipeline.augmentations.spec_augment import masked, spans, warped
from slvr.pipeline.views.chains import Chains
from slvr.pipeline.views.channels import Channels
from slvr.pipeline.views.contract import ByClip, Clips, Parted, Waves
from slvr.pipeline.views.spectra import SpecAugmented, masks_of, warp_of

FIXTURE = Path(__file__).parents[2] / "shared/fixtures/separation/specaugment.npz"
needs_fixture = pytest.mark.skipif(not FIXTURE.exists(), reason="no numbers of other programs")


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def augmented(views: object = None, **options: object) -> SpecAugmented:
    config = SpecAugmented.Config(**({"probability": 1.0} | options))
    return SpecAugmented(views or Chains(min_ops=0, max_ops=0), config)


def by_matrix(image: np.ndarray, origin: int, destination: int) -> np.ndarray:
    """(F, L) warped by Lingvo's matrix of hats, W_ij = max(0, 1 - |p(i) - j|), in float64."""
    n = image.shape[1]
    places = np.interp(np.arange(n), [0, destination, n - 1], [0, origin, n - 1])
    hats = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(n)))
    return image @ hats.T


@needs_fixture
def test_the_warp_is_the_published_one_made_piecewise() -> None:
    numbers = np.load(FIXTURE)
    for name, shape, seed in (("a", (4, 96, 64), 401), ("b", (2, 101, 64), 402)):
        image = randn(*shape, seed=seed).mT[:, None]
        o, d = (torch.tensor(numbers[f"{name}_{end}"]) for end in ("origin", "dest"))
        found = warped(image, o, d)[:, 0].mT.numpy()
        assert np.abs(found - numbers[f"{name}_piecewise"]).max() < 1e-5


@needs_fixture
@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_warp_and_masks_together_are_those_of_the_reference(fill: str) -> None:
    numbers = np.load(FIXTURE)
    image = (randn(96, 64, seed=421) - 4).T[None, None]
    o, d = torch.tensor(numbers["combo_warp"])
    bands, frames = (
        torch.tensor(numbers[f"combo_{axis}_masks"])[None] for axis in ("freq", "time")
    )
    found = masked(
        warped(image, o[None], d[None]),
        spans(64, bands[..., 0], bands[..., 1]),
        spans(96, frames[..., 0], frames[..., 1]),
        fill,
    )
    assert np.abs(found[0, 0].T.numpy() - numbers[f"combo_{fill}"]).max() < 1e-5


@pytest.mark.parametrize("n", [3, 4, 17, 96, 998])
def test_the_warp_is_a_matrix_of_hats_at_every_length(n: int) -> None:
    pairs = list(itertools.product(range(1, min(n - 1, 6)), range(1, min(n, 7))))
    pairs += [(n - 2, n - 1), (n - 2, 1), (1, n - 1), (n // 2, n // 2 + 1)]
    pairs = [(o, d) for o, d in pairs if 1 <= o <= n - 2 and 1 <= d <= n - 1]
    image = randn(len(pairs), 2, 5, n)
    found = warped(image, *torch.tensor(pairs).T)
    for row, (o, d) in enumerate(pairs):
        for channel in range(2):
            expected = by_matrix(image[row, channel].double().numpy(), o, d)
            assert np.abs(found[row, channel].numpy() - expected).max() < 1e-5


def test_a_warp_to_the_same_frame_and_one_of_two_frames_change_nothing() -> None:
    image = randn(3, 1, 4, 20)
    same = torch.tensor([1, 9, 18])
    assert torch.equal(warped(image, same, same), image)
    short = randn(3, 1, 4, 2)
    assert warped(short, torch.ones(3).long(), torch.ones(3).long()) is short


@pytest.mark.parametrize("fill", ["mean", "min", "zero"])
def test_masks_overwrite_what_they_cover_and_nothing_else(fill: str) -> None:
    image = randn(2, 3, 10, 12) + 5
    start, width = torch.tensor([[2, 8], [0, 0]]), torch.tensor([[3, 2], [0, 1]])
    bands, frames = spans(10, start, width), spans(12, start, width)
    found = masked(image, bands, frames, fill)
    for row, channel in itertools.product(range(2), range(3)):
        x = image[row, channel]
        value = {"mean": x.mean(), "min": x.min(), "zero": x.new_zeros(())}[fill]
        expected = x.clone()
        for s, w in zip(start[row].tolist(), width[row].tolist(), strict=True):
            expected[s : s + w] = value
            expected[:, s : s + w] = value
        torch.testing.assert_close(found[row, channel], expected)


def test_laws_of_widths_and_starts() -> None:
    """Width = floor(U most), start = floor(U (n - width + 1)), over 20,000 draws."""
    views, n = augmented(), 96
    plan = views.sample(10_000, 0)
    for axis, most in (("frames", 16), ("bands", 10)):
        start, width = masks_of(plan, axis, n)
        assert start.shape == width.shape == (2, 10_000, 2)
        shares = width.flatten().bincount(minlength=most).double() / width.numel()
        assert len(shares) == most and shares.tolist() == pytest.approx([1 / most] * most, abs=0.01)
        free = n - width
        assert (start >= 0).all() and (start <= free).all()
        assert (start == free).any() and (start == 0).any()
        assert (start.double() / (free + 1)).mean() == pytest.approx(0.5, abs=0.01)
    origin, destination = warp_of(plan, n)
    assert (int(origin.min()), int(origin.max())) == (1, n - 2)
    shift = plan.shift()
    assert shift.flatten().add(5).bincount().tolist() == pytest.approx([20_000 / 11] * 11, rel=0.1)
    assert torch.equal(destination, (origin + shift).clamp(1, n - 1))


def test_draws_of_views_clips_and_masks_are_independent() -> None:
    plan = augmented().sample(5_000, 1)
    columns = torch.cat([x.reshape(2, 5_000, -1).permute(0, 2, 1) for x in plan.draws.values()], 1)
    apart = torch.corrcoef(columns.flatten(0, 1)) - torch.eye(2 * columns.shape[1])
    assert apart.abs().max() < 0.07


@pytest.mark.parametrize("shape", [(1, 64, 96), (3, 128, 101), (1, 4, 7), (2, 3, 1)])
def test_every_image_is_warped_and_masked_by_its_own_draws(shape: tuple[int, int, int]) -> None:
    n_bands, n_frames = shape[1:]
    views = augmented(fill="mean")
    plan, images = views.sample(6, (3, 4)), randn(2, 6, *shape)
    found = views.on_features(images, plan)
    assert found.shape == images.shape
    origin, destination = warp_of(plan, n_frames)
    bands, frames = masks_of(plan, "bands", n_bands), masks_of(plan, "frames", n_frames)
    for view, clip, channel in itertools.product(range(2), range(6), range(shape[0])):
        x = images[view, clip, channel].double().numpy()
        if n_frames > 2:
            x = by_matrix(x, int(origin[view, clip]), int(destination[view, clip]))
        mean, x = x.mean(), x.copy()
        for k in range(2):
            s, w = (int(each[view, clip, k]) for each in bands)
            x[s : s + w] = mean
            s, w = (int(each[view, clip, k]) for each in frames)
            x[:, s : s + w] = mean
        assert np.abs(found[view, clip, channel].numpy() - x).max() < 1e-5


def test_probability_is_the_share_of_images_that_are_changed() -> None:
    views = augmented(probability=0.25, mask_frames=1, mask_bands=1)  # a warp alone
    plan = views.sample(4000, 0)
    assert plan.done().double().mean() == pytest.approx(0.25, abs=0.02)
    images = randn(2, 4000, 1, 2, 30)
    same = (views.on_features(images, plan) == images).flatten(2).all(2)
    origin, destination = warp_of(plan, 30)
    assert torch.equal(same, origin == destination) and same[~plan.done()].all()


def test_without_warp_or_masks_there_is_none() -> None:
    images = randn(2, 5, 1, 8, 20)
    nothing = augmented(warp_frames=0, band_masks=0, frame_masks=0)
    assert torch.equal(nothing.on_features(images, nothing.sample(5, 0)), images)


def test_the_view_maker_s_own_views_stay_what_they_were() -> None:
    inner = Chains()
    views, waves = augmented(inner), randn(4, 3000)
    plan, alone = views.sample(4, (1, 2)), inner.sample(4, (1, 2))
    assert torch.equal(views.apply(waves, plan), inner.apply(waves, alone))
    assert views.known(plan).keys() == inner.known(alone).keys() == views.knows
    assert (views.columns, views.quantities) == (inner.columns, inner.quantities)
    assert plan.describe(1)[:-1] == alone.describe(1)
    step = plan.describe(1)[-1]
    assert step.name == "spec_augment" and len(step.params) == 2
    assert step.params[1]["frame_widths"] == plan.widths("frames")[1, 1].tolist()


def test_a_plan_is_cut_and_kept_as_text() -> None:
    views, images = augmented(), randn(2, 6, 1, 20, 30)
    plan = views.sample(6, 5)
    assert plan.to_json() == views.sample(6, 5).to_json() != views.sample(6, 6).to_json()
    done = views.on_features(images, plan)
    part = plan.rows(2, 5)
    assert len(part) == 3 and part.describe(0) == plan.describe(2)
    assert torch.equal(views.on_features(images[:, 2:5], part), done[:, 2:5])
    stored = type(plan).from_json(json.dumps(json.loads(plan.to_json())))
    assert stored.to_json() == plan.to_json()
    assert torch.equal(views.on_features(images, stored), done)


def test_what_the_view_maker_is_asked_besides_reaches_it() -> None:
    halves = {"halves": lambda x: torch.stack((0.5 * x, 0.5 * x), 1)}
    channels = Channels.build(Channels.Config(crop_s=0.1), Waves(4000, separators=halves))
    views = augmented(channels)
    assert isinstance(views, ByClip) and isinstance(views, Parted)
    clips = Clips(("a", "b"), torch.zeros(2).long(), torch.zeros(2), torch.ones(2))
    plan = views.of_clips(views.sample(2, 0), clips)
    assert plan.inner.clips == clips
    assert [list(part) for part in views.parts(randn(2, 4000), plan)] == [
        ["channel 0", "channel 1"]
    ] * 2
    chains = augmented()
    assert chains.of_clips(chains.sample(2, 0), clips).describe(0)
    assert chains.parts(randn(2, 4000), chains.sample(2, 0)) == [{}, {}]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"probability": 1.5}, "--spec-augment.probability 1.5: expected 0 to 1"),
        ({"warp_frames": -1}, "--spec-augment.warp-frames -1: expected 0 or more"),
        ({"frame_masks": -2}, "--spec-augment.frame-masks -2: expected 0 or more"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        augmented(**options)


def test_it_is_no_view_maker_by_itself() -> None:
    with pytest.raises(ValueError, match="stands behind a view maker"):
        SpecAugmented.build(SpecAugmented.Config(), Waves(100))
