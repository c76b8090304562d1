"""One source's audio, fetched whole by yt-dlp as a library, or the reason why not.

The whole best audio is fetched and cut later, never a section: a section download goes through
ffmpeg, hides the HTTP status and reports truncated audio as success.

yt-dlp is imported inside functions: it takes a third of a second.
"""

import dataclasses
import hashlib
import io
import shutil
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slvr.ingest.decode import probe
from slvr.ingest.recipe import ClipFailure, UsageError
from slvr.ingest.youtube.cookies import cookies_text
from slvr.ingest.youtube.failures import classify, local_error, redact
from slvr.ingest.youtube.options import FetchOptions

_FORMAT = "ba[ext=m4a]/ba/b"  # m4a first: the smallest source that FFmpeg decodes fast
_LIVE = {"is_live", "is_upcoming", "post_live"}
_MAX_WARNINGS = 10


@dataclass(frozen=True)
class Fetched:
    """One fetched source.

    Attributes:
        path: the file, whole; `probed` says what is in it.
        source_url: where it was asked for, without credentials and tokens.
        source_id: the id that yt-dlp gives the source.
        format_id: yt-dlp's id of the chosen format.
        codec: FFmpeg's name of the audio codec, once it is probed.
        n_bytes: size of the file.
        sha256: of the file, in hexadecimal.
        duration_s: as the site declares it, once it is probed as the container does; or None.
        live_status: yt-dlp's word (`not_live`, `was_live`), or None.
        ytdlp_version: version of yt-dlp.
        warnings: what yt-dlp warned of, without secrets.
    """

    path: Path
    source_url: str
    source_id: str
    format_id: str
    n_bytes: int
    sha256: str
    duration_s: float | None
    live_status: str | None
    ytdlp_version: str
    warnings: tuple[str, ...]
    codec: str = ""


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


class Fetcher:
    """Fetches one source after the other through one yt-dlp object; for one thread.

    As yt-dlp's own command does for many URLs: to build the object costs as much time as a short
    download, and connections, cookies and YouTube's player code are kept from source to source.
    """

    def __init__(self, options: FetchOptions) -> None:
        """Reads the cookies.

        Raises:
            UsageError: the cookies cannot be read.
        """
        from yt_dlp import YoutubeDL  # noqa: PLC0415 - slow to import
        from yt_dlp.utils import YoutubeDLError  # noqa: PLC0415
        from yt_dlp.version import __version__ as ytdlp_version  # noqa: PLC0415

        self._options = options
        self._ytdlp_version = ytdlp_version
        self._log = _WarningList()
        self._url = ""
        self._started_s = 0.0
        parameters = self._parameters()
        try:
            self._downloader = YoutubeDL(parameters)
        except Exception as error:  # of a wrong value, each has its own
            names = ", ".join(sorted(options.ytdlp_options)) or "none"
            raise UsageError(
                f"yt-dlp cannot be started ({type(error).__name__}); expected values that yt-dlp "
                f"{ytdlp_version} knows for ytdlp_options, given were {names}"
            ) from None  # the cause quotes the value
        try:
            _ = self._downloader.cookiejar
        except YoutubeDLError:
            raise UsageError(
                f"cannot read cookies from {options.cookies or options.cookies_from_browser}; "
                f"expected a cookies.txt in Netscape form or the name of a browser on this machine"
            ) from None  # the cause quotes lines of the file

    def fetch(self, url: str, directory: str | Path) -> Fetched:
        """The audio of one source, as one file in `directory`.

        Args:
            url: a page or file that yt-dlp knows how to read.
            directory: an empty directory of this call's own. Whatever a failure leaves in it is
                the caller's to remove (a `TemporaryDirectory` does).

        Raises:
            ClipFailure: the source is not to be had; carries status, reason and detail.
            OSError: this machine's own trouble (disk full, not writable), no fault of the source.
        """
        directory = Path(directory)
        assert not any(directory.iterdir()), f"{directory} is not empty: yt-dlp would resume in it"
        self._url, self._started_s = url, time.monotonic()
        self._log.warnings.clear()
        self._downloader.params["paths"] = {"home": str(directory)}
        try:
            info = self._downloader.extract_info(url)
        except ClipFailure:
            raise
        except Exception as error:
            if local := local_error(error):
                raise local from None
            raise classify(error, self._secrets()) from None  # the traceback would quote URLs
        if "entries" in info:
            info = next((entry for entry in info["entries"] if entry), {})
        downloads = info.get("requested_downloads") or [{}]
        if not (file := downloads[0].get("filepath")) or not Path(file).exists():
            detail = f"yt-dlp found no audio at {redact(url, self._secrets())}"
            raise ClipFailure("corrupt", "not_audio", detail)
        path = Path(file)
        n_bytes = path.stat().st_size
        with path.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        secrets = self._secrets()
        return Fetched(
            path=path,
            source_url=redact(url, secrets),
            source_id=str(info.get("id", "")),
            format_id=str(info.get("format_id", "")),
            n_bytes=n_bytes,
            sha256=sha256,
            duration_s=info.get("duration"),
            live_status=info.get("live_status"),
            ytdlp_version=self._ytdlp_version,
            warnings=tuple(redact(warning, secrets) for warning in self._log.warnings),
        )

    def _secrets(self) -> set[str]:
        """The options' secrets and the cookies as they are now: sites change them."""
        return self._options.secrets() | {
            cookie.value or "" for cookie in self._downloader.cookiejar
        }

    def _refuse(self, info: dict[str, Any], *, incomplete: bool = False) -> None:
        """Called by yt-dlp when it knows the source, and again when it has chosen a format."""
        if info.get("live_status") in _LIVE:
            raise ClipFailure("refused", "live", f"live status {info['live_status']}")
        # For films on sale YouTube answers with the trailer, which is another video.
        if info.get("extractor_key") == "Youtube" and info["id"] not in self._url:
            raise ClipFailure("login", "paid", f"got video {info['id']} in place of the one asked")
        codecs = [(f.get("acodec"), f.get("vcodec")) for f in info.get("formats") or []]
        has_video = any(video not in (None, "none") for _, video in codecs)
        if has_video and all(audio == "none" for audio, _ in codecs):
            raise ClipFailure("silent", "no_audio", "all formats are video without audio")
        _check_limits(self._options, info.get("filesize"), info.get("duration"))

    def _watch(self, progress: dict[str, Any]) -> None:
        """Called by yt-dlp while it downloads."""
        n_bytes = max(progress.get("total_bytes") or 0, progress.get("downloaded_bytes") or 0)
        _check_limits(self._options, n_bytes, None)
        limit_s = self._options.max_fetch_s
        if time.monotonic() - self._started_s > limit_s:
            raise ClipFailure("transient", "too_slow", f"not complete after {limit_s:g} s")

    def _parameters(self) -> dict[str, Any]:
        options = self._options
        parameters: dict[str, Any] = {
            "format": _FORMAT,
            "retries": 3,
            "fragment_retries": 3,
            "extractor_retries": 1,
        }
        if deno := _deno_path():
            parameters["js_runtimes"] = {"deno": {"path": deno}}
        parameters |= options.for_ytdlp()
        parameters |= {
            "logger": self._log,
            "quiet": True,
            "noprogress": True,
            "color": "never",
            "ignoreerrors": False,
            "outtmpl": {"default": "source.%(ext)s"},
            "noplaylist": True,
            "playlist_items": "1",
            "match_filter": self._refuse,
            "progress_hooks": [self._watch],
            "fixup": "never",  # would need an ffmpeg program
            "skip_unavailable_fragments": False,  # by default a lost fragment is a silent gap
            "socket_timeout": options.socket_timeout_s,
            "proxy": options.proxy,
        }
        if options.cookies:
            # As a stream: from a path, yt-dlp would write the jar back into the user's file.
            parameters["cookiefile"] = io.StringIO(cookies_text(options.cookies))
        if options.cookies_from_browser:
            browser, _, profile = options.cookies_from_browser.partition(":")
            parameters["cookiesfrombrowser"] = (browser, profile or None, None, None)
        return parameters


