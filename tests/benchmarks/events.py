"""Events and scores of 72 files of two minutes against sed_eval.

    python -m venv sed && sed/bin/pip install sed_eval==0.2.1
    python tests/benchmarks/events.py --sed-eval sed/bin/python

sed_eval runs in an environment of its own, because it wants packages of its time; without
--sed-eval our side alone is timed. Frames of 50 ms of 11 classes become events by median filter,
threshold and least duration, then onset F within 200 ms and the error rate of segments are
computed, of all and of every class. The other side makes its events by scipy's median filter and a
loop, as HEAR's kit does. Events and scores of both have to be equal. Times are CPU seconds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import machine, table
from scipy.ndimage import median_filter

from slvr.eval.event_scores import class_event_scores, event_score, segment_scores
from slvr.eval.sound_events import Events, PostProcessing, events_of_frames

HOP_MS, LENGTH_S = 50.0, 120.0
SCORING = """
import json, sys, time
import dcase_util, sed_eval

given = json.load(open(sys.argv[1]))
start = time.process_time()
onsets = sed_eval.sound_event.EventBasedMetrics(
    event_label_list=given["labels"], evaluate_onset=True, evaluate_offset=False, t_collar=0.2,
    percentage_of_length=0.2)
segments = sed_eval.sound_event.SegmentBasedMetrics(given["labels"], time_resolution=1.0)
for file in given["files"]:
    lists = [dcase_util.containers.MetaDataContainer(file[which])
             for which in ("reference", "estimated")]
    onsets.evaluate(*lists)
    segments.evaluate(*lists)
f, r = onsets.results_overall_metrics(), segments.results_overall_metrics()
by_class = {k: v["f_measure"]["f_measure"] for k, v in onsets.results_class_wise_metrics().items()}
spent = time.process_time() - start
print(json.dumps({"s": spent, "f": f["f_measure"], "er": r["error_rate"]["error_rate"],
                  "by_class": by_class}))
"""


def main() -> None:
    """Prints both times and whether the numbers are the same."""
    args = _arguments()
    reference, frames, times = _made(args.files, args.classes, args.seed)
    how = PostProcessing()
    start_s = time.process_time()
    estimated = events_of_frames(frames, times, how)
    made_s = time.process_time()
    score = event_score(reference, estimated)
    by_class = class_event_scores(reference, estimated, args.classes)
    rate = segment_scores(reference, estimated, args.classes)[0].error_rate
    scored_s = time.process_time()
    slow, slow_s = _by_a_loop(frames, times, how)
    same = slow == _rows(estimated)
    rows = [["events", f"{made_s - start_s:.3f}", f"{slow_s:.3f}",
             f"{slow_s / (made_s - start_s):.0f}x"]]  # fmt: skip
    said = f"{len(estimated):,} events, {'' if same else 'NOT '}those of the loop"
    if args.sed_eval:
        theirs = _sed_eval(args.sed_eval, reference, estimated, args.files, args.classes)
        ours_s = scored_s - made_s
        theirs_s = theirs["s"]
        ratio = f"{theirs_s / ours_s:.0f}x"
        rows.append(["scores", f"{ours_s:.3f}", f"{theirs_s:.3f}", ratio])
        whole = scored_s - start_s, slow_s + theirs_s
        rows.append(["both", *(f"{s:.3f}" for s in whole), f"{whole[1] / whole[0]:.0f}x"])
        ours = {"f_measure": score.f_measure, "precision": score.precision, "recall": score.recall}
        gaps = [abs(theirs["f"][name] - value) for name, value in ours.items()]
        gaps.append(abs(theirs["er"] - rate))
        gaps += [abs(theirs["by_class"][f"c{k:02d}"] - each.f_measure)
                 for k, each in enumerate(by_class)]  # fmt: skip
        said += f"; scores at most {max(gaps):.1e} from sed_eval's"
    print(machine(torch.device("cpu")))
    print(f"\n{args.files} files, F {score.f_measure:.4f}, error rate {rate:.4f}; {said}.\n")
    print(table(["", "ours, s", "kit and sed_eval, s", "ratio"], rows))


def _made(n_files: int, k: int, seed: int) -> tuple[Events, list[Any], list[Any]]:
    """Random events, and frame probabilities that nearly show them."""
    rng = np.random.default_rng(seed)
    rows, frames, times = [], [], []
    stamps = np.arange(0, 1000 * LENGTH_S, HOP_MS)
    for file in range(n_files):
        values = rng.normal(-2, 1, (len(stamps), k))
        for _ in range(45):
            onset, label = rng.uniform(0, LENGTH_S - 3), int(rng.integers(k))
            offset = onset + rng.lognormal(-0.35, 0.6)
            rows.append((file, label, round(onset, 3), round(offset, 3)))
            late_s = rng.normal(0, 0.15)
            shown = (stamps >= 1000 * (onset + late_s)) & (stamps <= 1000 * offset)
            values[shown, label] += 4
        frames.append((1 / (1 + np.exp(-values))).astype(np.float32))
        times.append(stamps)
    return Events.of(rows), frames, times


def _by_a_loop(
    frames: list[Any], times: list[Any], how: PostProcessing
) -> tuple[list[tuple[int, int, float, float]], float]:
    """The events as the kit makes them, and the CPU seconds."""
    start_s = time.process_time()
    found = []
    for file, (values, stamps) in enumerate(zip(frames, times, strict=True)):
        width = round(how.median_filter_ms / np.mean(np.diff(stamps)))
        heard = median_filter(values, size=(width, 1)) > how.threshold
        for label in range(heard.shape[1]):
            places = np.flatnonzero(heard[:, label]).tolist()
            i = 0
            while i < len(places):
                j = i
                while j + 1 < len(places) and places[j + 1] == places[j] + 1:
                    j += 1
                start, end = stamps[places[i]], stamps[places[j]]
                if end - start >= how.min_duration_ms:
                    found.append((file, label, float(start / 1000), float(end / 1000)))
                i = j + 1
    return found, time.process_time() - start_s


def _rows(events: Events) -> list[tuple[int, int, float, float]]:
    columns = (events.file, events.label, events.onset_s, events.offset_s)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _sed_eval(python: str, reference: Events, estimated: Events, n_files: int, k: int) -> Any:
    """What sed_eval says, and the CPU seconds that it takes for it."""
    files: list[dict[str, list[Any]]] = [{"reference": [], "estimated": []} for _ in range(n_files)]
    for which, events in (("reference", reference), ("estimated", estimated)):
        for file, label, onset, offset in _rows(events):
            files[file][which].append(
                {"event_label": f"c{label:02d}", "event_onset": onset, "event_offset": offset,
                 "file": f"{file}.wav"}
            )  # fmt: skip
    labels = [f"c{label:02d}" for label in range(k)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lists.json"
        path.write_text(json.dumps({"labels": labels, "files": files}))
        line = [python, "-c", SCORING, str(path)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"sed_eval: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--sed-eval", help="the Python of an environment with sed_eval")
    parser.add_argument("--files", type=int, default=72)
    parser.add_argument("--classes", type=int, default=11)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
