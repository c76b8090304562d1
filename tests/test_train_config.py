import re
from pathlib import Path

import pytest

from conftest import configured
from slvr.model.encoders.resnet18 import VARIANTS
from slvr.train.cli import main
from slvr.train.config import TrainConfig
from slvr.train.configure import configure, from_command_line
from slvr.train.recipes import RECIPES
from slvr.train.schedule import learning_rate


def resolved(*args: str) -> TrainConfig:
    return from_command_line(["--shards", "x", *args])


def test_the_default_is_the_paper() -> None:
    """methods.md of the paper: Adam 5e-5, weight decay 1e-6, batch 100, temperature 0.07."""
    config = resolved()
    assert config == configured()
    how, parts = config.optimisation, config.parts
    assert (how.lr, how.weight_decay, how.steps) == (5e-5, 1e-6, 50_000)
    assert (config.data.batch, config.data.clip_s) == (100, 10.0)
    heads = parts.objectives
    assert {name: (head.task, head.weight) for name, head in heads.items()} == {
        "simclr": ("contrastive", 1.0),
        "mlap": ("predictive", 1.0),
    }
    assert heads["simclr"].config.temperature == 0.07
    assert (parts.encoder.config.variant, parts.encoder.config.dim) == ("parallel", 1000)


def test_every_recipe_of_the_paper_is_there() -> None:
    methods = {"mtslvr": ["mlap"], "augself": ["augself"], "mtslvr-augself": ["mlap", "augself"]}
    names = {f"{m}-{c}-{v}" for m in methods for c in ("simclr", "simsiam") for v in VARIANTS}
    assert {name for name, each in RECIPES.items() if each.views == "chains"} == names | {
        *("simclr", "simsiam", "predictive", "demo")
    }
    for name in RECIPES:
        config = resolved("--recipe", name)
        assert config == configured(recipe=name) and config.recipe == name
    for method, predictive in methods.items():
        heads = resolved("--recipe", f"{method}-simsiam-bn").parts.objectives
        assert list(heads) == ["simsiam", *predictive]
        assert [head.task for head in heads.values()][1:] == ["predictive"] * len(predictive)
    for alone, head in (("simclr", "simclr"), ("simsiam", "simsiam"), ("predictive", "mlap")):
        assert list(resolved("--recipe", alone).parts.objectives) == [head]


SCENES = {
    "mix-mix": ("mix-mix", 0.0, ()),
    "mix-mix-sa": ("mix-mix", 1.0, ()),
    "mix-chan": ("mix-channel", 0.0, ("5000/5000",)),
    "N": ("mix-channel", 1.0, ("untrained:0",)),
    "F": ("mix-channel", 1.0, ("500/500",)),
    "S1": ("mix-channel", 1.0, ("5000/5000",)),
    "NvF": ("mix-channel", 1.0, ("untrained:0", "500/500")),
    "NvFvS1": ("mix-channel", 1.0, ("untrained:0", "5000/500", "5000/5000")),
}
"""Recipe -> pair, SpecAugment, and separators as steps of their run / of the checkpoint."""


@pytest.mark.parametrize("name", SCENES)
def test_recipes_of_separated_scenes_in_both_sizes(name: str) -> None:
    pair, masks, separators = SCENES[name]
    for size, run, width in (("", "runs/separator-", 64), ("-demo", "runs/separator-demo-", 8)):
        parts = resolved("--recipe", f"scenes-{name}{size}").parts
        encoder, front_end, views = (
            part.config for part in (parts.encoder, parts.front_end, parts.views)
        )
        assert (parts.encoder.name, encoder.width, encoder.dim) == ("cnn14", width, 128)
        assert (front_end.low_hz, front_end.log, front_end.floor) == (125.0, "natural", 1e-3)
        assert (views.pair, views.temporal_proximity) == (pair, True)
        found = 0.0 if parts.spec_augment is None else parts.spec_augment.config.probability
        assert found == masks and parts.bn_views == "together"
        assert {n: head.weight for n, head in parts.objectives.items()} == {"scenes": 1.0}
        expected = []
        for text in separators:
            whole, _, step = text.partition("/")
            if size and step:  # one run of 500 steps, of which F has 100
                whole, step = "500", {"500": "100", "5000": "500"}[step]
            path = f"{run}{whole}/step-{int(step or 0):08d}.safetensors"
            expected.append(path if step else text + size.replace("-", ":"))
        assert views.separators == tuple(expected)


def test_one_term_alone_is_what_is_trained() -> None:
    heads = resolved("--recipe", "scenes-N", "--objective", "scenes:similarity=1").parts.objectives
    assert heads["scenes"].weights == {"similarity": 1.0}


