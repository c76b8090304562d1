"""`ingest audioset` through several exits: proxies on this machine that forward or refuse."""

import base64
import contextlib
import pickle
import shutil
import sqlite3
import subprocess
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from audioset_runs import SHORT, attempts, audioset, lists, routes_of, shard_bytes, statuses, video
from conftest import command, run
from fetching import options
from loopback import Route, serve
from proxies import proxy
from slvr.ingest import cli
from slvr.ingest.building.ledger import LEDGER
from slvr.ingest.building.workers import BLOCKED_RETRIES, Overtaking
from slvr.ingest.looks.status import read_state
from slvr.ingest.recipe import ClipFailure
from slvr.ingest.recipes.audioset import AudioSet
from slvr.ingest.youtube.exits import Exits
from slvr.ingest.youtube.fetch import Fetcher
from slvr.shards.clip import Clip, Source


def through(*proxies: str) -> tuple[str, ...]:
    return tuple(text for url in proxies for text in ("--proxy", url))


class Done(NamedTuple):
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def ingest(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Callable[..., Done]:
    """Runs the command in this process and in tmp_path: starting one takes longer than its work."""
    monkeypatch.chdir(tmp_path)

    def work(*line: str) -> Done:
        caplog.clear()
        code = cli.main(line)
        told = capsys.readouterr()
        return Done(code, told.out, told.err + caplog.text)

    return work


def exits_of(out: Path) -> list[tuple[str, int, int, int]]:
    with contextlib.closing(sqlite3.connect(out / LEDGER)) as db:
        return db.execute("SELECT name, ok, refused, closed FROM exits ORDER BY number").fetchall()


def test_one_refusing_exit_leaves_no_clip_blocked_and_costs_few_requests(
    tmp_path: Path, ingest: Callable[..., Done]
) -> None:
    """The order of arrival does not matter: the bytes are those of a run without proxies."""
    listed = lists(tmp_path, 20)
    with serve(routes_of(20)) as server, proxy() as healthy, proxy(429) as refusing:
        line = audioset(server, listed, "s", "--workers", "4", "--shard-mb", "0.25")
        assert ingest(*line).returncode == 0
        alone = shard_bytes(tmp_path / "s")
        shutil.rmtree(tmp_path / "s")
        done = ingest(*line, *through(refusing.url(), healthy.url()))
        assert done.returncode == 0, done.stderr
        assert shard_bytes(tmp_path / "s") == alone and len(alone) > 4
        assert set(statuses(tmp_path / "s").values()) == {"ok"}
        n_refused = Counter(status for _, status, _ in attempts(tmp_path / "s"))["blocked"]
        # pauses of 0.1, 0.2, 0.4, ... s lie between them; three more were on their way at first
        assert 1 <= n_refused <= 3 + 7 and refusing.n_asked <= 2 * n_refused
        assert f"refuses us at {refusing.url()} (rate_limit" in done.stderr
        first, second = exits_of(tmp_path / "s")
        assert first[:3] == (refusing.url(), 0, n_refused)
        assert second == (healthy.url(), 20, 0, 0)
        told = ingest("status", "s").stdout
        assert f"exit {refusing.url()}: no clips, 0 ok, {n_refused} refused" in told
        assert f"exit {healthy.url()}: " in told and "clips an hour, 20 ok, 0 refused\n" in told


def test_the_run_stops_when_all_exits_are_closed_and_goes_on_later(
    tmp_path: Path, ingest: Callable[..., Done]
) -> None:
    listed = lists(tmp_path, 4)
    with serve(routes_of(4)) as server, proxy(429) as first, proxy(403) as second:
        line = audioset(server, listed, "s", "--max-blocked", "0")
        file = tmp_path / "exits.txt"
        file.write_text(f"# two\n{first.url()}\n\n{second.url()}\n")
        line += ["--proxy-file", "exits.txt"]
        stopped = ingest(*line)
        assert stopped.returncode == 1 and "Traceback" not in stopped.stderr
        assert "; 1 more are open" in stopped.stderr
        assert "stopped: the source refuses us" in stopped.stderr
        assert "all 2 exits are closed" in stopped.stderr
        told = ingest("status", "s").stdout
        assert told.count("refused, closed for this run") == 2
        second.refuses = None
        assert ingest(*line).returncode == 0
        assert [row[1:] for row in exits_of(tmp_path / "s")] in (
            [(0, 1, 1), (4, 0, 0)],
            [(0, 2, 1), (4, 0, 0)],  # another one was on its way
        )
    assert set(statuses(tmp_path / "s").values()) == {"ok"}


def test_what_one_country_is_not_offered_comes_through_another(
    tmp_path: Path, ingest: Callable[..., Done]
) -> None:
    """What is deleted or private is so everywhere: nobody else is asked."""
    named = lists(tmp_path, 5)
    private = Route(b"This is a private video", fault="status", status=404)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serve(routes_of(5, v1=private)))
        abroad, *offered = (stack.enter_context(proxy(status)) for status in (451, None, None))
        line = audioset(server, named, "s", "--workers", "1")
        urls = (abroad.url(), *(each.url() for each in offered))
        assert ingest(*line, *through(*urls)).returncode == 0
        found = statuses(tmp_path / "s")
        assert found.pop(video(1)) == "gone" and set(found.values()) == {"ok"}
        tried = Counter((key, status) for key, status, _ in attempts(tmp_path / "s"))
        assert tried[f"Y{video(1)}", "gone"] == 1 and set(tried.values()) == {1}
        assert 1 <= sum(status == "geo" for _, status in tried) <= 5
        for each in offered:
            each.refuses = 451
        line[line.index("--out") + 1] = "t"
        assert ingest(*line, *through(*urls)).returncode == 1
        assert set(statuses(tmp_path / "t").values()) == {"geo"}
        tried = Counter((key, status) for key, status, _ in attempts(tmp_path / "t"))
        assert set(tried.values()) == {3}  # each exit once


