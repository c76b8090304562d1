"""Differences over the same tasks, runs of several seeds, and ranks, against closed forms."""

from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from slvr.eval.charts import critical_difference
from slvr.eval.significance import (
    Ranks,
    average_ranks,
    compared,
    difference_tables,
    mean_and_interval,
    not_told_apart,
    seed_groups,
    seeds_tables,
)

LOG_MEL = "mean log-mel"


def test_one_mean_is_the_known_interval() -> None:
    x = np.random.default_rng(0).random((1, 500))
    mean, ci95 = mean_and_interval(x)
    assert (mean, ci95) == (pytest.approx(x.mean()), pytest.approx(1.96 * x.std() / 500**0.5))


def test_what_tasks_share_cancels_in_a_difference() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random((1, 10_000))
    better = np.clip(hard + 0.01 + 0.02 * rng.standard_normal(hard.shape), 0, 1)
    gap, ci95 = mean_and_interval(better, hard)
    assert gap > 5 * ci95
    alone = mean_and_interval(better)[1] + mean_and_interval(hard)[1]
    assert alone > gap  # the two intervals overlap


def test_95_of_100_intervals_hold_the_difference_of_several_seeds() -> None:
    """Three runs that differ by their seed, whose spread outweighs that of the tasks."""
    rng, n_inside, n = np.random.default_rng(1), 0, 1_000
    for _ in range(n):
        runs = 0.5 + 0.05 * rng.standard_normal((3, 1)) + 0.1 * rng.standard_normal((3, 50))
        gap, ci95 = mean_and_interval(runs, 0.5 + 0.1 * rng.standard_normal((1, 50)))
        n_inside += abs(gap) <= ci95
    assert 0.93 * n < n_inside  # the normal quantile would hold 85 of 100


def test_two_runs_have_students_interval() -> None:
    runs = np.array([[0.4] * 9, [0.5] * 9])
    mean, ci95 = mean_and_interval(runs)
    expected = stats.t.interval(0.95, 1, runs.mean(), stats.sem(runs.mean(1)))
    assert mean - ci95 == pytest.approx(expected[0])


def results(sets: list[str], models: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"model": model, "set": name, "accuracy": 0.0, "ci95": 0.0, "model_sha256": model}
        | {"n_clips_seen": 1, "n_seeds": 1, "sd_seeds": 0.0}
        for name in sets
        for model in models
    )


def test_several_are_best_where_their_difference_is_no_more_than_chance() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(4_000)
    of = {
        "a": base + 0.002 * rng.standard_normal(4_000),
        "b": base + 0.00002 + 0.002 * rng.standard_normal(4_000),
        LOG_MEL: base - 0.01 + 0.002 * rng.standard_normal(4_000),
    }
    found = compared(results(["s"], [*of]), {("s", k): v for k, v in of.items()}, {}, LOG_MEL)
    rows = found.set_index("model")
    assert rows["best"].to_dict() == {"a": True, "b": True, LOG_MEL: False}
    assert rows["minus_log_mel"]["a"] == pytest.approx(0.01, abs=5e-4)
    assert rows["minus_best"].max() == 0 and rows["minus_log_mel"][LOG_MEL] == 0
    to_best, above = difference_tables(found, LOG_MEL)
    assert to_best.best == {(0, 1), (0, 2)} and list(above.head) == ["set", "a", "b"]
    assert above.best == set() and all(cell.startswith("+1.0") for cell in above.rows[0][1:])
    assert difference_tables(found[found["model"] == "a"], LOG_MEL) == []
    without = compared(results(["s"], ["a"]), {("s", "a"): of["a"]}, {}, LOG_MEL)
    assert without["minus_log_mel"].isna().all()


def test_runs_of_several_seeds_are_one_row_beside_their_own() -> None:
    accuracies = {("s", "a-0"): 0.4, ("s", "a-1"): 0.6, ("s", "b"): 0.3}
    tasks = {key: np.full(8, value) for key, value in accuracies.items()}
    scores = results(["s"], ["a-0", "a-1", "b"]).assign(accuracy=list(accuracies.values()))
    found = compared(scores, tasks, {"a": ["a-0", "a-1"]}, LOG_MEL)
    assert found["model"].tolist() == ["a", "a-0", "a-1", "b"]
    assert found["group"].tolist() == ["", "a", "a", ""]
    group = found.iloc[0]
    assert group["accuracy"] == pytest.approx(0.5) and group["n_runs"] == 2
    assert group["sd_runs"] == pytest.approx(0.2 / 2**0.5)
    # against the spread of two seeds the difference to b is nothing
    assert found.set_index("model")["best"].to_dict() == {
        **{"a": True, "a-0": False, "a-1": False, "b": True}
    }
    (table,) = seeds_tables(found)
    assert list(table.rows[0]) == ["s, a", "50.00", "14.14", "2", "40.00, 60.00"]
    # the best is no distance from itself, and its runs are no other model
    to_best, *_ = difference_tables(found[found["group"] == ""], LOG_MEL)
    assert to_best.rows[0][1] == "0.00" and "over training seeds" in to_best.title
    assert found.set_index("model")["minus_best_ci95"][["a-0", "a-1"]].isna().all()


