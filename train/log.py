"""Losses on disk: a CSV file and TensorBoard, both exact after a resume."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from shards.files import write_text

LOG = "log.csv"
FIELDS = ("step", "lr", "total", "contrastive", "predictive")


class Log:
    """Appends to `log.csv` and `tensorboard/`.

    Rows of steps after `first_step` are of a run that was cut off behind its last checkpoint: they
    are dropped.
    """

    def __init__(self, run: Path, first_step: int) -> None:
        path = run / LOG
        write_text(path, _text(FIELDS, *_rows(path, first_step)))
        self._file = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=first_step + 1)

    def write(self, step: int, values: dict[str, float], rates: dict[str, float]) -> None:
        """Logs a step: values to both, rates (which differ from run to run) to TensorBoard.

        The decimal text of a value gives back its bits; a loss that is not trained stays empty.
        """
        self._file.write(
            _text([step, *(repr(values[f]) if f in values else "" for f in FIELDS[1:])])
        )
        self._file.flush()
        for name, value in (values | rates).items():
            self._board.add_scalar(name, value, step)

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._board.close()


def _rows(path: Path, last_step: int) -> list[list[str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    # a kill may have cut the last row short
    return [row for row in rows if len(row) == len(FIELDS) and int(row[0]) <= last_step]


def _text(*rows: Sequence[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
