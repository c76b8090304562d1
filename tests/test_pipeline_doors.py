"""What every view maker and every front end keeps to: a new line of a registry is tested here."""

import dataclasses
import json
import subprocess
import sys

import docstring_parser
import pytest
import torch

from slvr.command.named import config_of, loaded
from slvr.pipeline.frontends.contract import FrontEnd
from slvr.pipeline.frontends.registry import FRONT_ENDS
from slvr.pipeline.views.contract import ViewMaker, Waves
from slvr.pipeline.views.registry import VIEWS

N_CLIPS, N_SAMPLES = 6, 16_000
DOORS = [(VIEWS, name) for name in VIEWS] + [(FRONT_ENDS, name) for name in FRONT_ENDS]
each_entry = pytest.mark.parametrize(("registry", "name"), DOORS, ids=[name for _, name in DOORS])


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def halves(waves: torch.Tensor) -> torch.Tensor:
    """Stands for a separator: two channels that sum to the clip."""
    return torch.stack((0.25 * waves, 0.75 * waves), 1)


@pytest.fixture(params=VIEWS)
def views(request: pytest.FixtureRequest) -> ViewMaker:
    maker = loaded(VIEWS[request.param], request.param)
    waves = Waves(N_SAMPLES, separators={"halves": halves}, load=loaded)
    return maker.build(config_of(request.param, VIEWS, "--views")(), waves)


@pytest.fixture(params=FRONT_ENDS)
def front_end(request: pytest.FixtureRequest) -> FrontEnd:
    kind = loaded(FRONT_ENDS[request.param], request.param)
    return kind.build(config_of(request.param, FRONT_ENDS, "--front-end")())


# Both doors


@each_entry
def test_an_entry_is_named_as_its_class_says(registry: dict[str, str], name: str) -> None:
    assert name == loaded(registry[name], name).NAME


@each_entry
def test_a_configuration_read_without_its_module_is_the_class_s(
    registry: dict[str, str], name: str
) -> None:
    read, own = config_of(name, registry, name), loaded(registry[name], name).Config
    assert read is not own
    for one, other in zip(dataclasses.fields(read), dataclasses.fields(own), strict=True):
        assert (one.name, one.type, one.default) == (other.name, other.type, other.default)
    assert dataclasses.asdict(read()) == dataclasses.asdict(own())
    with pytest.raises(dataclasses.FrozenInstanceError):
        read().anything = 1


@each_entry
def test_every_field_of_a_configuration_says_what_it_is(
    registry: dict[str, str], name: str
) -> None:
    config = loaded(registry[name], name).Config
    said = {p.arg_name: p.description for p in docstring_parser.parse_from_object(config).params}
    assert all(said.get(field.name) for field in dataclasses.fields(config))
    for field in dataclasses.fields(config):  # or values given would be added to the default
        assert not (isinstance(field.default, tuple) and field.default)


def test_names_and_configurations_load_no_torch() -> None:
    script = """
import sys
from slvr.command.named import config_of
from slvr.pipeline.frontends.registry import FRONT_ENDS
from slvr.pipeline.views.registry import VIEWS
for registry in (VIEWS, FRONT_ENDS):
    for name in registry:
        config_of(name, registry, name)()
print(sorted({"torch", "numpy", "torchaudio"} & set(sys.modules)))
"""
    line = [sys.executable, "-c", script]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# View makers


def test_what_is_made_has_the_form_that_is_said(views: ViewMaker) -> None:
    plan = views.sample(N_CLIPS, seed=(0, 5))
    made = views.apply(noise(N_CLIPS, N_SAMPLES), plan)
    assert len(plan) == N_CLIPS and made.shape[:2] == (views.n_views, N_CLIPS)
    assert made.ndim == 3 and made.dtype == torch.float32 and made.isfinite().all()
    images = noise(views.n_views, N_CLIPS, 2, 8, 9)
    assert views.on_features(images, plan).shape == images.shape
    steps = [step for clip in range(N_CLIPS) for step in plan.describe(clip)]
    assert steps
    for step in steps:
        assert step.name and len(step.params) == views.n_views


