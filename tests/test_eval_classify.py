from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, SGDClassifier
from threadpoolctl import threadpool_limits

from slvr.eval import classify
from slvr.eval.classify import CLASSIFIERS, few_shot_accuracies, logistic, mean_and_ci, sgd_duals
from slvr.eval.episodes import Episodes, sample_episodes
from slvr.eval.tasks.few_shot import FewShot

FIXTURE = Path(__file__).parents[2] / "shared" / "fixtures" / "fewshot_features.npz"
SGD: dict = {
    "loss": "log_loss",
    "alpha": 0,
    "learning_rate": "adaptive",
    "eta0": 0.1,
    "max_iter": 20,
    "tol": 1e-4,
    "n_iter_no_change": 2,
}
# Its 20 epochs are not meant to converge.
pytestmark = pytest.mark.filterwarnings("ignore:Maximum number of iteration")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Hundreds of tiny fits: threads would only wait for one another."""
    with threadpool_limits(1):
        yield


needs_fixture = pytest.mark.skipif(
    not FIXTURE.exists(), reason="features of the original implementation are not beside the clone"
)


def make_tasks(n_tasks: int, k: int, dim: int, scale: float, n_way: int = 5, q: int = 3):
    """Supports (T, N k, D) and queries (T, N q, D) of classes that overlap, off the origin."""
    rng = np.random.default_rng(n_tasks + k)
    means = rng.normal(size=(n_tasks, n_way, 1, dim)) + rng.normal(size=dim)
    both = means + 1.5 * rng.normal(size=(n_tasks, n_way, k + q, dim))
    both = torch.tensor(scale * both, dtype=torch.float32)
    return both[:, :, :k].flatten(1, 2), both[:, :, k:].flatten(1, 2)


def solve(name: str, supports: torch.Tensor, queries: torch.Tensor, n_way: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    products = supports @ supports.mT, supports @ queries.mT
    return CLASSIFIERS[name](*products, n_way, generator)


def test_the_registry_and_the_settings_name_the_same_classifiers() -> None:
    assert get_args(get_type_hints(FewShot.Config)["classifier"]) == tuple(CLASSIFIERS)


# Without features (scale 0) the loss soon stands still, the rate falls and at last the steps end.
@pytest.mark.parametrize(
    ("k", "scale", "n_epochs"), [(1, 0.05, 20), (1, 1.0, 20), (3, 0.3, 20), (2, 0.0, 100)]
)
def test_sgd_takes_the_steps_of_scikit_learn(k: int, scale: float, n_epochs: int) -> None:
    supports, queries = make_tasks(6, k, 40, scale)
    n = supports.shape[1]
    duals = sgd_duals(supports @ supports.mT, torch.arange(n).expand(6, 5, n), n_epochs)
    ours = duals @ (supports @ queries.mT + 1)
    reference = SGDClassifier(**SGD | {"max_iter": n_epochs}, shuffle=False)
    for t in range(6):
        theirs = reference.fit(supports[t], np.arange(5).repeat(k))
        expected = theirs.decision_function(queries[t]).T
        np.testing.assert_allclose(ours[t], expected, atol=2e-5 * np.abs(expected).max())


def shuffled(n: int, seed: int) -> list[int]:
    """scikit-learn's shuffle of n samples: Fisher-Yates on a 32-bit xorshift."""
    order, seed = list(range(n)), int(seed)
    for i in range(n - 1):
        seed ^= (seed << 13) & 0xFFFFFFFF
        seed ^= seed >> 17
        seed ^= (seed << 5) & 0xFFFFFFFF
        j = i + seed % 2**31 % (n - i)
        order[i], order[j] = order[j], order[i]
    return order


def test_sgd_visits_the_supports_in_powers_of_one_permutation() -> None:
    supports, queries = make_tasks(1, 2, 30, 0.3)
    seeds = np.random.RandomState(3).randint(2**31 - 1, size=5)
    # Of each class's generator scikit-learn throws the first number away.
    orders = [shuffled(10, np.random.RandomState(s).randint(2**31 - 1, size=2)[1]) for s in seeds]
    duals = sgd_duals(supports @ supports.mT, torch.tensor([orders]), 20)
    theirs = SGDClassifier(**SGD, random_state=3).fit(supports[0], np.arange(5).repeat(2))
    expected = theirs.decision_function(queries[0]).T
    ours = (duals @ (supports @ queries.mT + 1))[0]
    np.testing.assert_allclose(ours, expected, atol=2e-5 * np.abs(expected).max())


