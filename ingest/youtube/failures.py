"""What a failed download means: one table from the messages of yt-dlp and HTTP to a status.

| status | means | what a run does |
|---|---|---|
| gone | the video is not there for anybody | final |
| geo | not for this country | ask through three other exits, then final |
| login | needs an account (age, members, payment) | final without cookies |
| blocked | we are refused, or the net is away: every other clip would fail too | pause the run |
| transient | this one try failed | retry |
| corrupt | what came is no readable audio | final |
| silent | there is no audio to fetch | final |
| refused | larger, longer or live: we do not want it | final under these limits |

A wrong `gone` loses a clip for ever, a wrong `transient` costs one more try: in doubt, the table
says `transient` or `blocked`.
"""

import email.utils
import errno
import re
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from slvr.ingest.recipe import ClipFailure

_MAX_DETAIL_CHARACTERS = 400
_MIN_SECRET_CHARACTERS = 4


class Rule(NamedTuple):
    """One row of the table: the first whose pattern is found in the message decides."""

    status: str
    reason: str
    pattern: str


# HTTP statuses reach the table as "http error N" (yt-dlp's own words; often the only trace left
# of them), with " at youtube" behind it where YouTube said it.
RULES = (
    # We are the problem, not the clip. First, since YouTube wraps these in "Video unavailable".
    Rule("blocked", "bot_check", r"not a bot"),
    Rule("blocked", "captcha", r"captcha"),
    Rule("blocked", "rate_limit", r"try again later|rate.?limited|too many requests"),
    Rule("blocked", "rate_limit", r"http error 429|content isn't available"),
    Rule("blocked", "payment_required", r"http error 402"),
    Rule("blocked", "ip_blocked", r"your ip is likely being blocked|anti-bot challenge"),
    Rule(
        "blocked", "proxy", r"connect to proxy|proxyerror|tunnel connection failed|http error 407"
    ),
    # Refusals that say "sign in" or "in your country" without meaning it.
    Rule("gone", "private", r"private video|video is private"),
    Rule("gone", "account_closed", r"account\b.*\bterminated|closed their youtube account"),
    Rule("gone", "removed", r"removed for violating"),
    Rule("geo", "country", r"(available|blocked( it)?) in your country|geo.?restrict"),
    Rule("geo", "country", r"from your location"),
    Rule("geo", "legal", r"http error 451"),
    Rule("gone", "copyright", r"copyright|legal complaint|claimed content"),
    Rule("gone", "removed", r"(has been|was) (removed|deleted)|removed by the (uploader|user)"),
    Rule("gone", "drm", r"drm.protected"),
    Rule("login", "age", r"confirm your age|age.restricted|inappropriate for some users"),
    Rule("login", "members", r"members.only|join this channel|available to this channel's members"),
    Rule("login", "paid", r"requires payment|premium members|\brent\b|\bpurchase\b"),
    Rule("refused", "live", r"live event will begin|premieres in|premiere will begin"),
    # The extractor or the JavaScript runtime is behind the site, or formats are held back.
    Rule("blocked", "extraction", r"signature extraction failed|player response|\bnsig\b"),
    Rule("blocked", "extraction", r"requested format is not available|no video formats found"),
    Rule("blocked", "extraction", r"only images are available|not available on this app"),
    Rule("blocked", "extraction", r"page needs to be reloaded|precondition check failed"),
    Rule("gone", "unavailable", r"video (is )?(unavailable|not available)|no longer available"),
    Rule("gone", "unavailable", r"video (isn't|is not) available|recording is not available"),
    Rule("gone", "unavailable", r"video does not exist|live event has ended"),
    Rule("login", "account", r"\bsign in\b|login details|registered users|http error 401"),
    # Plain HTTP.
    Rule("transient", "redirect_loop", r"redirect loop"),
    # A stale media URL or a lost fragment, while the source itself was there a moment ago.
    Rule("transient", "media_url", r"http error (404|410) at youtube"),
    Rule("transient", "media_url", r"got error: http error (404|410)"),
    Rule("gone", "not_found", r"http error (404|410)"),
    Rule("blocked", "forbidden", r"http error 403"),
    Rule("transient", "server_error", r"http error 5\d\d"),
    Rule("transient", "timeout", r"http error 408|tim(ed|e)\W?out"),
    Rule("transient", "http_error", r"http error \d+"),
    # The connection.
    Rule("corrupt", "empty", r"did not get any data blocks"),
    Rule("transient", "truncated", r"more expected|content too short|incomplete ?read|bytes read"),
    Rule("transient", "truncated", r"downloaded \d+ bytes, expected \d+"),
    Rule("blocked", "unreachable", r"resolv|name resolution|name or service not known|getaddrinfo"),
    Rule("blocked", "unreachable", r"connection refused|unreachable|no route to host"),
    Rule("transient", "reset", r"reset by peer|aborted|closed connection|broken pipe"),
    Rule("transient", "reset", r"connection (was )?(broken|closed|reset)|end closed"),
    Rule("transient", "tls", r"certificate|\bssl\b|\btls\b"),
    Rule("corrupt", "not_audio", r"unsupported url:"),
)

