"""`run.json`: how an output folder was made."""

import dataclasses
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RECORD = "run.json"
PACKAGES = (
    *("torch", "torchaudio", "lightning-fabric", "safetensors"),
    *("numpy", "scipy", "soundfile", "soxr", "av", "yt-dlp"),
    *("webdataset", "pandas", "pyarrow"),
)

_ANEW = "it was not written by this command, or was cut short: make the folder anew"


def write_record(
    directory: Path, command: str, config: Any, datasets: Mapping[str, str] | None = None
) -> None:
    """Writes `run.json`: configuration, code version, package versions, data set hashes.

    Args:
        directory: the output folder; must exist.
        command: `ingest`, `train` or `evaluate`.
        config: the resolved configuration (seeds are in it), by name or as a dataclass, whose
            fields with `repr=False` are private (a proxy's password) and are left out.
        datasets: path -> SHA-256 of the manifest of each data set that was read.
    """
    if dataclasses.is_dataclass(config):
        config = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.repr}
    record = {
        "command": command,
        "config": config,
        "code": code_version(),
        "python": platform.python_version(),
        "packages": package_versions(PACKAGES),
        "datasets": dict(datasets or {}),
    }
    text = json.dumps(record, indent=1, default=str, ensure_ascii=False) + "\n"
    temporary = directory / f".{RECORD}.partial"
    temporary.unlink(missing_ok=True)  # of a killed process
    # a path that is no UTF-8 becomes an escape of JSON
    temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    temporary.replace(directory / RECORD)


def read_record(directory: Path) -> dict[str, Any]:
    """What `run.json` of an output folder says: `command`, `config`, `datasets` and more.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    path = directory / RECORD
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged ({error}); {_ANEW}") from error
    kinds = {"command": str, "config": dict, "datasets": dict}
    if not isinstance(record, dict):
        record = {}
    for name, kind in kinds.items():
        if not isinstance(record.get(name), kind):
            raise ValueError(f"{path}: no {name!r} in it, as every command writes it; {_ANEW}")
    return record


def package_versions(names: Sequence[str]) -> dict[str, str]:
    """Installed version by package name; absent packages are left out."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def code_version() -> str:
    """Version of Slvr, with the git commit where it runs from a checkout."""
    version = package_versions(["slvr"]).get("slvr", "unknown")
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return version
    git = ["git", "-C", str(here), "describe", "--always", "--dirty"]
    described = subprocess.run(git, capture_output=True, text=True, check=False)
    return f"{version}+{described.stdout.strip()}" if described.returncode == 0 else version
