"""Published numbers that results are set beside: facts, in percent unless said otherwise.

Sources: Heggan et al., "MT-SLVR", Interspeech 2023, arXiv 2305.17191; counts of the sets and
MetaAudio's anchors: Heggan et al., "MetaAudio", ICANN 2022, arXiv 2204.02121; classes of the test
splits: split files of github CHeggan/Few-Shot-Classification-for-Audio-Evaluation.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class BenchmarkSet:
    """One of the ten evaluation sets, as the benchmark has it.

    Attributes:
        title: name in the published tables.
        n_clips: clips of all splits.
        n_test_classes: classes of the test split, from which the tasks are drawn.
        native_s: length of its pieces in the published evaluation.
    """

    title: str
    n_clips: int
    n_test_classes: int
    native_s: float = 5.0


SETS = {
    "esc50": BenchmarkSet("ESC-50", 2_000, 10),
    "nsynth": BenchmarkSet("NSynth", 305_978, 200, native_s=4.0),
    "fsdkaggle18": BenchmarkSet("Kaggle18", 11_073, 7),
    "watkins": BenchmarkSet("Watkins", 1_698, 32),
    "birdclef": BenchmarkSet("BirdClef", 63_364, 142),
    "voxceleb1": BenchmarkSet("VoxCeleb", 153_516, 249),
    "speechcommands": BenchmarkSet("SCv2", 105_829, 35, native_s=1.0),
    "cremad": BenchmarkSet("Crema-D", 7_442, 6),
    "accents": BenchmarkSet("SAA", 2_060, 122),
    "commonvoice": BenchmarkSet("C-Voice", 256_243, 88),
}
"""Recipe of `ingest` -> its set, in the order of the published tables."""


def _row(*accuracies: float) -> dict[str, float]:
    return dict(zip(SETS, accuracies, strict=False))


ACCURACY = {
    "SimCLR Cont only": _row(63.40, 66.44, 37.64, 52.91, 30.93, 31.18, 25.68, 29.10, 26.16, 33.33),
    "SimCLR Pred only": _row(37.76, 62.52, 21.72, 28.88, 21.04, 20.08, 23.40, 29.07, 26.27, 31.80),
    "SimCLR MT-Simple": _row(64.23, 66.73, 36.70, 55.26, 29.39, 30.91, 24.02, 29.07, 26.32, 33.21),
    "SimCLR MT-Split": _row(61.23, 65.29, 33.42, 53.19, 27.38, 29.71, 23.40, 28.66, 26.27, 31.80),
    "SimCLR MT-Bn": _row(69.17, 72.44, 39.11, 58.80, 30.32, 32.10, 24.40, 30.03, 28.61, 34.72),
    "SimCLR MT-Series": _row(69.00, 71.25, 37.28, 58.92, 28.82, 33.26, 24.66, 29.57, 28.74, 34.23),
    "SimCLR MT-Parallel": _row(
        *(69.53, 71.81, 38.36, 59.49, 29.49, 33.58, 23.65, 29.61, 28.92, 35.22)
    ),
    "SimSiam Cont only": _row(51.74, 68.78, 31.72, 48.29, 23.94, 24.13, 23.80, 28.11, 23.51, 28.50),
    "SimSiam Pred only": _row(37.76, 62.52, 21.72, 28.88, 21.04, 21.68, 20.08, 21.68, 23.08, 23.00),
    "SimSiam MT-Simple": _row(51.87, 69.68, 29.45, 53.13, 24.14, 25.84, 21.81, 26.42, 27.65, 28.96),
    "SimSiam MT-Split": _row(52.07, 68.26, 28.68, 52.04, 24.47, 25.58, 22.08, 26.69, 26.70, 28.58),
    "SimSiam MT-Bn": _row(58.41, 73.42, 31.69, 55.46, 25.44, 26.71, 21.99, 28.90, 27.38, 29.64),
    "SimSiam MT-Series": _row(57.24, 74.37, 37.31, 54.70, 25.20, 26.87, 22.64, 30.62, 26.44, 31.07),
    "SimSiam MT-Parallel": _row(
        *(60.61, 76.36, 37.59, 57.98, 25.45, 28.66, 23.08, 30.72, 27.94, 32.72)
    ),
    "MetaAudio, trained on the set": {
        "esc50": 76.24,
        "nsynth": 96.47,
        "fsdkaggle18": 45.46,
        "voxceleb1": 63.85,
        "birdclef": 61.34,
        "watkins": 60.27,
    },
}
"""Row -> recipe of the set -> 5-way 1-shot accuracy; 10,000 tasks, about +-0.4. Some speech cells
of the rows Pred only, MT-Simple and MT-Split are copies of one another in the paper."""

COUNTERPART = {
    "simclr": "SimCLR Cont only",
    "simsiam": "SimSiam Cont only",
    "predictive": "SimCLR Pred only",
    **{
        f"mtslvr-{ours}-{variant}": f"{theirs} MT-{name}"
        for ours, theirs in (("simclr", "SimCLR"), ("simsiam", "SimSiam"))
        for variant, name in (
            *(("none", "Simple"), ("split", "Split"), ("bn", "Bn")),
            *(("series", "Series"), ("parallel", "Parallel")),
        )
    },
}
"""Recipe of `train` -> the published row of the same method."""

INVARIANCE = {
    "Cont only": {"all": 31.5},
    "Pred only": {"all": 41.34},
    "MT-Simple": {"all": 30.41},
    "MT-Split": {"contrastive": 37.74, "predictive": 37.85},
    "MT-Bn": {"contrastive": 28.94, "predictive": 32.11},
    "MT-Series": {"contrastive": 24.00, "predictive": 37.14},
    "MT-Parallel": {"contrastive": 31.61, "predictive": 38.91},
}
"""Row -> head -> Mahalanobis distance, mean over the seven augmentations."""

WEIGHTS = {"contrastive": (0.30, 0.46), "predictive": (0.54, 0.70)}
"""Head -> least and greatest share of the classifiers' weight norm over sets and variants."""

AUDIOSET_MAP = {
    "mix/mix": 0.248,
    "mix/mix + SpecAugment": 0.265,
    "mix/channel": 0.272,
    "mix/channel + SpecAugment": 0.282,
    "F, similarity": 0.280,
    "F, similarity + coincidence": 0.297,
    "N, similarity": 0.286,
    "N, similarity + coincidence": 0.301,
    "S1, similarity": 0.283,
    "S1, similarity + coincidence": 0.293,
    "S2, similarity": 0.282,
    "S2, similarity + coincidence": 0.289,
    "S2 v N, similarity + coincidence": 0.306,
    "S2 v F v N, similarity + coincidence": 0.310,
    "the same, 1024 dimensions": 0.326,
}
"""Row of Fonseca et al., WASPAA 2021, arXiv 2105.02132 -> mAP of a shallow classifier; rows from
F on with SpecAugment and temporal proximity, mix/channel."""
