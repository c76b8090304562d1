from slvr.ingest.expected import Expected, compare
from slvr.shards.clip import Clip, Source
from slvr.shards.rows import Row

ROWS = [
    Row(Clip("key", "eval", Source("x"), labels=(label,), status=status))
    for label, status in (("dog", "ok"), ("dog", "ok"), ("cat", "ok"), ("cat", "silent"))
]


def test_equal_counts_are_said_to_be() -> None:
    assert compare(Expected(3, 2), "x", ROWS) == ["x: 3 clips of 2 classes, as expected"]


def test_other_counts_name_both_the_classes_and_the_reason() -> None:
    expected = Expected(5, 3, "one is silent", classes=frozenset({"cat", "emu"}))
    assert compare(expected, "x", ROWS) == [
        "warning: x: 3 clips of 2 classes, expected 5 of 3; known: one is silent",
        "  without a clip: emu",
        "  not in the benchmark: dog",
        "  cat: 1, planned 2",
    ]


def test_equal_counts_of_other_classes_are_no_match() -> None:
    expected = Expected(3, 2, classes=frozenset({"dog", "emu"}))
    assert compare(expected, "x", ROWS)[0].startswith("warning")


def test_counts_by_class_are_compared_where_they_are_known() -> None:
    expected = Expected(4, 2, per_class={"dog": 2, "cat": 2})
    assert compare(expected, "x", ROWS)[1:] == ["  cat: 1, expected 2"]


def test_long_lists_are_cut() -> None:
    per_class = {f"class_{i:02d}": 1 for i in range(30)}
    line = compare(Expected(30, 30, per_class=per_class), "x", ROWS)[1]
    assert "class_07: 0, expected 1" in line and line.endswith("and 22 more")
