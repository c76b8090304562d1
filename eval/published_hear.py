"""Published scores on tasks of the HEAR benchmark: facts, as fractions.

Sources: github hearbenchmark/hear-leaderboard, leaderboard.csv (frozen encoders under the kit's
predictor); Kuroyanagi & Komatsu, "Self-supervised learning method using multiple sampling
strategies for general-purpose audio representation", ICASSP 2022.
"""

_TASKS = (
    "dcase2016_task2",
    "nsynth_pitch-50h",
    "nsynth_pitch-5h",
    "speech_commands-full",
    "speech_commands-5h",
)


def _row(*scores: float) -> dict[str, float]:
    return dict(zip(_TASKS, scores, strict=True))


LEADERBOARD = {
    "PaSST 2lvl+mel": {"dcase2016_task2": 0.925},
    "CREPE": {"nsynth_pitch-50h": 0.900},
    "HuBERT + CREPE": {"nsynth_pitch-5h": 0.878},
    "IUT-CSE MLP (keyword)": {"speech_commands-full": 0.978, "speech_commands-5h": 0.976},
    "CED-base (supervised AudioSet)": _row(0.922, 0.828, 0.682, 0.897, 0.869),
    "CED-mini": _row(0.907, 0.752, 0.556, 0.820, 0.774),
    "OpenL3": _row(0.833, 0.731, 0.560, 0.763, 0.680),
    "wav2vec2": _row(0.663, 0.653, 0.402, 0.879, 0.838),
    "BYOL-S": _row(0.642, 0.712, 0.396, 0.948, 0.914),
    "GURA fuse HuBERT": _row(0.826, 0.688, 0.382, 0.957, 0.947),
    "PaSST base": _row(0.788, 0.541, 0.256, 0.639, 0.681),
    "EfficientNet-B2 (RedRice)": _row(0.790, 0.391, 0.168, 0.676, 0.573),
    "mn04 (supervised)": _row(0.650, 0.282, 0.126, 0.458, 0.482),
    "YAMNet": _row(0.008, 0.321, 0.158, 0.410, 0.289),
    "PANNs": _row(0.0, 0.301, 0.148, 0.618, 0.560),
    "Wav2CLIP": _row(0.0, 0.439, 0.230, 0.347, 0.316),
}
"""Row -> task -> its first metric: onset F, pitch accuracy, accuracy. Rows of 0 and 0.008 may have
stopped at the first validation without an event."""


def _paper(accuracy: float, onset_f: float, pitch: float) -> dict[str, float]:
    scores = {"speech_commands-full": accuracy, "dcase2016_task2": onset_f}
    return scores | {"nsynth_pitch-50h": pitch}


PAPER = {
    "COLA (clip)": _paper(0.459, 0.232, 0.434),
    "clip + frame": _paper(0.535, 0.344, 0.424),
    "clip + pitch": _paper(0.585, 0.244, 0.428),
    "clip + frame + pitch": _paper(0.572, 0.278, 0.452),
    "clip + frame + pitch, cosine": _paper(0.401, 0.094, 0.212),
}
"""Row of the paper -> task -> its first metric. Which of the two rows with one further objective is
which is not sure: the table that we have has lost their names."""

PAPER_CHROMA = {
    "COLA (clip)": 0.470,
    "clip + frame": 0.462,
    "clip + pitch": 0.463,
    "clip + frame + pitch": 0.487,
    "clip + frame + pitch, cosine": 0.238,
}
"""Row of the paper -> chroma accuracy on nsynth_pitch-50h."""

CHANCE = {
    "dcase2016_task2": 0.0,
    "nsynth_pitch-50h": 1 / 88,
    "nsynth_pitch-5h": 1 / 88,
    "speech_commands-full": 1 / 12,
    "speech_commands-5h": 1 / 12,
}


def published_task(name: str) -> str | None:
    """The task of the tables that a set's task is, by its name; None where it is none of them."""
    if name.startswith("dcase2016_task2"):
        return "dcase2016_task2"
    small = "-5h" in name
    if name.startswith("nsynth_pitch"):
        return f"nsynth_pitch-{'5h' if small else '50h'}"
    if name.startswith("speech_commands") and "35" not in name:
        return f"speech_commands-{'5h' if small else 'full'}"
    return None
