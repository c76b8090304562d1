import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from slvr.eval.precision import average_precision


@pytest.mark.parametrize("levels", [3, 1000])
def test_it_is_that_of_scikit_learn_with_and_without_ties(levels: int) -> None:
    rng = np.random.default_rng(levels)
    for _ in range(50):
        scores = rng.integers(0, levels, 40) / 7
        relevant = rng.random(40) < 0.3
        relevant[0] = True
        expected = average_precision_score(relevant, scores)
        assert average_precision(scores, relevant) == pytest.approx(expected, abs=1e-12)


def test_a_perfect_ranking_and_the_worst() -> None:
    scores = np.arange(4.0)
    assert average_precision(scores, scores >= 2) == 1
    assert average_precision(scores, scores < 1) == 0.25