def test_what_is_known_is_what_was_promised(views: ViewMaker) -> None:
    known = views.known(views.sample(N_CLIPS, seed=1))
    assert known.keys() == views.knows
    assert all(len(values) == N_CLIPS for values in known.values())
    if "labels" in known:
        assert known["labels"].shape == (N_CLIPS, len(views.columns))
        assert len(set(views.columns)) == len(views.columns)
    if "differences" in known:
        assert known["differences"].shape == (N_CLIPS, len(views.quantities))
        assert set(views.quantities.values()) <= set(range(len(views.columns)))


def test_a_row_depends_on_itself_alone(views: ViewMaker) -> None:
    plan, waves = views.sample(N_CLIPS, seed=2), noise(N_CLIPS, N_SAMPLES)
    images = noise(views.n_views, N_CLIPS, 2, 8, 9)
    made, known, done = views.apply(waves, plan), views.known(plan), views.on_features(images, plan)
    for first, last in ((0, 1), (2, 5), (5, 6)):
        part = plan.rows(first, last)
        assert len(part) == last - first and part.describe(0) == plan.describe(first)
        # to rounding, which a vocoder may magnify where bins are silent
        some, whole = views.apply(waves[first:last], part), made[:, first:last]
        assert (some - whole).norm() < 1e-3 * whole.norm()
        for name, values in views.known(part).items():
            assert torch.equal(values, known[name][first:last])
        found = views.on_features(images[:, first:last], part)
        torch.testing.assert_close(found, done[:, first:last])


def test_same_seed_same_bits(views: ViewMaker) -> None:
    waves = noise(N_CLIPS, N_SAMPLES)
    first, again, other = (views.sample(N_CLIPS, seed=(3, s)) for s in (1, 1, 2))
    assert first.to_json() == again.to_json() != other.to_json()
    made = views.apply(waves, first)
    assert torch.equal(made, views.apply(waves, again))
    assert not torch.equal(made, views.apply(waves, other))


def test_a_plan_survives_json_to_the_bit(views: ViewMaker) -> None:
    plan, waves = views.sample(N_CLIPS, seed=4), noise(N_CLIPS, N_SAMPLES)
    text = json.dumps(json.loads(plan.to_json()))
    stored = type(plan).from_json(text, "cpu")
    assert stored.to_json() == plan.to_json()
    assert torch.equal(views.apply(waves, stored), views.apply(waves, plan))
    for name, values in views.known(stored).items():
        assert torch.equal(values, views.known(plan)[name])


# Front ends


def test_images_have_the_form_that_is_said(front_end: FrontEnd) -> None:
    images = front_end(noise(3, N_SAMPLES))
    n_frames = images.shape[-1]
    assert images.shape == (3, front_end.channels, front_end.n_mels, n_frames)
    assert abs(n_frames * front_end.hop_s - N_SAMPLES / 16_000) < 2 * front_end.hop_s
    assert images.dtype == torch.float32 and images.is_contiguous() and images.isfinite().all()
    assert 0 <= front_end.log_mel < front_end.channels


def test_ten_times_as_loud_is_20_db_more_in_the_picture(front_end: FrontEnd) -> None:
    waves = noise(2, N_SAMPLES)
    quiet, loud = (front_end.heard(x) for x in (waves, 10 * waves))
    assert torch.allclose(loud - quiet, torch.tensor(20.0), atol=0.05)


def test_an_image_depends_on_its_clip_alone(front_end: FrontEnd) -> None:
    waves = noise(3, N_SAMPLES)
    alone, among = front_end(waves[1:2])[0], front_end(waves)[1]
    assert torch.allclose(alone[front_end.log_mel], among[front_end.log_mel], atol=1e-3)


def test_its_shape_makes_it_again(front_end: FrontEnd) -> None:
    shape = json.loads(json.dumps(front_end.shape()))
    again, waves = type(front_end)(**shape), noise(2, N_SAMPLES)
    assert again.shape() == front_end.shape()
    assert (again.channels, again.n_mels, again.hop_s) == (
        front_end.channels,
        front_end.n_mels,
        front_end.hop_s,
    )
    assert torch.equal(again(waves), front_end(waves))


def test_a_clip_without_a_frame_is_refused(front_end: FrontEnd) -> None:
    with pytest.raises(ValueError, match="clips of 1 samples; expected more"):
        front_end(noise(1, 1))
