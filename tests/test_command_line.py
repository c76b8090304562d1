"""What all commands share: options that are given anew, and a reader who has seen enough."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import command
from slvr.command import line
from slvr.command.line import UNREAD, add_options, exit_code, new_parser
from slvr.ingest.building.ledger import About, Ledger
from slvr.shards.clip import Clip, Source
from slvr.shards.manifest import ShardInfo
from slvr.shards.rows import row_of

N_LINES = 4000


@dataclass(frozen=True)
class Config:
    """Options."""

    path: str
    """Where."""
    rate: float = 3.0
    """How fast."""
    keep: bool = True
    """Whether."""
    names: tuple[str, ...] = ()
    """Which."""


def test_chosen_options_have_no_default_and_say_what_that_means() -> None:
    parser = new_parser("x", "")
    add_options(parser, Config, only=dict.fromkeys(("path", "rate", "names"), "As before."))
    found = parser.parse_args([])
    assert (found.path, found.rate, found.names) == (None, None, []) and "keep" not in found
    found = parser.parse_args(["--rate", "2", "--names", "a", "b"])
    assert (found.rate, found.names) == (2.0, ["a", "b"])
    assert "How fast. As before." in " ".join(parser.format_help().split())


@pytest.fixture
def long_status(tmp_path: Path) -> Path:
    """A directory whose `ingest status` prints more than any pipe holds."""
    rows = [
        row_of(Clip(f"c{i}", "train", Source("x")).failed("corrupt", f"reason_{i}"))
        for i in range(N_LINES)
    ]
    with Ledger(tmp_path, "x", About("folder", {}, "flac", 128.0, N_LINES)) as ledger:
        ledger.commit(ShardInfo("train-000000.tar", "train", 0, 0, ""), rows)
    return tmp_path


def test_a_reader_who_has_seen_enough_ends_a_command_quietly(long_status: Path) -> None:
    ours = " ".join(command("ingest", "status", "."))
    line = f"{{ {ours}; echo $? >code; }} | head -1"
    done = subprocess.run(
        line, shell=True, cwd=long_status, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"folder, not running: {N_LINES} of {N_LINES} clips settled (100.0 %)\n"
    assert done.stderr == ""
    assert int((long_status / "code").read_text()) == UNREAD == 128 + 13


def test_both_outputs_may_be_closed(long_status: Path) -> None:
    line = f"{{ {' '.join(command('ingest', 'status', '.'))} 2>&1; echo $? >code; }} | head -1"
    subprocess.run(line, shell=True, cwd=long_status, stdout=-3, timeout=60, check=True)
    assert int((long_status / "code").read_text()) == UNREAD


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(
    "words",
    ["slvr --help", "ingest list", "ingest --help", "train --help", "evaluate --help"],
)
def test_nobody_reading_at_all_is_no_trouble_for_any_command(words: str, buffered: bool) -> None:
    name, *args = words.split()
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            command(name, *args),
            stdout=writer,
            stderr=subprocess.PIPE,
            env=os.environ | ({} if buffered else {"PYTHONUNBUFFERED": "1"}),
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.stderr == b"" and done.returncode in (0, UNREAD)


def test_a_broken_pipe_of_something_else_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> int:
        raise BrokenPipeError(32, "Broken pipe", "socket")

    monkeypatch.setattr(line, "_is_unread", lambda: False)
    assert exit_code("ingest", work) == 1
    assert "ingest: error: socket: Broken pipe" in capsys.readouterr().err