def test_sgd_tells_classes_apart_where_probabilities_saturate() -> None:
    supports, queries = make_tasks(50, 1, 40, 1e3)
    scores = solve("sgd", supports, queries)
    assert torch.sigmoid(scores).eq(1).any()
    assert (scores.max(1).values[:, None] == scores).sum(1).eq(1).all()


@pytest.mark.parametrize(("k", "scale"), [(1, 0.05), (4, 0.5), (4, 5.0)])
def test_logistic_agrees_with_scikit_learn(k: int, scale: float) -> None:
    supports, queries = make_tasks(8, k, 20, scale)
    scores = solve("logistic", supports, queries)
    for t in range(8):
        theirs = LogisticRegression(tol=1e-10, max_iter=10_000)
        theirs.fit(supports[t].double(), np.arange(5).repeat(k))
        expected = theirs.predict_proba(queries[t].double()).T
        np.testing.assert_allclose(scores[t].softmax(0), expected, atol=2e-4)


def test_logistic_takes_supports_that_coincide() -> None:
    supports, queries = make_tasks(3, 2, 10, 1.0)
    supports[:, 1] = supports[:, 0]
    gram = supports @ supports.mT
    scores = logistic(gram, supports @ queries.mT, 5, torch.Generator())
    assert scores.isfinite().all()


def test_centroid_is_the_nearest_class_mean() -> None:
    supports, queries = make_tasks(8, 3, 20, 1.0)
    scores = solve("centroid", supports, queries)
    means = supports.view(8, 5, 3, 20).mean(2)
    distance = torch.cdist(means, queries)
    shift = scores + distance**2 / 2
    np.testing.assert_allclose(shift, shift[:, :1].expand_as(shift), atol=1e-3)
    assert (scores.argmax(1) == distance.argmin(1)).all()


@pytest.mark.parametrize("name", ["logistic", "centroid"])
def test_a_task_depends_on_itself_alone(name: str) -> None:
    supports, queries = make_tasks(5, 2, 20, 0.5)
    together = solve(name, supports, queries)
    alone = torch.cat([solve(name, supports[t : t + 1], queries[t : t + 1]) for t in range(5)])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def slow_accuracies(features, first, n_pieces, episodes: Episodes) -> list[float]:
    """Nearest centroid of single pieces and majority votes, one query after the other."""
    accuracies = []
    for t in range(len(episodes.support)):
        chosen, draws = episodes.support[t, :, 0], episodes.support_draw[t, :, 0]
        piece = [int(n_pieces[c] * u) for c, u in zip(chosen, draws, strict=True)]
        means = features[first[chosen] + piece]
        right = []
        for true_class, clips in enumerate(episodes.query[t]):
            for clip in clips:
                votes = np.zeros(len(means))
                for row in range(first[clip], first[clip] + n_pieces[clip]):
                    votes[np.argmin(((means - features[row]) ** 2).sum(1))] += 1
                right.append(votes.argmax() == true_class)
        accuracies.append(np.mean(right))
    return accuracies


@pytest.mark.parametrize("batch_bytes", [1 << 28, 20_000])
def test_queries_are_majority_votes_over_their_pieces(
    batch_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classify, "_BATCH_BYTES", batch_bytes)
    rng = np.random.default_rng(5)
    labels = np.arange(60) % 6
    n_pieces = rng.integers(1, 8, 60)
    first = np.cumsum(n_pieces) - n_pieces
    features = rng.normal(size=(6, 4))[labels.repeat(n_pieces)] + rng.normal(
        size=(n_pieces.sum(), 4)
    )
    episodes = sample_episodes(labels.astype(str), 4, 1, 3, 100, 0)
    fast = few_shot_accuracies(
        torch.tensor(features, dtype=torch.float32),
        first,
        n_pieces,
        episodes,
        "centroid",
        "none",
        support="piece",
        query="votes",
    )
    np.testing.assert_allclose(fast, slow_accuracies(features, first, n_pieces, episodes))


