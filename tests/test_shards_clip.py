import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slvr.shards.clip import Clip, Event, Source, key_of

KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")


@given(st.text(min_size=1))
def test_every_text_gives_a_valid_key(text: str) -> None:
    key = key_of(text)
    assert KEY.fullmatch(key)
    assert key_of(key) == key


@given(st.sets(st.text(alphabet="ab /_.-éeßsø", min_size=1, max_size=8), min_size=2, max_size=20))
def test_distinct_texts_give_distinct_keys(texts: set[str]) -> None:
    assert len({key_of(text) for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("Große Trommel", "Grosse_Trommel"),
        ("smørrebrød", "smorrebrod"),
        ("Ærø", "Aero"),
        ("Łódź", "Lodz"),
        ("Đorđe", "Dorde"),
        ("þorn", "thorn"),
        ("cœur", "coeur"),
        ("ışık", "isik"),
        ("Müller", "Muller"),
        ("Mu\u0308ller", "Muller"),
        ("北京", "BeiJing"),
    ],
)
def test_letters_beyond_ascii_are_spelled(text: str, readable: str) -> None:
    assert re.fullmatch(rf"{readable}_[0-9a-f]{{8}}", key_of(text))


def test_long_names_keep_their_end() -> None:
    assert "take_7" in key_of("a" * 300 + "/take 7.wav")


@pytest.mark.parametrize("key", ["", "-abc", "a.b", "a/b", "x" * 65, "é"])
def test_bad_keys_are_refused_with_a_way_out(key: str) -> None:
    with pytest.raises(ValueError, match="key_of"):
        Clip(key=key, split="train", source=Source("x"))


def test_a_failed_clip_keeps_its_source_and_loses_its_audio() -> None:
    clip = Clip(key="a", split="train", source=Source("u", 1.0, 2.0), n_samples=16_000)
    failed = clip.failed("gone", "removed", "by its owner")
    assert (failed.status, failed.reason, failed.n_samples) == ("gone", "removed", 0)
    assert failed.source == clip.source and failed.audio is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "attribute x is True, expected a number or text"),
        (None, "attribute x is None, expected a number or text"),
        ([1], r"attribute x is \[1\], expected a number or text"),
        (float("nan"), "attribute x is nan, expected a finite number"),
        (float("inf"), "attribute x is inf, expected a finite number"),
    ],
)
def test_attributes_are_numbers_and_texts(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Clip(key="a", split="train", source=Source("x"), attributes={"x": value})


@pytest.mark.parametrize(
    ("start_s", "end_s"), [(-1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)]
)
def test_events_end_after_they_start(start_s: float, end_s: float) -> None:
    with pytest.raises(ValueError, match="event 'bark' from"):
        Event("bark", start_s, end_s)
