import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from slvr.command.line import add_options, new_parser
from slvr.model.encoders.resnet18 import VARIANTS as ENCODER_VARIANTS
from slvr.train.cli import main, resolve
from slvr.train.config import RECIPES, VARIANTS, TrainConfig
from slvr.train.schedule import learning_rate


def resolved(*args: str) -> TrainConfig:
    parser = new_parser("train", "")
    add_options(parser, TrainConfig)
    return resolve(parser, ["--shards", "x", *args])


def test_the_default_is_the_paper() -> None:
    """methods.md of the paper: Adam 5e-5, weight decay 1e-6, batch 100, temperature 0.07."""
    config = resolved()
    assert config == TrainConfig("x")
    assert (config.lr, config.weight_decay, config.batch, config.steps) == (5e-5, 1e-6, 100, 50_000)
    assert (config.temperature, config.predictive_weight, config.clip_s) == (0.07, 1.0, 10.0)


def test_every_recipe_of_the_paper_is_there() -> None:
    assert VARIANTS == ENCODER_VARIANTS
    methods = {"mtslvr": "mlap", "augself": "augself", "mtslvr-augself": "mlap+augself"}
    names = {f"{m}-{c}-{v}" for m in methods for c in ("simclr", "simsiam") for v in VARIANTS}
    assert set(RECIPES) == names | {"simclr", "simsiam", "predictive", "demo"}
    for name in RECIPES:
        config = resolved("--recipe", name)
        assert config.recipe == name
    assert resolved("--recipe", "mtslvr-simsiam-bn").contrastive == "simsiam"
    assert resolved("--recipe", "simclr").predictive == "none"
    assert resolved("--recipe", "predictive").contrastive == "none"
    for method, predictive in methods.items():
        assert resolved("--recipe", f"{method}-simclr-bn").predictive == predictive


def test_every_objective_can_be_named_and_every_name_is_an_objective() -> None:
    from slvr.train.objectives import OBJECTIVES

    hints = get_type_hints(TrainConfig)
    names = {
        part
        for field in ("contrastive", "predictive")
        for name in get_args(hints[field])
        for part in name.split("+")
    }
    assert names == set(OBJECTIVES) | {"none"}


def test_flags_go_before_the_file_and_the_file_before_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("recipe: demo\nsteps: 7\nbatch: 9\n")
    config = resolved("--config", str(tmp_path / "c.yaml"), "--batch", "11")
    assert (config.recipe, config.width, config.steps, config.batch) == (
        "demo",
        RECIPES["demo"]["width"],
        7,
        11,
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--recipe", "mtslvr-moco"), "unknown recipe 'mtslvr-moco'; choose one of mtslvr-simclr"),
        (("--batch", "1"), "--batch 1: out of range"),
        (("--clip-s", "0"), "--clip-s 0.0: out of range"),
        (("--contrastive", "none", "--predictive", "none"), "nothing to train"),
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


def test_every_option_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "Shard directory to learn from." in text
    assert "Length of the training clips in seconds, above 0." in text


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