def test_ties_of_votes_go_to_the_lowest_class() -> None:
    # Classes at 0 and 10; the query of each has one piece near either: one vote for both.
    features = torch.tensor([[0.0], [10.0], [9.0], [1.0], [9.0], [1.0]])
    first, n_pieces = np.array([0, 1, 2, 4]), np.array([1, 1, 2, 2])
    episodes = Episodes(
        np.array([[[0], [1]]]), np.array([[[2], [3]]]), np.zeros((1, 2, 1)), ("a", "b"), ()
    )
    given = features, first, n_pieces, episodes, "centroid", "none"
    np.testing.assert_array_equal(few_shot_accuracies(*given, query="votes"), [0.5])
    # Both queries are at 5: no class is nearer, and the first one is taken.
    np.testing.assert_array_equal(few_shot_accuracies(*given), [0.5])


@pytest.mark.parametrize("classifier", ["sgd", "logistic", "centroid"])
@pytest.mark.parametrize("normalise", ["none", "l2"])
def test_all_pieces_of_a_support_and_of_a_query_count(classifier: str, normalise: str) -> None:
    rng = np.random.default_rng(6)
    labels = np.arange(60) % 6
    n_pieces = rng.integers(1, 8, 60)
    first = np.cumsum(n_pieces) - n_pieces
    centres = rng.normal(size=(6, 8))[labels.repeat(n_pieces)]
    features = torch.tensor(centres + rng.normal(size=centres.shape), dtype=torch.float32)
    episodes = sample_episodes(labels.astype(str), 4, 2, 3, 60, 0)
    fast = few_shot_accuracies(features, first, n_pieces, episodes, classifier, normalise)

    pieces = torch.nn.functional.normalize(features) if normalise == "l2" else features
    of_clip = [pieces[i : i + n] for i, n in zip(first, n_pieces, strict=True)]
    means = torch.stack([of_one.mean(0) for of_one in of_clip])
    means = torch.nn.functional.normalize(means) if normalise == "l2" else means
    # SGD visits the supports in the order that the generator draws, episode after episode
    ends = n_pieces[episodes.query.reshape(60, -1)].sum(1)
    generator = torch.Generator().manual_seed(0)
    slow = np.empty(60)
    by_length = torch.from_numpy(ends).argsort(stable=True)
    supports = means[torch.from_numpy(episodes.support.reshape(60, -1))][by_length]
    grams = supports @ supports.mT
    longest = int(ends.max())
    kernels = torch.zeros(60, 8, longest)
    for i, t in enumerate(by_length):
        asked = torch.cat([of_clip[clip] for clip in episodes.query[t].ravel()])
        kernels[i, :, : len(asked)] = supports[i] @ asked.T
    scores = CLASSIFIERS[classifier](grams, kernels, 4, generator)
    for i, t in enumerate(by_length):
        right, at = [], 0
        for true_class, clips in enumerate(episodes.query[t]):
            for clip in clips:
                said = scores[i, :, at : at + n_pieces[clip]].sum(1)
                right.append(int(said.argmax()) == true_class)
                at += n_pieces[clip]
        slow[t] = np.mean(right)
    np.testing.assert_allclose(fast, slow)
    assert 0.4 < fast.mean() < 1


def test_l2_normalisation_makes_lengths_irrelevant() -> None:
    rng = np.random.default_rng(1)
    features = torch.tensor(rng.normal(size=(40, 6)), dtype=torch.float32)
    scaled = features * torch.tensor(rng.uniform(0.1, 10, (40, 1)), dtype=torch.float32)
    episodes = sample_episodes([str(i % 5) for i in range(40)], 5, 1, 2, 200, 0)
    one, first = np.ones(40, dtype=int), np.arange(40)
    for name in ("sgd", "logistic", "centroid"):
        same = [
            few_shot_accuracies(x, first, one, episodes, name, "l2") for x in (features, scaled)
        ]
        np.testing.assert_allclose(same[0], same[1], err_msg=name)
    other = few_shot_accuracies(scaled, first, one, episodes, "centroid", "none")
    assert (other != same[1]).any()


def test_the_interval_is_1_96_standard_errors() -> None:
    mean, ci95 = mean_and_ci(np.array([0.0, 1.0, 1.0, 1.0]))
    assert mean == 0.75
    assert ci95 == pytest.approx(1.96 * np.sqrt(0.75 * 0.25) / 2)


