"""How to fetch: wrong options are refused, secrets stay where they were given."""

import dataclasses
import os
import traceback
from http.cookiejar import Cookie
from pathlib import Path

import pytest
from yt_dlp import parse_options

from audioset_runs import QUICK, SHORT, audioset, lists, video
from conftest import run
from fetching import fetch_audio, options
from loopback import Route, serve
from slvr.ingest.recipe import ClipFailure
from slvr.ingest.youtube.allowed import _KINDS, RUN_PROGRAMS, SET_BY_THE_INGEST
from slvr.ingest.youtube.failures import redact
from slvr.ingest.youtube.fetch import Fetcher
from slvr.ingest.youtube.options import FetchOptions


def test_cookies_that_a_site_sets_later_are_secrets_too(tmp_path):
    with serve({"/clip": Route(fault="status", status=404)}) as server:
        fetcher = Fetcher(options(server, source_url=server.url("/{id}") + f"/{COOKIE}"))
        cookie = Cookie(
            *(0, "SID", COOKIE, None, False, "127.0.0.1", False, False, "/", True, False),
            *(None, False, None, None, {}),
        )
        fetcher._downloader.cookiejar.set_cookie(cookie)
        with pytest.raises(ClipFailure) as caught:
            fetcher.fetch(server.url(f"/clip/{COOKIE}"), tmp_path)
    assert COOKIE not in repr(caught.value)


COOKIE, TOKEN = "SESSIONCOOKIE123", "web.gvs+POTOKEN"
COOKIES_TXT = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tSID\t{}\n"


def test_secrets_stay_out_of_failures(tmp_path):
    cookies = tmp_path / "cookies.txt"
    cookies.write_text(COOKIES_TXT.format(COOKIE))
    before = cookies.read_bytes()
    with serve({"/clip": Route(fault="status", status=404)}) as server:
        chosen = FetchOptions(
            # The secrets stand in the URL, so that yt-dlp's own messages repeat them.
            source_url=server.url("/{id}") + f"/{COOKIE}/{TOKEN}?sig=SIGNATURE&v=abc",
            cookies=cookies,
            proxy="",
            ytdlp_options={"extractor_args": {"youtube": {"po_token": [TOKEN]}}},
        )
        (tmp_path / "out").mkdir()
        with pytest.raises(ClipFailure) as caught:
            fetch_audio(chosen.url("clip"), tmp_path / "out", chosen)
    for secret in (COOKIE, TOKEN, "SIGNATURE"):
        assert secret not in str(caught.value)
        assert secret not in repr(caught.value)
    assert "404" in str(caught.value)
    assert TOKEN not in repr(dataclasses.replace(chosen, source_url="{id}"))
    assert cookies.read_bytes() == before


def test_proxy_credentials_stay_out_of_failures(tmp_path):
    with serve({}) as server:
        port = server.port
    chosen = FetchOptions(
        source_url="http://mirror.invalid/{id}",
        proxy=f"http://anna:hunter2%2Fx@127.0.0.1:{port}",
    )
    with pytest.raises(ClipFailure) as caught:
        fetch_audio(chosen.url("clip"), tmp_path, chosen)
    assert (caught.value.status, caught.value.reason) == ("blocked", "proxy")
    assert "hunter2" not in repr(caught.value)
    assert "anna" not in repr(caught.value)
    assert "@127" not in repr(chosen)


