"""What an evaluation fixes besides the classifier: waveforms, pieces, features, decisions.

The original evaluation code changed between the paper and its later versions, by about a point of
accuracy; every table names the protocol it was made with.
"""

from dataclasses import dataclass
from typing import Literal

from slvr.eval.pieces import Cutting
from slvr.eval.published import SETS
from slvr.pipeline.normalise import Normalisation

Waveforms = Literal["none"] | Normalisation
Support = Literal["mean", "piece"]
Query = Literal["scores", "votes"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How clips become feature vectors, and feature vectors decisions.

    Attributes:
        waveforms: normalisation of each piece; "trained" is the one the model was trained with,
            none for a model of which it is not known.
        piece: "native", "5s" or "whole", as `piece_s` reads it.
        cutting: where pieces lie.
        features: "l2" divides each feature vector by its length.
        support: what stands for a labelled clip: the "mean" of its pieces, or one random "piece".
        query: how the pieces of a clip decide on its class: by the sum of their "scores", or by
            majority of "votes", ties to the lowest class.
    """

    waveforms: Literal["trained", "none", "per-clip"]
    piece: str
    cutting: Cutting
    features: Literal["l2", "none"]
    support: Support
    query: Query

    def normalisation(self, trained: Waveforms) -> Waveforms:
        """The normalisation of waveforms for a model trained with `trained`."""
        return trained if self.waveforms == "trained" else self.waveforms


PROTOCOLS = {
    "matched": Protocol(
        waveforms="trained",
        piece="5s",
        cutting="spread",
        features="l2",
        support="mean",
        query="scores",
    ),
    # github CHeggan/Few-Shot-Classification-for-Audio-Evaluation, February 2023 (nearest to the
    # paper's tables), then August 2023 with the feature normalisation of 2024.
    "published": Protocol(
        waveforms="none",
        piece="native",
        cutting="filled",
        features="none",
        support="piece",
        query="votes",
    ),
    "later": Protocol(
        waveforms="per-clip",
        piece="5s",
        cutting="filled",
        features="l2",
        support="piece",
        query="votes",
    ),
}


def piece_s(piece: str, recipe: str) -> float | None:
    """Length of a piece in seconds; None for whole clips.

    Args:
        piece: "native" (4 s for NSynth, 1 s for Speech Commands, 5 s for the rest, as in the
            benchmark), "5s", "whole", or a number of seconds.
        recipe: recipe of the set, which decides what is native to it.

    Raises:
        ValueError: none of these.
    """
    if piece == "whole":
        return None
    if piece == "native":
        return SETS[recipe].native_s if recipe in SETS else 5.0
    try:
        length_s = float(piece.removesuffix("s"))
    except ValueError:
        length_s = 0.0
    if not 0 < length_s < float("inf"):
        raise ValueError(f"--piece {piece}: expected native, 5s, whole, or a number of seconds")
    return length_s
