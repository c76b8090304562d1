"""The page that shows what the model gets."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.image import imread

from conftest import run
from slvr.command.line import add_options, new_parser
from slvr.pipeline.augmentations.temporal import FADE_SHAPES
from slvr.pipeline.loaders.batching import Batching, cut_batch, places
from slvr.pipeline.loaders.by_clip import to_float
from slvr.pipeline.normalise import normalise
from slvr.shards.read import ShardDirectory
from slvr.train.cli import resolve
from slvr.train.config import TrainConfig
from slvr.train.preview import write_preview
from slvr.train.validation import is_held_out
from slvr.train.views import build_views

EXTRA = "torch_audiomentations.PolarityInversion"
CONFIG = {"clip_s": 0.25, "seed": 3, "extra_augmentations": (EXTRA,)}


class Page(HTMLParser):
    """Elements, sources and text of a page; asserts that it is well formed."""

    VOID = frozenset({"meta", "img"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.sources, self.text = [], [], {"img": [], "audio": []}, ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in self.sources:
            self.sources[tag].append(dict(attrs)["src"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + "\n"


def content(source):
    return io.BytesIO(base64.b64decode(source.partition("base64,")[2]))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    from conftest import write_directory

    path = tmp_path_factory.mktemp("preview")
    write_directory(path / "data", n_clips=6)
    config = TrainConfig(str(path / "data"), **CONFIG)
    return config, write_preview(config, path / "out", 4)


@pytest.fixture(scope="module")
def page(made):
    return Page(made[1].read_text())


@pytest.fixture(scope="module")
def expected(made):
    """Waves, plan and views as the training loop makes them at its first step."""
    config = made[0]
    directory = ShardDirectory.open(config.shards)
    dataset = directory.dataset("train")
    batching = Batching(4, 4000, config.seed)
    epochs, chosen = next(places(len(dataset), batching, 0))
    pcm = cut_batch(batching, epochs, chosen, [dataset[i] for i in chosen])
    waves = normalise(to_float(pcm), config.normalise)
    views = build_views(config)
    plan = views.sample(4, (config.seed, 0, 0))
    keys = [directory.clips("train")["key"][i] for i in chosen]
    return keys, waves, plan, views.apply(waves, plan)


def test_the_page_needs_no_other_file(page, made):
    assert not {"script", "link", "iframe"} & set(page.tags)
    sources = page.sources["img"] + page.sources["audio"]
    assert len(sources) == 2 * 3 * 4
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"url\(|@import|https?://", made[1].read_text())


def test_the_sounds_are_the_clips_and_the_views_at_one_level(page, expected):
    _, waves, _, views = expected
    heard = [soundfile.read(content(source), dtype="float32") for source in page.sources["audio"]]
    assert {rate for _, rate in heard} == {16_000}
    for clip in range(4):
        three = torch.stack((waves[clip], views[0, clip], views[1, clip]))
        three = 0.9 * three / three.abs().max()
        played = np.stack([samples for samples, _ in heard[3 * clip : 3 * clip + 3]])
        assert np.abs(played - three.numpy()).max() < 1e-4


def test_the_pictures_are_as_wide_as_the_clip_is_long(page):
    images = [imread(content(source)) for source in page.sources["img"]]
    assert {image.shape[:2] for image in images} == {(128, 4000 // 512 + 1)}
    assert len({image.tobytes() for image in images}) > 8


def test_every_step_and_parameter_is_named_with_both_values(page, expected):
    keys, _, plan, _ = expected
    articles = page.text.split("augmentations in order")
    for clip, key in enumerate(keys):
        assert key in articles[clip]
        words = articles[clip + 1].split("\n")
        for number, step in enumerate(plan.describe(clip), start=1):
            assert f"{number}. {step.name}" in words
            for name, *values in zip(
                step.params[0], *(view.values() for view in step.params), strict=True
            ):
                assert name in words
                for value in values:
                    if name == "shape":
                        assert FADE_SHAPES[value] in words
                    else:
                        number_text = f"{value:.4g}" if isinstance(value, float) else str(value)
                        assert number_text in words
    assert any(step.name == EXTRA for clip in range(4) for step in plan.describe(clip))


def test_clips_that_are_held_out_are_not_shown(tmp_path, make_directory):
    directory = make_directory("data", n_clips=20)
    config = TrainConfig(str(tmp_path / "data"), **CONFIG, holdout=0.5)
    text = Page(write_preview(config, tmp_path / "out", 20).read_text()).text
    shown = set(re.findall(r"clip_\d{4}", text))
    expected = {key for key in directory.clips("train")["key"] if not is_held_out(key, config)}
    assert shown == expected and 0 < len(shown) < 20


def test_labels_and_configuration_are_shown(page):
    assert "class 0" in page.text and "mtslvr-simclr-parallel" in page.text


def test_the_command_writes_the_page_and_does_not_train(tmp_path, make_directory):
    make_directory("data", n_clips=2)
    line = ("--shards", "data", "--clip-s", "0.2", "--preview", "16", "--out", "run")
    done = run("train", *line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "run/preview.html\n"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["preview.html"]
    assert len(Page((tmp_path / "run/preview.html").read_text()).sources["audio"]) == 3 * 2


def test_a_preview_of_no_clips_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--preview 0: out of range"):
        TrainConfig("x", preview=0)


def test_extra_augmentations_of_a_flag_or_a_file_get_a_label_each(tmp_path):
    gain = "torch_audiomentations.Gain(min_gain_in_db=-6, max_gain_in_db=0)"
    (tmp_path / "my.yaml").write_text(f"extra_augmentations:\n- {EXTRA}\n- {gain}\n")
    parser = new_parser("train", "")
    add_options(parser, TrainConfig)
    for line in (
        ["--config", str(tmp_path / "my.yaml")],
        ["--extra-augmentations", EXTRA, gain],
    ):
        views = build_views(resolve(parser, ["--shards", "x", *line]))
        assert tuple(views.augmentations)[7:] == (EXTRA, gain)
        assert views.sample(3, seed=0).labels.shape == (3, 9)


def test_a_run_with_an_extra_augmentation_is_recognised_when_resumed(tmp_path, make_directory):
    make_directory("data", n_clips=4)
    line = ["--shards", "data", "--clip-s", "0.3", "--batch", "4", "--width", "4", "--dim", "16"]
    line += ["--workers", "0", "--steps", "1", "--out", "run", "--resume"]
    for _ in range(2):
        done = run("train", *line, "--extra-augmentations", EXTRA, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    other = run("train", *line, cwd=tmp_path)
    assert other.returncode == 2 and "extra_augmentations" in other.stderr