def test_passwords_that_yt_dlp_repeats_are_removed():
    chosen = FetchOptions(proxy="http://anna:hunter2%2Fx@127.0.0.1:1")
    assert redact("anna hunter2/x hunter2%2Fx", chosen.secrets()) == "*** *** ***"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source_url": "https://anna:secret@x.org/"}, r"expected a URL with \{id\}"),
        ({"cookies": Path("nowhere.txt")}, "no file nowhere.txt"),
        ({"proxy": "http://anna:secret/x@proxy.org:80"}, "expected SCHEME://HOST:PORT"),
        ({"proxy": "http://anna:secret@proxy.org"}, "expected SCHEME://HOST:PORT"),
        ({"proxy": "proxy.org:80"}, "expected SCHEME://HOST:PORT"),
        ({"max_source_mb": 0.0}, "max_source_mb: got 0"),
        ({"max_source_s": float("nan")}, "max_source_s: got nan"),
        ({"source_url": "ftp://secret@x.org/a?k='secret(2"}, r"expected a URL with \{id\}"),
        ({"ytdlp_options": {"outtmpl": "x", "retries": 1}}, "outtmpl cannot be set"),
        ({"ytdlp_options": {"retries": "secret"}}, "expected a number as retries"),
        ({"ytdlp_options": {"retries": True}}, "expected a number as retries"),
        ({"ytdlp_options": {"nopart": "secret"}}, "expected true or false as nopart"),
        ({"ytdlp_options": {"format": {"secret": 1}}}, "expected a text as format"),
        ({"ytdlp_options": {"format_sort": "secret"}}, "expected a list of texts"),
        ({"ytdlp_options": {"extractor_args": ["secret"]}}, "expected names and values"),
        ({"ytdlp_options": {"extractor_args": {"youtube": "secret"}}}, "expected extractor_args"),
        ({"ytdlp_options": {"http_headers": {"A": ["secret"]}}}, "expected http_headers whose"),
        ({"ytdlp_options": {"js_runtimes": {"node": {"path": "secret"}}}}, "as {"),
        ({"ytdlp_options": {"sleepinterval": "secret"}}, "sleepinterval is none that can be set"),
        *(
            ({"ytdlp_options": {name: "secret"}}, f"{name} runs programs")
            for name in sorted(RUN_PROGRAMS)
        ),
    ],
)
def test_wrong_options_are_refused(changes, words):
    with pytest.raises(ValueError, match=words) as caught:
        FetchOptions(**changes)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"SID {COOKIE}\n", r"line 1: 1 fields, expected 7"),
        (COOKIES_TXT.format(f"a\t{COOKIE}"), r"line 2: 8 fields"),
        (f"#HttpOnly_{COOKIE}\n", r"line 1: 1 fields"),
        (f"$Version {COOKIE}\n", r"line 1: 1 fields"),
        (f"x.org\tFALSE\t/\tFALSE\t{COOKIE}\tSID\tx\n", "seconds as fifth"),
        (f"x.org\t{COOKIE}\t/\tFALSE\t0\tSID\tx\n", "expected TRUE or FALSE"),
        (f"x.org\tTRUE\t/\tFALSE\t0\tSID\t{COOKIE}\n", "begins with a dot"),
        (f"{COOKIE}\xff", "no text in UTF-8"),
    ],
)
def test_no_line_of_a_malformed_cookies_file_is_shown(tmp_path, capfd, text, words):
    (tmp_path / "cookies.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=words) as caught:
        options(cookies=tmp_path / "cookies.txt")
    assert COOKIE not in "".join(traceback.format_exception(caught.value))
    assert COOKIE not in "".join(capfd.readouterr())


def test_all_options_that_may_be_set_are_yt_dlps():
    known = parse_options(["--ignore-config"]).ydl_opts.keys()
    allowed = {name for names in _KINDS.values() for name in names}
    assert allowed <= known
    assert not allowed & (RUN_PROGRAMS | SET_BY_THE_INGEST)


def test_a_wrong_value_ends_the_run_before_the_first_clip(tmp_path):
    """One that only yt-dlp itself can tell."""
    secret = "hunter2[((("
    with serve({}) as server:
        recipe = audioset(server, lists(tmp_path, 2), "s", "--ytdlp-option", f"format={secret}")
        done = run("ingest", *recipe, cwd=tmp_path, env={**os.environ, "SLVR_TRACEBACK": "1"})
    assert done.returncode != 0 and "yt-dlp cannot be started" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert not server.requests and not (tmp_path / "s").exists()


def test_a_token_in_the_url_of_the_source_is_written_nowhere(tmp_path):
    keys = [video(n) for n in range(3)]
    routes = {f"/{keys[0]}": Route(SHORT), f"/{keys[1]}": Route(fault="html")}
    with serve(routes) as server:
        url = server.url("/{id}").replace("//", "//hunter2user:hunter2pw@")
        url += "?token='hunter2(q%28&b=hunter2%20c&hunter2#hunter2f"
        line = [
            *("audioset", *lists(tmp_path, 3), *QUICK, "--retries", "0", "--out", "s"),
            *("--proxy", "direct", "--source-url", url, "--max-fail", "1"),
        ]
        done = run("ingest", *line, cwd=tmp_path, env={**os.environ, "SLVR_TRACEBACK": "1"})
    assert done.returncode == 0, done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    for path in (tmp_path / "s").rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes(), path


def test_unreadable_cookies_are_the_users_error(tmp_path):
    cookies = tmp_path / "cookies.txt"
    cookies.write_text(f'[{{"name": "SID", "value": "{COOKIE}"}}]')
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=r"cookies.*Netscape") as caught:
        fetch_audio("http://127.0.0.1:9/clip", tmp_path / "out", options(cookies=cookies))
    assert COOKIE not in str(caught.value)


@pytest.mark.parametrize("typed", [("--proxi", "u:hunter2@h"), ("--proxi=u:hunter2@h", "hunter2")])
def test_a_misspelt_flag_does_not_show_its_value(tmp_path, typed):
    done = run("ingest", "audioset", *typed, cwd=tmp_path)
    assert done.returncode == 2 and "unrecognized arguments: --proxi" in done.stderr
    assert "hunter2" not in done.stderr
