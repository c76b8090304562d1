"""The command `slvr`: the other commands under one name, for machines with another `train`."""

import importlib
from argparse import REMAINDER, ArgumentParser
from collections.abc import Sequence

from slvr.command.line import arguments
from slvr.command.record import code_version

COMMANDS = {
    "ingest": "slvr.ingest.cli",
    "train": "slvr.train.cli",
    "evaluate": "slvr.eval.cli",
}
"""Command -> the module whose `main` it is."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs `slvr`; returns the exit code."""
    parser = ArgumentParser("slvr", description="`slvr train ...` is the same as `train ...`.")
    parser.add_argument("--version", action="version", version=f"slvr {code_version()}")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("arguments", nargs=REMAINDER, help="its own; see `slvr COMMAND --help`")
    given = parser.parse_args(arguments(args))
    code: int = importlib.import_module(COMMANDS[given.command]).main(given.arguments)
    return code
