"""Losses on disk, as CSV and for TensorBoard, both exact after a resume; and how fast it went."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from slvr.command.text import csv_cells
from slvr.shards.files import write_text

LOG = "log.csv"
VALIDATION = "validation.csv"
THROUGHPUT = "throughput.csv"
RATES = ("clips_per_s", "data_wait", "gpu_memory_bytes")
"""Clips a second, share of the time spent waiting for clips, peak of what tensors take on a GPU."""


class Log:
    """Appends to `log.csv`, `validation.csv`, `throughput.csv` and `tensorboard/`.

    Rows of steps after `first_step` are of a run that was cut off behind its last checkpoint: they
    are dropped.
    """

    def __init__(self, run: Path, losses: Sequence[str], first_step: int) -> None:
        """Opens the tables of a run; `losses` are the columns besides step and learning rate."""
        self._steps = _Table(run / LOG, ("lr", *losses), first_step)
        self._rates = _Table(run / THROUGHPUT, RATES, first_step)
        self._validations: _Table | None = None
        self._run, self._first_step = run, first_step
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=first_step + 1)

    def write(self, step: int, values: dict[str, float], rates: dict[str, float]) -> None:
        """Logs a step: values, and rates, which differ from run to run, in a file of their own."""
        self._steps.append(step, values)
        self._rates.append(step, rates)
        for name, value in (values | rates).items():
            self._board.add_scalar(name, value, step)

    def write_validation(self, step: int, measures: dict[str, float]) -> None:
        """Logs a validation."""
        if self._validations is None:
            path = self._run / VALIDATION
            self._validations = _Table(path, tuple(measures), self._first_step)
        self._validations.append(step, measures)
        for name, value in measures.items():
            self._board.add_scalar(f"validation/{name}", value, step)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._steps.close()
        self._rates.close()
        if self._validations is not None:
            self._validations.close()
        self._board.close()


def progress_note(values: dict[str, float], rates: dict[str, float]) -> str:
    """Losses and rates of a step in a line."""
    parts = [f"{name} {value:.3f}" for name, value in values.items()]
    parts += [f"{rates['clips_per_s']:.0f} clips/s", f"data wait {rates['data_wait']:.0%}"]
    if "gpu_memory_bytes" in rates:
        parts.append(f"GPU {rates['gpu_memory_bytes'] / 1e9:.1f} GB")
    return "  ".join(parts)


def gpu_memory(device: torch.device) -> dict[str, float]:
    """The peak of what tensors have taken on a GPU as a rate; none on a CPU."""
    if device.type != "cuda":
        return {}
    return {"gpu_memory_bytes": float(torch.cuda.max_memory_allocated(device))}


class _Table:
    """A CSV file of one row a step, begun with the rows up to `last_step` that it has."""

    def __init__(self, path: Path, columns: tuple[str, ...], last_step: int) -> None:
        self._columns = columns
        header = ("step", *columns)
        write_text(path, _text(header, *_rows(path, len(header), last_step)))
        self._file = path.open("a", encoding="utf-8")

    def append(self, step: int, values: dict[str, float]) -> None:
        """Adds a row; the decimal text of a value gives back its bits, an absent one is empty."""
        texts = (repr(values[name]) if name in values else "" for name in self._columns)
        self._file.write(_text([step, *texts]))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _rows(path: Path, n_columns: int, last_step: int) -> list[list[str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    # a kill may have cut the last row short
    return [row for row in rows if len(row) == n_columns and int(row[0]) <= last_step]


def _text(*rows: Sequence[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(map(csv_cells, rows))
    return buffer.getvalue()