_YOUTUBE_HOSTS = ("youtube.com", "googlevideo.com")

# Troubles of this machine, which no clip is to blame for.
_LOCAL_ERRNOS = {
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "ENOENT", "ENOTDIR"),
        *("EIO", "EMFILE", "ENFILE", "EFBIG", "ENAMETOOLONG"),
    )
    if hasattr(errno, name)
}


def classify(error: BaseException, secrets: Iterable[str] = ()) -> ClipFailure:
    """What an exception of yt-dlp means for the clip.

    Args:
        error: as raised by yt-dlp.
        secrets: strings that must not appear in the detail.
    """
    from yt_dlp.networking.exceptions import HTTPError  # noqa: PLC0415 - slow to import
    from yt_dlp.utils import GeoRestrictedError  # noqa: PLC0415

    chain = list(_causes(error))
    text = " / ".join(str(link) for link in chain)
    retry_after_s = None
    http = next((link for link in chain if isinstance(link, HTTPError)), None)
    if http is not None:
        host = urlsplit(http.response.url).hostname or ""
        by_youtube = host.endswith(_YOUTUBE_HOSTS)
        text = str(http) + f" HTTP Error {http.status}" + " at YouTube" * by_youtube
        retry_after_s = parse_retry_after(http.response.headers.get("Retry-After"))
    elif any(isinstance(link, GeoRestrictedError) for link in chain):
        text = "geo-restricted"  # its message gives advice on proxies, too
    status, reason = look_up(text)
    return ClipFailure(status, reason, redact(str(error) or repr(error), secrets), retry_after_s)


def look_up(message: str) -> tuple[str, str]:
    """Status and reason of the first rule that fits; transient, unknown if none does."""
    message = message.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    for status, reason, pattern in RULES:
        if re.search(pattern, message, re.IGNORECASE):
            return status, reason
    return "transient", "unknown"


def local_error(error: BaseException) -> OSError | None:
    """The disk's or the system's own error behind an exception of yt-dlp, if one is."""
    from yt_dlp.networking.exceptions import RequestError  # noqa: PLC0415 - slow to import

    for link in _causes(error):
        if isinstance(link, RequestError):  # what lies behind it is the network's
            return None
        if isinstance(link, OSError) and link.errno in _LOCAL_ERRNOS:
            return link
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and those behind it, by yt-dlp's several ways of keeping them."""
    seen: list[BaseException] = []
    link: object = error
    while isinstance(link, BaseException) and not any(link is other for other in seen):
        seen.append(link)
        yield link
        exc_info = getattr(link, "exc_info", None)
        behind = (exc_info[1] if exc_info else None, getattr(link, "cause", None), link.__cause__)
        link = next((other for other in behind if isinstance(other, BaseException)), None)
        if link is None and type(seen[-1]).__name__ == "UnavailableVideoError":
            link = seen[-1].__context__  # raised in an except clause without `from`


def parse_retry_after(value: str | None) -> float | None:
    """The seconds that a Retry-After header asks for (a number or an HTTP date)."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        at = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, at.timestamp() - time.time())


_ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# What yt-dlp appends to say it twice, and to ask for bug reports.
_APPENDIX = re.compile(r";? *please report this issue on .*| \(caused by .*", re.DOTALL)
_SECRET_HEADER = re.compile(
    r"\b((?:set-)?cookie|(?:proxy-)?authorization)\b(['\"]?\s*[:=]).*", re.IGNORECASE
)
_USER_INFO = re.compile(r"[^\s/@'\"<>]+:[^\s/@'\"<>]+@(?=[\w.\[-])")
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"<>]+", re.IGNORECASE)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """One line fit for logs and ledgers: no credentials, no tokens, at most 400 characters.

    Of URLs the path stays and of the query only YouTube's `v`; of googlevideo URLs the host
    alone, since they carry signatures and the caller's IP in the path, too.
    """
    text = _APPENDIX.sub("", _ANSI_COLOUR.sub("", text))
    text = _SECRET_HEADER.sub(r"\1\2 ***", text)
    text = _URL.sub(_redact_url, text)
    text = _USER_INFO.sub("***@", text)
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _MIN_SECRET_CHARACTERS:  # a cookie may be "1"; words must stay readable
            text = text.replace(secret, "***")
    return " ".join(text.removeprefix("ERROR: ").split())[:_MAX_DETAIL_CHARACTERS]


def _redact_url(match: re.Match[str]) -> str:
    head, _, query = match[0].partition("#")[0].partition("?")
    scheme, _, rest = head.partition("://")
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    if "googlevideo.com" in host:
        return f"{scheme}://{host}/..."
    video = re.search(r"(?:^|&)(v=[\w-]{1,64})", query)
    return f"{scheme}://{host}{slash}{path}" + (f"?{video[1]}" if video else "")
