"""Tasks of HEAR from the original data sets, where the kit's choice is a function of the names.

A task's parts are its official archives, or folders with what is in them. The same path may be in
two of them (a word of Speech Commands is in both of its archives): a clip's source begins with
its part.
"""

from collections.abc import Iterator
from typing import Any

from slvr.ingest.archives.selection import folder, stem
from slvr.ingest.decode import declared_duration_s
from slvr.ingest.download import RemoteFile
from slvr.ingest.hear.draws import divided
from slvr.ingest.hear.original import Original, Parts, Picked
from slvr.ingest.recipes.nsynth import NSynth, note
from slvr.ingest.recipes.speechcommands import SpeechCommands
from slvr.shards.clip import SAMPLE_RATE_HZ

WORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
SILENCE, UNKNOWN, BACKGROUND = "_silence_", "_unknown_", "_background_noise_"
VALID_BACKGROUND = "running_tap"
SLICE_S, SLICE_HOP_S = 1.0, 0.5
LOWEST_PITCH, HIGHEST_PITCH = 21, 108
"""Of a piano, as MIDI numbers."""
SC, SC_TEST = "speech_commands_v0.02", "speech_commands_test_set_v0.02"
SC_MEMBER = r"(?:[a-z]+|_[a-z]+_|_background_noise_)/[^/]+\.wav"
DCASE = {
    "dcase2016_task2_train_dev": "4e1b5e8887159193e8624dec801eb9e7",
    "dcase2016_task2_test_public": "ac98768b39a08fc0c6c2ddd15a981dd7",
}
"""Part -> MD5 of its archive."""
DCASE_S = 120.0
ARCHIVE_ORG = "https://archive.org/download/"
TENSORFLOW = (
    "https://storage.googleapis.com/download.tensorflow.org/data/",
    "http://download.tensorflow.org/data/",
)


def _words(parts: Parts) -> Iterator[Picked]:
    """Speech Commands 12: the kit's ten words, other words, and slices of background noise."""
    files = parts[SC]
    lists = {name: files.text(f"{name}_list.txt").split() for name in ("validation", "testing")}
    spoken = [uri for uri in files.audio if not uri.startswith("_")]
    train = sorted(set(spoken) - set(lists["validation"]) - set(lists["testing"]))
    for split, uris in (("train", train), ("valid", lists["validation"])):
        for uri in uris:
            yield _word(SC, uri, split, _of_twelve(folder(uri)))
    for uri in sorted(uri for uri in files.audio if uri.startswith(f"{BACKGROUND}/")):
        split = "valid" if stem(uri).startswith(VALID_BACKGROUND) else "train"
        length_s = declared_duration_s(files.read(uri)) or 0.0
        n = round(length_s * SAMPLE_RATE_HZ)
        step, length = round(SLICE_HOP_S * SAMPLE_RATE_HZ), round(SLICE_S * SAMPLE_RATE_HZ)
        for start in range(0, n - length, step):
            name = f"{SILENCE}_{stem(uri)}-{start}"
            yield Picked(SC, uri, name, split, SILENCE, start / SAMPLE_RATE_HZ)
    for uri in sorted(parts[SC_TEST].audio):
        yield _word(SC_TEST, uri, "test", _of_twelve(folder(uri)))


def _all_words(parts: Parts) -> Iterator[Picked]:
    """Speech Commands 35: every word, in the splits of its own lists."""
    files = parts[SC]
    listed = {
        uri: split
        for split, name in (("valid", "validation"), ("test", "testing"))
        for uri in files.text(f"{name}_list.txt").split()
    }
    spoken = (uri for uri in files.audio if not uri.startswith("_"))
    for uri in sorted({*spoken, *listed}):
        yield _word(SC, uri, listed.get(uri, "train"), folder(uri))


def _of_twelve(word: str) -> str:
    return word if word in (*WORDS, SILENCE) else UNKNOWN


def _word(part: str, uri: str, split: str, label: str) -> Picked:
    speaker, nohash, _ = stem(uri).partition("_nohash_")
    attributes = {"speaker": speaker} if nohash else {}
    return Picked(part, uri, f"{folder(uri)}_{stem(uri)}", split, label, attributes=attributes)


def _notes(parts: Parts) -> Iterator[Picked]:
    """NSynth: the notes of a piano's range, by pitch, in the official splits."""
    for part, files in parts.items():
        for uri in files.audio:
            instrument, attributes = note(stem(uri))
            pitch = int(attributes["pitch"])
            if LOWEST_PITCH <= pitch <= HIGHEST_PITCH:
                known = {**attributes, "instrument": instrument}
                split = part.removeprefix("nsynth-")
                yield Picked(part, uri, stem(uri), split, str(pitch), attributes=known)


def _scenes(parts: Parts) -> Iterator[Picked]:
    """DCASE 2016 task 2: the mixtures of both archives, divided by file."""
    where = {stem(uri): (part, uri) for part, files in parts.items() for uri in files.audio}
    for name, split in divided(where).items():
        part, uri = where[name]
        events = tuple(_annotated(parts[part].text(f"annotation/{name}.txt")))
        yield Picked(part, uri, name, split, events=events)


