"""The skeleton of every task: open, check, embed, score, report."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console

from slvr.command.record import write_record
from slvr.command.text import plain
from slvr.eval.config import Models
from slvr.eval.leaks import (
    NOBODY_KNOWS,
    TrainedOn,
    leaks_of,
    leaks_table,
    seen_by_any,
    shards_moved_to,
    trained_on,
)
from slvr.eval.models import EvaluatedModel, open_models
from slvr.eval.paths import command_of, output_folder
from slvr.eval.prepared import how_embedded, sets_table
from slvr.eval.report import Report, write_report
from slvr.eval.sets import EvaluatedSet, open_sets, set_columns
from slvr.eval.tasks.contract import Row, Task
from slvr.shards.common import table_sha256


def evaluate(task: Task) -> tuple[Path, Report]:
    """The folder of the results and the report: all models on all sets.

    Everything that can be wrong with the arguments is found before the first clip is embedded.

    Raises:
        ValueError: a model, shard directory or output folder that cannot be used.
    """
    config: Models = task.config
    device = open_device(config.device)
    sets = open_sets(config, seen_by_any(config) if config.drop_seen else frozenset())
    models = open_models(config, device)
    trained = _trained_on(config, models)
    leaks = {data.name: leaks_of(data, trained) for data in sets}
    task.check(sets, models)
    parts = [[data.of_split(split) for split in task.splits(data)] for data in sets]
    contenders = task.contenders(models, device)
    out = output_folder(config, task.NAME)
    _make(out, task, sets)
    shown = Console(stderr=True, highlight=False, soft_wrap=True)
    for line in [line for name, found in leaks.items() for line in found.lines(name)]:
        shown.print(plain(f"evaluate: {line}"), markup=False)
    columns: list[dict[str, Any]] = []
    for data, embedded in zip(sets, parts, strict=True):
        for model in contenders:
            features = {part.split: task.embedded(model, part, device) for part in embedded}
            rows = list(task.score(model, data, features, device))
            found = leaks[data.name]
            of_model = {"model": model.name, "set": data.name}
            of_set = {
                "waveforms": model.waveforms,
                **set_columns(data),
                "n_clips_left_out": found.n_clips - found.n_evaluated,
                "n_clips_equal": found.n_equal,
                "n_clips_seen": found.n_seen.get(model.name),
            }
            columns += [of_model | _columns(row) | of_set for row in rows]
            # as soon as it is known: a table of ten sets takes hours the first time
            if headline := task.headline(rows):
                shown.print(plain(f"{data.name}, {model.name}: {headline}"), markup=False)
    results = task.compared(pd.DataFrame(columns).astype({"n_clips_seen": "Int64"}))
    presented = task.present(results)
    embedded_parts = [part for parts_of_set in parts for part in parts_of_set]
    line = f"{presented.line} · {how_embedded(results, embedded_parts, config.protocol)}"
    notes = [model.remark for model in contenders if model.remark]
    tables = [*presented.tables, sets_table(embedded_parts, notes), leaks_table(leaks, trained)]
    details = _training(models)
    report = Report(presented.title, line, results, tables, presented.charts, details)
    write_report(out, report)
    return out, report


def open_device(name: str) -> torch.device:
    """The device of `--device`.

    Raises:
        ValueError: it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"--device {name}: not there; expected auto, cpu, or cuda on a machine with a GPU"
        ) from error


def _make(out: Path, task: Task, sets: Sequence[EvaluatedSet]) -> None:
    """Makes the folder of the results and its run.json.

    Before the long part: a folder that cannot be written is found here, too.
    """
    config: Models = task.config
    out.mkdir(parents=True, exist_ok=True)
    hashes = {str(each.directory.path): each.directory.fingerprint for each in sets}
    if config.only is not None:
        hashes[config.only] = table_sha256(config.only)
    write_record(out, command_of(task.NAME), config, hashes)


def _trained_on(config: Models, models: Sequence[EvaluatedModel]) -> dict[str, TrainedOn]:
    """What each model was trained on, by its name; they come in the order of the command line."""
    moved = shards_moved_to(config)
    paths = config.checkpoint + (None,) * (len(models) - len(config.checkpoint))
    return {
        model.name: NOBODY_KNOWS if path is None else trained_on(path, moved)
        for model, path in zip(models, paths, strict=True)
    }


def _columns(row: Row) -> dict[str, Any]:
    return {
        field.name.removesuffix("_"): getattr(row, field.name) for field in dataclasses.fields(row)
    }


def _training(models: Sequence[EvaluatedModel]) -> dict[str, Mapping[str, Any]]:
    """How the trained models were trained, for the end of a report."""
    return {f"Training of {model.name}": model.training for model in models if model.training}