def fixture_accuracy(classifier: str, tasks_of: str, normalise: str) -> tuple[np.ndarray, ...]:
    with np.load(FIXTURE) as stored:
        index = stored[f"tasks_{tasks_of}_fixed"].astype(np.int64)
        theirs = stored[f"acc_{tasks_of}_fixed"]
        features = torch.from_numpy(stored["features"])
    draws = np.zeros((len(index), 5, 1))
    episodes = Episodes(index[:, :5, None], index[:, 5:].reshape(-1, 5, 5), draws, (), ())
    each, one = np.arange(len(features)), np.ones(len(features), dtype=int)
    ours = few_shot_accuracies(features, each, one, episodes, classifier, normalise)
    return ours, theirs


@needs_fixture
@pytest.mark.parametrize(("normalise", "stored"), [("none", "raw"), ("l2", "l2")])
def test_sgd_and_centroid_give_the_accuracy_of_the_original(normalise: str, stored: str) -> None:
    ours, theirs = fixture_accuracy("centroid", f"NCC_{stored}", normalise)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    ours, theirs = fixture_accuracy("sgd", f"sklin_{stored}", normalise)
    assert abs(ours.mean() - theirs.mean()) < 0.004


@needs_fixture
def test_logistic_agrees_with_scikit_learn_on_the_features_of_the_original() -> None:
    with np.load(FIXTURE) as stored:
        index = stored["tasks_sklin_l2_fixed"].astype(np.int64)[:40]
        features = stored["features"]
    features = torch.from_numpy(features / np.linalg.norm(features, axis=1, keepdims=True))
    supports, queries = features[index[:, :5]], features[index[:, 5:]]
    ours = solve("logistic", supports, queries).argmax(1).numpy()
    theirs = [
        LogisticRegression(tol=1e-8, max_iter=1000).fit(s, np.arange(5)).predict(q)
        for s, q in zip(supports.double(), queries.double(), strict=True)
    ]
    assert (ours == np.array(theirs)).mean() >= 0.999


def feature_set(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Features (600, D) of 20 classes as encoders give them, and the classes."""
    rng = np.random.default_rng(11)
    labels = np.arange(600) % 20
    if name == "rectified, off the origin":
        means = np.abs(rng.normal(size=(20, 256)))
        return np.maximum(means[labels] + 2.5 * rng.normal(size=(600, 256)), 0), labels
    if name == "a few dimensions carry all, heavy tails":
        scale = 0.8 ** np.arange(64)
        means = rng.normal(size=(20, 64)) * scale
        return 3 * (means[labels] + scale * rng.standard_t(3, (600, 64))), labels
    assert name == "decibels"
    means = -40 + 8 * rng.normal(size=(20, 128))
    return means[labels] + 12 * rng.normal(size=(600, 128)), labels


@pytest.mark.parametrize("normalise", ["none", "l2"])
@pytest.mark.parametrize(
    "name",
    ["rectified, off the origin", "a few dimensions carry all, heavy tails", "decibels"],
)
def test_sgd_is_as_accurate_as_scikit_learn_on_other_features(name: str, normalise: str) -> None:
    features, labels = feature_set(name)
    if normalise == "l2":
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
    episodes = sample_episodes(labels.astype(str), 5, 1, 5, 120, 0)
    x = torch.tensor(features, dtype=torch.float32)
    each, one = np.arange(len(x)), np.ones(len(x), dtype=int)
    ours = few_shot_accuracies(x, each, one, episodes, "sgd", "none")
    theirs = []
    for t in range(len(episodes.support)):
        fitted = SGDClassifier(**SGD, random_state=t)
        fitted.fit(features[episodes.support[t, :, 0]], np.arange(5))
        guess = fitted.decision_function(features[episodes.query[t].ravel()]).argmax(1)
        theirs.append((guess == np.arange(5).repeat(5)).mean())
    (mean, ci), (other_mean, other_ci) = mean_and_ci(ours), mean_and_ci(np.array(theirs))
    assert abs(mean - other_mean) < np.hypot(ci, other_ci)
    assert 0.25 < mean < 0.97, "neither chance nor trivial"