def _annotated(text: str) -> Iterator[tuple[str, Any, Any]]:
    """Label, start and end in milliseconds of each line `start end label` in seconds."""
    for line in filter(str.strip, text.splitlines()):
        start, end, label = (*line.strip().split("\t"), "", "")[:3]
        try:
            yield label.strip(), float(start) * 1000, float(end) * 1000
        except ValueError:
            yield label.strip(), start, end


def _remote(name: str, md5: str, places: tuple[str, ...]) -> RemoteFile:
    return RemoteFile(name, tuple(place + name for place in places), f"md5:{md5}")


def _about(task: str, version: str, mode: str, length_s: float | None) -> dict[str, Any]:
    """What the kit's `task_metadata.json` says of a task of scenes with one label each."""
    return {
        **{"task_name": task, "version": version, "mode": mode, "embedding_type": "scene"},
        **{"prediction_type": "multiclass", "split_mode": "trainvaltest"},
        "sample_duration": length_s,
    }


def _speech_commands(mode: str, n_clips: int, **limits_s: float) -> Original:
    about = _about("speech_commands", "v0.0.2", mode, 1.0) | {"evaluation": ["top1_acc"]}
    test = _remote(f"{SC_TEST}.tar.gz", "854c580ee90bff80c516491c84544e32", TENSORFLOW)
    return Original(
        about,
        archives={SC: SpeechCommands.ARCHIVES[0], SC_TEST: test},
        home=SpeechCommands.NAME,
        member=SC_MEMBER,
        pick=_words,
        labels=tuple(sorted((*WORDS, SILENCE, UNKNOWN))),
        length_s=1.0,
        n_clips=n_clips,
        n_classes=12,
        limits_s=limits_s,
        size_bytes=2_541_500_000,
    )


def _speech_commands_35() -> Original:
    about = _about("speech_commands", "v0.0.2", "35", None) | {"evaluation": ["top1_acc"]}
    return Original(
        about,
        archives={SC: SpeechCommands.ARCHIVES[0]},
        home=SpeechCommands.NAME,
        member=SC_MEMBER,
        pick=_all_words,
        labels=(),
        length_s=None,
        n_clips=SpeechCommands.N_CLIPS,
        n_classes=SpeechCommands.N_CLASSES,
        size_bytes=SpeechCommands.SIZE_BYTES,
    )


def _nsynth(mode: str, n_clips: int, **limits_s: float) -> Original:
    about = _about("nsynth_pitch", "v2.2.3", mode, 4.0)
    return Original(
        about | {"evaluation": ["pitch_acc", "chroma_acc"]},
        archives={each.name.removesuffix(".jsonwav.tar.gz"): each for each in NSynth.ARCHIVES},
        home=NSynth.NAME,
        member=r"audio/[^/]+_[^/_]+_[^/_]+-\d+-\d+\.wav",
        pick=_notes,
        labels=tuple(map(str, range(LOWEST_PITCH, HIGHEST_PITCH + 1))),
        length_s=4.0,
        n_clips=n_clips,
        n_classes=HIGHEST_PITCH - LOWEST_PITCH + 1,
        limits_s=limits_s,
        size_bytes=NSynth.SIZE_BYTES,
    )


def _dcase2016_task2() -> Original:
    about = _about("dcase2016_task2", "hear2021", "full", DCASE_S)
    about |= {"embedding_type": "event", "prediction_type": "multilabel"}
    return Original(
        about | {"evaluation": ["event_onset_200ms_fms", "segment_1s_er"]},
        archives={
            name: _remote(f"{name}.zip", md5, (f"{ARCHIVE_ORG}{name}/",))
            for name, md5 in DCASE.items()
        },
        home="dcase2016_task2",
        member=r"sound/[^/]+\.wav",
        pick=_scenes,
        labels=(),
        length_s=DCASE_S,
        n_clips=72,
        n_classes=11,
        licence="CC-BY",
    )


ORIGINALS: dict[str, Original] = {
    "speech_commands-v0.0.2-full": _speech_commands("full", 100_503),
    "speech_commands-v0.0.2-5h": _speech_commands("5h", 22_890, train=16_000, valid=2_000),
    "speech_commands-v0.0.2-35": _speech_commands_35(),
    "nsynth_pitch-v2.2.3-50h": _nsynth("50h", 49_060, train=160_000, valid=20_000, test=20_000),
    "nsynth_pitch-v2.2.3-5h": _nsynth("5h", 5_000, train=16_000, valid=2_000, test=2_000),
    "dcase2016_task2-hear2021-full": _dcase2016_task2(),
}
"""Task -> how it is made."""
ALIASES = {
    "speech_commands": "speech_commands-v0.0.2-full",
    "speech_commands-5h": "speech_commands-v0.0.2-5h",
    "speech_commands-35": "speech_commands-v0.0.2-35",
    "nsynth_pitch": "nsynth_pitch-v2.2.3-50h",
    "nsynth_pitch-5h": "nsynth_pitch-v2.2.3-5h",
    "dcase2016_task2": "dcase2016_task2-hear2021-full",
}