def test_flags_go_before_the_file_and_the_file_before_the_recipe(tmp_path: Path) -> None:
    text = "recipe: demo\nsteps: 7\nbatch: 9\nencoder:\n  dim: 20\nobjectives:\n  heads: [simclr]\n"
    (tmp_path / "c.yaml").write_text(text)
    config = resolved("--config", str(tmp_path / "c.yaml"), "--batch", "11")
    assert (config.recipe, config.optimisation.steps, config.data.batch) == ("demo", 7, 11)
    encoder = config.parts.encoder.config
    assert (encoder.width, encoder.dim) == (RECIPES["demo"].settings["encoder.width"], 20)
    assert list(config.parts.objectives) == ["simclr"]


def test_parts_are_chosen_and_set_by_flags() -> None:
    config = resolved(
        *("--front-end", "logmel", "--front-end.n-mels", "40", "--encoder.variant", "bn"),
        *("--objectives", "simsiam@contrastive=0.5", "augself@predictive"),
        *("--objectives.augself.width", "64", "--views.pitch-grid", "continuous"),
    )
    assert config.parts.front_end.name == "logmel" and config.parts.front_end.config.n_mels == 40
    assert config.parts.encoder.config.variant == "bn"
    assert config.parts.views.config.pitch_grid == "continuous"
    heads = config.parts.objectives
    assert (heads["simsiam"].task, heads["simsiam"].weight) == ("contrastive", 0.5)
    assert heads["augself"].config.width == 64


def test_terms_are_weighed_one_by_one() -> None:
    heads = resolved("--objectives", "simclr@all:nt_xent=2.5", "mlap").parts.objectives
    assert heads["simclr"].weights == {"nt_xent": 2.5} and heads["simclr"].task == "all"
    assert heads["mlap"].weights == {} and heads["mlap"].weight == 1


def test_a_part_in_the_place_of_the_recipe_s_leaves_its_settings_behind() -> None:
    settings = {"shards": "x", "front_end.name": "logmel"}
    parts = configure("demo", settings).parts
    assert parts.front_end.name == "logmel" and parts.encoder.config.width == 16


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--recipe", "mtslvr-moco"), "unknown recipe 'mtslvr-moco'; choose one of mtslvr-simclr"),
        (("--batch", "1"), "--batch 1: out of range"),
        (("--clip-s", "0"), "--clip-s 0.0: out of range"),
        (("--objectives.simclr.temperature", "0"), "temperature 0.0: out of range"),
        (("--encoder", "vgg"), "--encoder vgg: expected one of resnet18"),
        (("--objectives", "simclr@a@b"), "expected NAME, NAME@TASK, NAME@TASK=WEIGHT"),
        (("--objectives", "simclr=nan"), "a weight is negative or no number"),
        (("--objectives", "simclr:nt_xent=-1"), "a weight is negative or no number"),
        (("--objectives", "simclr=much"), "expected NAME, NAME@TASK, NAME@TASK=WEIGHT"),
        (("--objectives", "simclr", "simclr"), "simclr is there twice"),
        ((), "x: no such shard directory"),
    ],
)
def test_bad_options_are_a_sentence_and_exit_code_2(
    args: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--shards", "x", *args]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_setting_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"--encoder\.depth: no such setting"):
        configured(encoder__depth=50)


def test_every_option_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "Shard directory to learn from." in text
    assert "Length of the training clips in seconds, above 0." in text
    assert "What each task has of its own in the encoder." in text
    assert "Temperature of the softmax, above 0." in text


def test_a_configuration_is_told_by_the_names_of_flags() -> None:
    flat = configured(recipe="demo", encoder__dim=20, steps=3).flat()
    assert (flat["recipe"], flat["steps"], flat["encoder.dim"]) == ("demo", 3, 20)
    assert flat["encoder.name"] == "resnet18" and flat["objectives.mlap.task"] == "predictive"


def test_cosine_rises_then_anneals_to_nothing() -> None:
    rates = [learning_rate("cosine", step, 1000, 2.0) for step in range(1000)]
    assert rates[:20] == pytest.approx([2.0 * (i + 1) / 20 for i in range(20)])
    assert rates[20] == 2.0 and rates[510] == pytest.approx(1.0)
    assert rates[20:] == sorted(rates[20:], reverse=True) and 0 < rates[-1] < 1e-4
    assert learning_rate("cosine", 0, 1, 2.0) == 2.0


def test_the_published_schedule_swings_with_a_period_of_2000_steps() -> None:
    """Against torch's own CosineAnnealingLR that is stepped on past T_max, as published."""
    import torch

    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.Adam([parameter], lr=5e-5)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=1000)
    for step in range(4500):
        expected = optimiser.param_groups[0]["lr"]
        assert learning_rate("published", step, 50_000, 5e-5) == pytest.approx(expected, abs=1e-10)
        optimiser.step()
        reference.step()
