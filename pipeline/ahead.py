"""The plan of the next batch, made by a thread while a device is busy with this one."""

from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Ahead:
    """One plan at a time: what `begin` was told to make, or what is made on the spot.

    A plan is a function of its seed: which of the two it was changes nothing but the time.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._begun: tuple[Hashable, Future[Any]] | None = None

    def begin(self, key: Hashable, make: Callable[[], Any]) -> None:
        """Has a thread make it; whatever was begun before is forgotten.

        Args:
            key: all that the plan depends on.
            make: makes it.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "plan-ahead")
        self._begun = key, self._thread.submit(make)

    def made(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What was begun under this key, once, else what is made now."""
        begun, self._begun = self._begun, None
        if begun is None or begun[0] != key:
            return make()
        return begun[1].result()
