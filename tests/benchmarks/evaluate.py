"""Few-shot tasks against the scikit-learn loop, a table of ten sets, and features in batches.

    python tests/benchmarks/evaluate.py
    python tests/benchmarks/evaluate.py --device cuda

The loop is what the original evaluation does: one `SGDClassifier` a task, on the same features and
the same tasks. Its time is that of `--loop-tasks` of them, in the same run. Accuracies of both and
the share of queries on which they agree stand beside; scikit-learn draws its own order of the
supports, so two of its runs with other seeds do not agree on every query either.

The table is that of `evaluate` itself on ten directories that are made here, small clips through a
narrow encoder of as many dimensions: what it takes once the features are there depends on neither.
"""

import argparse
import contextlib
import io
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measure import machine, measure, megabytes, table
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier
from torch import Tensor

from slvr.eval.classify import CLASSIFIERS, few_shot_accuracies
from slvr.eval.embedders import EncoderEmbedder
from slvr.eval.episodes import Episodes, sample_episodes
from slvr.eval.published import SETS
from slvr.eval.run import evaluate
from slvr.eval.tasks.few_shot import FewShot
from slvr.model.checkpoint import Part, checkpoint_name, write_checkpoint
from slvr.model.encoders.resnet18 import ResNet18
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.shards.audio import with_audio
from slvr.shards.clip import SAMPLE_RATE_HZ, Clip, Source
from slvr.shards.manifest import Description
from slvr.shards.write import ShardWriter, finish

N_WAY = 5
HEAD = ["", "tasks", "s", "tasks/s", "memory", "loop, tasks/s", "ratio", "accuracy", "of the loop"]


def sgd(seed: int) -> SGDClassifier:
    """The published classifier."""
    return SGDClassifier(
        loss="log_loss",
        alpha=0,
        learning_rate="adaptive",
        eta0=0.1,
        max_iter=20,
        tol=1e-4,
        n_iter_no_change=2,
        random_state=seed,
    )


def features_of_classes(n_clips: int, dim: int) -> tuple[Tensor, list[str]]:
    """L2-normalised (n_clips, dim) features of 50 classes, and the classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(n_clips) % 50
    x = 0.35 * rng.normal(size=(50, dim))[labels] + rng.normal(size=(n_clips, dim))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return torch.tensor(x, dtype=torch.float32), labels.astype(str).tolist()


def loop(x: Tensor, episodes: Episodes, n: int, make: Callable[[int], object]) -> np.ndarray:
    """Return the guesses (n, queries) of scikit-learn for the first tasks, one after the other."""
    features = x.numpy()
    guesses = []
    for t in range(n):
        supports, queries = episodes.support[t], episodes.query[t].ravel()
        classifier = make(t)
        classifier.fit(features[supports.ravel()], np.arange(N_WAY).repeat(supports.shape[1]))
        guesses.append(classifier.decision_function(features[queries]).argmax(1))
    return np.array(guesses)


def agreement(x: Tensor, episodes: Episodes, name: str, guesses: np.ndarray) -> float:
    """Share of queries on which a classifier of ours and scikit-learn's guesses agree."""
    n = len(guesses)
    supports, queries = x[episodes.support[:n].reshape(n, -1)], x[episodes.query[:n].reshape(n, -1)]
    products = supports @ supports.mT, supports @ queries.mT
    scores = CLASSIFIERS[name](*products, N_WAY, torch.Generator().manual_seed(0))
    return float((scores.argmax(1).numpy() == guesses).mean())


def few_shot_rows(args: argparse.Namespace, device: torch.device) -> tuple[list[list[str]], list]:
    """Time and memory for each kind of task, and the agreement on single queries."""
    x, labels = features_of_classes(2000, args.dim)
    each, one = np.arange(len(x)), np.ones(len(x), dtype=int)
    rows, agreements = [], []
    for k_shot, n_query, n_tasks, runs in (
        (1, 1, args.tasks, 3),
        (5, 5, args.tasks, 1),
        (1, 1, 10 * args.tasks, 1),
    ):
        episodes = sample_episodes(labels, N_WAY, k_shot, n_query, n_tasks, 0)

        def ours(episodes: Episodes = episodes) -> np.ndarray:
            return few_shot_accuracies(x, each, one, episodes, "sgd", "l2", 0, device)

        measured = measure(ours, runs, device)
        n = min(args.loop_tasks, n_tasks)
        begun_s = time.perf_counter()
        guesses = loop(x, episodes, n, sgd)
        loop_per_s = n / (time.perf_counter() - begun_s)
        per_s = n_tasks / measured.median_s
        of_loop = (guesses == np.arange(N_WAY).repeat(n_query)).mean()
        rows.append(
            [
                f"{N_WAY}-way {k_shot}-shot, {n_query} queries",
                f"{n_tasks:,}",
                f"{measured.median_s:.2f}",
                f"{per_s:,.0f}",
                megabytes(measured.peak_bytes),
                f"{loop_per_s:,.0f}",
                f"{per_s / loop_per_s:.0f}x",
                f"{ours()[:n].mean():.4f}",
                f"{of_loop:.4f}",
            ]
        )
        if n_tasks == args.tasks:
            exact = loop(x, episodes, n, lambda t: LogisticRegression(tol=1e-8, max_iter=1000))
            other = loop(x, episodes, n, lambda t: sgd(t + 10**6))
            shares = (
                agreement(x, episodes, "sgd", guesses),
                float((guesses == other).mean()),
                agreement(x, episodes, "logistic", exact),
            )
            agreements.append([rows[-1][0], *(f"{share:.2%}" for share in shares)])
    return rows, agreements