def _check_limits(options: FetchOptions, n_bytes: int | None, duration_s: float | None) -> None:
    if n_bytes and n_bytes > options.max_source_mb * 1e6:
        raise ClipFailure(
            "refused",
            "too_large",
            f"{n_bytes / 1e6:.1f} MB, the limit is {options.max_source_mb:g} MB",
        )
    if duration_s and duration_s > options.max_source_s:
        raise ClipFailure(
            "refused",
            "too_long",
            f"{duration_s:.0f} s, the limit is {options.max_source_s:g} s",
        )


def probed(fetched: Fetched, options: FetchOptions) -> Fetched:
    """The source with what its file says of itself; for a process that a decoder may take down.

    Raises:
        ClipFailure: the file is no audio, or larger or longer than the options allow.
    """
    try:
        codec, container_s = _probe(fetched.path)
        duration_s = container_s or fetched.duration_s
        _check_limits(options, fetched.n_bytes, duration_s)
    except ClipFailure as failure:
        failure.source_bytes, failure.source_sha256 = fetched.n_bytes, fetched.sha256
        raise
    return dataclasses.replace(fetched, codec=codec, duration_s=duration_s)


def _probe(path: Path) -> tuple[str, float | None]:
    """Codec and declared seconds of the first audio stream.

    Content types and extensions prove nothing: servers send pages and error texts as audio.
    """
    if path.stat().st_size == 0:
        raise ClipFailure("corrupt", "empty", "the server sent 0 bytes")
    try:
        found = probe(path)
    except ClipFailure as failure:
        if failure.reason == "no_audio":
            raise ClipFailure("silent", "no_audio", "the file has no audio stream") from failure
        raise
    return found.format.codec, found.length_s


def missing_javascript_runtime() -> str | None:
    """A sentence for the user when deno is not found, else None.

    YouTube hides most formats from clients that do not run its JavaScript.
    """
    if _deno_path():
        return None
    return (
        "No JavaScript runtime found, so YouTube will withhold most audio formats; "
        "expected the program deno. Install it with: pip install deno"
    )


def _deno_path() -> str | None:
    """Where deno is: pip puts it beside Python, which need not be on the PATH."""
    beside_python = sysconfig.get_path("scripts")
    return shutil.which("deno", path=beside_python) or shutil.which("deno")
