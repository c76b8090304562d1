"""One source's audio, fetched whole by yt-dlp as a library, or the reason why not.

The whole best audio is fetched and cut later, never a section: a section download goes through
ffmpeg, hides the HTTP status and reports truncated audio as success.

yt-dlp is imported inside functions: it takes a third of a second.
"""

import hashlib
import io
import math
import shutil
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ingest.fetch_errors import FetchFailure, classify, local_error, redact

_FORMAT = "ba[ext=m4a]/ba/b"  # m4a first: the smallest source that FFmpeg decodes fast
_LIVE = {"is_live", "is_upcoming", "post_live"}
_MAX_WARNINGS = 10
_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")

# yt-dlp options that this module sets; a user's value would break what it promises.
_OWN_YTDLP_OPTIONS = {
    *("logger", "quiet", "noprogress", "color", "verbose", "debug_printtraffic", "ignoreerrors"),
    *("outtmpl", "paths", "noplaylist", "playlist_items", "match_filter", "progress_hooks"),
    *("postprocessors", "fixup", "skip_unavailable_fragments"),
    *("socket_timeout", "cookiefile", "cookiesfrombrowser", "proxy"),
}


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
    """

    source_url: str = "https://www.youtube.com/watch?v={id}"
    cookies: Path | None = None
    cookies_from_browser: str | None = None
    proxy: str | None = field(default=None, repr=False)  # may hold a password
    max_source_mb: float = 500.0
    max_source_s: float = 4 * 3600.0
    max_fetch_s: float = 1800.0
    socket_timeout_s: float = 30.0
    ytdlp_options: Mapping[str, Any] = field(default_factory=dict, repr=False)  # may hold tokens

    def __post_init__(self) -> None:
        if "{id}" not in self.source_url:
            raise ValueError(
                f"source_url: got {redact(self.source_url)!r}, expected a URL with {{id}} in it"
            )
        if self.cookies is not None and not self.cookies.is_file():
            raise ValueError(f"cookies: no file {self.cookies}, expected a cookies.txt")
        if self.proxy and not _is_proxy_url(self.proxy):
            raise ValueError(  # without the value: it may hold a password
                "proxy: expected SCHEME://HOST:PORT or SCHEME://USER:PASSWORD@HOST:PORT, the "
                f"scheme one of {', '.join(_PROXY_SCHEMES)}; in user and password write / as %2F, "
                "@ as %40 and : as %3A"
            )
        for name in ("max_source_mb", "max_source_s", "max_fetch_s", "socket_timeout_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a number above 0")
        if clash := sorted(_OWN_YTDLP_OPTIONS & self.ytdlp_options.keys()):
            raise ValueError(
                f"ytdlp_options: {', '.join(clash)} cannot be set here, since the ingest sets it; "
                f"use its own options for cookies, proxies and timeouts"
            )

    def url(self, youtube_id: str) -> str:
        """Returns the URL of one source."""
        return self.source_url.replace("{id}", youtube_id)


def _is_proxy_url(proxy: str) -> bool:
    try:
        address = urlsplit(proxy)
        return address.scheme in _PROXY_SCHEMES and bool(address.hostname and address.port)
    except ValueError:  # the port is no number
        return False


@dataclass(frozen=True)
class Fetched:
    """One fetched source.

    Attributes:
        path: the file, whole and with an audio stream in it.
        source_url: where it was asked for, without credentials and tokens.
        source_id: the id that yt-dlp gives the source.
        format_id: yt-dlp's id of the chosen format.
        codec: FFmpeg's name of the audio codec.
        n_bytes: size of the file.
        sha256: of the file, in hexadecimal.
        duration_s: as the container declares it, else as the site does, or None; in seconds.
        live_status: yt-dlp's word (`not_live`, `was_live`), or None.
        ytdlp_version: version of yt-dlp.
        warnings: what yt-dlp warned of, without secrets.
    """

    path: Path
    source_url: str
    source_id: str
    format_id: str
    codec: str
    n_bytes: int
    sha256: str
    duration_s: float | None
    live_status: str | None
    ytdlp_version: str
    warnings: tuple[str, ...]


class _WarningList:
    """A logger for yt-dlp that prints nothing and keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, message: str) -> None:
        pass

    def warning(self, message: str) -> None:
        if len(self.warnings) < _MAX_WARNINGS:
            self.warnings.append(message)

    def error(self, message: str) -> None:  # the exception that follows says the same
        pass


