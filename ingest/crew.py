"""Worker processes for what may take its process down: decoders in C, on files of strangers.

A pool of the standard library breaks as a whole when one of its processes dies, and does not say
at what. Here a worker has one call at a time, so its death costs that call and nothing else.
"""

import os
import pickle
import resource
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

KEPT_BYTES = 31 << 20
"""Twice this much freed memory stays with a worker; glibc takes no more than 2 x 32 MB."""
HANG_S = 600.0
"""Nothing that a worker is given takes this long, the decoding of very long recordings aside."""
LONGEST_S = 86_400.0
"""A header may declare a recording of a million years: nobody waits for it longer than this."""
LAST_BREATH_S = 5.0
"""A process that has closed its pipe is dead within this time, or is killed."""

Item = TypeVar("Item")
Result = TypeVar("Result")

# spawn: a forked child would inherit the locks of the parent's threads
_SPAWN = get_context("spawn")


class CrashedError(Exception):
    """The process of a call went down in the middle of it; the text says how."""


class HungError(CrashedError):
    """The process of a call did not come back, and was ended."""


class StoppedError(Exception):
    """The run is over: whoever waits for a turn need not wait any longer."""


@dataclass(frozen=True)
class _Worker:
    """A process that answers calls, and the pipe to it."""

    process: SpawnProcess
    pipe: Connection


class Crew:
    """Worker processes for the threads of a run; each starts when it is first needed."""

    def __init__(self, n: int) -> None:
        """Starts nothing yet.

        Args:
            n: processes at a time, 1 or more.
        """
        self._free: SimpleQueue[_Worker | None] = SimpleQueue()
        for _ in range(n):
            self._free.put(None)
        self._processes: set[SpawnProcess] = set()
        self._of_processes = threading.Lock()  # a process is waited for by one thread at a time
        self._alone = threading.Lock()
        self._stopped = False

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def each(
        self,
        work: Callable[[Item], Result],
        items: Sequence[Item],
        crashed: Callable[[Item, CrashedError], Result],
        limit_s: float = HANG_S,
    ) -> list[Result]:
        """work(item) of every item, in order, from one worker.

        Where that one goes down or hangs, each item is tried once more in a call of its own, one
        suspect at a time, while other threads' calls go on.

        Args:
            work: a function that pickles.
            items: what it gets.
            crashed: what stands for an item that takes its process down, and how it went down.
            limit_s: all items together, and each alone, hang when they take longer.
        """
        try:
            return self.call(_each, work, items, limit_s=limit_s)
        except CrashedError:
            return [self._suspect(work, item, crashed, limit_s) for item in items]

    def _suspect(
        self,
        work: Callable[[Item], Result],
        item: Item,
        crashed: Callable[[Item, CrashedError], Result],
        limit_s: float,
    ) -> Result:
        with self._alone:
            try:
                return self.call(work, item, limit_s=limit_s)
            except CrashedError as crash:
                return crashed(item, crash)

    def call(self, work: Callable[..., Result], *args: Any, limit_s: float | None = None) -> Result:
        """work(*args) from a worker; waits until one is free, then at most limit_s.

        Raises:
            CrashedError: its process went down.
            HungError: it took longer.
            StoppedError: the run is over.
            ChildProcessError: no process can be started.
            Exception: what work raised.
        """
        asked = pickle.dumps((work, args))
        worker = self._free.get()
        try:
            if worker is None:
                worker = self._start()
            worker.pipe.send_bytes(asked)
            if limit_s is not None and not worker.pipe.poll(min(limit_s, LONGEST_S)):
                worker.process.kill()
                raise HungError(f"no answer after {min(limit_s, LONGEST_S):.0f} s")
            answer = worker.pipe.recv_bytes()
        except BaseException as error:
            how = self._end(worker)
            worker = None
            if self._stopped:
                raise StoppedError from error
            if isinstance(error, EOFError | BrokenPipeError | ConnectionResetError):
                raise CrashedError(how) from error
            raise
        finally:
            self._free.put(worker)  # before the answer is read: another thread has the next call
        succeeded, result = pickle.loads(answer)
        if not succeeded:
            raise result
        given: Result = result
        return given

    def stop(self) -> None:
        """Ends every process, also in the middle of a call."""
        with self._of_processes:
            self._stopped = True
            for process in self._processes:
                process.kill()
            for process in self._processes:
                process.join()
            self._processes.clear()

    def _start(self) -> _Worker:
        ours, theirs = _SPAWN.Pipe()
        with self._of_processes, _without_ctrl_c():
            if self._stopped:
                raise StoppedError
            process = _SPAWN.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            self._processes.add(process)
        theirs.close()
        worker = _Worker(process, ours)
        try:
            ours.recv_bytes()
        except (EOFError, OSError) as error:
            how = self._end(worker)
            if self._stopped:
                raise StoppedError from error
            raise ChildProcessError(
                f"a worker could not start: {how}; is there memory for --workers as many, and "
                "does a program of your own stand below `if __name__ == '__main__':`?"
            ) from error
        return worker

    def _end(self, worker: _Worker | None) -> str:
        """Ends a worker that is of no use any more; how its process went down."""
        if worker is None:
            return ""
        wait([worker.process.sentinel], LAST_BREATH_S)
        with self._of_processes:
            worker.process.kill()
            worker.process.join()
            self._processes.discard(worker.process)
            code = worker.process.exitcode
        worker.pipe.close()
        if code is not None and code < 0:
            return f"its process ended by signal {-code} ({signal.strsignal(-code)})"
        return f"its process ended with exit code {code}"


@contextmanager
def threads_of(crew: Crew, n: int) -> Iterator[Executor]:
    """N threads that call a crew; after an exception both end at once."""
    with crew, ThreadPoolExecutor(n) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            crew.stop()
            raise


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """What this thread starts does not see Ctrl-C before it can ignore it."""
    resource_tracker.ensure_running()  # at its first start it would let SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _each(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [work(item) for item in items]


def _serve(pipe: Connection) -> None:
    """The life of a worker: Ctrl-C is the parent's affair, and nobody outlives a killed parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))  # nothing is written outside the output
    # glibc gives back what is free beyond twice the largest block freed so far (mallopt(3)): the
    # arrays of every clip would be faulted in anew, a fifth of the work. So a large one is freed
    np.empty(KEPT_BYTES, np.uint8)
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    pipe.send_bytes(b"ready")
    while True:
        try:
            asked = pipe.recv_bytes()
        except EOFError:
            return
        pipe.send_bytes(_answer(asked))


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _answer(asked: bytes) -> bytes:
    """Whether a call succeeded, and what it gave or raised."""
    try:
        work, args = pickle.loads(asked)
        return pickle.dumps((True, work(*args)))
    except Exception as error:
        error.add_note(traceback.format_exc())  # where it was raised: lost on the way otherwise
        try:
            answer = pickle.dumps((False, error))
            pickle.loads(answer)
        except Exception:  # an exception of a stranger's library need not pickle
            return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
        return answer
