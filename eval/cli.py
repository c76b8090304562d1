"""The command `evaluate`: frozen encoders and labelled shards -> few-shot accuracy, or other tasks.

The few-shot table needs no sub-command. Nothing here loads torch before the paths are checked.
"""

from collections.abc import Sequence
from typing import Any

from slvr.command.line import DONE, add_options, arguments, build, exit_code, new_parser
from slvr.command.named import config_of, named
from slvr.eval.config import Models
from slvr.eval.tasks import FEW_SHOT, TASKS

_WHAT = "evaluate"


def main(args: Sequence[str] | None = None) -> int:
    """Runs `evaluate`; returns the exit code.

    The first word decides: parsers with optional sub-commands would ask for the table's required
    flags before every one of them.
    """
    given = arguments(args)
    text = given.pop(0) if given and not given[0].startswith("-") else ""
    return exit_code("evaluate", lambda: run(text, given))


def run(text: str, args: list[str]) -> int:
    """Evaluates a task, prints the tables and where the report is; returns the exit code.

    Args:
        text: name of a task, `package.module:Class` or `./file.py:Class`; empty for few-shot.
        args: its options.

    Raises:
        ValueError: no such task, or what it refuses.
    """
    name = text or FEW_SHOT
    ours = name in TASKS
    config_type = config_of(name, TASKS, _WHAT) if ours else _strangers(name).Config
    parser = new_parser(f"evaluate {text}".strip(), (config_type.__doc__ or "").strip())
    if not text:
        parser.epilog = _others()
    add_options(parser, config_type)
    config = build(config_type, parser.parse_args(args))

    from slvr.eval.paths import check_paths

    check_paths(config, name if ours else _strangers(name).NAME)

    from slvr.eval.report import print_report
    from slvr.eval.run import evaluate

    task = named(name, TASKS, _WHAT)
    print_report(*evaluate(task(config)))
    return DONE


def _strangers(text: str) -> Any:
    """A task that is not in the registry.

    Raises:
        ValueError: no such class, or one that is no task.
    """
    found = named(text, TASKS, _WHAT)
    from slvr.eval.tasks.contract import Task

    config = getattr(found, "Config", None)
    if not (
        isinstance(found, type)
        and issubclass(found, Task)
        and isinstance(config, type)
        and issubclass(config, Models)
    ):
        raise ValueError(
            f"evaluate {text}: not a task; expected a subclass of slvr.eval.tasks.contract.Task "
            "whose Config is a frozen dataclass on top of slvr.eval.config.Models"
        )
    return found


def _others() -> str:
    """What else there is, for the end of `evaluate --help`."""
    others = (
        f"evaluate {name} {config_of(name, TASKS, _WHAT).__doc__}"
        for name in TASKS
        if name != FEW_SHOT
    )
    listed = "; ".join(" ".join(other.split()) for other in others)
    return (
        f"other commands, each with its own --help: {listed}; a task of your own: evaluate "
        "package.module:Class or evaluate ./file.py:Class"
    )