def test_several_runs_have_the_deviation_over_draws_of_their_mean() -> None:
    rng = np.random.default_rng(0)
    tasks = {("s", name): rng.random(3 * 50) for name in ("a-0", "a-1")}  # three draws of 50
    scores = results(["s"], ["a-0", "a-1"]).assign(n_seeds=3, sd_seeds=9.0)
    group = compared(scores, tasks, {"a": ["a-0", "a-1"]}, LOG_MEL).iloc[0]
    draws = [float(np.mean([x[i : i + 50] for x in tasks.values()])) for i in (0, 50, 100)]
    assert group["sd_seeds"] == pytest.approx(np.std(draws, ddof=1))
    assert group["n_clips_seen"] == 1
    scores["n_clips_seen"] = [1, 2]
    group = compared(scores, tasks, {"a": ["a-0", "a-1"]}, LOG_MEL).iloc[0]
    assert pd.isna(group["n_clips_seen"])


def test_runs_that_differ_in_their_seed_alone_are_a_group() -> None:
    def run(seed: int, **other: object) -> dict[str, object]:
        return {"recipe": "demo", "lr": 1e-3, "out": f"runs/{seed}", "seed": seed} | other

    alike = {f"a-{i}": run(i) for i in (9, 10, 11)}
    assert seed_groups(alike) == {"a, 3 seeds": ["a-9", "a-10", "a-11"]}
    assert seed_groups({f"bn2-{i}": run(i) for i in (1, 2)}) == {"bn2, 2 seeds": ["bn2-1", "bn2-2"]}
    assert seed_groups({"1x": run(1), "2y": run(2)}) == {"runs, 2 seeds": ["1x", "2y"]}
    assert seed_groups({"a": run(1), "b": run(2, lr=1e-4)}) == {}
    assert seed_groups({"a": run(1), "a-step": run(1)}) == {}  # two checkpoints of one run
    assert seed_groups({"a": {}, "b": {}}) == {}


@pytest.mark.parametrize(
    ("k", "q"),
    [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)],  # Demšar 2006, table 5 a
)
def test_the_critical_difference_is_that_of_the_published_table(k: int, q: float) -> None:
    n, rng = 7, np.random.default_rng(k)
    shown = results([f"s{i}" for i in range(n)], [f"m{i}" for i in range(k)])
    shown["accuracy"] = rng.random(len(shown))
    ranks = average_ranks(shown)
    assert ranks is not None and ranks.n_sets == n
    assert ranks.critical == pytest.approx(q * (k * (k + 1) / (6 * n)) ** 0.5, rel=1e-3)
    if k > 2:
        table = shown.pivot_table("accuracy", "set", "model")
        chi2 = stats.friedmanchisquare(*table.to_numpy().T).statistic
        f = (n - 1) * chi2 / (n * (k - 1) - chi2)
        assert ranks.p == pytest.approx(stats.f.sf(f, k - 1, (k - 1) * (n - 1)))
    assert "are not told apart (Nemenyi, 5%)" in ranks.note
    assert average_ranks(shown[shown["set"] == "s0"]) is None
    assert average_ranks(shown[shown["model"] == "m0"]) is None


def test_bars_join_the_largest_groups_of_models_that_are_alike() -> None:
    means = pd.Series({"d": 4.0, "a": 1.0, "c": 2.5, "b": 1.5, "e": 4.2})
    assert not_told_apart(Ranks(means, 10, 1.2, 0.01)) == [(1.0, 1.5), (1.5, 2.5), (4.0, 4.2)]
    assert not_told_apart(Ranks(means, 10, 0.1, 0.01)) == []
    assert not_told_apart(Ranks(means, 10, 9.0, 0.01)) == [(1.0, 4.2)]


def test_the_diagram_names_every_model_and_its_rank() -> None:
    means = pd.Series({"d <x>": 4.0, "a": 1.0, "c": 2.5, "b": 1.5})
    parser, words = HTMLParser(), []
    parser.handle_data = words.append
    parser.feed(critical_difference(Ranks(means, 10, 1.2, 0.01)))
    text = " ".join(" ".join(words).split())
    for part in ("d <x> 4.00", "a 1.00", "c 2.50", "b 1.50", "critical difference 1.20"):
        assert part in text
