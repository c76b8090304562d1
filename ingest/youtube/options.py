"""How sources are fetched, and what of it is secret."""

import base64
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_plus, urlsplit

from slvr.ingest.youtube.allowed import check
from slvr.ingest.youtube.cookies import cookies_text
from slvr.ingest.youtube.failures import redact

_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


@dataclass(frozen=True)
class FetchOptions:
    """How to fetch.

    Attributes:
        source_url: where a clip's source is; `{id}` stands for its id.
        cookies: cookies.txt in Netscape form, or None. It is read, never written.
        cookies_from_browser: a browser that yt-dlp takes cookies from, `firefox` or
            `firefox:PROFILE`, or None.
        proxy: URL of a proxy; "" for none, None for what the environment says.
        max_source_mb: larger sources are refused, in units of 10^6 bytes.
        max_source_s: longer sources are refused, in seconds.
        max_fetch_s: a download that takes longer is given up, in seconds.
        socket_timeout_s: longest silence of a server, in seconds.
        ytdlp_options: further options by their names in yt-dlp's Python interface.
        po_token: YouTube's proofs of origin as yt-dlp takes them, CLIENT.CONTEXT+TOKEN.
        player_client: YouTube's clients that yt-dlp acts as, by its names.
    """

    source_url: str = field(default="https://www.youtube.com/watch?v={id}", repr=False)
    cookies: Path | None = None
    cookies_from_browser: str | None = None
    proxy: str | None = field(default=None, repr=False)  # may hold a password
    max_source_mb: float = 500.0
    max_source_s: float = 4 * 3600.0
    max_fetch_s: float = 1800.0
    socket_timeout_s: float = 30.0
    ytdlp_options: Mapping[str, Any] = field(default_factory=dict, repr=False)  # may hold tokens
    po_token: tuple[str, ...] = field(default=(), repr=False)
    player_client: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if "{id}" not in self.source_url:
            got = redact(self.source_url, _of_url(self.source_url))
            raise ValueError(f"source_url: got {got!r}, expected a URL with {{id}} in it")
        if self.cookies is not None and not self.cookies.is_file():
            raise ValueError(f"cookies: no file {self.cookies}, expected a cookies.txt")
        if self.cookies is not None:
            cookies_text(self.cookies)
        if self.proxy and not _is_proxy_url(self.proxy):
            raise ValueError(  # without the value: it may hold a password
                "proxy: expected SCHEME://HOST:PORT or SCHEME://USER:PASSWORD@HOST:PORT, the "
                f"scheme one of {', '.join(_PROXY_SCHEMES)}; in user and password write / as %2F, "
                "@ as %40 and : as %3A"
            )
        if any(not client or not token for client, _, token in self._tokens()):
            raise ValueError(  # without the value, again
                "po_token: expected CLIENT.CONTEXT+TOKEN, for example web.gvs+ and the token; "
                "yt-dlp's PO Token Guide says how to get one"
            )
        check(self.ytdlp_options)
        for name in ("max_source_mb", "max_source_s", "max_fetch_s", "socket_timeout_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a number above 0")

    def url(self, youtube_id: str) -> str:
        """The URL of one source."""
        return self.source_url.replace("{id}", youtube_id)

    def _tokens(self) -> list[tuple[str, str, str]]:
        return [text.partition("+") for text in self.po_token]

    def for_ytdlp(self) -> dict[str, Any]:
        """Options by their names in yt-dlp's Python interface."""
        named = {"po_token": list(self.po_token), "player_client": list(self.player_client)}
        given = {name: values for name, values in named.items() if values}
        if not given:
            return dict(self.ytdlp_options)
        of_extractors = dict(self.ytdlp_options.get("extractor_args", {}))
        of_extractors["youtube"] = {**of_extractors.get("youtube", {}), **given}
        return {**self.ytdlp_options, "extractor_args": of_extractors}

    def secrets(self) -> set[str]:
        """The strings that must not be repeated in messages."""
        proxy = urlsplit(self.proxy or "")
        named = [part for part in (proxy.username, proxy.password) if part]
        secrets = {*named, *map(unquote, named)}
        secrets |= {token for _, _, token in self._tokens()} | {*self.po_token}
        if named:
            login = ":".join(unquote(part or "") for part in (proxy.username, proxy.password))
            secrets.add(base64.b64encode(login.encode()).decode())  # as a header has it
        secrets |= _of_url(self.source_url)
        pending: list[Any] = list(self.ytdlp_options.values())
        while pending:
            value = pending.pop()
            if isinstance(value, Mapping):
                pending.extend(value.values())
            elif isinstance(value, (list, tuple, set)):
                pending.extend(value)
            elif not isinstance(value, bool):
                secrets.add(str(value))  # a password may be a number
        return secrets


def _of_url(url: str) -> set[str]:
    """User, password and the values of the query of a URL, as they stand there and decoded."""
    try:
        address = urlsplit(url)
    except ValueError:  # a bracket in the wrong place: nothing can be told apart
        return {url}
    user, _, password = address.netloc.rpartition("@")[0].partition(":")
    query = [pair.partition("=") for pair in re.split("[&;]", address.query)]
    values = [value if equals else name for name, equals, value in query if name != "v"]
    parts = {user, password, address.netloc.rpartition("@")[0], *values, address.fragment}
    found = {part for part in parts if part and "{id}" not in part}
    return found | set(map(unquote, found)) | set(map(unquote_plus, found))


def _is_proxy_url(proxy: str) -> bool:
    try:
        address = urlsplit(proxy)
        return address.scheme in _PROXY_SCHEMES and bool(address.hostname and address.port)
    except ValueError:  # the port is no number
        return False
