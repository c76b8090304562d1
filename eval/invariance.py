"""Learnt invariance: how far an augmentation moves the features of a clip.

Mahalanobis distance with mean and covariance of the clean features over the set, as in the
protocol of github linusericsson/ssl-invariances that MT-SLVR (arXiv 2305.17191) follows. Two
independent clips are about sqrt(2 d) apart in a head of d dimensions. This is the one module of
the evaluation that augments, because the augmentations are what it measures.

Letters: P pieces, B clips of a batch, T samples, d dimensions of a head.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from markupsafe import Markup
from torch import Tensor

from command.progress import track
from eval.charts import heatmap
from eval.config import InvarianceConfig
from eval.embed import Embedder, Features, cut
from eval.few_shot import training_details
from eval.inputs import EvaluatedSet, features_of, open_device, open_models, open_out, open_sets
from eval.published import INVARIANCE
from eval.report import Report, write_report
from eval.tables import Table
from pipeline.augmentations import DEFAULT, Augmentation
from shards.clip import SAMPLE_RATE_HZ


def invariance(config: InvarianceConfig) -> tuple[Path, Report]:
    """Return the folder of the results and the report: one row a model, set, head, augmentation.

    Raises:
        ValueError: fewer pieces than dimensions, or what `evaluate` refuses.
    """
    device = open_device(config.device)
    sets = open_sets(config)
    if any(data.piece_s is None for data in sets):
        raise ValueError(
            "--piece whole: clips of several lengths cannot be augmented in batches; give a length"
        )
    models = open_models(config, device)
    out = open_out(config, "evaluate invariance", sets)
    rows = []
    for data in sets:
        for model in models:
            features = features_of(model.embedder, data, config, device)
            distances = augmented_distances(model.embedder, data, features, config, device)
            rows += [{"model": model.embedder.name, "set": data.name, **each} for each in distances]
    results = pd.DataFrame(rows).assign(protocol=config.protocol)
    line = (
        f"Protocol {config.protocol} · up to {config.n_clips:,} clips a set, each augmentation "
        f"drawn {config.n_draws} times for each · covariance of the clean features of the whole set"
    )
    table, chart = _shown(results, line)
    published = Table(
        "Published distances, mean over the augmentations",
        ["variant", "contrastive", "predictive", "all"],
        [
            [
                name,
                *(f"{v[h]:.2f}" if h in v else "" for h in ("contrastive", "predictive", "all")),
            ]
            for name, v in INVARIANCE.items()
        ],
        ["MT-SLVR, heads of 500 dimensions: independent clips are 31.6 apart (1000: 44.7)."],
    )
    report = Report(
        "Learnt invariance",
        line,
        results,
        [table, published],
        {"Mahalanobis distance over that of independent clips": chart},
        training_details(models),
    )
    write_report(out, report)
    return out, report


def _shown(results: pd.DataFrame, line: str) -> tuple[Table, Markup]:
    """The distances as a table, and over sqrt(2 d) as a heatmap, where heads can be compared."""
    wide = results.pivot_table("distance", ["set", "model", "head"], "augmentation", sort=False)
    levels = results.groupby(["set", "model", "head"], sort=False)["independent"].first()
    names = [f"{name}, {model}, {head}" for name, model, head in wide.index]
    rows = [
        [str(augmentation), *(f"{distance:.2f}" for distance in distances)]
        for augmentation, distances in zip(wide.columns, wide.to_numpy().T, strict=True)
    ]
    rows.append(["mean", *(f"{mean:.2f}" for mean in wide.mean(axis=1))])
    rows.append(["independent clips", *(f"{level:.2f}" for level in levels)])
    table = Table(
        "Mahalanobis distance between clips and augmented clips, by head",
        ["augmentation", *names],
        rows,
        ["Independent clips are sqrt(2 d) apart; smaller is more invariant.", f"{line}."],
    )
    relative = wide.to_numpy() / levels.to_numpy()[:, None]
    return table, heatmap(relative, names, list(wide.columns), ("sqrt(2d)", 1.0))


def augmented_distances(
    model: Embedder,
    data: EvaluatedSet,
    clean: Features,
    config: InvarianceConfig,
    device: torch.device,
    augmentations: tuple[Augmentation, ...] = DEFAULT,
) -> list[dict[str, object]]:
    """Return head, augmentation, mean distance (NaN left out), and sqrt(2 d) of the head.

    Of each of `config.n_clips` clips drawn without replacement (all, where there are fewer) one
    random piece is augmented `config.n_draws` times, each augmentation alone, before the
    waveform's normalisation.

    Raises:
        ValueError: no more pieces than dimensions, whose covariance has no inverse.
    """
    metrics = {
        head: whitening(clean.values[:, part], f"{data}, {model.name}, head {head}").to(device)
        for head, part in model.heads.items()
    }
    assert data.piece_s is not None
    rng = np.random.default_rng(config.seed)
    generator = torch.Generator(device).manual_seed(config.seed)
    source = data.directory.dataset(data.split)
    samples = round(data.piece_s * SAMPLE_RATE_HZ)
    chosen = rng.permutation(len(source))[: config.n_clips]
    found: dict[tuple[str, str], list[Tensor]] = {}
    total = len(chosen) * config.n_draws
    with track(f"{model.name} on augmented {data.name}", total, "clips") as progress:
        for first in range(0, len(chosen), config.batch):
            clips = chosen[first : first + config.batch]
            pieces = [rng.choice(cut(source[int(clip)], samples)) for clip in clips]
            waves = torch.from_numpy(np.stack(pieces)).to(device).float() / 32768
            with torch.inference_mode():
                origin = model.embed(waves)
                for _ in range(config.n_draws):
                    for augmentation in augmentations:
                        params = augmentation.sample(len(waves), generator, device)
                        moved = model.embed(augmentation.apply(waves, params)) - origin
                        for head, part in model.heads.items():
                            distance = (moved[:, part].double() @ metrics[head]).norm(dim=1)
                            found.setdefault((head, augmentation.name), []).append(distance)
                    progress.advance(len(waves))
    return [
        {
            "head": head,
            "augmentation": name,
            "distance": float(torch.cat(distances).nanmean()),
            "independent": float(np.sqrt(2 * len(metrics[head]))),
        }
        for (head, name), distances in found.items()
    ]


def whitening(values: Tensor, what: str) -> Tensor:
    """Return (d, d) float64 A with |(f - f') A| the Mahalanobis distance of f and f'.

    Args:
        values: (P, d) clean features.
        what: they are of, for the error.

    Raises:
        ValueError: P <= d.
    """
    n, d = values.shape
    if n <= d:
        raise ValueError(
            f"{what}: {n} pieces for a covariance of {d} dimensions; expected more than {d}: give "
            "a larger set or split, or a smaller --piece"
        )
    covariance = torch.cov(values.double().T).reshape(d, d)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if failed:  # dimensions that never change: the published protocol's remedy
        factor = torch.linalg.cholesky(covariance + 1e-10 * torch.eye(d))
    # S = L L', so |L^-1 v|^2 = v' S^-1 v, and A = L^-T.
    whitener: Tensor = torch.linalg.inv(factor).T.contiguous()
    return whitener
