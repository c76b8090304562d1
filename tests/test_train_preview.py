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

from conftest import configured, run, write_directory
from slvr.pipeline.augmentations.temporal import FADE_SHAPES
from slvr.pipeline.stage import make_views
from slvr.train.build import build_views
from slvr.train.configure import from_command_line
from slvr.train.loop import train
from slvr.train.preview import write_preview
from slvr.train.stream import Stream
from slvr.train.validation import is_held_out

EXTRA = "torch_audiomentations.PolarityInversion"
CONFIG = {"clip_s": 0.25, "seed": 3, "views__extra": (EXTRA,), "batch": 5}
SMALL = {"encoder__width": 4, "encoder__dim": 16, "steps": 2, "accelerator": "cpu"}
N_SHOWN = 7  # all of the first step, two of the second


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
    path = tmp_path_factory.mktemp("preview")
    write_directory(path / "data", n_clips=8)
    config = configured(path / "data", **CONFIG, **SMALL)
    return config, write_preview(config, path / "out", N_SHOWN)


@pytest.fixture(scope="module")
def page(made):
    return Page(made[1].read_text())


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """Key, wave, views and steps of the clips that a run of the same configuration takes first."""
    keys, steps, batches = [], [], Stream.batches

    def take(stream, first_step):
        for batch in batches(stream, first_step):
            keys.append(batch.keys)
            yield batch

    def see(*args):
        steps.append(make_views(*args))
        return steps[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stream, "batches", take)
        patch.setattr("slvr.pipeline.stage.make_views", see)
        train(made[0], tmp_path_factory.mktemp("runs") / "run")
    assert len(steps) == 2
    return [
        (key, step.waves[i], step.views[:, i], step.plan.describe(i))
        for taken, step in zip(keys, steps, strict=True)
        for i, key in enumerate(taken)
    ][:N_SHOWN]


def test_the_page_needs_no_other_file(page, made):
    assert not {"script", "link", "iframe"} & set(page.tags)
    sources = page.sources["img"] + page.sources["audio"]
    assert len(sources) == 2 * 3 * N_SHOWN
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"url\(|@import|https?://", made[1].read_text())


def heard(page):
    """(sounds, samples) of a page, at 16 kHz."""
    sounds = [soundfile.read(content(x), dtype="float32") for x in page.sources["audio"]]
    assert {rate for _, rate in sounds} == {16_000}
    return [samples for samples, _ in sounds]


def test_the_sounds_are_the_clips_and_views_that_training_takes_first_at_one_level(page, trained):
    sounds = heard(page)
    for clip, (_, wave, views, _) in enumerate(trained):
        three = torch.stack((wave, *views))
        three = 0.9 * three / three.abs().max()
        played = np.stack(sounds[3 * clip : 3 * clip + 3])
        assert np.abs(played - three.numpy()).max() < 1e-4


