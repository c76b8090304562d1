"""The command `evaluate`."""

import sys
from pathlib import Path

import jsonargparse
from rich.console import Console

from eval.config import EvaluateConfig

_LISTS = ("checkpoint", "shards")


def main(args: list[str] | None = None) -> int:
    """Run `evaluate` and return its exit code: 0 done, 1 the machine's fault, 2 the arguments'."""
    options = _parser().parse_args(_plain(sys.argv[1:] if args is None else args))
    values = options.as_dict()
    del values["config"]
    values |= {name: tuple(Path(path) for path in values[name]) for name in _LISTS}
    console = Console()
    try:
        config = EvaluateConfig(**values)
        from eval.evaluate import evaluate, print_table

        out, scores = evaluate(config, console)
    except ValueError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"evaluate: {error}; make room or choose another --out or --cache", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "evaluate: stopped; the same command goes on from the sets that are embedded",
            file=sys.stderr,
        )
        return 130
    print_table(scores, console)
    console.print(f"report: {out / 'report.html'}", soft_wrap=True)
    return 0


def _parser() -> jsonargparse.ArgumentParser:
    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = jsonargparse.ArgumentParser(
        prog="evaluate",
        description="Few-shot accuracy of trained encoders on labelled shards.",
    )
    parser.add_argument("--config", action="config", help="YAML file of these settings.")
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        type=str,
        required=True,
        help="Run folders of `train`, or checkpoint files; one row of the table each.",
    )
    parser.add_argument(
        "--shards",
        nargs="+",
        type=str,
        required=True,
        help="Shard directories of `ingest`, each a labelled set.",
    )
    parser.add_class_arguments(EvaluateConfig, as_group=False, skip=set(_LISTS))
    return parser


def _plain(args: list[str]) -> list[str]:
    """Return the arguments with `--n-way` written `--n_way` and repeated lists joined to one."""
    plain: list[str] = []
    lists: dict[str, list[str]] = {f"--{name}": [] for name in _LISTS}
    target = plain
    for arg in args:
        if not arg.startswith("--"):
            target.append(arg)
            continue
        flag, equals, value = arg.partition("=")
        flag = "--" + flag[2:].replace("-", "_")
        target = lists.get(flag, plain)
        if target is plain:
            plain.append(flag + equals + value)
        elif equals:
            target.append(value)
    return plain + [word for flag, values in lists.items() if values for word in (flag, *values)]
