"""What a command line names, looked at before torch is loaded; and the folder of the results."""

from pathlib import Path

from slvr.command.record import RECORD, read_record
from slvr.eval.config import Compared, Models
from slvr.eval.tasks.registry import FEW_SHOT
from slvr.shards.files import refuse_links
from slvr.shards.read import ShardDirectory


def command_of(task: str) -> str:
    """The command of a task, as it stands in run.json."""
    return "evaluate" if task == FEW_SHOT else f"evaluate {task}"


def check_paths(config: Models, task: str) -> None:
    """Finds paths that cannot be read or written; makes nothing.

    Raises:
        ValueError: checkpoints, shards or a table of clips that are not there, an output folder
            that holds something else.
    """
    for path in map(Path, config.checkpoint):
        if not path.exists():
            raise ValueError(f"{path}: no such checkpoint; give the output folder of `train`")
        if path.is_dir() and not any(path.glob("*.safetensors")):
            raise ValueError(f"{path}: no checkpoint there; give the output folder of `train`")
    for path in map(Path, config.released):
        if not path.is_file():
            raise ValueError(f"{path}: no such file; give a published MT-SLVR model (.pt)")
    if config.only is not None and not Path(config.only).exists():
        raise ValueError(
            f"--only {config.only}: no such file; give the clips.parquet of a shard directory"
        )
    output_folder(config, task)
    moved = config.calibrate_on if isinstance(config, Compared) else None
    for shards in (*config.shards, *([moved] if moved else [])):
        ShardDirectory.open(shards)


def output_folder(config: Models, task: str) -> Path:
    """The folder of the results, which may hold earlier ones of the same command.

    Raises:
        ValueError: it holds something else, or is a file.
    """
    command = command_of(task)
    outside = [spec.partition("@")[0] for spec in config.hear]
    first = (*config.checkpoint, *config.released, *config.encoder, *outside)[0]
    name = Path(first).resolve().stem.replace(":", "-")
    suffix = "" if task == FEW_SHOT else f"-{task}"
    out = Path(config.out or Path("results") / (name + suffix))
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; give a folder to --out")
    if out.is_dir() and any(out.iterdir()):
        refuse_links(out)
        if not (out / RECORD).is_file() or read_record(out)["command"] != command:
            raise ValueError(
                f"{out}: exists and holds no results of {command}; give another --out, or remove it"
            )
    return out
