"""Views of separated channels, and channels on disk.

Letters: V views, B clips, M channels, T samples.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import described, noise
from slvr.ingest import cli as ingest
from slvr.pipeline.batches import Batches
from slvr.pipeline.separated import Stored, directories_of, rows_within, write_channels
from slvr.pipeline.views.channel_plan import ChannelPlan
from slvr.pipeline.views.channels import Channels, drawn_channels
from slvr.pipeline.views.contract import Clips, Waves
from slvr.shards.audio import with_audio
from slvr.shards.clip import Clip, Source
from slvr.shards.read import ShardDirectory
from slvr.shards.verify import verify
from slvr.shards.write import ShardWriter, finish

N, T, CROP = 8, 6000, 1600
CROP_S = CROP / 16_000
CPU = torch.device("cpu")


class Shares:
    """A separator whose channels are shares of the clip, one delayed; they sum to it."""

    def __init__(self, *shares: float, name: str = "shares") -> None:
        self.shares, self.fingerprint, self.batches = shares, f"{name} {shares}", []

    def __call__(self, waves: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(waves))
        assert not torch.is_grad_enabled()
        rest = [share * waves for share in self.shares[1:]]
        rest[0] = rest[0].roll(7, -1)
        return torch.stack([waves - sum(rest), *rest], 1)


TWO, THREE = Shares(0.75, 0.25, name="two"), Shares(0.5, 0.3, 0.2, name="three")


def waves_of(n: int = N, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(n, T, generator=torch.Generator().manual_seed(seed))


def maker(**options: object) -> Channels:
    given = options.pop("separators_given", {"two": TWO, "three": THREE})
    config = Channels.Config(**({"crop_s": CROP_S} | options))
    return Channels.build(config, Waves(T, separators=given))


def crop(wave: torch.Tensor, start: int) -> torch.Tensor:
    return wave[start : start + CROP]


@pytest.mark.parametrize("pair", ["mix-mix", "mix-channel", "channel-channel"])
def test_views_are_the_crops_and_channels_that_the_plan_says(pair: str) -> None:
    views, waves = maker(pair=pair), waves_of()
    plan = views.sample(N, (1, 2))
    made = views.apply(waves, plan)
    assert made.shape == (2, N, CROP)
    expected_views = {"mix-mix": (), "mix-channel": (1,), "channel-channel": (0, 1)}[pair]
    for i in range(N):
        with torch.no_grad():
            channels = (TWO, THREE)[int(plan.separator[i])](waves[i : i + 1])[0]
        for view in range(2):
            source = waves[i]
            if view in expected_views:
                m = int(plan.channels[view, i])
                assert 0 <= m < len(channels)
                source = channels[m]
            else:
                assert plan.channels[view, i] == -1
            torch.testing.assert_close(made[view, i], crop(source, int(plan.starts[view, i])))
    if pair == "channel-channel":
        assert (plan.channels[0] != plan.channels[1]).all()


def test_the_plan_tells_what_was_drawn_and_so_does_what_is_known() -> None:
    views = maker()
    plan = views.sample(50, 3)
    known = views.known(plan)
    assert known.keys() == views.knows == {"distance_s", "separator", "channel"}
    for i in range(50):
        separated, cut = plan.describe(i)
        assert separated.name == f"separated by {('two', 'three')[int(known['separator'][i])]}"
        assert separated.params == [{}, {"channel": int(known["channel"][i, 1])}]
        starts = [view["start_s"] for view in cut.params]
        assert starts[1] - starts[0] == pytest.approx(float(known["distance_s"][i]), abs=1e-6)
        assert cut.params[0]["length_s"] == CROP_S
    assert maker(pair="mix-mix").knows == {"distance_s"}
    assert [step.name for step in maker(pair="mix-mix").sample(2, 0).describe(0)] == ["crop"]


def test_draws_are_uniform_and_independent() -> None:
    views = maker()
    plan = views.sample(10_000, 0)
    assert plan.separator.bincount().tolist() == pytest.approx([5000, 5000], abs=200)
    for index, m in ((0, 2), (1, 3)):
        drawn = plan.channels[1][plan.separator == index]
        shares = drawn.bincount(minlength=m).double() / len(drawn)
        assert shares.tolist() == pytest.approx([1 / m] * m, abs=0.03)
    places = plan.starts.double() / (T - CROP)
    assert places.amin() == 0 and places.amax() == 1
    assert places.mean(1).tolist() == pytest.approx([0.5, 0.5], abs=0.01)
    assert abs(float(torch.corrcoef(places)[0, 1])) < 0.04
    together = maker(temporal_proximity=False).sample(100, 0)
    assert torch.equal(together.starts[0], together.starts[1])


def test_memory_bounds_how_many_clips_are_separated_at_once() -> None:
    two = Shares(0.75, 0.25)
    plan_of = {}
    for memory_mb in (1, 20, 1024):
        views = maker(separators_given={"two": two}, memory_mb=memory_mb)
        two.batches.clear()
        plan_of[memory_mb] = views.apply(waves_of(), views.sample(N, 1))
        assert max(two.batches) == min(N, rows_within(memory_mb, T)) and sum(two.batches) == N
    assert rows_within(20, T) == 2
    torch.testing.assert_close(plan_of[1], plan_of[1024])


def test_mixtures_alone_need_no_separator() -> None:
    views = maker(pair="mix-mix", separators_given={})
    assert views.apply(waves_of(), views.sample(N, 0)).shape == (2, N, CROP)


def test_a_channel_that_is_too_quiet_gives_way_to_the_next() -> None:
    """41 and 39 dB below, under a floor of 40 dB."""
    for below_db, chosen in ((41, {0}), (39, {0, 1})):
        share = 10 ** (-below_db / 20)
        quiet = Shares(1 - share, share)
        views = maker(separators_given={"quiet": quiet}, temporal_proximity=False)
        waves = waves_of(40)
        plan = views.sample(40, 0)
        second = views.apply(waves, plan)[1]
        with torch.no_grad():
            channels = quiet(waves)
        found = set()
        for i in range(40):
            crops = [crop(wave, int(plan.starts[1, i])) for wave in channels[i]]
            found |= {m for m in range(2) if torch.allclose(second[i], crops[m], atol=1e-6)}
        assert found == chosen


def test_of_two_channels_each_is_heard_where_it_can_be() -> None:
    order = torch.tensor([[2, 0, 1]] * 5)
    audible = torch.tensor([[1, 1, 1], [0, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]]).bool()
    first, second = drawn_channels(order, audible, 2)
    assert first.tolist() == [2, 0, 2, 1, 2] and second.tolist() == [0, 1, 1, 1, 0]
    assert drawn_channels(order, audible, 1)[0].tolist() == first.tolist()


def test_a_silent_clip_gives_silence() -> None:
    for pair in ("mix-channel", "channel-channel"):
        views = maker(pair=pair, match_level=True)
        made = views.apply(torch.zeros(N, T), views.sample(N, 0))
        assert made.shape == (2, N, CROP) and not made.any()


def test_matched_channels_are_as_loud_as_their_clips() -> None:
    for match in (False, True):
        views = maker(separators_given={"two": TWO}, match_level=match, crop_s=T / 16_000)
        waves = waves_of()
        mixture, channel = views.apply(waves, views.sample(N, 0)).square().mean(-1)
        level_db = 10 * torch.log10(channel / mixture)
        assert bool((level_db.abs() < 1e-3).all()) == match


def test_a_separator_hears_the_clip_as_it_is_stored() -> None:
    """Whatever the normalisation: its channels go through that themselves, and sum to the wave."""
    heard = []

    def listening(waves: torch.Tensor) -> torch.Tensor:
        heard.append(waves)
        return torch.stack((waves.clamp(min=0), waves.clamp(max=0)), 1)

    views = maker(
        separators_given={"listening": listening}, pair="channel-channel", temporal_proximity=False
    )
    pcm, mean, scale = waves_of(), torch.full((N,), 0.01), torch.linspace(0.1, 0.5, N)
    waves = (pcm - mean[:, None]) / scale[:, None]
    clips = Clips(tuple("abcdefgh"), torch.zeros(N, dtype=torch.int64), mean, scale)
    plan = views.of_clips(views.sample(N, 0), clips)
    made = views.apply(waves, plan)
    torch.testing.assert_close(heard[-1], pcm)
    expected = torch.stack(
        [crop(wave, int(s)) for wave, s in zip(waves, plan.starts[0], strict=True)]
    )
    torch.testing.assert_close(made.sum(0), expected, atol=1e-5, rtol=1e-5)
    again = ChannelPlan.from_json(json.dumps(json.loads(plan.to_json())))
    assert torch.equal(views.apply(waves, again), made) and again.clips.keys == clips.keys
    torch.testing.assert_close(views.apply(waves[2:5], plan.rows(2, 5)), made[:, 2:5])


def test_parts_are_all_channels_of_each_clip() -> None:
    views, waves = maker(), waves_of()
    plan = views.sample(N, 0)
    for i, part in enumerate(views.parts(waves, plan)):
        assert list(part) == [f"channel {m}" for m in range(2 + int(plan.separator[i]))]
        torch.testing.assert_close(sum(part.values()), waves[i])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"crop_s": 0.4}, "--views.crop-s 0.4: expected above 0, and at most the 0.375 s"),
        ({"floor_db": 0}, "--views.floor-db 0"),
        ({"memory_mb": 0}, "expected above 0, and 1 or more"),
        ({"separators": ("four",)}, "--views.separators four: not there"),
        ({"separators_given": {}}, "none given; expected files or runs of `train separator`"),
        (
            {"separators_given": {"mono": lambda x: x[:, None]}},
            "--views.separators mono: makes .1, 1, 4000. of waveforms",
        ),
        (
            {"separators_given": {"leaky": lambda x: torch.stack((x, 0.1 * x), 1)}},
            "leaky: its channels sum to the waveform to 0.0",
        ),
        ({"cache": "nowhere"}, "nowhere: no such folder; write channels with"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        maker(**options)


def test_waves_and_plans_of_others_are_refused() -> None:
    views = maker()
    with pytest.raises(ValueError, match=r"expected waves \(8, 6000\) for a plan of 8 clips"):
        views.apply(torch.zeros(N, T + 1), views.sample(N, 0))
    with pytest.raises(ValueError, match="the plan was sampled for the separators"):
        views.apply(waves_of(), maker(separators_given={"two": TWO}).sample(N, 0))


# Channels on disk


@pytest.fixture
def shards(make_directory: Callable[..., ShardDirectory]) -> ShardDirectory:
    """Clips of T samples, but for two that are shorter."""
    return make_directory("data", n_clips=9, lengths_s=(T / 16_000,) * 4 + (0.2,))


def write(directory: ShardDirectory, out: Path, separator: Shares, name: str) -> ShardDirectory:
    return write_channels(directory, ["train"], (name, separator), out, CPU, 1)


def test_stored_channels_sum_to_their_clips_and_are_shards_like_any_other(
    tmp_path: Path, shards: ShardDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = write(shards, tmp_path / "kept/three", THREE, "three")
    assert verify(stored) == []
    assert ingest.main(["verify", str(stored.path)]) == 0
    assert ingest.main(["inspect", str(stored.path)]) == 0
    derived = stored.manifest.extra["derived_from"]
    assert derived == {
        "shards": shards.fingerprint,
        "name": "data",
        "separator": THREE.fingerprint,
        "channels": 3,
    }
    clips, rows = stored.dataset("train"), stored.clips("train")
    by_clip: dict[str, dict[int, np.ndarray]] = {}
    for i, about in enumerate(rows["attributes"]):
        assert rows["key"][i] == f"{about['of']}-c{about['channel']}"
        by_clip.setdefault(about["of"], {})[about["channel"]] = clips[i] * about["gain"] / 32768
    mixtures = shards.dataset("train")
    assert by_clip.keys() == set(mixtures.keys)
    for i, key in enumerate(mixtures.keys):
        pcm = torch.from_numpy(mixtures[i] / np.float32(32768))[None]
        with torch.no_grad():
            channels = THREE(pcm)[0].numpy()
        assert sorted(by_clip[key]) == [0, 1]
        for m, wave in by_clip[key].items():
            assert np.abs(wave - channels[m]).max() < 2e-5
        last = pcm[0].numpy() - sum(by_clip[key].values())
        assert np.abs(last - channels[2]).max() < 1e-4


@pytest.mark.parametrize("normalise", ["published", "per-clip"])
def test_cached_views_are_the_computed_ones(
    tmp_path: Path, shards: ShardDirectory, normalise: str
) -> None:
    """Within 1e-4 of full scale; of clips as long as is asked for."""
    for name, separator in (("two", TWO), ("three", THREE)):
        write(shards, tmp_path / "kept" / name, separator, name)
    seen = {}
    for cache in (None, str(tmp_path / "kept")):
        views = Channels.build(
            Channels.Config(crop_s=CROP_S, pair="channel-channel", cache=cache),
            Waves(T, separators={"two": TWO, "three": THREE}, shards=("x", shards.fingerprint)),
        )
        batches = Batches(shards, views, batch=9, clip_s=T / 16_000, normalise=normalise)
        seen[cache is None] = [next(batches) for _ in range(2)]
    lengths = shards.clips("train").set_index("key")["n_samples"]
    loudest = 1 / 0.1165 if normalise == "published" else 1 / 0.158
    for computed, cached in zip(seen[True], seen[False], strict=True):
        assert computed.keys == cached.keys
        whole = torch.tensor([lengths[key] == T for key in computed.keys])
        assert 0 < whole.sum() < 9
        apart = (computed.views - cached.views).abs().amax((0, 2))
        assert (apart[whole] < 1e-4 * loudest).all() and computed.views.abs().max() > 1


def test_a_channel_louder_than_full_scale_is_stored_with_a_gain(
    tmp_path: Path, shards: ShardDirectory
) -> None:
    loud = Shares(5.0, -4.0)
    stored = write(shards, tmp_path / "loud", loud, "loud")
    gains = {about["gain"] for about in stored.clips("train")["attributes"]}
    assert gains <= {1.0, 2.0, 4.0} and max(gains) > 1
    key = shards.dataset("train").keys[0]
    read = Stored(stored, "loop").read([key], [10], 1000)[0, 0]
    pcm = torch.from_numpy(shards.dataset("train")[0] / np.float32(32768))[None]
    with torch.no_grad():
        assert (read - loud(pcm)[0, 0, 10:1010]).abs().max() < 1e-4


def test_short_clips_are_cut_and_filled_as_their_mixture_is(
    tmp_path: Path, shards: ShardDirectory
) -> None:
    stored = write(shards, tmp_path / "kept", TWO, "two")
    mixtures = shards.dataset("train")
    i = int(np.argmin(mixtures.n_samples))
    looped, silent = (
        Stored(stored, short).read([mixtures.keys[i]], [0], T)[0, 0]
        for short in ("loop", "silence")
    )
    n = int(mixtures.n_samples[i])
    assert torch.equal(looped[:n], looped[n : 2 * n][: T - n].new_tensor(looped[:n].tolist()))
    assert torch.equal(looped[n:T], looped[: T - n]) and not silent[n:].any()


def test_a_silent_clip_is_a_row_without_channels(tmp_path: Path) -> None:
    clips = [
        with_audio(Clip(f"k{i}", "train", Source("x")), pcm, "flac")
        for i, pcm in enumerate((noise(4000, 0), np.zeros(4000, np.int16)))
    ]
    (tmp_path / "data").mkdir()
    with ShardWriter(tmp_path / "data", "train-000000", "train", "flac") as writer:
        for clip in clips:
            writer.write(clip)
    finish(tmp_path / "data", writer.rows, [writer.info], described("data"))
    directory = ShardDirectory.open(tmp_path / "data")
    stored = write(directory, tmp_path / "kept", TWO, "two")
    assert verify(stored) == [] and stored.manifest.counts == {"train": {"ok": 1, "silent": 1}}


@pytest.mark.parametrize(
    ("separator", "shards_hash"), [("other", None), ("two", "0" * 64)], ids=["separator", "shards"]
)
def test_a_cache_of_something_else_is_refused(
    tmp_path: Path, shards: ShardDirectory, separator: str, shards_hash: str | None
) -> None:
    write(shards, tmp_path / "kept/two", TWO, "two")
    given = TWO if separator == "two" else Shares(0.6, 0.4)
    with pytest.raises(
        ValueError, match=r"holds the channels of two .* expected those that"
    ) as said:
        Channels.build(
            Channels.Config(crop_s=CROP_S, cache=str(tmp_path / "kept")),
            Waves(
                T, separators={separator: given}, shards=("data", shards_hash or shards.fingerprint)
            ),
        )
    assert "--cache-channels" in str(said.value) and "\n" not in str(said.value)


def test_a_directory_that_is_no_cache_holds_no_channels(shards: ShardDirectory) -> None:
    assert directories_of(shards.path) == []


def test_a_clip_that_was_not_cached_is_named(tmp_path: Path, shards: ShardDirectory) -> None:
    stored = Stored(write(shards, tmp_path / "kept", TWO, "two"), "loop")
    with pytest.raises(ValueError, match="has no channel 0 of clip nobody; write the channels"):
        stored.read(["nobody"], [0], 100)


def test_a_longer_key_still_names_its_clip(tmp_path: Path) -> None:
    key = "k" * 64
    clip = with_audio(Clip(key, "train", Source("x")), noise(4000, 0), "flac")
    (tmp_path / "data").mkdir()
    with ShardWriter(tmp_path / "data", "train-000000", "train", "flac") as writer:
        writer.write(clip)
    finish(tmp_path / "data", writer.rows, [writer.info], described("data"))
    stored = write(ShardDirectory.open(tmp_path / "data"), tmp_path / "kept", TWO, "two")
    (about,) = stored.clips("train")["attributes"]
    assert about["of"] == key and Stored(stored, "loop").read([key], [0], 4000).shape == (
        1,
        1,
        4000,
    )
