"""Every room of the package is imported under its one name, `slvr.<room>`."""

import sys
from collections.abc import Iterator

import pytest

ROOMS = ("command", "ingest", "shards", "pipeline", "model", "train", "eval")


@pytest.fixture(scope="session", autouse=True)
def no_twin_of_a_room() -> Iterator[None]:
    """At the end of the suite no `model.encoders` stands beside `slvr.model.encoders`."""
    yield
    twins = {name for name in sys.modules if name.partition(".")[0] in ROOMS}
    assert not twins, "a second copy of a room: its classes are not ours"