def test_the_pictures_are_as_wide_as_the_clip_is_long(page):
    images = [imread(content(source)) for source in page.sources["img"]]
    assert {image.shape[:2] for image in images} == {(128, 4000 // 512 + 1)}
    assert len({image.tobytes() for image in images}) > 2 * N_SHOWN


def test_every_step_and_parameter_is_named_with_both_values(page, trained):
    articles = page.text.split("augmentations in order")
    assert len(articles) == 1 + N_SHOWN
    for clip, (key, _, _, steps) in enumerate(trained):
        assert key in articles[clip]
        words = articles[clip + 1].split("\n")
        for number, step in enumerate(steps, start=1):
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
    assert any(step.name == EXTRA for *_, steps in trained for step in steps)


THREE_VIEWS = """
from dataclasses import dataclass
import torch
from slvr.pipeline.views.contract import Step

class Plan:
    def __init__(self, first):
        self.first = first
    def __len__(self):
        return len(self.first)
    def rows(self, first, last):
        return Plan(self.first[first:last])
    def describe(self, clip):
        # `shape` means nothing here, and only the last view is turned round
        cut = [{"first": int(i), "shape": 7} for i in self.first[clip]]
        return [Step("cut", cut), Step("turn", [{}, {}, {"samples": 1000}])]

class ThreeCuts:
    NAME, n_views, knows, columns, quantities = "three-cuts", 3, frozenset(), (), {}
    @dataclass(frozen=True)
    class Config:
        "Three cuts of 1000 samples, the last of them turned round."
    @classmethod
    def build(cls, config, waves):
        return cls()
    def sample(self, n, seed, device="cpu"):
        generator = torch.Generator().manual_seed(seed[0] + seed[1])
        return Plan(torch.randint(3000, (n, 3), generator=generator))
    def apply(self, waves, plan):
        cuts = [
            torch.stack([wave[i : i + 1000] for i in row])
            for wave, row in zip(waves, plan.first.tolist())
        ]
        views = torch.stack(cuts, 1)
        return torch.cat([views[:2], views[2:].flip(-1)])
    def on_features(self, images, plan):
        return images
    def known(self, plan):
        return {}
"""


def test_another_number_of_views_of_another_length_fits_the_page(tmp_path, make_directory):
    directory = make_directory("data", n_clips=4, lengths_s=(0.25,))
    (tmp_path / "three.py").write_text(THREE_VIEWS)
    views = {"views__name": f"{tmp_path / 'three.py'}:ThreeCuts"}
    config = configured(directory.path, clip_s=0.25, batch=4, **views)
    page = Page(write_preview(config, tmp_path / "out", 4).read_text())
    assert "the 3 views that the model compares" in page.text
    for title in ("clip", "view 1", "view 2", "view 3"):
        assert page.text.split("\n").count(title) == 4 * (1 if title == "clip" else 2)
    assert "view 4" not in page.text
    assert len(page.sources["img"]) == 4 * 4
    sounds = heard(page)
    for clip, article in enumerate(page.text.split("augmentations in order")[1:]):
        whole, *views = sounds[4 * clip : 4 * clip + 4]
        rows = article.split("\n")
        assert rows[rows.index("shape") + 1 :][:3] == ["7"] * 3
        assert rows[rows.index("samples") + 1] == "1000"
        starts = [int(number) for number in rows[rows.index("first") + 1 :][:3]]
        for start, view, step in zip(starts, views, (1, 1, -1), strict=True):
            np.testing.assert_allclose(view[::step], whole[start : start + 1000], atol=1e-4)


def test_clips_that_are_held_out_are_not_shown(tmp_path, make_directory):
    directory = make_directory("data", n_clips=20)
    config = configured(directory.path, **CONFIG, holdout=0.5)
    text = Page(write_preview(config, tmp_path / "out", 20).read_text()).text
    shown = set(re.findall(r"clip_\d{4}", text))
    expected = {k for k in directory.clips("train")["key"] if not is_held_out(k, config.data)}
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
        configured(preview=0)


def test_extra_augmentations_of_a_flag_or_a_file_get_a_label_each(tmp_path):
    gain = "torch_audiomentations.Gain(min_gain_in_db=-6, max_gain_in_db=0)"
    (tmp_path / "my.yaml").write_text(f"views:\n  extra:\n  - {EXTRA}\n  - {gain}\n")
    for line in (
        ["--config", str(tmp_path / "my.yaml")],
        ["--views.extra", EXTRA, gain],
    ):
        config = from_command_line(["--shards", "x", *line])
        views = build_views(config.parts.views, 0.2)
        assert tuple(views.columns)[7:] == (EXTRA, gain)
        assert views.known(views.sample(3, seed=0))["labels"].shape == (3, 9)


def test_a_run_with_an_extra_augmentation_is_recognised_when_resumed(tmp_path, make_directory):
    make_directory("data", n_clips=4)
    line = ["--shards", "data", "--clip-s", "0.3", "--batch", "4"]
    line += ["--encoder.width", "4", "--encoder.dim", "16", "--workers", "0"]
    line += ["--steps", "1", "--out", "run", "--resume"]
    for _ in range(2):
        done = run("train", *line, "--views.extra", EXTRA, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    other = run("train", *line, cwd=tmp_path)
    assert other.returncode == 2 and "views.extra" in other.stderr
