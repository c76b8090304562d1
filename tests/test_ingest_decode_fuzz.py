"""Damaged files by seed: each is a row, whatever was done to it."""

import pytest

from fuzz_decode import KINDS, MAX_BYTES, run


def check(counted: dict) -> None:
    assert counted["died"] == [] and counted["raised"] == []  # -14 would be a hang
    assert counted["unforeseen"] == []
    assert counted["short and ok"] == []
    assert counted["short without a word"] == []
    assert counted["peak_bytes"] < MAX_BYTES


def test_damaged_files_are_rows() -> None:
    counted = run(20 * len(KINDS), seed=0)
    assert counted["files"] == 20 * len(KINDS) and counted["statuses"]["ok"] > 100
    check(counted)


@pytest.mark.long
def test_five_thousand_damaged_files_are_rows() -> None:
    for seed in (1, 2):
        counted = run(5000, seed)
        assert counted["files"] == 5000 and set(counted["kinds that are ok"]) == set(KINDS)
        check(counted)
