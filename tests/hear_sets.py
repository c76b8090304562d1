"""Small sets as `ingest hear` writes them, and encoders that hear enough of them."""

from pathlib import Path
from typing import Any

import numpy as np

from slvr.shards.audio import with_audio
from slvr.shards.clip import Clip, Event, Source
from slvr.shards.manifest import Description
from slvr.shards.read import ShardDirectory
from slvr.shards.write import ShardWriter, finish

RATE = 16_000
SPECTRA = '''
import torch

FRAME = 400

def embed(waves):
    """(B, D): log energies of bands, mean over frames."""
    frames = torch.nn.functional.pad(waves, (0, 2 * FRAME)).unfold(1, FRAME, FRAME // 2)
    energy = (torch.fft.rfft(frames * torch.hann_window(FRAME)).abs() ** 2)[..., :64]
    return torch.log(energy.mean(1) + 1e-4)
'''
OUTSIDE = """
import torch
from spectra import embed

class Model(torch.nn.Module):
    sample_rate = {rate}
    scene_embedding_size = timestamp_embedding_size = 64

def load_model(model_file_path=""):
    return Model()

def get_scene_embeddings(audio, model):
    return embed(audio)

def get_timestamp_embeddings(audio, model):
    hop = model.sample_rate // 20
    window = 2 * hop
    n = audio.shape[1] // hop
    padded = torch.nn.functional.pad(audio, (hop, hop))
    rows = padded.unfold(1, window, hop)[:, :n]
    stamps = 50.0 * torch.arange(n)
    return embed(rows.flatten(0, 1)).unflatten(0, (len(audio), n)), stamps.expand(len(audio), -1)
"""


def write_set(
    path: Path, clips: list[tuple[Clip, Any]], labels: list[str], **extra: Any
) -> ShardDirectory:
    """A shard directory of clips and their samples, a shard a split."""
    path.mkdir(parents=True)
    rows, infos = [], []
    for split in sorted({clip.split for clip, _ in clips}):
        with ShardWriter(path, f"{split}-000000", split, "flac") as writer:
            for clip, wave in clips:
                if clip.split == split:
                    pcm = np.clip(np.round(32767 * wave), -32767, 32767).astype(np.int16)
                    writer.write(with_audio(clip, pcm, "flac"))
        rows += writer.rows
        infos.append(writer.info)
    about = Description(
        name=path.name,
        recipe="hear",
        recipe_version="1",
        options={"task": extra.pop("task", path.name)},
        tool_versions={},
        licence="",
        citation="",
        homepage="",
        codec="flac",
        sample_rate_hz=RATE,
        labels={label: label for label in labels},
        extra={"hear": extra},
    )
    finish(path, rows, infos, about)
    return ShardDirectory.open(path, RATE)


def tone(hz: float, length_s: float, rng: np.random.Generator) -> Any:
    t = np.arange(round(length_s * RATE)) / RATE
    return 0.3 * np.sin(2 * np.pi * (hz * t + rng.random())) + 0.002 * rng.normal(size=len(t))


def notes(path: Path, splits: dict[str, int], pitches: list[int], **extra: Any) -> ShardDirectory:
    """Notes of half a second, their MIDI number the label."""
    rng = np.random.default_rng(0)
    clips = []
    for split, n in splits.items():
        for i in range(n):
            pitch = pitches[i % len(pitches)]
            clip = Clip(
                key=f"{split}-{i:03d}",
                split=split,
                source=Source(f"{split}/{i}"),
                labels=(f"{pitch}",),
            )
            clips.append((clip, tone(440 * 2 ** ((pitch - 69) / 12), 0.5, rng)))
    about = {"embedding_type": "scene", "prediction_type": "multiclass", **extra}
    return write_set(path, clips, [f"{pitch}" for pitch in sorted(pitches)], **about)


def scenes(path: Path, splits: dict[str, int], **extra: Any) -> ShardDirectory:
    """Scenes of 4 s with tones of two classes; one scene is empty."""
    rng = np.random.default_rng(1)
    clips = []
    for split, n in splits.items():
        for i in range(n):
            wave, events = 0.002 * rng.normal(size=4 * RATE), []
            for begin in (0.3, 1.6, 2.8) if i else ():
                which = int(rng.integers(2))
                onset, length = round(begin + 0.3 * rng.random(), 3), 0.7
                wave[round(onset * RATE) :][: round(length * RATE)] += tone(
                    (500, 1700)[which], length, rng
                )
                events.append(Event(("low", "high")[which], onset, onset + length))
            source = Source(f"{split}/{i}")
            clips.append((Clip(f"{split}-{i:03d}", split, source, events=tuple(events)), wave))
    about = {"embedding_type": "event", "prediction_type": "multilabel", **extra}
    return write_set(path, clips, ["high", "low"], **about)
