"""The command `evaluate`: trained encoders -> few-shot accuracy on labelled shards."""

from collections.abc import Sequence

from command.line import DONE, add_options, arguments, build, exit_code, new_parser
from eval.config import EvaluateConfig


def main(args: Sequence[str] | None = None) -> int:
    """Runs `evaluate`; returns the exit code."""
    parser = new_parser("evaluate", (EvaluateConfig.__doc__ or "").strip())
    add_options(parser, EvaluateConfig)
    values = parser.parse_args(arguments(args))
    return exit_code("evaluate", lambda: run(build(EvaluateConfig, values)))


def run(config: EvaluateConfig) -> int:
    """Evaluates, prints the table and where the report is; returns the exit code."""
    from rich.console import Console

    from eval.evaluate import evaluate, print_table
    from eval.report import REPORT

    out, scores = evaluate(config)
    print_table(scores, Console())
    print(f"report: {out / REPORT}")
    return DONE
