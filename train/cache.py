"""`--cache-channels`: the channels of the clips to learn from, as shard directories."""

from pathlib import Path

from slvr.command.progress import track
from slvr.pipeline.separated import derived_from, directories_of, fingerprint_of, write_channels
from slvr.shards.clip import key_of
from slvr.shards.read import ShardDirectory
from slvr.train.config import TrainConfig
from slvr.train.ranks import open_fabric
from slvr.train.separators import separators_of


def cache_channels(config: TrainConfig, folder: Path) -> list[Path]:
    """Writes M - 1 channels of every clip for each separator of a configuration; the directories.

    One that is there already is left as it is.

    Raises:
        ValueError: no separators, or a directory of something else.
    """
    data, views = config.data, config.parts.views.config
    device = open_fabric(config.devices, data.batch, unused=False).device
    separators = separators_of(views, device)
    if not separators:
        raise ValueError(
            "--cache-channels: no separators; name some with --views channels --views.separators, "
            "or choose a recipe that has them"
        )
    directory = ShardDirectory.open(data.shards)
    splits = sorted({data.split, data.validation_split or data.split})
    n_clips = sum(len(directory.clips(split)) for split in splits)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, separator in separators.items():
        out = folder / key_of(f"{directory.name}-{name}")
        there = [each for each in directories_of(folder) if each.path == out]
        if there:
            same = derived_from(directory.fingerprint, fingerprint_of(separator))
            if there[0].manifest.derived_from != same or not set(splits) <= set(there[0].splits):
                raise ValueError(
                    f"{out}: holds channels of other shards, another separator or other splits; "
                    "remove it, or give another --cache-channels"
                )
        else:
            with track(f"separate by {name}", n_clips, "clips") as progress:
                write_channels(
                    *(directory, splits, (name, separator), out, device, views.memory_mb),
                    progress.advance,
                )
        written.append(out)
    return written
