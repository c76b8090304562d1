"""What a run came to, as one page that needs no other file: `report.html`."""

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from markupsafe import Markup
from matplotlib.figure import Figure

from slvr.command.charts import ACCENT, INK, LINE, MUTED, drawing, svg
from slvr.command.named import named
from slvr.command.page import render
from slvr.command.record import read_record
from slvr.model.checkpoint import BEST
from slvr.model.learner import Learner
from slvr.pipeline.views.registry import VIEWS
from slvr.shards.files import write_text
from slvr.train.build import build_views
from slvr.train.config import RunConfig, TrainConfig
from slvr.train.log import LOG, THROUGHPUT, VALIDATION
from slvr.train.validation import EarlyStop

REPORT = "report.html"
N_POINTS = 400  # of a curve: longer logs are drawn as means of as many stretches
MEASURES = {
    "alignment": "mean squared distance of two views; lower is better",
    "uniformity": "log of the mean Gaussian potential over pairs of clips; lower is better",
    "spread": "1 where the embeddings fill the sphere, 0 where they have collapsed",
    "ap": "average precision of telling whether the augmentation was applied, %; dotted line: the "
    "share of views where it was, which guessing reaches",
    "improvement": "SI-SNR of the channels above that of the mixture, in dB, on mixtures whose "
    "sources are known; 0 where nothing is separated",
    "r2": "explained share of how the augmentation's parameters differ between the views, %",
}
"""First word of a measure's name -> what it means."""
PERCENT = frozenset({"ap", "r2", "data"})
"""First words of the shares, which are shown in percent; the tables hold fractions."""
N_DRAWN = 4096
"""Clips whose views are drawn for the base rates: +-0.5% of a rate of one half."""


def count_parameters(model: Learner) -> tuple[int, int]:
    """Trained values of the encoder, and of the whole model with its heads."""
    encoder = sum(p.numel() for p in model.encoder.parameters())
    return encoder, sum(p.numel() for p in model.parameters())


class Reported(Protocol):
    """What a report says of what was learnt; see `slvr.train.learning.Learning`."""

    @property
    def sizes(self) -> str:
        """Its parameters in words."""
        ...

    @property
    def found(self) -> str:
        """What it had to know of the clips before, in words."""
        ...

    def base_rates(self) -> dict[str, float]:
        """What guessing reaches in a measure."""
        ...


