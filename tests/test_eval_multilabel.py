"""mAP, AUC and d' of several labels, query by example: against slow references and the fixtures."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm

from slvr.eval.embed import Features
from slvr.eval.multilabel import d_prime, multilabel_score
from slvr.eval.tasks.probe import Probe, classify, clip_probabilities
from slvr.eval.tasks.retrieve import query_precision

FIXTURE = Path(__file__).parents[2] / "shared" / "fixtures" / "separation" / "eval_metrics.npz"
FOUND = pytest.mark.skipif(not FIXTURE.is_file(), reason="numbers of scikit-learn are not here")
COMMON = {"shards": ("data",), "checkpoint": ("runs/x",)}


def slow_precision(scores, there):
    """Mean over the hits of the share of hits among what scores at least as high."""
    return np.mean([there[scores >= s].mean() for s in scores[there]])


def slow_auc(scores, there):
    pairs = scores[there][:, None] - scores[~there]
    return ((pairs > 0) + 0.5 * (pairs == 0)).mean()


@pytest.mark.parametrize("seed", range(4))
def test_each_class_is_scored_as_by_counting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 30, (60, 7)) / 30  # with ties
    there = rng.random((60, 7)) < rng.uniform(0.1, 0.6, 7)
    there[:, 2], there[:, 4] = False, True
    found = multilabel_score(scores, there)
    for k in range(7):
        if k == 2:
            assert np.isnan([found.precision[k], found.auc[k]]).all()
            continue
        assert found.precision[k] == pytest.approx(slow_precision(scores[:, k], there[:, k]))
        if k == 4:
            assert np.isnan(found.auc[k])
        else:
            assert found.auc[k] == pytest.approx(slow_auc(scores[:, k], there[:, k]))
    assert found.n_left_out == 1
    assert found.mean_precision == pytest.approx(np.nanmean(found.precision))
    assert found.d_prime == pytest.approx(2**0.5 * norm.ppf(np.nanmean(found.auc)))


def test_no_class_at_all_is_nan_and_chance_is_no_distance() -> None:
    assert np.isnan(multilabel_score(np.zeros((3, 2)), np.zeros((3, 2))).mean_precision)
    assert d_prime(0.5) == 0


@FOUND
def test_the_numbers_of_scikit_learn() -> None:
    want = np.load(FIXTURE)
    found = multilabel_score(want["scores"], want["labels"])
    np.testing.assert_allclose(found.precision, want["ap"], atol=1e-9)
    np.testing.assert_allclose(found.auc, want["auc"], atol=1e-9)
    ours = found.mean_precision, found.mean_auc, found.d_prime
    means = [float(want[key]) for key in ("mAP", "mean_auc", "d_prime")]
    assert ours == pytest.approx(means, abs=1e-6)
    pairs = zip(want["qbe_pos"], want["qbe_neg"], strict=True)
    found_ap = [query_precision(*map(torch.from_numpy, pair))[0] for pair in pairs]
    np.testing.assert_allclose(found_ap, want["qbe_ap"], atol=1e-6)
    assert np.mean(found_ap) == pytest.approx(want["qbe_map"], abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_query_by_example_is_that_of_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive, negative = rng.normal(0.4, 1, (9, 5)), rng.normal(0, 1, (6 + seed, 5))

    def cosine(x, y):
        return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

    hits = [cosine(positive[i], positive[j]) for i in range(9) for j in range(i + 1, 9)]
    others = [cosine(p, n) for p in positive for n in negative]
    there = np.arange(len(hits) + len(others)) < len(hits)
    want = slow_precision(np.array(hits + others), there), len(hits) / len(there)
    assert query_precision(*map(torch.tensor, (positive, negative))) == pytest.approx(want)
    same = torch.tensor(positive)
    assert query_precision(same.repeat(12, 1)[:100], same.repeat(12, 1)[:100])[1] == pytest.approx(
        4950 / 14950
    )


def test_a_clip_has_the_mean_probability_of_its_pieces() -> None:
    rng = np.random.default_rng(0)

    def pieces(counts):
        values = torch.tensor(rng.normal(size=(sum(counts), 6)), dtype=torch.float32)
        numbers = [piece for n in counts for piece in range(n)]
        return Features(values, pd.DataFrame({"piece": numbers}))

    train, test = pieces([3, 1, 2, 4, 2, 3]), pieces([2, 1, 3])
    y = torch.tensor(rng.random((6, 4)) < 0.5).float()
    config = Probe.Config(**COMMON, hidden=8, epochs=4)
    got = clip_probabilities(train, y, test, config, torch.device("cpu"))
    labels = torch.cat([y[i : i + 1].expand(n, -1) for i, n in enumerate([3, 1, 2, 4, 2, 3])])
    said = classify(train.values, labels, test.values, False, config).sigmoid()
    want = torch.stack([said[:2].mean(0), said[2], said[3:].mean(0)])
    torch.testing.assert_close(got, want)
