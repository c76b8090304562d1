"""How YouTube is asked: through which exits, how fast, and what is too large."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from slvr.ingest.recipe import Politeness
from slvr.ingest.youtube.exits import Exits
from slvr.ingest.youtube.options import FetchOptions


@dataclass(frozen=True)
class Asking:
    """The options that say how, and the exits made of them."""

    source_url: str = field(default=FetchOptions.source_url, repr=False)
    """Where a video is; {id} stands for its id."""
    rate: float | Literal["unlimited"] = 300.0
    """Videos an hour, above 0, per exit and session: about 300 is what YouTube allows a guest; or
    `unlimited`."""
    retries: int = 3
    """Further attempts after a passing failure (a reset connection, HTTP 5xx), 0 or more."""
    max_blocked: int = 6
    """Pauses in a row, after refusals (bot check, HTTP 429), before an exit closes, 0 or more; the
    run stops when all are closed."""
    blocked_wait_s: float = 60.0
    """First such pause in seconds, above 0; each further one is twice as long."""
    cookies: str | None = None
    """cookies.txt in Netscape form; it is read, never written, and no cookie is kept."""
    cookies_from_browser: str | None = None
    """Browser on this machine to take cookies from, for example firefox."""
    proxy: tuple[str, ...] = field(default=(), repr=False)
    """SCHEME://[USER:PASSWORD@]HOST:PORT, or `direct` for this machine's own address. Of several,
    also by giving the option again, each is an exit with its own pace, cookies and pauses."""
    proxy_file: str | None = None
    """A text file with a proxy on each line; `cookies=FILE` and `po_token=CLIENT.CONTEXT+TOKEN`
    behind it are that exit's own."""
    po_token: tuple[str, ...] = field(default=(), repr=False)
    """CLIENT.CONTEXT+TOKEN for YouTube, as yt-dlp takes it; it belongs to one session."""
    player_client: tuple[str, ...] = ()
    """YouTube's clients to act as, by yt-dlp's names: with `web`, a token and cookies about 1,000
    videos an hour are allowed."""
    ytdlp_option: tuple[str, ...] = field(default=(), repr=False)
    """KEY=VALUE for yt-dlp, by its names in Python; VALUE as JSON, or else as text."""
    max_source_mb: float = 500.0
    """Larger sources are refused, in units of 10^6 bytes; each worker keeps one below TMPDIR."""
    max_source_s: float = 14_400.0
    """Longer sources are refused, in seconds."""
    _exits: Exits = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if min(self.retries, self.max_blocked) < 0:
            raise ValueError(
                "expected --retries and --max-blocked of 0 or more, got "
                f"{self.retries} and {self.max_blocked}"
            )
        if (self.rate != "unlimited" and self.rate <= 0) or self.blocked_wait_s <= 0:
            raise ValueError(
                "expected --rate above 0 or unlimited, and --blocked-wait-s above 0, got "
                f"{self.rate} and {self.blocked_wait_s:g}"
            )
        options = FetchOptions(
            source_url=self.source_url,
            cookies=Path(self.cookies) if self.cookies else None,
            cookies_from_browser=self.cookies_from_browser,
            max_source_mb=self.max_source_mb,
            max_source_s=self.max_source_s,
            ytdlp_options=_parsed(self.ytdlp_option),
            po_token=self.po_token,
            player_client=self.player_client,
        )
        object.__setattr__(self, "_exits", Exits(options, self.proxy, self.proxy_file))

    @property
    def exits(self) -> tuple[str, ...]:
        """The proxies without their passwords."""
        return self._exits.names

    @property
    def politeness(self) -> Politeness:
        """What YouTube puts up with."""
        return Politeness(
            per_hour=self.rate if self.rate != "unlimited" else None,
            retries=self.retries,
            refusal_wait_s=self.blocked_wait_s,
            max_blocked=self.max_blocked,
        )


def _parsed(settings: tuple[str, ...]) -> dict[str, Any]:
    """yt-dlp's options from KEY=VALUE texts."""
    options: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (key.isidentifier() and equals):  # without the text: it may hold a token
            raise ValueError("--ytdlp-option: expected KEY=VALUE, for example retries=10")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    return options