def test_status_says_until_when_an_exit_is_closed(tmp_path: Path) -> None:
    listed = lists(tmp_path, 2)
    refused = Route(fault="status", status=429, retry_after="900")
    with serve(routes_of(2, v0=refused, v1=refused)) as server, proxy() as only:
        line = audioset(server, listed, "s", *through(only.url()), "--workers", "1")
        process = subprocess.Popen(command("ingest", *line), cwd=tmp_path, stderr=-3, stdout=-3)
        try:
            end_s = time.monotonic() + 60
            while not (told := told_of(tmp_path / "s")) or "closed until" not in told:
                assert time.monotonic() < end_s
                time.sleep(0.02)
        finally:
            process.kill()
            process.wait()
    assert f"exit {only.url()}: no clips, 0 ok, 1 refused, closed until 20" in told


def told_of(out: Path) -> str:
    try:
        return str(read_state(out))
    except (ValueError, OSError, TypeError, sqlite3.Error):  # it has hardly begun
        return ""


SECRETS = ("hunter2", "anna", base64.b64encode(b"anna:hunter2secret").decode(), "PROOF", "SESSION")


def test_credentials_of_exits_reach_no_output(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ingest: Callable[..., Done],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Those of proxies that forward, refuse and are not there; with tracebacks, too."""
    monkeypatch.setenv("SLVR_TRACEBACK", "1")
    listed = lists(tmp_path, 4)
    (tmp_path / "own.txt").write_text(
        "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tSID\tSESSIONCOOKIE\n"
    )
    login = "anna:hunter2secret"
    faults = {"v1": Route(fault="status", status=404), "v2": Route(SHORT, fault="reset")}
    with serve(routes_of(4, **faults)) as server, proxy() as healthy, proxy(407) as refusing:
        (tmp_path / "exits.txt").write_text(
            f"{healthy.url(login)} cookies=own.txt po_token=web.gvs+PROOFOFORIGIN\n"
            f"http://{login}@127.0.0.1:9\n"
        )
        line = audioset(server, listed, "s", *through(refusing.url(login)), "--retries", "0")
        line += ["--proxy-file", "exits.txt", "--po-token", "web.gvs+PROOFTOO", "--workers", "2"]
        first = run("ingest", *line, "--player-client", "web", cwd=tmp_path)
        told = [Done(first.returncode, first.stdout, first.stderr)]
        assert told[0].returncode == 0, told[0].stderr
        assert healthy.logins == {f"Basic {base64.b64encode(login.encode()).decode()}"}
        assert healthy.cookies == {"SID=SESSIONCOOKIE"} and None in refusing.cookies
        again = ("retry", "s", "--source-url", server.url("/{id}"), "--proxy-file", "exits.txt")
        told.append(ingest(*again, *through(healthy.url())))
        told.append(ingest("status", "s"))
        dead = audioset(server, listed, "t", *through(f"http://{login}@127.0.0.1:9"))
        with pytest.raises(OSError, match="stopped: the source refuses us") as stopped:
            ingest(*dead, "--max-blocked", "0")
        traced = "".join(traceback.format_exception(stopped.value))
        told.append(Done(1, "", f"{traced}{caplog.text}"))
    for wrong in (
        ("--proxy", f"http://{login}@h"),
        ("--proxy-file", f"http://{login}@h:1"),
        (*through(f"http://{login}@h:1"), *through(f"http://{login}@h:1")),
        ("--po-token", "PROOFONLY"),
    ):
        with pytest.raises(ValueError, match=r"expected|given twice") as caught:
            cli.main(["audioset", *listed, *wrong])
        traced = "".join(traceback.format_exception(caught.value))
        assert not [secret for secret in SECRETS if secret in traced], wrong
    for done in told:
        assert not [secret for secret in SECRETS if secret in done.stdout + done.stderr], done
    for path in [*(tmp_path / "s").rglob("*"), *(tmp_path / "t").rglob("*")]:
        content = b"" if path.is_dir() else path.read_bytes()
        assert not [secret for secret in SECRETS if secret.encode() in content], path
    names = [name for name, *_ in exits_of(tmp_path / "t")]
    assert names == ["http://127.0.0.1:9"]


def clips(n: int) -> list[Clip]:
    return [
        Clip(key=f"k{i}", split="train", source=Source("", None, None, str(i))) for i in range(n)
    ]


def test_a_slow_clip_holds_up_nobody_and_the_order_stays() -> None:
    """At most so many wait for it; one that is refused goes behind those under way."""
    release, asked, made = threading.Event(), [], []

    def make(clip: Clip) -> Clip:
        asked.append(clip.key)
        if clip.key == "k0":
            assert release.wait(60)
        if clip.key == "k3" and asked.count("k3") <= BLOCKED_RETRIES:
            return clip.failed("blocked", "rate_limit")
        return clip.failed("blocked", "forbidden") if clip.key == "k5" else clip

    def on_made() -> None:
        made.append(len(asked))
        if len(made) == 2 * 8 - 1:  # all that may be ahead of the slow one
            release.set()

    planned = clips(40)
    with ThreadPoolExecutor(2) as pool:
        overtaking = Overtaking(pool, make, planned, 4, on_made, ahead=16)
        given = [(clip.key, clip.status) for clip in overtaking]
    assert [key for key, _ in given] == [clip.key for clip in planned]
    assert [key for key, status in given if status == "blocked"] == ["k5"] and len(made) == 40
    assert set(asked[: asked.index("k16")]) == {f"k{i}" for i in range(16)}
    counted = Counter(asked)
    assert (counted["k3"], counted["k5"], counted["k4"]) == (3, BLOCKED_RETRIES + 1, 1)


def test_an_exception_of_one_clip_ends_it_at_once() -> None:
    release = threading.Event()

    def make(clip: Clip) -> Clip:
        if clip.key == "k1":
            raise OSError("the disk is full")
        release.wait(60)
        return clip

    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(OSError, match="full"):
            list(Overtaking(pool, make, clips(9), 4, lambda: None))
        release.set()


def exits_from(file: Path, text: str, *proxies: str) -> Exits:
    file.write_text(text)
    return Exits(options(), proxies, str(file))


def test_exits_are_named_without_secrets_and_pickle(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("# Netscape HTTP Cookie File\n")
    text = f"""# gateways
http://anna-1:hunter2@gate.test:7000
http://anna-2:hunter2@gate.test:7000  cookies={tmp_path}/c.txt po_token=web.gvs+AA,web.player+BB

socks5h://[::1]:1080
"""
    found = exits_from(tmp_path / "exits.txt", text, "direct")
    names = ("http://gate.test:7000 (1)", "http://gate.test:7000 (2)", "socks5h://[::1]:1080")
    assert found.names == ("direct", *names) and len(found) == 4
    assert found[0].options.proxy == "" and found[2].options.cookies == tmp_path / "c.txt"
    assert found[2].options.po_token == ("web.gvs+AA", "web.player+BB")
    copied = pickle.loads(pickle.dumps(found))
    assert copied.names == found.names and copied[2].options == found[2].options
    assert Exits(options(), (), None).names == ("direct",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://h:1\nhttp://anna:secret@h\n", r"exits\.txt, line 2: proxy: expected SCHEME://"),
        ("http://h:1 secret", r"line 1: after the URL expected cookies=FILE or po_token="),
        ("http://h:1 cookies=nowhere", "line 1: cookies: no file nowhere"),
        ("http://h:1 po_token=secret", "line 1: po_token: expected CLIENT.CONTEXT"),
        ("# nothing\n", "no exit in it"),
        ("http://h:1\nhttp://h:1\n", "http://h:1 is given twice"),
    ],
)
def test_wrong_exits_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        exits_from(tmp_path / "exits.txt", text)
    assert "secret" not in str(caught.value)


def test_each_exit_keeps_its_own_yt_dlp_object_and_cookies(tmp_path: Path) -> None:
    """One object serves an exit that is asked once at a time."""
    jar = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tSID\tof_{}\n"
    with serve(routes_of(2)) as server, proxy() as first, proxy() as second:
        for name in ("first", "second"):
            (tmp_path / f"{name}.txt").write_text(jar.format(name))
        text = f"{first.url()} cookies={tmp_path}/first.txt\n{second.url()}"
        text += f" cookies={tmp_path}/second.txt\n"
        (tmp_path / "exits.txt").write_text(text)
        found = Exits(options(server), (), str(tmp_path / "exits.txt"))
        for n in range(4):
            (tmp_path / str(n)).mkdir()
            found[n % 2].fetch(video(0), tmp_path / str(n))
    assert (first.cookies, second.cookies) == ({"SID=of_first"}, {"SID=of_second"})
    assert [len(found[n]._free) for n in range(2)] == [1, 1]


def test_https_goes_through_a_tunnel_with_the_exits_own_login(tmp_path: Path) -> None:
    """As YouTube is asked. Behind the tunnel is no TLS here, which shows that it stands."""
    found = []
    with serve(routes_of(1)) as server, proxy() as healthy, proxy(407) as refusing:
        for exit_used in (healthy, refusing):
            chosen = options(
                proxy=exit_used.url("anna:hunter2secret"),
                source_url=server.url("/{id}").replace("http:", "https:"),
            )
            with pytest.raises(ClipFailure) as caught:
                Fetcher(chosen).fetch(chosen.url(video(0)), tmp_path)
            found.append((caught.value.status, caught.value.reason))
            assert not [secret for secret in SECRETS if secret in repr(caught.value)]
            assert exit_used.logins == {f"Basic {SECRETS[2]}"}
    assert found == [("transient", "tls"), ("blocked", "proxy")]


def test_a_token_and_clients_reach_yt_dlp_by_their_names() -> None:
    chosen = options(
        po_token=("web.gvs+TOKEN",),
        player_client=("web", "mweb"),
        ytdlp_options={"extractor_args": {"youtube": {"lang": ["en"]}, "other": {"a": ["b"]}}},
    )
    youtube = {"lang": ["en"], "po_token": ["web.gvs+TOKEN"], "player_client": ["web", "mweb"]}
    given = Fetcher(chosen)._downloader.params["extractor_args"]
    assert given == {"youtube": youtube, "other": {"a": ["b"]}}
    assert {"TOKEN", "web.gvs+TOKEN"} <= chosen.secrets() and "TOKEN" not in repr(chosen)


def test_the_notes_count_the_exits_and_the_help_says_whose_rate_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lists(tmp_path, 6)
    named = {"segments": str(tmp_path / lines[1]), "label_names": str(tmp_path / lines[3])}
    plan = AudioSet(**named, rate=3.0, proxy=("http://a:1", "http://b:2")).plan(tmp_path)
    assert "about 1.0 h at 3 videos an hour through each of 2 exits" in plan.notes[0]
    with pytest.raises(SystemExit, match="0"):
        cli.main(["audioset", "--help"])
    help_of_it = " ".join(capsys.readouterr().out.split())
    assert "per exit and session" in help_of_it and "--proxy-file" in help_of_it
