"""The command `evaluate`: encoders -> few-shot accuracy on labelled shards, and its ablations."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from slvr.command.line import DONE, add_options, arguments, build, exit_code, new_parser
from slvr.eval.config import CONFIGS, EvaluateConfig


def main(args: Sequence[str] | None = None) -> int:
    """Runs `evaluate`; returns the exit code.

    The few-shot table has no sub-command of its own, so the first word decides: parsers with
    optional sub-commands would ask for the table's required flags before every one of them.
    """
    given = arguments(args)
    name = given.pop(0) if given and given[0] in CONFIGS else ""
    config = CONFIGS.get(name, EvaluateConfig)
    parser = new_parser(f"evaluate {name}".strip(), (config.__doc__ or "").strip())
    if not name:
        others = (f"  evaluate {word:<11} {CONFIGS[word].__doc__}" for word in CONFIGS)
        parser.epilog = "other commands, each with its own --help: " + "; ".join(
            " ".join(other.split()) for other in others
        )
    add_options(parser, config)
    values = parser.parse_args(given)
    return exit_code("evaluate", lambda: run(name, build(config, values)))


def run(name: str, config: Any) -> int:
    """Evaluates, prints the tables and where the report is; returns the exit code."""
    from slvr.eval.report import Report, print_report
    from slvr.eval.tasks.few_shot import evaluate
    from slvr.eval.tasks.invariance import invariance
    from slvr.eval.tasks.probe import probe
    from slvr.eval.tasks.retrieve import retrieve
    from slvr.eval.tasks.weights import weights

    commands: dict[str, Callable[[Any], tuple[Path, Report]]] = {
        "": evaluate,
        "invariance": invariance,
        "weights": weights,
        "probe": probe,
        "retrieve": retrieve,
    }
    print_report(*commands[name](config))
    return DONE