def fetch_audio(url: str, directory: str | Path, options: FetchOptions) -> Fetched:
    """Returns the audio of one source, as one file in `directory`.

    Args:
        url: a page or file that yt-dlp knows how to read.
        directory: an empty directory of this call's own. Whatever a failure leaves in it is the
            caller's to remove (a `TemporaryDirectory` does).
        options: cookies, proxy, limits.

    Raises:
        FetchFailure: the source is not to be had; carries status, reason and detail.
        ValueError: the cookies cannot be read.
        OSError: this machine's own trouble (disk full, not writable), no fault of the source.
    """
    from yt_dlp import YoutubeDL  # noqa: PLC0415 - slow to import
    from yt_dlp.utils import YoutubeDLError  # noqa: PLC0415
    from yt_dlp.version import __version__ as ytdlp_version  # noqa: PLC0415

    directory = Path(directory)
    assert not any(directory.iterdir()), f"{directory} is not empty: yt-dlp would resume in it"
    log = _WarningList()
    secrets = _secrets(options)
    downloader = YoutubeDL(_ytdlp_parameters(url, directory, options, log))
    try:
        secrets |= {cookie.value or "" for cookie in downloader.cookiejar}
    except YoutubeDLError:
        raise ValueError(
            f"cannot read cookies from {options.cookies or options.cookies_from_browser}; "
            f"expected a cookies.txt in Netscape form or the name of a browser on this machine"
        ) from None  # the cause quotes lines of the file
    with downloader:
        try:
            info = downloader.extract_info(url)
        except FetchFailure:
            raise
        except Exception as error:
            if local := local_error(error):
                raise local from None
            raise classify(error, secrets) from None  # the traceback would quote URLs
    if "entries" in info:
        info = next((entry for entry in info["entries"] if entry), {})
    downloads = info.get("requested_downloads") or [{}]
    if not (file := downloads[0].get("filepath")) or not Path(file).exists():
        detail = f"yt-dlp found no audio at {redact(url, secrets)}"
        raise FetchFailure("corrupt", "not_audio", detail)
    path = Path(file)
    codec, container_s = _probe(path)
    duration_s = container_s or info.get("duration")
    _check_limits(options, path.stat().st_size, duration_s)
    with path.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    return Fetched(
        path=path,
        source_url=redact(url, secrets),
        source_id=str(info.get("id", "")),
        format_id=str(info.get("format_id", "")),
        codec=codec,
        n_bytes=path.stat().st_size,
        sha256=sha256,
        duration_s=duration_s,
        live_status=info.get("live_status"),
        ytdlp_version=ytdlp_version,
        warnings=tuple(redact(warning, secrets) for warning in log.warnings),
    )


