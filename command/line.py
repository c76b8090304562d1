"""Command lines from frozen dataclasses, and errors as sentences with an exit code."""

import atexit
import contextlib
import dataclasses
import io
import os
import select
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from slvr.command.text import say

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

DONE, FAILED, USAGE, INTERRUPTED, UNREAD, TERMINATED = 0, 1, 2, 130, 141, 143
"""Exit codes: done; more failures than allowed, or a failed check; usage; Ctrl-C; nobody reads our
output any more (`| head -1`; a shell's 128 + SIGPIPE); SIGTERM."""

Config = TypeVar("Config")


class Terminated(KeyboardInterrupt):
    """SIGTERM asked to stop, for example a cluster that takes the machine back."""


def new_parser(prog: str, description: str) -> "ArgumentParser":
    """A parser that also takes `--config FILE` with the same names as the flags."""
    from jsonargparse import ArgumentParser  # noqa: PLC0415 - worker processes parse nothing

    parser = ArgumentParser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    of_parser = parser.error
    vars(parser)["error"] = lambda text, ex=None: of_parser(_without_values(text), ex)
    return parser


def _without_values(message: str) -> str:
    """The message on unknown flags without their values: `--proxi` may have got a password."""
    head, unknown, words = message.partition("unrecognized arguments: ")
    if not unknown or "-" not in {word[:1] for word in words.split()}:
        return message
    flags = [word.partition("=")[0] for word in words.split() if word.startswith("-")]
    return f"{head}{unknown}{' '.join(flags)}"


def add_options(
    parser: "ArgumentParser",
    config: type[Any],
    *,
    positional: bool = False,
    prefix: str = "",
    only: Mapping[str, str] | None = None,
) -> None:
    """Adds one option for each field of a dataclass: `max_fail` becomes `--max-fail`.

    The help is the field's docstring. A field without default is required; a tuple takes one or
    more values; `bool` gives `--x` and `--no-x`.

    Args:
        parser: gets the options.
        config: the dataclass.
        positional: take required fields by position, not by `--name`.
        prefix: of the flags, `encoder.` for example.
        only: fields that alone are added, none of them required, and None (a tuple: empty) where
            they are not given; each with the sentence that says what this means.
    """
    import docstring_parser  # noqa: PLC0415 - worker processes parse nothing
    from jsonargparse import ActionYesNo  # noqa: PLC0415

    helps = {
        parameter.arg_name: parameter.description
        for base in reversed(config.__mro__)
        if dataclasses.is_dataclass(base)
        for parameter in docstring_parser.parse_from_object(base).params
    }
    types = get_type_hints(config)
    for field in _options(config):
        if only is not None and field.name not in only:
            continue
        flag = flag_of(prefix + field.name)
        options: dict[str, Any] = {"help": helps.get(field.name), "type": types[field.name]}
        unset = field.default
        if only is not None:
            options["help"] = f"{options['help']} {only[field.name]}"
            options["type"], unset = types[field.name] | None, None
        required = unset is dataclasses.MISSING
        is_tuple = str(types[field.name]).startswith("tuple")
        if required and positional:
            parser.add_argument(field.name, **options)
        elif required and not is_tuple:
            parser.add_argument(flag, required=True, **options)
        elif types[field.name] is bool:
            yes_no = ActionYesNo(yes_prefix="", no_prefix="no-")
            parser.add_argument(flag, action=yes_no, default=unset, help=options["help"])
        elif is_tuple:
            options["type"] = str
            assert required or not unset, "values given would be added to the default"
            options |= {"nargs": "+", "action": "extend", "required": required}
            parser.add_argument(flag, default=None if required else [], **options)
        else:
            parser.add_argument(flag, default=unset, **options)


def flag_of(name: str) -> str:
    """The flag of a field: `--max-fail` of `max_fail`."""
    return "--" + name.replace("_", "-")


def build(config: type[Config], values: Any) -> Config:
    """The dataclass from parsed values; lists become tuples."""
    chosen = {field.name: getattr(values, field.name) for field in _options(config)}
    return config(**{k: tuple(v) if isinstance(v, list) else v for k, v in chosen.items()})


def _options(config: type[Any]) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(config) if field.init]


def exit_code(prog: str, work: Callable[[], int]) -> int:
    """Runs a command; an expected error becomes one sentence on stderr and an exit code.

    Set SLVR_TRACEBACK=1 to see where an error was raised.
    """
    try:
        return work()
    except KeyboardInterrupt as interrupt:
        hint = str(interrupt) or "finished work is kept; run the same command to go on"
        _tell(f"\n{prog}: interrupted: {hint}")
        return TERMINATED if isinstance(interrupt, Terminated) else INTERRUPTED
    except (ValueError, OSError) as error:
        if os.environ.get("SLVR_TRACEBACK"):
            raise
        if isinstance(error, BrokenPipeError) and _is_unread():
            return UNREAD
        _tell(f"{prog}: error: {sentence(error)}")
        return FAILED if _is_machine_trouble(error) else USAGE


def _tell(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # Ctrl-C ends `2>&1 | tee` as well
        say(text, sys.stderr)


def _is_unread() -> bool:
    """Whether the reader of our output has gone; a pipe of a network's would be an error."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)  # only what is always reported
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _flush_or_drop() -> None:
    """At the end of a process: output that nobody reads any more is dropped without a word."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_machine_trouble(error: Exception) -> bool:
    """Whether the machine failed (disk full, a broken read), not what the user typed."""
    typed = FileNotFoundError | FileExistsError | NotADirectoryError | PermissionError
    return isinstance(error, OSError) and not isinstance(error, typed)


def sentence(error: Exception) -> str:
    """What went wrong and where, and for a failed read or write what to do."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return (
        f"{where}{error.strerror}; finished work is kept: make room or choose another place, "
        "then run the same command again"
    )


def arguments(args: Sequence[str] | None) -> list[str]:
    """The arguments of this process, whose output may then be cut short, or those given."""
    if args is not None:
        return list(args)
    atexit.register(_flush_or_drop)  # the interpreter would complain of a closed pipe
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be no text; stderr does
    return sys.argv[1:]
