"""The evaluation sets at toy size, made here: official layout, names, columns and codecs."""

import csv
import functools
import io
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

CV = "cv-corpus-12.0-delta-2022-12-07"
SAA_COLUMNS = (
    *("age", "age_onset", "birthplace", "filename", "native_language", "sex", "speakerid"),
    *("country", "file_missing?", "", "", ""),
)


@functools.cache
def sound(kind: str, rate_hz: int, channels: int = 1, seconds: float = 0.1, seed: int = 0) -> bytes:
    """An encoded file of noise."""
    noise = np.random.default_rng(seed).normal(0, 0.1, (round(seconds * rate_hz), channels))
    buffer = io.BytesIO()
    soundfile.write(buffer, noise, rate_hz, format=kind)
    return buffer.getvalue()


@dataclass(frozen=True)
class Toy:
    """A set: archive -> its members, the label of every clip by key, and what the user is told."""

    archives: Mapping[str, Mapping[str, bytes]]
    labels: Mapping[str, str]
    statuses: Mapping[str, str] = field(default_factory=dict)
    """Of the clips that are not ok."""
    notes: tuple[str, ...] = ()
    attributes: Mapping[str, Mapping[str, int | str]] = field(default_factory=dict)
    """Of the clips that have some, by key."""


def zip_of(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tar_of(members: Mapping[str, bytes], compression: str = "gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def packed(toy: Toy) -> dict[str, bytes]:
    """File name -> content of every archive; the parts of VoxCeleb1 are slices of one zip."""
    files = {}
    for name, members in toy.archives.items():
        if "part" in name:
            whole = zip_of(members)
            cuts = [len(whole) * i // 4 for i in range(5)]
            files |= {f"{name[:-1]}{'abcd'[i]}": whole[cuts[i] : cuts[i + 1]] for i in range(4)}
        else:
            files[name] = tar_of(members) if name.endswith(".tar.gz") else zip_of(members)
    return files


def unpack(toy: Toy, root: Path) -> Path:
    """Writes the files as the archives would unpack to."""
    for members in toy.archives.values():
        for name, content in members.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


def table(rows: list[Mapping[str, object]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def esc50() -> Toy:
    names = {"1-100032-A-0.wav": "dog", "5-9032-B-0.wav": "dog", "2-17-A-30.wav": "door_wood_knock"}
    rows = [
        *(
            {
                **{"filename": name, "fold": name[0], "target": name[-5], "category": label},
                **{"esc10": True, "src_file": name.split("-")[1], "take": name.split("-")[2]},
            }
            for name, label in names.items()
        )
    ]
    top = "ESC-50-33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"
    members = {f"{top}/meta/esc50.csv": table(rows), f"{top}/README.md": b"not audio"}
    for i, name in enumerate(names):
        members[f"{top}/audio/{name}"] = sound("WAV", 44_100, 1, 0.2, i)
    attributes = {
        "1-100032-A-0": {"fold": 1, "take": "A", "src_file": "100032"},
        "5-9032-B-0": {"fold": 5, "take": "B", "src_file": "9032"},
        "2-17-A-30": {"fold": 2, "take": "A", "src_file": "17"},
    }
    labels = {Path(n).stem: label for n, label in names.items()}
    return Toy({"ESC-50.zip": members}, labels, attributes=attributes)


def nsynth() -> Toy:
    notes = {
        "train": ("keyboard_acoustic_004-060-025", "synth_lead_synthetic_000-021-127"),
        "valid": ("keyboard_acoustic_004-061-025",),
        "test": ("vocal_electronic_003-099-050", "vocal_electronic_003-100-050"),
    }
    quiet = "vocal_electronic_003-100-050"
    archives = {}
    for i, (part, names) in enumerate(notes.items()):
        members = {f"nsynth-{part}/examples.json": b"{}"}
        for name in names:
            silence = io.BytesIO()
            soundfile.write(silence, np.zeros(1600), 16_000, format="WAV")
            wave = silence.getvalue() if name == quiet else sound("WAV", 16_000, 1, 0.1, i)
            members[f"nsynth-{part}/audio/{name}.wav"] = wave
        archives[f"nsynth-{part}.jsonwav.tar.gz"] = members
    labels = {name: name[:-8] for names in notes.values() for name in names}
    played = {
        "keyboard_acoustic_004-060-025": (60, 25, "keyboard", "acoustic"),
        "keyboard_acoustic_004-061-025": (61, 25, "keyboard", "acoustic"),
        "synth_lead_synthetic_000-021-127": (21, 127, "synth_lead", "synthetic"),
        "vocal_electronic_003-099-050": (99, 50, "vocal", "electronic"),
        "vocal_electronic_003-100-050": (100, 50, "vocal", "electronic"),
    }
    words = ("pitch", "velocity", "family", "source")
    attributes = {name: dict(zip(words, how, strict=True)) for name, how in played.items()}
    return Toy(archives, labels, {quiet: "silent"}, attributes=attributes)


def fsdkaggle18() -> Toy:
    train = [("00044347", "Hi-hat"), ("001ca53d", "Burping_or_eructation")]
    test = [("00326aa9", "Hi-hat"), ("0038a046", "Knock")]
    licence = "Creative Commons 0"
    common = {"freesound_id": 1, "license": licence}
    row = {"train": {"manually_verified": 1}, "test": {"usage": "Public"}}
    archives: dict[str, dict[str, bytes]] = {
        "FSDKaggle2018.meta.zip": {
            f"FSDKaggle2018.meta/{name}": table(
                [{"fname": f"{f}.wav", "label": label, **row[part], **common} for f, label in clips]
            )
            for part, name, clips in (
                ("train", "train_post_competition.csv", train),
                ("test", "test_post_competition_scoring_clips.csv", test),
            )
        }
    }
    for part, clips in (("train", train), ("test", test)):
        archives[f"FSDKaggle2018.audio_{part}.zip"] = {
            f"FSDKaggle2018.audio_{part}/{fname}.wav": sound("WAV", 44_100, 1, 0.3)
            for fname, _ in clips[: None if part == "train" else 1]  # the last one is not there
        }
    return Toy(archives, dict(train + test), {"0038a046": "missing"})


def watkins() -> Toy:
    members = {
        "watkins/Fin,_Finback_Whale/6001.wav": sound("WAV", 600, 1, 2.0),
        "watkins/Grampus,_Rissos_Dolphin/7502Q.wav": sound("WAV", 96_000, 1, 0.1),
        "watkins/Weddell_Seal/91.wav": sound("WAV", 8_000, 2, 180.0),
        "watkins/Weddell_Seal/92.wav": sound("WAV", 8_000, 1, 180.001),
        "watkins/annotations.csv": b'path,species\n"x","Fin,_Finback_Whale"\n',
        "__MACOSX/watkins/Weddell_Seal/._91.wav": b"a resource fork",
    }
    labels = {"Weddell_Seal_91": "Weddell_Seal"}
    for name, label in (("6001", "Fin,_Finback_Whale"), ("7502Q", "Grampus,_Rissos_Dolphin")):
        labels[f"{label}_{name}"] = label
    return Toy({"watkins.zip": members}, labels, notes=("1 clips longer than 180 s are left out",))


def birdclef() -> Toy:
    short, long = sound("MP3", 44_100, 1, 0.2), sound("MP3", 8_000, 1, 181.0)
    species = {
        "Sporophila lineola_Lined Seedeater": [short] * 49 + [sound("MP3", 8_000, 1, 179.5)],
        "Monasa morphoeus_White-fronted Nunbird": [short] * 50 + [long],
        "Accipiter nisus_Cooper's Hawk": [short] * 49 + [long],
    }
    members, labels, number = {}, {}, 100
    for label, clips in species.items():
        for clip in clips:
            number += 1
            members[f"audio/{label}/XC{number}.mp3"] = clip
            if clip is not long and "Hawk" not in label:
                labels[f"XC{number}"] = label
    note = (
        "2 recordings longer than 180 s are left out, then 1 species with fewer than 50 recordings "
        "(49 recordings)"
    )
    return Toy({"LifeCLEF2020.tar.gz": members}, labels, notes=(note,))


def voxceleb1() -> Toy:
    dev = ("id10001/-1zY7x7VwXQ/00001", "id10001/1zcIwhmdeo4/00001", "id11251/s4R4hvqrhFw/00009")
    test = ("id10270/5r0dWxy17C8/00001",)
    archives = {
        archive: {
            f"wav/{name}.wav": sound("WAV", 16_000, 1, 0.2, i) for i, name in enumerate(names)
        }
        for archive, names in (("vox1_dev_wav_parta?", dev), ("vox1_test_wav.zip", test))
    }
    keys = {name.replace("/", "_"): name for name in dev + test}
    attributes = {key: {"speaker": n[:7], "video": n[8:19]} for key, n in keys.items()}
    return Toy(archives, {key: name[:7] for key, name in keys.items()}, attributes=attributes)


def speechcommands() -> Toy:
    names = ("backward/0165e0e8_nohash_0", "zero/0165e0e8_nohash_0", "zero/0165e0e8_nohash_1")
    members = {f"./{name}.wav": sound("WAV", 16_000, 1, 0.4, i) for i, name in enumerate(names)}
    members |= {
        "./_background_noise_/pink_noise.wav": sound("WAV", 16_000, 1, 0.5),
        "./testing_list.txt": b"zero/0165e0e8_nohash_1.wav\n",
        "./README.md": b"",
    }
    labels = {name.replace("/", "_"): name.partition("/")[0] for name in names}
    attributes = {key: {"speaker": "0165e0e8"} for key in labels}
    return Toy({"speech_commands_v0.02.tar.gz": members}, labels, attributes=attributes)


def cremad() -> Toy:
    names = ("1001_DFA_ANG_XX", "1002_IEO_HAP_LO", "1040_ITH_SAD_X", "1076_MTI_NEU_XX")
    members = {f"AudioWAV/{name}.wav": sound("WAV", 16_000, 1, 0.3) for name in names}
    members["AudioWAV/1076_MTI_NEU_XX.wav"] = b"RIFF\0\0\0\0 unplayable"
    labels = {name.replace("_X", "_XX").replace("XXX", "XX"): name.split("_")[2] for name in names}
    acted = {
        "1001_DFA_ANG_XX": ("1001", "DFA", "XX"),
        "1002_IEO_HAP_LO": ("1002", "IEO", "LO"),
        "1040_ITH_SAD_XX": ("1040", "ITH", "XX"),
        "1076_MTI_NEU_XX": ("1076", "MTI", "XX"),
    }
    words = ("speaker", "sentence", "level")
    attributes = {key: dict(zip(words, how, strict=True)) for key, how in acted.items()}
    bad = {"1076_MTI_NEU_XX": "corrupt"}
    return Toy({"crema-d.zip": members}, labels, bad, attributes=attributes)


def accents() -> Toy:
    there = ("english1", "english2", "synthesized1", "synthesized4", "zulu1")
    rows = [
        dict.fromkeys(SAA_COLUMNS, "")
        | {"filename": name, "native_language": name.rstrip("0123456789")}
        | {"birthplace": "virginia, south africa", "file_missing?": "FALSE"}
        for name in (*there, "nicobar1", "nicobar2")
    ]
    for number, row in enumerate(rows[1:], start=41):  # the first is not known
        row["speakerid"] = str(number)
    for row in rows[-2:]:
        row["file_missing?"] = "TRUE"
    text = ",".join(SAA_COLUMNS) + "\n"
    for row in rows:
        values = [*row.values(), *[""] * 2]
        text += ",".join(f'"{v}"' if "," in v else v for v in values) + "\n"
    members = {"speakers_all.csv": text.encode(), "reading-passage.txt": b"Please call Stella."}
    for i, name in enumerate(there):
        members[f"recordings/recordings/{name}.mp3"] = sound("MP3", 44_100, 2, 0.3, i)
    labels = {name: name[:-1] for name in there[:-1]}
    note = "2 of 7 recordings are missing in the archive; 1 languages with one speaker are left out"
    attributes = {
        **{"english2": {"speaker": "41"}, "synthesized1": {"speaker": "42"}},
        "synthesized4": {"speaker": "43"},
    }
    return Toy({"speech-accent-archive.zip": members}, labels, {}, (note,), attributes)


def commonvoice() -> Toy:
    archives, labels, attributes, number = {}, {}, {}, 30_000_000
    for locale, n in (("zh-CN", 6), ("nan-tw", 5), ("ab", 4), ("rw", 10)):
        members = {
            f"{CV}/{locale}/{name}.tsv": b"client_id\tpath\tsentence\n"
            for name in ("validated", "invalidated", "other", "reported")
        }
        for _ in range(n):
            number += 1
            name = f"common_voice_{locale}_{number}"
            members[f"{CV}/{locale}/clips/{name}.mp3"] = sound("MP3", 48_000, 1, 0.3)
            if locale not in ("ab", "rw"):
                labels[name] = locale
            if number % 3:  # of every third clip no list says who speaks
                part = ("validated", "invalidated", "other")[number % 2]
                row = f'client{number}\t{name}.mp3\tA "quoted\u2028 word\n'
                members[f"{CV}/{locale}/{part}.tsv"] += row.encode()
                if name in labels:
                    attributes[name] = {"speaker": f"client{number}"}
        archives[f"{CV}-{locale}.tar.gz"] = members
    note = (
        "0 locales are cut to 10000 clips (seed 0); 1 with fewer than 5 are left out, and rw, "
        "which the benchmark has not"
    )
    return Toy(archives, labels, {}, (note,), attributes)


TOYS = {
    make.__name__: make
    for make in (
        *(esc50, nsynth, fsdkaggle18, watkins, birdclef, voxceleb1, speechcommands, cremad),
        *(accents, commonvoice),
    )
}
