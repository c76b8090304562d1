"""Ways to the source: each is an address with a session of its own (cookies, tokens, yt-dlp).

A line of a `--proxy-file` names one:

    http://user:password@proxy.org:8080 cookies=first.txt po_token=web.gvs+TOKEN
"""

import dataclasses
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from slvr.ingest.youtube.failures import redact
from slvr.ingest.youtube.fetch import Fetched, Fetcher
from slvr.ingest.youtube.options import FetchOptions

DIRECT = "direct"
"""In the place of a proxy's URL: this machine's own address."""


class Exit:
    """One way to the source, for any number of threads.

    A yt-dlp object is one thread's at a time; the one used last is taken first, so that an exit
    that is asked at YouTube's pace keeps a single one, with its connections and cookies.
    """

    def __init__(self, options: FetchOptions) -> None:
        self.options = options
        self._free: deque[Fetcher] = deque()

    def begin(self) -> None:
        """Starts a session, where none is: finds wrong options before the first clip.

        Raises:
            UsageError: yt-dlp cannot be started with them.
        """
        if not self._free:
            self._free.append(Fetcher(self.options))

    def fetch(self, youtube_id: str, folder: Path) -> Fetched:
        """One video's audio; see `Fetcher.fetch`."""
        try:
            fetcher = self._free.pop()
        except IndexError:
            fetcher = Fetcher(self.options)
        try:
            return fetcher.fetch(self.options.url(youtube_id), folder)
        finally:
            self._free.append(fetcher)


class Exits:
    """The exits of a run."""

    def __init__(self, options: FetchOptions, proxies: Sequence[str], file: str | None) -> None:
        """Checks what is given; asks nobody.

        Args:
            options: what all exits share; with no proxy given, the only one.
            proxies: their URLs, or `direct`.
            file: a text file with one exit on each line, or None.

        Raises:
            ValueError: the file or a proxy is not as expected, or one is given twice.
        """
        given = [_through(options, proxy) for proxy in proxies]
        if file is not None:
            given += _read(options, file)
        self._options = tuple(given) or (options,)
        sessions = [(each.proxy, each.cookies, each.po_token) for each in self._options]
        twice = [n for n, session in enumerate(sessions) if session in sessions[:n]]
        if twice:
            raise ValueError(
                f"--proxy, --proxy-file: {_name(self._options[twice[0]])} is given twice; each "
                "exit has its own pace, so that one address would be asked twice as often"
            )
        self.names = _told_apart([_name(each) for each in self._options])
        self._exits = tuple(map(Exit, self._options))

    def __len__(self) -> int:
        return len(self._exits)

    def __getitem__(self, number: int) -> Exit:
        return self._exits[number]

    def __getstate__(self) -> tuple[FetchOptions, ...]:
        """Pickles what it was made of: connections belong to one process."""
        return self._options

    def __setstate__(self, options: tuple[FetchOptions, ...]) -> None:
        self._options = options
        self.names = _told_apart([_name(each) for each in options])
        self._exits = tuple(map(Exit, options))


def _through(options: FetchOptions, proxy: str) -> FetchOptions:
    return dataclasses.replace(options, proxy="" if proxy == DIRECT else proxy)


def _read(options: FetchOptions, file: str) -> list[FetchOptions]:
    """The exits that a file lists; # begins a line that is none."""
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):  # without the cause: a URL in its place has a password
        raise ValueError(
            f"--proxy-file: cannot read {redact(file)}; expected a text file with one proxy's URL "
            "on each line"
        ) from None
    exits = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        proxy, *settings = line.split()
        values = dict(setting.partition("=")[::2] for setting in settings)
        try:
            if not values.keys() <= {"cookies", "po_token"}:
                raise ValueError("after the URL expected cookies=FILE or po_token=CLIENT+TOKEN")
            own = _through(options, proxy)
            if "cookies" in values:
                own = dataclasses.replace(own, cookies=Path(values["cookies"]))
            if "po_token" in values:
                own = dataclasses.replace(own, po_token=tuple(values["po_token"].split(",")))
        except ValueError as error:
            raise ValueError(f"{redact(file)}, line {number}: {error}") from None
        exits.append(own)
    if not exits:
        raise ValueError(f"{redact(file)}: no exit in it; expected one proxy's URL on each line")
    return exits


def _name(options: FetchOptions) -> str:
    """Where an exit is, without user and password."""
    if not options.proxy:
        return DIRECT
    address = urlsplit(options.proxy)
    host = f"[{address.hostname}]" if ":" in (address.hostname or "") else address.hostname
    return f"{address.scheme}://{host}:{address.port}"


def _told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """The names, numbered where several are equal: users of one gateway."""
    return tuple(
        f"{name} ({names[:n].count(name) + 1})" if names.count(name) > 1 else name
        for n, name in enumerate(names)
    )