def write_report(out: Path, config: RunConfig, learnt: Reported, device: torch.device) -> Path:
    """Writes `report.html` from the tables and `run.json` in a run's folder; returns its path."""
    steps, rates = pd.read_csv(out / LOG), pd.read_csv(out / THROUGHPUT)
    held = pd.read_csv(out / VALIDATION) if (out / VALIDATION).exists() else None
    best = None if held is None else best_step(held, config.optimisation.min_delta)
    record = read_record(out)
    done = int(steps["step"].iloc[-1]) if len(steps) else 0
    page = render(
        "train",
        "report.html.j2",
        title=out.name,
        summary=f"{config.recipe}, {done:,} of {config.optimisation.steps:,} steps on "
        f"{config.data.shards}",
        facts=_facts(learnt, rates, held, best) | {"device": _machine(device)},
        sections={
            heading: section
            for heading, section in _sections(steps, rates, held, best, learnt.base_rates()).items()
            if section["charts"]
        },
        details={
            "Configuration": record["config"],
            "Software": {"slvr": record["code"], "python": record["python"], **record["packages"]},
            "Data": record["datasets"],
        },
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
    write_text(out / REPORT, page)
    return out / REPORT


def base_rates(config: TrainConfig) -> dict[str, float]:
    """Augmentation -> share of the views that it is applied to; where the views know it."""
    choice = config.parts.views
    if "labels" not in getattr(named(choice.name, VIEWS, "--views"), "knows", {"labels"}):
        return {}  # without loading the separators that it may have
    views = build_views(choice, config.data.clip_s)
    if "labels" not in views.knows:
        return {}
    labels = views.known(views.sample(N_DRAWN, 0))["labels"].double()
    return dict(zip(views.columns, labels.flatten(0, -2).mean(0).tolist(), strict=True))


def best_step(held: pd.DataFrame, min_delta: float) -> int | None:
    """The step of the last validation that was progress, whose model `best.safetensors` holds."""
    early = EarlyStop()
    better = [early.update(loss, min_delta) for loss in held["total"]]
    return int(held["step"][better].iloc[-1]) if any(better) else None


def _facts(
    learnt: Reported, rates: pd.DataFrame, held: pd.DataFrame | None, best: int | None
) -> dict[str, str]:
    facts = {"parameters": learnt.sizes}
    if learnt.found:
        facts["front end"] = learnt.found
    if len(rates):
        facts["throughput"] = (
            f"{rates['clips_per_s'].median():,.1f} clips/s (median), "
            f"{rates['data_wait'].mean():.1%} of the time spent waiting for clips"
        )
        memory_bytes = rates["gpu_memory_bytes"].max()
        if memory_bytes > 0:
            facts["GPU memory"] = f"{memory_bytes / 1e9:.2f} GB at most"
    if held is not None and best is not None:
        loss = held.set_index("step")["total"][best]
        facts["best checkpoint"] = f"{BEST}, step {best:,}, validation loss {loss:.4f}"
    return facts


def _machine(device: torch.device) -> str:
    names = [torch.cuda.get_device_name(device)] if device.type == "cuda" else []
    names.append(f"{os.cpu_count()} CPUs ({platform.processor() or platform.machine()})")
    return ", ".join([*names, f"threads: {torch.get_num_threads()}", platform.system()])


def _sections(
    steps: pd.DataFrame,
    rates: pd.DataFrame,
    held: pd.DataFrame | None,
    best: int | None,
    base: Mapping[str, float],
) -> dict[str, dict[str, Any]]:
    """Heading -> charts and a note, for each part of the page; a part may have no charts."""
    marks = "" if held is None else " Points: validation; dashed line: the best checkpoint."
    losses = [name for name in steps.columns if name not in ("step", "lr")]
    sections: dict[str, dict[str, Any]] = {
        "Losses": {
            "charts": [curve(name, steps, held, best=best) for name in losses if _has(steps, name)],
            "note": f"Training, in the training's mode of the batch norms.{marks}",
        },
        "Learning rate and throughput": {
            "charts": [
                curve(name, table)
                for table, name in (
                    (steps, "lr"),
                    *((rates, name) for name in rates.columns.drop("step")),
                )
                if _has(table, name)
            ],
            "note": "clips_per_s: clips a second; data_wait: share of the time spent waiting for "
            "clips, %.",
        },
    }
    if held is not None:
        measures = [name for name in held.columns if name not in ("step", *losses)]
        for head in dict.fromkeys(name.partition(".")[0] for name in measures):
            shown = [name for name in measures if name.startswith(f"{head}.")]
            kinds = dict.fromkeys(name.split(".")[1].partition("_")[0] for name in shown)
            means = [f"{kind}: {MEASURES[kind]}." for kind in kinds if kind in MEASURES]
            sections[f"What {head} has learnt"] = {
                "charts": [
                    curve(name, held, best=best, base=base.get(name.partition(".ap_")[2]))
                    for name in shown
                    if _has(held, name)
                ],
                "note": " ".join(["Validation.", *means]),
            }
    return sections


def _has(table: pd.DataFrame, name: str) -> bool:
    return name in table and bool(table[name].notna().any())


def curve(
    name: str,
    table: pd.DataFrame,
    held: pd.DataFrame | None = None,
    *,
    best: int | None = None,
    base: float | None = None,
) -> Mapping[str, str | Markup]:
    """One column of a table over the steps, as a chart with its name and last value.

    Args:
        name: of the column.
        table: of the training, or of validations alone.
        held: the same column of validations, drawn as points.
        best: the step of the best checkpoint.
        base: what guessing reaches.
    """
    is_share = name.rpartition(".")[2].partition("_")[0] in PERCENT
    scale, unit = (100, " %") if is_share else (1, "")
    known = table[["step", name]].dropna()
    known[name] *= scale
    stretches = np.array_split(known.to_numpy(), min(N_POINTS, len(known)))
    means = np.array([stretch.mean(axis=0) for stretch in stretches])
    with drawing(name):
        figure = Figure(figsize=(3.6, 1.9), layout="constrained")
        axes = figure.subplots()
        axes.plot(*means.T, color=ACCENT, linewidth=1.4, marker="." if len(means) < 3 else "")
        last = f"{known[name].iloc[-1]:.4g}{unit}"
        if base is not None:
            axes.axhline(scale * base, color=INK, linewidth=1, linestyle=(0, (1, 2)))
            last += f", base rate {scale * base:.3g}{unit}"
        if held is not None and name in held:
            axes.plot(held["step"], held[name], ".", color=INK, markersize=4)
            last += f", validation {held[name].iloc[-1]:.4g}"
        if best is not None:
            axes.axvline(best, color=MUTED, linewidth=1, linestyle=(0, (3, 2)))
        axes.grid(color=LINE, linewidth=0.8)
        axes.locator_params(nbins=5)
        axes.tick_params(labelcolor=MUTED)
        axes.set_xlabel("step", color=MUTED)
        return {"name": name, "last": last, "svg": svg(figure, axes, "curve")}
