import pytest

from slvr.eval.config import Models
from slvr.eval.protocol import PROTOCOLS, piece_s
from slvr.eval.published import SETS
from slvr.ingest.recipes import RECIPES as DATASETS


@pytest.mark.parametrize(
    ("piece", "recipe", "expected"),
    [
        ("native", "nsynth", 4.0),
        ("native", "speechcommands", 1.0),
        ("native", "esc50", 5.0),
        ("native", "folder", 5.0),
        ("5s", "nsynth", 5.0),
        ("whole", "nsynth", None),
        ("2.5", "esc50", 2.5),
        ("2.5s", "esc50", 2.5),
    ],
)
def test_lengths_of_pieces(piece: str, recipe: str, expected: float | None) -> None:
    assert piece_s(piece, recipe) == expected


@pytest.mark.parametrize("piece", ["", "s", "long", "-1", "0s", "nan", "inf"])
def test_other_lengths_are_refused(piece: str) -> None:
    with pytest.raises(ValueError, match="expected native, 5s, whole, or a number of seconds"):
        piece_s(piece, "esc50")


def test_the_two_variants_of_the_original_code() -> None:
    published, later = PROTOCOLS["published"], PROTOCOLS["later"]
    assert (published.waveforms, published.piece, published.features) == ("none", "native", "none")
    assert (later.waveforms, later.piece, later.features) == ("per-clip", "5s", "l2")
    for each in (published, later):
        assert (each.cutting, each.support, each.query) == ("filled", "piece", "votes")
    matched = PROTOCOLS["matched"]
    assert (matched.cutting, matched.support, matched.query) == ("spread", "mean", "scores")
    assert PROTOCOLS["matched"].normalisation("published") == "published"
    assert later.normalisation("published") == "per-clip"


def test_every_protocol_can_be_chosen() -> None:
    for name in PROTOCOLS:
        assert Models(shards=("x",), checkpoint=("y",), protocol=name).protocol == name


def test_every_set_of_the_benchmark_is_a_recipe_and_has_its_counts() -> None:
    assert set(SETS) <= set(DATASETS)
    assert len(SETS) == 10
    assert {each.n_test_classes for each in SETS.values()} == {10, 200, 7, 32, 142, 249, 35, 6} | {
        122,
        88,
    }
