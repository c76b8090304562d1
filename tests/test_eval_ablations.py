"""The commands beside the few-shot table, on features whose answer is known."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression, SGDClassifier
from torch import Tensor

from conftest import write_run
from slvr.eval.cli import main
from slvr.eval.embed import embed
from slvr.eval.embedders import MEL_STATISTICS
from slvr.eval.episodes import Episodes
from slvr.eval.multilabel import multilabel_score
from slvr.eval.report import REPORT
from slvr.eval.sets import EvaluatedSet
from slvr.eval.supports import Supports
from slvr.eval.tasks.invariance import Invariance, augmented_distances, whitening
from slvr.eval.tasks.probe import Probe, accuracy, classify
from slvr.eval.tasks.retrieve import Retrieve, class_members, class_precisions
from slvr.eval.tasks.weights import weight_shares
from slvr.model.encoders.resnet18 import ResNet18
from slvr.shards.read import ShardDirectory

MakeDirectory = Callable[..., ShardDirectory]
CPU = torch.device("cpu")
SHAPE = {"variant": "split", "dim": 8, "width": 4}
COMMON = {"shards": ("data",), "checkpoint": ("runs/x",)}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_directory: MakeDirectory) -> Path:
    monkeypatch.chdir(tmp_path)
    for folder, shape in (("x", SHAPE), ("plain", SHAPE | {"variant": "none"})):
        torch.manual_seed(1)
        write_run(tmp_path / "runs" / folder, ResNet18(**shape))
    make_directory("data", n_clips=20, n_classes=5, split="eval")
    return tmp_path


def command(name: str, *args: str) -> int:
    return main([name, "--checkpoint", "runs/x", "--shards", "data", "--piece", "0.2", *args])


@pytest.mark.parametrize(
    ("name", "args", "column"),
    [
        ("invariance", ["--n-draws", "1"], "distance"),
        ("weights", ["--n-tasks", "50"], "share"),
        ("retrieve", [], "average_precision"),
    ],
)
def test_a_command_writes_its_tables_and_heatmap(
    here: Path, capsys, name: str, args: list[str], column: str
) -> None:
    assert command(name, *args, "--protocol", "later") == 0
    out = here / "results" / f"x-{name}"
    assert f"report: {Path('results') / f'x-{name}' / REPORT}" in capsys.readouterr().out
    results = pd.read_csv(out / "results.csv")
    assert (results[column] > 0).all() and set(results["protocol"]) == {"later"}
    assert "<svg" in (out / REPORT).read_text()
    for file in ("results.md", "results.tex", REPORT):
        assert (out / file).read_text().count("Protocol later") == 1
    assert json.loads((out / "run.json").read_text())["command"] == f"evaluate {name}"
    first = (out / "results.csv").read_bytes()
    assert command(name, *args, "--protocol", "later") == 0
    assert (out / "results.csv").read_bytes() == first


def test_precisions_are_percent_and_chance_is_no_column_of_the_heatmap(here: Path) -> None:
    assert command("retrieve", "--no-baselines") == 0
    out = here / "results" / "x-retrieve"
    results = pd.read_csv(out / "results.csv")
    text, page = (out / "results.md").read_text(), (out / REPORT).read_text()
    assert "| set | x | chance |" in text
    precision = 100 * results["average_precision"].mean()
    assert f"| data | {precision:.2f} |" in text and 0 < precision < 100
    drawn = re.search(r'<svg class="heatmap".*?</svg>', page, re.S).group()
    written = re.findall(r"<text[^>]*>([^<]+)</text>", drawn)
    assert "chance" not in written and "x" in written
    for value in results["average_precision"]:
        assert f"{100 * value:.3g}" in written
    assert page.count("Protocol matched") == 1
    assert "waveforms by the published mean and deviation" in page


def test_published_values_stand_beside_the_ablations(here: Path) -> None:
    assert command("invariance", "--n-draws", "1", "--n-clips", "5", "--no-baselines") == 0
    assert command("weights", "--n-tasks", "20", "--no-baselines") == 0
    text = (here / "results" / "x-invariance" / "results.md").read_text()
    results = pd.read_csv(here / "results" / "x-invariance" / "results.csv")
    means = results.groupby("head")["distance"].mean()
    ours = f"| data, x | {means['contrastive']:.2f} | {means['predictive']:.2f} |  | 2.83 |"
    assert ours in text
    assert "| MT-Parallel (published) | 31.61 | 38.91 |  | 31.62 |" in text
    assert "| MT-Simple (published) |  |  | 30.41 | 44.72 |" in text
    assert "| independent clips | 2.83 | 2.83 |" in text  # sqrt(2 * 4)
    assert "| augmentation | data, x, contrastive | data, x, predictive |" in text
    assert "few for the covariance" not in text  # 40 pieces, 4 dimensions
    presented = Invariance(Invariance.Config(**COMMON)).present(results.assign(set_pieces=39))
    assert presented.tables[0].notes[1].startswith("data: 39 pieces are few for the covariance")
    fade = results[results["augmentation"] == "fade"]
    cells = (f"{row.distance:.2f} ± {row.ci95:.2f}" for row in fade.itertuples())
    assert f"| fade | {' | '.join(cells)} |" in text
    text = (here / "results" / "x-weights" / "results.md").read_text()
    assert "30 to 46 | 54 to 70" in text


@pytest.mark.parametrize(
    ("name", "args", "sentence"),
    [
        ("weights", ["--checkpoint", "runs/plain"], "plain: one head only"),
        ("invariance", ["--piece", "whole"], "--piece whole"),
        ("invariance", ["--n-clips", "0"], "--n-clips 0: out of range"),
        ("probe", [], "no split 'train'"),
        ("probe", ["--train-split", "eval"], "tested on; it has no other split, choose a set"),
        ("probe", ["--lr", "0"], "--lr 0.0: out of range"),
        ("retrieve", ["--n-positive", "1"], "--n-positive 1: out of range"),
        ("retrieve", ["--out", "runs"], "runs: exists and holds no results of evaluate retrieve"),
    ],
)
def test_wrong_arguments_get_one_sentence(
    here: Path, capsys, name: str, args: list[str], sentence: str
) -> None:
    assert command(name, *args) == 2
    stderr = capsys.readouterr().err
    assert sentence in stderr and stderr.startswith("evaluate: error: ")
    assert stderr.count("\n") == 1


class Moments:
    """Mean and mean square of a piece, as two heads."""

    name = fingerprint = "moments"

    def __init__(self) -> None:
        self.heads = {"level": slice(0, 1), "both": slice(0, 2)}

    def embed(self, waves: Tensor) -> Tensor:
        return torch.stack([waves.mean(1), waves.square().mean(1)], dim=1)


class Amplified:
    """Moves the mean by what is known."""

    def __init__(self, by: float) -> None:
        self.name, self.by = f"by {by}", by

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> dict:
        return {}

    def apply(self, x: Tensor, params: dict) -> Tensor:
        return x + self.by


class Sometimes(Amplified):
    """The same, but every second row is lost."""

    def apply(self, x: Tensor, params: dict) -> Tensor:
        moved = super().apply(x, params)
        moved[::2] = torch.nan
        return moved


def test_distances_are_those_of_mahalanobis(make_directory: MakeDirectory, tmp_path: Path) -> None:
    directory = make_directory(n_clips=40, lengths_s=(0.1,))
    data = EvaluatedSet(directory, "train", 0.1)
    clean = embed(Moments(), data, tmp_path / "cache", 8, CPU)
    config = Invariance.Config(**COMMON, n_clips=15, n_draws=2)
    chain = (Amplified(0.0), Amplified(0.01), Sometimes(0.02), Amplified(np.nan))
    rows = augmented_distances(Moments(), data, clean, config, CPU, chain)
    found = {(row.head, row.augmentation): row.distance for row in rows}
    assert found["level", "by 0.0"] == found["both", "by 0.0"] == 0
    std = float(clean.values[:, 0].std())
    intervals = {(row.head, row.augmentation): row.ci95 for row in rows}
    assert intervals["level", "by 0.01"] < 1e-3  # all clips move alike
    assert found["level", "by 0.01"] == pytest.approx(0.01 / std, rel=1e-3)
    assert found["level", "by 0.02"] == pytest.approx(0.02 / std, rel=1e-3)
    assert np.isnan(found["both", "by nan"])
    assert {row.head: row.independent for row in rows} == pytest.approx(
        {"level": np.sqrt(2), "both": 2}
    )


def test_the_interval_is_over_the_clips(make_directory: MakeDirectory, tmp_path: Path) -> None:
    class Louder(Amplified):
        def apply(self, x: Tensor, params: dict) -> Tensor:
            return x * (1 + self.by)

    directory = make_directory(n_clips=40, lengths_s=(0.1,))
    data = EvaluatedSet(directory, "train", 0.1)
    clean = embed(Moments(), data, tmp_path / "cache", 8, CPU)
    config = Invariance.Config(**COMMON, n_clips=99, n_draws=2, batch=7)
    rows = augmented_distances(Moments(), data, clean, config, CPU, (Louder(0.5),))
    level = clean.values[:, 0].double()
    distances = (0.5 * level / level.std()).abs()
    assert rows[0].distance == pytest.approx(float(distances.mean()), rel=1e-3)
    ci95 = 1.96 * float(distances.std(correction=0)) / np.sqrt(40)
    assert rows[0].ci95 == pytest.approx(ci95, rel=1e-3)


def test_whitening_is_the_root_of_the_inverse_covariance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slvr.eval.tasks.invariance._ROWS_AT_ONCE", 64)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    root = whitening(torch.tensor(values), "noise").numpy()
    np.testing.assert_allclose(root @ root.T, np.linalg.inv(np.cov(values.T)), rtol=1e-8)
    dead = values.copy()
    dead[:, 2] = 1.0
    assert whitening(torch.tensor(dead), "noise").isfinite().all()
    with pytest.raises(ValueError, match="noise: 6 pieces for a covariance of 6 dimensions"):
        whitening(torch.tensor(values[:6]), "noise")


def test_independent_clips_are_about_sqrt_2d_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4000, 50, generator=generator) * torch.linspace(0.1, 9, 50)
    moved = (values[:2000] - values[2000:]).double() @ whitening(values, "noise")
    assert float(moved.norm(dim=1).mean()) == pytest.approx(10, rel=0.02)


def test_weight_shares_are_those_of_scikit_learns_classifiers() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(60, 12, generator=generator)
    values[:, 8:] *= 3
    rows = torch.stack([torch.randperm(60, generator=generator)[:5] for _ in range(60)])
    chosen = rows.numpy()[..., None]
    episodes = Episodes(chosen, chosen, np.zeros(chosen.shape), (), ())
    each, one = np.arange(60), np.ones(60, dtype=int)
    supports = Supports(values, each, one, episodes, "mean", l2=False)
    heads = {"first": slice(0, 8), "second": slice(8, 12)}
    ours = weight_shares(supports, 60, 5, heads, 0, CPU)
    settings = {"alpha": 0, "learning_rate": "adaptive", "eta0": 0.1, "n_iter_no_change": 2}
    norms = np.zeros(2)
    for of_task in rows:
        # tol=None: all 20 epochs, which the stopping rule does not cut short here either
        theirs = SGDClassifier(loss="log_loss", max_iter=20, tol=None, **settings, random_state=0)
        w = theirs.fit(values[of_task], np.arange(5)).coef_
        norms += [np.linalg.norm(w[:, part], axis=1).sum() for part in heads.values()]
    np.testing.assert_allclose(list(ours.values()), norms / norms.sum(), atol=0.005)
    assert sum(ours.values()) == pytest.approx(1)


def clusters(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features of three overlapping classes, and their one-hot labels."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, n)
    x = rng.normal(size=(n, 10)) + 3 * np.eye(10)[label]
    return torch.tensor(100 * x + 7, dtype=torch.float32), torch.eye(3)[label]


@pytest.mark.parametrize("hidden", [0, 32])
def test_a_probe_is_as_good_as_scikit_learns(hidden: int) -> None:
    (x, y), (x_test, y_test) = clusters(1500, 0), clusters(1500, 1)
    config = Probe.Config(**COMMON, hidden=hidden, lr=1e-2)
    state = torch.get_rng_state()
    ours = accuracy(classify(x, y, x_test, True, config), y_test)
    assert torch.equal(state, torch.get_rng_state())
    reference = LogisticRegression().fit(x / 100, y.argmax(1))
    theirs = reference.score(x_test / 100, y_test.argmax(1))
    assert ours == pytest.approx(theirs, abs=0.02) and theirs > 0.9


@pytest.mark.parametrize("single", [True, False])
def test_what_a_probe_says_of_a_clip_does_not_depend_on_the_other_test_clips(single: bool) -> None:
    (x, y), (x_test, _) = clusters(300, 0), clusters(40, 1)
    config = Probe.Config(**COMMON, epochs=3)
    alone = classify(x, y, x_test[:20], single, config)
    loud = torch.cat([x_test[:20], 50 * x_test[20:] + 9])
    torch.testing.assert_close(classify(x, y, loud, single, config)[:20], alone)


def test_a_probe_of_several_labels_gives_map() -> None:
    rng = np.random.default_rng(0)
    y = torch.tensor(rng.random((900, 4)) < 0.3).float()
    y[:, 3] = 0
    x = y @ torch.tensor(rng.normal(size=(4, 12)), dtype=torch.float32)
    x += 0.1 * torch.tensor(rng.normal(size=(900, 12)), dtype=torch.float32)
    config = Probe.Config(**COMMON, lr=1e-2)
    scores = classify(x[:600], y[:600], x[600:], False, config)
    found = multilabel_score(scores, y[600:])
    assert found.mean_precision > 0.98 and found.n_left_out == 1
    order = torch.tensor(rng.permutation(300))
    shuffled = multilabel_score(scores[order], y[600:]).mean_precision
    assert shuffled == pytest.approx(0.3, abs=0.1)


def test_probe_learns_from_one_split_and_is_tested_on_another(
    here: Path, make_directory: MakeDirectory, capsys
) -> None:
    ours = make_directory("both", n_clips=12, n_classes=3, split="train")
    clips = ours.clips("train")
    path = ours.path
    manifest = json.loads((path / "dataset.json").read_text())
    rows = pd.read_parquet(path / "clips.parquet")
    test = rows["key"].isin(clips["key"][:6])
    rows.loc[test, "split"] = "test"
    counts = {
        split: of_split["status"].value_counts().to_dict()
        for split, of_split in rows.groupby("split")
    }
    rows.to_parquet(path / "clips.parquet")
    (path / "dataset.json").write_text(json.dumps(manifest | {"counts": counts}))
    args = ["probe", "--checkpoint", "runs/x", "--shards", "both", "--piece", "0.2"]
    assert main([*args, "--epochs", "3", "--hidden", "4"]) == 0
    results = pd.read_csv(here / "results" / "x-probe" / "results.csv")
    row = results.iloc[0]
    assert (row.metric, row.n_train, row.n_test, row.n_classes) == ("accuracy", 6, 6, 3)
    assert "one hidden layer of 4" in capsys.readouterr().out
    assert len(results) == 2 + len(MEL_STATISTICS)
    assert results[["set_clips", "set_pieces"]].values.tolist() == len(results) * [[6, 6]]
    text = (here / "results" / "x-probe" / "results.md").read_text()
    assert "| both, train | 3 | 6 | 18 | 0.2 s | 0 |" in text
    assert "| both, test | 3 | 6 | 6 | 0.2 s | 0 |" in text


def test_retrieval_finds_clips_of_the_same_direction() -> None:
    rng = np.random.default_rng(0)
    labels = [["a"] if i % 2 else ["b"] for i in range(80)]
    means = torch.tensor([[1.0, 0.1] if i % 2 else [0.1, 1.0] for i in range(80)])
    config = Retrieve.Config(**COMMON, n_positive=30, n_negative=20)
    means = means * torch.tensor(rng.uniform(0.1, 9, (80, 1)), dtype=torch.float32)
    found = class_precisions(means, labels, config)
    assert [row.class_ for row in found] == ["a", "b"]
    for row in found:
        assert row.average_precision == pytest.approx(1)
        assert (row.n_positive, row.n_negative) == (30, 20)
        assert row.chance == pytest.approx(435 / (435 + 600))  # 30 * 29 / 2 pairs and 30 * 20
    noise = torch.tensor(rng.normal(size=(80, 300)), dtype=torch.float32)
    for row in class_precisions(noise, labels, config):
        assert row.average_precision == pytest.approx(row.chance, abs=0.1)


def test_classes_that_cannot_be_told_apart_are_left_out() -> None:
    labels = [["all", "two"], ["all", "two"], ["all", "one"], ["all"]]
    members = class_members(labels)
    assert list(members) == ["two"] and members["two"].tolist() == [0, 1]
