"""What is in a shard directory, as one page to look at and listen to.

Letters: T samples, C columns of a picture, M mel bands, L frames, F frequencies.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.signal import stft

from slvr.command.page import render
from slvr.command.pictures import sound_url, spectrum_url
from slvr.shards.clip import OK
from slvr.shards.copies import count_copies
from slvr.shards.read import ClipDataset, ShardDirectory

PAGE = "inspect.html"
N_SHOWN = 24
PLAYED_S = 10.0
"""Of a clip; 24 of the loudest noise as FLAC, in base64, are then 11 MB."""
N_LEVELS = 2_000
"""Clips whose level is measured: reading two million would take hours."""
N_LABELS = 15
"""Most frequent labels, and as many of the rarest."""
LOWEST_DB = -80
RANGE_DB = 80
N_MELS = 64
FFT_SAMPLES = 1024

Floats = npt.NDArray[np.float64]


def page(directory: ShardDirectory, seed: int = 0) -> str:
    """The page as HTML without references; the same directory and seed give the same text.

    Raises:
        ValueError: a shard is missing or damaged.
    """
    rows = directory.rows()
    there = rows[rows["status"] == OK].reset_index(drop=True)
    dataset = ClipDataset(directory.path, there)
    generator = np.random.default_rng(seed)
    shown = generator.permutation(len(there))[:N_SHOWN]
    measured = np.sort(generator.permutation(len(there))[:N_LEVELS])
    seconds = (there["n_samples"] / there["sample_rate_hz"]).to_numpy(np.float64)
    levels_db = np.array([level_db(dataset[i]) for i in measured])
    manifest = directory.manifest
    return render(
        "ingest",
        "looks/inspect.html.j2",
        manifest=manifest,
        summary=_summary(rows, seconds),
        copies=f"{str(count_copies(there['pcm_sha256'])).capitalize()}.",
        availability=_availability(rows),
        durations=_durations(seconds) if len(there) else None,
        levels=_levels(levels_db, len(there)) if len(there) else None,
        labels=_labels(directory, there["labels"]),
        labels_note=f"{len(manifest.labels):,} labels; a clip with several counts for each.",
        events=_events(directory, there),
        clips=[_clip(directory, there.iloc[i], dataset[i]) for i in shown],
        n_ok=len(there),
        seed=seed,
        range_db=RANGE_DB,
        played_s=PLAYED_S,
        about={
            "recipe": f"{manifest.recipe} {manifest.recipe_version}",
            **{f"option {name}": value for name, value in manifest.options.items()},
            "licence": manifest.licence,
            "citation": manifest.citation,
            "homepage": manifest.homepage,
            **{f"from {name}, sha256": value for name, value in manifest.derived_from.items()},
            "dataset.json sha256": directory.fingerprint,
        },
    )


def level_db(pcm: npt.NDArray[np.int16]) -> float:
    """Root mean square of pcm (T,) in dB of full scale (a constant 32768), at least -100."""
    rms = np.sqrt(np.mean(np.square(pcm / 32768.0))) if len(pcm) else 0.0
    return float(20 * np.log10(max(rms, 1e-5)))


def _summary(rows: pd.DataFrame, seconds: Floats) -> str:
    splits = "; ".join(
        f"split {split}: {(part['status'] == OK).sum():,} of {len(part):,}"
        for split, part in rows.groupby("split")
    )
    total_s = seconds.sum()
    length = f"{total_s / 3600:,.1f} h" if total_s >= 3600 else f"{total_s / 60:.1f} min"
    return f"{len(seconds):,} of {len(rows):,} clips are there, {length} ({splits})."


def _bars(counts: list[tuple[str, int]], largest: int) -> list[dict[str, Any]]:
    return [
        {"name": name, "n": f"{n:,}", "percent": 100 * n / max(largest, 1), "pale": False}
        for name, n in counts
    ]


def _availability(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """One bar for the clips that are there, and one for each reason why others are not."""
    counts = Counter(zip(rows["status"], rows["reason"], strict=True))
    n_ok = sum(n for (status, _), n in counts.items() if status == OK)
    failures = sorted(
        ((f"{status}: {reason}", n) for (status, reason), n in counts.items() if status != OK),
        key=lambda failure: (-failure[1], failure[0]),
    )
    bars = _bars([(OK, n_ok), *failures], len(rows))
    for bar in bars:
        bar["n"] += f" · {bar['percent']:.1f} %"
        bar["pale"] = bar["name"] != OK
    return bars


def _histogram(values: Floats, edges: Floats, unit: str, note: str) -> dict[str, Any]:
    """Columns and ticks of a histogram; what lies outside counts in the first or last column."""
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    titles = [f"{low:.3g} to {high:.3g} {unit}" for low, high in pairwise(edges)]
    columns = [
        {"title": f"{title}: {n:,}", "percent": 100 * n / counts.max()}
        for title, n in zip(titles, counts, strict=True)
    ]
    ticks = [f"{edge:.3g} {unit}" for edge in np.linspace(edges[0], edges[-1], 5)]
    return {"columns": columns, "ticks": ticks, "note": note}


def _durations(seconds: Floats) -> dict[str, Any]:
    """Up to the 99th percentile, so that a few long clips do not push all others together."""
    note = (
        f"Shortest {seconds.min():.3g} s, median {np.median(seconds):.3g} s, longest "
        f"{seconds.max():.4g} s."
    )
    quarter = max(np.quantile(seconds, 0.99) / 4, 1e-3)  # events may have no length at all
    decade = 10.0 ** np.floor(np.log10(quarter))
    limit = (
        4 * decade * next(n for n in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if n * decade >= quarter)
    )
    n_longer = int((seconds > limit).sum())
    if n_longer:
        note += f" The last column holds {n_longer:,} longer than {limit:g} s."
    return _histogram(seconds, np.linspace(0, limit, 41), "s", note)


def _levels(levels_db: Floats, n_clips: int) -> dict[str, Any]:
    note = f"Median {np.median(levels_db):.1f} dB. "
    if len(levels_db) < n_clips:
        note += f"Measured on {len(levels_db):,} clips of {n_clips:,}, drawn at random."
    else:
        note += "Measured on every clip."
    n_quieter = int((levels_db < LOWEST_DB).sum())
    if n_quieter:
        note += f" The first column holds {n_quieter:,} below {LOWEST_DB} dB."
    return _histogram(levels_db, np.linspace(LOWEST_DB, 0, 41), "dB", note)


def _events(directory: ShardDirectory, there: pd.DataFrame) -> dict[str, Any] | None:
    """Events per label and their lengths, or nothing where no clip has one."""
    of_clips = [(event["label"] for event in events) for events in there["events"]]
    lengths_s = [e["end_s"] - e["start_s"] for events in there["events"] for e in events]
    if not lengths_s:
        return None
    n_with = int((there["events"].map(len) > 0).sum())
    return {
        "bars": _labels(directory, of_clips),
        "durations": _durations(np.array(lengths_s)),
        "note": f"{len(lengths_s):,} events in {n_with:,} of {len(there):,} clips.",
    }


def _labels(
    directory: ShardDirectory, of_clips: Iterable[Iterable[str]]
) -> dict[str, list[dict[str, Any]]]:
    """Caption -> bars: all labels, or where there are many the most frequent and the rarest."""
    names = directory.manifest.labels
    counts = Counter(dict.fromkeys(names, 0))
    for labels in of_clips:
        counts.update(labels)
    ordered = [(names.get(label, label), n) for label, n in counts.most_common()]
    if not ordered:
        return {}
    largest = ordered[0][1]
    if len(ordered) <= 2 * N_LABELS:
        return {"All labels": _bars(ordered, largest)}
    rarest = ordered[-N_LABELS:]
    return {
        f"The {N_LABELS} most frequent": _bars(ordered[:N_LABELS], largest),
        f"The {N_LABELS} rarest": _bars(rarest, rarest[0][1]),
    }


def _clip(
    directory: ShardDirectory, row: "pd.Series[Any]", pcm: npt.NDArray[np.int16]
) -> dict[str, Any]:
    """What the page shows and plays of a clip with samples pcm (T,)."""
    rate_hz = int(row["sample_rate_hz"])
    head = pcm[: round(PLAYED_S * rate_hz)]
    low, high = envelope(head)
    peak = max(float(high.max()), float(-low.min()), 1e-5)
    facts = (
        f"{row['split']} · {len(pcm) / rate_hz:.2f} s · RMS {level_db(pcm):.1f} dB, "
        f"peak {20 * np.log10(peak):.1f} dB"
    )
    known = (f"{name} {value}" for name, value in row["attributes"].items())
    n_events = len(row["events"])
    events = [f"{n_events} event{'s' * (n_events > 1)}"] if n_events else []
    facts = " · ".join([facts, *known, *events])
    outline = [*enumerate(-high / peak), *reversed(list(enumerate(-low / peak)))]
    names = [directory.manifest.labels.get(label, label) for label in row["labels"]]
    source = str(row["source_uri"])
    return {
        "title": ", ".join(names) or row["key"],
        "key": row["key"],
        "facts": facts,
        "source": source,
        "link": source.startswith(("https://", "http://")),
        "lanes": _lanes(directory, row["events"], len(head) / rate_hz),
        "n_columns": len(low) - 1,
        "outline": " ".join(f"{x},{y:.3f}" for x, y in outline),
        "picture": spectrum_url(log_mel_db(head, rate_hz), 0.0, RANGE_DB),
        "sound": sound_url(head, rate_hz),
    }


def _lanes(
    directory: ShardDirectory, events: list[dict[str, Any]], shown_s: float
) -> list[dict[str, Any]]:
    """One lane for each label with an event in the first shown_s seconds, and its bars in it."""
    lanes: dict[str, list[dict[str, Any]]] = {}
    for event in sorted(events, key=lambda event: event["start_s"]):
        start_s, end_s = event["start_s"], min(event["end_s"], shown_s)
        if start_s < shown_s:
            lanes.setdefault(event["label"], []).append(
                {
                    "left": 100 * start_s / shown_s,
                    "width": 100 * (end_s - start_s) / shown_s,
                    "title": f"{start_s:.3f} to {event['end_s']:.3f} s",
                }
            )
    names = directory.manifest.labels
    return [{"name": names.get(label, label), "bars": bars} for label, bars in lanes.items()]


def envelope(pcm: npt.NDArray[np.int16], n_columns: int = 300) -> tuple[Floats, Floats]:
    """Lowest and highest value in [-1, 1] of each of C parts of pcm (T,): (C,) and (C,)."""
    parts = np.array_split(pcm / 32768.0, min(n_columns, max(len(pcm), 1)))
    return np.array([p.min(initial=0) for p in parts]), np.array([p.max(initial=0) for p in parts])


def log_mel_db(pcm: npt.NDArray[np.int16], rate_hz: int) -> Floats:
    """Mel-band power (M, L) of pcm (T,) in dB below its loudest point; 10 s give 256 frames."""
    hop = int(np.clip((len(pcm) - FFT_SAMPLES) // 255, FFT_SAMPLES // 4, FFT_SAMPLES))
    padded = np.pad(pcm / 32768.0, (0, max(0, FFT_SAMPLES - len(pcm))))
    overlap = FFT_SAMPLES - hop
    _, _, spectrum = stft(
        padded, nperseg=FFT_SAMPLES, noverlap=overlap, boundary=None, padded=False
    )
    power = _mel_bands(rate_hz) @ np.square(np.abs(spectrum))
    decibels: Floats = 10 * np.log10(np.maximum(power, 1e-12))
    decibels -= decibels.max()
    return decibels


def _mel_bands(rate_hz: int) -> Floats:
    """Triangles (M, F) that are evenly spaced on the mel scale 2595 log10(1 + f / 700)."""
    edges_mel = np.linspace(0, 2595 * np.log10(1 + rate_hz / 2 / 700), N_MELS + 2)
    edges_hz = 700 * (10 ** (edges_mel / 2595) - 1)
    bins_hz = np.fft.rfftfreq(FFT_SAMPLES, 1 / rate_hz)
    low, centre, high = (edges_hz[i : i + N_MELS, None] for i in range(3))
    rising, falling = (bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)
    return np.maximum(0, np.minimum(rising, falling))
