"""Turns are spaced out, refusals pause everybody, and one probe goes ahead."""

import threading
import time

import pytest

from slvr.ingest.building import pace, turns
from slvr.ingest.building.turns import RefusedError, Turns
from slvr.ingest.crew import StoppedError
from slvr.ingest.recipe import Politeness


def of_one(politeness: Politeness) -> Turns:
    return Turns(politeness, ["direct"])


class Clock:
    """Time that passes only in waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(pace.time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(threading.Condition, "wait", lambda _, s=None: self.wait(s))
        monkeypatch.setattr(turns.logger, "warning", lambda text, *of: self.told.append(text % of))
        self.told: list[str] = []

    def wait(self, seconds: float | None = None) -> None:
        assert seconds is not None, "would wait for ever"
        self.now_s += seconds

    def turns(self, paced: Turns, n: int) -> list[float]:
        """When the next n requests start, in seconds from now."""
        started_s = self.now_s
        found = []
        for _ in range(n):
            paced.report(paced.wait(), "ok")
            found.append(round(self.now_s - started_s, 6))
        return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_requests_keep_the_rate_and_make_up_for_a_minute_at_most(clock: Clock) -> None:
    paced = of_one(Politeness(per_hour=300))
    assert clock.turns(paced, 4) == [0, 12, 24, 36]
    clock.now_s += 30
    assert clock.turns(paced, 4) == [0, 0, 6, 18]
    clock.now_s += 10_000
    assert clock.turns(paced, 8) == [0, 0, 0, 0, 0, 0, 12, 24]


def test_without_a_rate_nothing_waits(clock: Clock) -> None:
    assert clock.turns(of_one(Politeness(per_hour=None)), 5) == [0] * 5


def refuse(paced: Turns, n: int, clock: Clock, retry_after_s: float | None = None) -> list[float]:
    """The pauses after n refusals, in seconds."""
    pauses = []
    for _ in range(n):
        turn, at_s = paced.wait(), clock.now_s
        paced.report(turn, "blocked", "rate_limit", retry_after_s)
        paced.report(paced.wait(), "transient")  # a reset does not say that we are let in
        pauses.append(clock.now_s - at_s)
    return pauses


def test_pauses_grow_until_an_answer_comes(clock: Clock) -> None:
    paced = of_one(Politeness(None, refusal_wait_s=60))
    assert refuse(paced, 3, clock) == [60, 120, 240]
    paced.report(paced.wait(), "gone")
    assert refuse(paced, 2, clock) == [60, 120]


def test_the_server_may_ask_for_a_longer_pause(clock: Clock) -> None:
    assert refuse(of_one(Politeness(None)), 2, clock, retry_after_s=100.0) == [100, 120]


@pytest.mark.parametrize(("max_blocked", "retry_after_s"), [(2, None), (6, 86_400.0)])
def test_it_ends_when_refused_too_often_or_for_too_long(
    clock: Clock, max_blocked: int, retry_after_s: float | None
) -> None:
    paced = of_one(Politeness(None, max_blocked=max_blocked))
    with pytest.raises(RefusedError, match="run the same command again") as caught:
        refuse(paced, max_blocked + 1, clock, retry_after_s)
    assert ("86400 s of peace" in str(caught.value)) == (retry_after_s is not None)


def test_refusals_of_requests_that_were_on_their_way_count_once(clock: Clock) -> None:
    paced = of_one(Politeness(None, max_blocked=1))
    turns = [paced.wait() for _ in range(4)]
    for turn in turns:
        paced.report(turn, "blocked", "rate_limit")
    assert clock.turns(paced, 1) == [60]


def test_after_a_pause_one_request_goes_ahead_of_the_others() -> None:
    paced = of_one(Politeness(None, refusal_wait_s=0.01))
    paced.report(paced.wait(), "blocked", "rate_limit")
    probe = paced.wait()
    let_in = threading.Event()
    other = threading.Thread(target=lambda: (paced.wait(), let_in.set()))
    other.start()
    assert not let_in.wait(0.1)
    paced.report(probe, "ok")
    assert let_in.wait(10)
    other.join()


def test_the_end_of_the_run_wakes_everybody() -> None:
    paced = of_one(Politeness(per_hour=1))
    paced.wait()
    ended = threading.Event()

    def wait() -> None:
        paced.sleep(3600)
        with pytest.raises(StoppedError):
            paced.wait()
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    started_s = time.monotonic()
    paced.stop()
    assert ended.wait(30) and time.monotonic() - started_s < 30
    thread.join()


TWO = ["http://a:1", "http://b:2"]


def test_exits_take_turns_and_each_has_the_whole_rate(clock: Clock) -> None:
    both = Turns(Politeness(per_hour=300), TWO)
    asked = []
    for _ in range(6):
        turn = both.wait()
        both.report(turn, "ok")
        asked.append((round(clock.now_s - 1000), turn.through))
    assert asked == [(0, 0), (0, 1), (12, 0), (12, 1), (24, 0), (24, 1)]


def test_a_slow_exit_does_not_collect_everybody(clock: Clock) -> None:
    both = Turns(Politeness(per_hour=None), TWO)
    slow = both.wait()
    assert slow.through == 0
    for _ in range(5):
        turn = both.wait()
        assert turn.through == 1
        both.report(turn, "ok")


def test_a_refusal_pauses_its_exit_alone_and_sends_the_clip_to_another(clock: Clock) -> None:
    both = Turns(Politeness(per_hour=None, refusal_wait_s=60), TWO)
    first, second = both.wait(), both.wait()
    both.report(second, "ok")
    now = both.report(first, "blocked", "rate_limit")
    assert (now.pause_s, now.closed) == (60, False)
    assert clock.told == ["paused for 60 s: the source refuses us at http://a:1 (rate_limit)"]
    for failed_at in ((), {0}, {0, 1}):
        turn = both.wait(failed_at)
        both.report(turn, "ok")
        assert turn.through == 1 and clock.now_s == 1000
    clock.now_s += 61
    turn = both.wait(failed_at={1})  # a clip with a refusal is no probe
    both.report(turn, "ok")
    assert turn.through == 1
    probe, other = both.wait(), both.wait()
    assert (probe.through, other.through) == (0, 1)
    assert both.wait().through == 1  # the probe is on its way
    both.report(probe, "gone")
    assert both.wait(failed_at={1}).through == 0


def test_where_all_refuse_a_refused_clip_asks_again_at_the_other(clock: Clock) -> None:
    both = Turns(Politeness(per_hour=None, refusal_wait_s=60), TWO)
    for _ in range(2):
        both.report(both.wait(), "blocked")
    assert both.wait(failed_at={0}).through == 1
    assert clock.now_s == 1060


def test_it_ends_when_every_exit_is_closed(clock: Clock) -> None:
    both = Turns(Politeness(per_hour=None, refusal_wait_s=60, max_blocked=0), TWO)
    assert both.report(both.wait(), "blocked", "bot_check").closed
    assert clock.told == [
        "closed at http://a:1: the source refuses us (bot_check), 1 times in a row; 1 more are open"
    ]
    turn = both.wait(failed_at={0})
    assert turn.through == 1
    both.report(turn, "blocked", "rate_limit")
    with pytest.raises(RefusedError, match="at http://b:2; all 2 exits are closed"):
        both.wait()


def test_elsewhere_is_an_exit_that_lets_us_in_and_was_not_asked(clock: Clock) -> None:
    """For what is not offered in a country; nobody waits for a refusal to pass."""
    three = Turns(Politeness(per_hour=300, refusal_wait_s=60), [*TWO, "http://c:3"])
    for status in ("ok", "blocked"):
        three.report(three.wait(), status)
    turn = three.wait_elsewhere({0})
    assert turn is not None and turn.through == 2 and clock.now_s == 1000
    three.report(turn, "geo")
    assert three.wait_elsewhere({0, 2}) is None
    again = three.wait_elsewhere({2})  # an exit's own pace holds here, too
    assert again is not None and again.through == 0 and clock.now_s == 1012
    assert of_one(Politeness(None)).wait_elsewhere({0}) is None