def write_set(path: Path, n_clips: int, seed: int) -> None:
    """Writes a shard directory named like a set of the benchmark: 0.25 s clips of 25 classes."""
    path.mkdir()
    rng = np.random.default_rng(seed)
    with ShardWriter(path, "test-000000", "test", "wav") as writer:
        for i in range(n_clips):
            noise = (3000 * rng.normal(size=SAMPLE_RATE_HZ // 4)).astype(np.int16)
            source = Source(f"{i}.wav", 0.0, 0.25)
            clip = Clip(f"clip_{i:06d}", "test", source, labels=(f"class_{i % 25}",))
            writer.write(with_audio(clip, noise, "wav"))
    about = Description(
        name=path.name,
        recipe=path.name,
        recipe_version="",
        options={},
        tool_versions={},
        licence="",
        citation="",
        homepage="",
        codec="wav",
        sample_rate_hz=SAMPLE_RATE_HZ,
        labels={},
    )
    finish(path, writer.rows, [writer.info], about)


def table_rows(args: argparse.Namespace, device: torch.device) -> list[list[str]]:
    """Time and memory of `evaluate` for the whole table, its features embedded before."""
    with tempfile.TemporaryDirectory() as folder:
        sets = [Path(folder, name) for name in SETS]
        for seed, path in enumerate(sets):
            write_set(path, args.set_clips, seed)
        shape = {"variant": "parallel", "dim": args.dim, "width": 8}
        torch.manual_seed(0)
        weights = {f"model.encoder.{k}": v for k, v in ResNet18(**shape).state_dict().items()}
        state = {
            "encoder": Part("resnet18", shape)._asdict(),
            "front_end": Part("mtslvr", MTSLVR().shape())._asdict(),
            "normalise": "published",
            "config": {},
            "step": 0,
        }
        checkpoint = Path(folder, checkpoint_name(0))
        write_checkpoint(checkpoint, weights, state)
        config = FewShot.Config(
            checkpoint=(str(checkpoint),),
            shards=tuple(map(str, sets)),
            n_tasks=args.tasks,
            piece="0.1",  # three a clip
            out=str(Path(folder, "out")),
            cache=str(Path(folder, "features")),
            device=str(device),
        )
        with contextlib.redirect_stderr(io.StringIO()):
            measured = measure(lambda: evaluate(FewShot(config)), 1, device)
        scores = pd.read_csv(Path(folder, "out", "results.csv"))
    n_models = scores["model"].nunique()
    return [
        [
            f"{len(sets)} sets x {n_models} models x {args.tasks:,} tasks",
            f"{args.set_clips:,} of 3 pieces",
            f"{measured.median_s:.1f}",
            f"{len(sets) * n_models * args.tasks / measured.median_s:,.0f}",
            megabytes(measured.peak_bytes),
        ]
    ]


def embed_rows(args: argparse.Namespace, device: torch.device) -> list[list[str]]:
    """Clips of 5 s a second through the front end and the full-size encoder."""
    torch.manual_seed(0)
    encoder = ResNet18("parallel", width=args.width)
    plain = ResNet18("parallel", width=args.width, exact_speedups=False).to(device).eval()
    plain.load_state_dict(encoder.state_dict())
    front_end = MTSLVR().to(device).eval()
    model = EncoderEmbedder("parallel", encoder, front_end, "none", device)
    waves = 0.1 * torch.randn(args.clips, 80_000, device=device)

    @torch.inference_mode()
    def in_batches() -> None:
        for batch in waves.split(32):
            model.embed(batch)

    @torch.inference_mode()
    def one_by_one() -> None:
        for wave in waves.split(1):
            model.embed(wave)

    @torch.inference_mode()
    def as_the_original() -> None:
        for wave in waves.split(1):
            image = front_end(wave)
            torch.cat([plain(image, "contrastive"), plain(image, "predictive")], dim=1)

    rows = []
    batched = measure(in_batches, args.runs, device)
    for name, call in (
        ("ours, one clip at a time", one_by_one),
        ("one clip and one head at a time, adapters beside", as_the_original),
    ):
        slow = measure(call, args.runs, device)
        rows.append(
            [
                name,
                *(f"{args.clips / x.median_s:.1f}" for x in (batched, slow)),
                f"{slow.median_s / batched.median_s:.1f}x",
                *(megabytes(x.peak_bytes) for x in (batched, slow)),
            ]
        )
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--loop-tasks", type=int, default=500)
    parser.add_argument("--dim", type=int, default=1000)
    parser.add_argument("--set-clips", type=int, default=500, help="of each of the ten sets")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--width", type=int, default=64, help="of the encoder")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    device = torch.device(args.device)
    # The published 20 epochs are not meant to converge.
    warnings.simplefilter("ignore", ConvergenceWarning)
    rows, agreements = few_shot_rows(args, device)
    print(f"### Few-shot tasks, `sgd`, {args.dim} dimensions\n\n{machine(device)}.\n")
    print(table(HEAD, rows))
    print("\n### Queries on which both agree\n")
    head = ["", "sgd, ours and the loop", "sgd, the loop and another seed", "logistic"]
    print(table(head, agreements))
    print("\n### `evaluate`, the whole table and its report, features embedded before\n")
    head = ["", "clips a set", "s", "tasks/s", "memory"]
    print(table(head, table_rows(args, device)))
    print(f"\n### Features of {args.clips} clips of 5 s, in batches of 32, against\n")
    head = ["", "batches, clips/s", "clips/s", "ratio", "memory", "memory of it"]
    print(table(head, embed_rows(args, device)))


if __name__ == "__main__":
    main()