def _ytdlp_parameters(
    url: str, directory: Path, options: FetchOptions, log: _WarningList
) -> dict[str, Any]:
    started_s = time.monotonic()

    def refuse(info: dict[str, Any], *, incomplete: bool = False) -> None:
        """Called by yt-dlp when it knows the source, and again when it has chosen a format."""
        if info.get("live_status") in _LIVE:
            raise FetchFailure("refused", "live", f"live status {info['live_status']}")
        # For films on sale YouTube answers with the trailer, which is another video.
        if info.get("extractor_key") == "Youtube" and info["id"] not in url:
            raise FetchFailure("login", "paid", f"got video {info['id']} in place of the one asked")
        codecs = [(f.get("acodec"), f.get("vcodec")) for f in info.get("formats") or []]
        has_video = any(video not in (None, "none") for _, video in codecs)
        if has_video and all(audio == "none" for audio, _ in codecs):
            raise FetchFailure("silent", "no_audio", "all formats are video without audio")
        _check_limits(options, info.get("filesize"), info.get("duration"))

    def watch(progress: dict[str, Any]) -> None:
        n_bytes = max(progress.get("total_bytes") or 0, progress.get("downloaded_bytes") or 0)
        _check_limits(options, n_bytes, None)
        if time.monotonic() - started_s > options.max_fetch_s:
            raise FetchFailure(
                "transient", "too_slow", f"not complete after {options.max_fetch_s:g} s"
            )

    parameters: dict[str, Any] = {
        "format": _FORMAT,
        "retries": 3,
        "fragment_retries": 3,
        "extractor_retries": 1,
    }
    if deno := _deno_path():
        parameters["js_runtimes"] = {"deno": {"path": deno}}
    parameters |= options.ytdlp_options
    parameters |= {
        "logger": log,
        "quiet": True,
        "noprogress": True,
        "color": "never",
        "ignoreerrors": False,
        "outtmpl": {"default": "source.%(ext)s"},
        "paths": {"home": str(directory)},
        "noplaylist": True,
        "playlist_items": "1",
        "match_filter": refuse,
        "progress_hooks": [watch],
        "fixup": "never",  # would need an ffmpeg program
        "skip_unavailable_fragments": False,  # by default a lost fragment is a silent gap
        "socket_timeout": options.socket_timeout_s,
        "proxy": options.proxy,
    }
    if options.cookies:
        # As a stream: from a path, yt-dlp would write the jar back into the user's file.
        parameters["cookiefile"] = io.StringIO(options.cookies.read_text(encoding="utf-8"))
    if options.cookies_from_browser:
        browser, _, profile = options.cookies_from_browser.partition(":")
        parameters["cookiesfrombrowser"] = (browser, profile or None, None, None)
    return parameters


def _check_limits(options: FetchOptions, n_bytes: int | None, duration_s: float | None) -> None:
    if n_bytes and n_bytes > options.max_source_mb * 1e6:
        raise FetchFailure(
            "refused",
            "too_large",
            f"{n_bytes / 1e6:.1f} MB, the limit is {options.max_source_mb:g} MB",
        )
    if duration_s and duration_s > options.max_source_s:
        raise FetchFailure(
            "refused",
            "too_long",
            f"{duration_s:.0f} s, the limit is {options.max_source_s:g} s",
        )


def _probe(path: Path) -> tuple[str, float | None]:
    """Returns codec and declared seconds of the first audio stream.

    Content types and extensions prove nothing: servers send pages and error texts as audio.
    """
    import av  # noqa: PLC0415 - loads FFmpeg

    if path.stat().st_size == 0:
        raise FetchFailure("corrupt", "empty", "the server sent 0 bytes")
    with path.open("rb") as file:
        head = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"{")):
        raise FetchFailure("corrupt", "not_audio", "the server sent a text document, not audio")
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise FetchFailure("silent", "no_audio", "the file has no audio stream")
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise FetchFailure("corrupt", "unknown_codec", "FFmpeg cannot decode the audio")
            if stream.duration is not None and stream.time_base is not None:
                duration_s = float(stream.duration * stream.time_base)
            else:
                duration_s = (container.duration or 0) / av.time_base
            return stream.codec_context.name, duration_s or None
    except av.FFmpegError as error:
        raise FetchFailure(
            "corrupt", "not_audio", f"FFmpeg cannot read the file: {error.strerror}"
        ) from None


def _secrets(options: FetchOptions) -> set[str]:
    """Returns the strings of the options that must not be repeated in messages."""
    proxy = urlsplit(options.proxy or "")
    named = [part for part in (proxy.username, proxy.password) if part]
    secrets = {*named, *map(unquote, named)}
    pending: list[Any] = list(options.ytdlp_options.values())
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            pending.extend(value.values())
        elif isinstance(value, (list, tuple, set)):
            pending.extend(value)
        elif isinstance(value, str):
            secrets.add(value)
    return secrets


def missing_javascript_runtime() -> str | None:
    """Returns a sentence for the user when deno is not found, else None.

    YouTube hides most formats from clients that do not run its JavaScript.
    """
    if _deno_path():
        return None
    return (
        "No JavaScript runtime found, so YouTube will withhold most audio formats; "
        "expected the program deno. Install it with: pip install deno"
    )


def _deno_path() -> str | None:
    """Returns where deno is: pip puts it beside Python, which need not be on the PATH."""
    beside_python = sysconfig.get_path("scripts")
    return shutil.which("deno", path=beside_python) or shutil.which("deno")
