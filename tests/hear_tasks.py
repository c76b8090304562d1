"""HEAR tasks at toy size, made here: prepared as the kit's tarballs, and the original archives."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation_sets import sound, tar_of, zip_of

LONG_S = 2.0
"""Of a toy's scene with events."""


def prepared(
    lists: Mapping[str, Mapping[str, Any]],
    labels: Sequence[str],
    top: str = "hear-2021.0.6/tasks/toy-v1-small",
    rates_hz: Sequence[int] = (48_000,),
    without: Sequence[str] = (),
    seconds: float = 0.2,
    **about: Any,
) -> dict[str, bytes]:
    """Path -> content of a prepared task; `without` names files that are left out."""
    metadata = {
        **{"task_name": "toy", "version": "v1", "mode": "small", "embedding_type": "scene"},
        **{"prediction_type": "multiclass", "split_mode": "trainvaltest"},
        **{"sample_duration": seconds, "evaluation": ["top1_acc"], "splits": list(lists)},
        **about,
    }
    vocabulary = "idx,label\n" + "".join(f"{i},{label}\n" for i, label in enumerate(labels))
    members = {
        "task_metadata.json": json.dumps(metadata).encode(),
        "labelvocabulary.csv": vocabulary.encode(),
        **{f"{split}.json": json.dumps(names).encode() for split, names in lists.items()},
        "labelcount_train.json": b"{}",
    }
    for split, names in lists.items():
        for i, file in enumerate(names):
            for rate_hz in rates_hz:
                content = sound("WAV", rate_hz, seconds=seconds, seed=i)
                members[f"{rate_hz}/{split}/{file}"] = content
    return {f"{top}/{name}": held for name, held in members.items() if name not in without}


def write_tree(folder: Path, members: Mapping[str, bytes]) -> Path:
    for name, content in members.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def speech_commands(folder: Path) -> Path:
    """Both official archives: 3 words of 12, 2 others, two backgrounds, a test set of 3 folders."""

    def wav(seed: int, seconds: float = 1.0) -> bytes:
        return sound("WAV", 16_000, seconds=seconds, seed=seed)

    spoken = {
        f"{word}/{speaker:08x}_nohash_{n}.wav": wav(speaker, 1.0 if n else 0.75)
        for word in ("down", "yes", "up", "bed", "zero")
        for speaker in range(4)
        for n in range(2)
    }
    members = {
        **spoken,
        "_background_noise_/running_tap.wav": wav(90, 2.25),
        "_background_noise_/pink_noise.wav": wav(91, 3.0),
        "_background_noise_/README.md": b"noises",
        "validation_list.txt": b"down/00000001_nohash_0.wav\nbed/00000001_nohash_1.wav\n",
        "testing_list.txt": b"down/00000000_nohash_0.wav\nzero/00000002_nohash_0.wav\n",
        "LICENSE": b"CC BY 4.0",
    }
    test = {
        "down/00000000_nohash_0.wav": spoken["down/00000000_nohash_0.wav"],
        "_unknown_/zero_00000002_nohash_0.wav": wav(2),
        "_silence_/0.wav": wav(92),
    }
    return write_tree(
        folder,
        {
            "speech_commands_v0.02.tar.gz": tar_of(members),
            "speech_commands_test_set_v0.02.tar.gz": tar_of(test),
        },
    )


def nsynth(folder: Path) -> Path:
    """The three official archives: pitches on, below and above the piano's range."""
    for i, split in enumerate(("train", "valid", "test")):
        notes = [f"synth_lead_synthetic_00{i}-{pitch:03d}-025" for pitch in (20, 21, 60, 108, 109)]
        members = {
            f"nsynth-{split}/audio/{note}.wav": sound("WAV", 16_000, seconds=0.5, seed=i)
            for note in notes
        }
        members[f"nsynth-{split}/examples.json"] = b"{}"
        write_tree(folder, {f"nsynth-{split}.jsonwav.tar.gz": tar_of(members)})
    return folder


DCASE_STEMS = [
    f"{scene}_ebr_{ebr}_nec_{nec}_poly_{poly}"
    for scene in ("dev_1", "test_1", "test_2", "test_3")
    for ebr in (-6, 0, 6)
    for poly, necs in ((0, (1, 2, 3)), (1, (3, 4, 5)))
    for nec in necs
]
"""All 72 of the two archives."""


def dcase(folder: Path, annotations: Mapping[str, str]) -> Path:
    """Both official archives with all 72 mixtures, each of half a second."""
    tops = {"dev": "dcase2016_task2_train_dev/dcase2016_task2_dev"}
    archives: dict[str, dict[str, bytes]] = {"train_dev": {}, "test_public": {}}
    archives["train_dev"]["dcase2016_task2_train_dev/dcase2016_task2_train/cough01.wav"] = b"no"
    for stem in DCASE_STEMS:
        part = "train_dev" if stem.startswith("dev") else "test_public"
        top = tops.get(stem[:3], "dcase2016_task2_test_public")
        archives[part][f"{top}/sound/{stem}.wav"] = sound("WAV", 44_100, seconds=0.5)
        text = annotations.get(stem, "0.1\t0.3\tcough\n")
        archives[part][f"{top}/annotation/{stem}.txt"] = text.encode()
    return write_tree(
        folder, {f"dcase2016_task2_{part}.zip": zip_of(held) for part, held in archives.items()}
    )
