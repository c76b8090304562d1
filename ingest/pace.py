"""How fast a source may be asked."""

import threading
import time


class Pace:
    """Spaces out requests evenly over all threads.

    Args:
        per_hour: requests an hour, above 0.
    """

    def __init__(self, per_hour: float) -> None:
        self._every_s = 3600 / per_hour
        self._lock = threading.Lock()
        self._next_s = time.monotonic()

    def wait(self) -> None:
        """Returns when the next request may start."""
        with self._lock:
            now_s = time.monotonic()
            turn_s = max(self._next_s, now_s)
            self._next_s = turn_s + self._every_s
        time.sleep(turn_s - now_s)
