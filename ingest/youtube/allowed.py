"""Which of yt-dlp's options a user may set, and of what kind their values are.

A list of what is allowed, not of what is not: yt-dlp has two hundred options, takes unknown names
without a word, and finds a wrong value out at every single clip.
"""

from collections.abc import Mapping
from typing import Any

RUN_PROGRAMS = frozenset(
    {
        *("exec", "exec_cmd", "exec_before_download", "external_downloader", "ffmpeg_location"),
        *("external_downloader_args", "netrc_cmd", "plugin_dirs", "postprocessor_args"),
        *("postprocessor_hooks", "post_hooks", "progress_hooks", "postprocessors"),
        *("remote_components", "retry_sleep_functions"),
    }
)
SET_BY_THE_INGEST = frozenset(
    {
        *("logger", "quiet", "noprogress", "color", "verbose", "debug_printtraffic"),
        *("ignoreerrors", "outtmpl", "paths", "noplaylist", "playlist_items", "match_filter"),
        *("fixup", "skip_unavailable_fragments", "socket_timeout", "cookiefile"),
        *("cookiesfrombrowser", "proxy"),
    }
)
_NUMBERS = frozenset(
    {
        *("age_limit", "buffersize", "concurrent_fragment_downloads", "extractor_retries"),
        *("file_access_retries", "fragment_retries", "http_chunk_size", "max_filesize"),
        *("max_sleep_interval", "min_filesize", "ratelimit", "retries", "sleep_interval"),
        *("sleep_interval_requests", "throttledratelimit"),
    }
)
_SWITCHES = frozenset(
    {
        *("allow_unplayable_formats", "continuedl", "dynamic_mpd", "force_generic_extractor"),
        *("geo_bypass", "hls_split_discontinuity", "legacyserverconnect", "nocheckcertificate"),
        *("nopart", "noresizebuffer", "prefer_free_formats", "prefer_insecure", "usenetrc"),
    }
)
_TEXTS = frozenset(
    {
        *("ap_mso", "ap_password", "ap_username", "client_certificate", "client_certificate_key"),
        *("client_certificate_password", "default_search", "encoding", "format"),
        *("geo_bypass_country", "geo_bypass_ip_block", "geo_verification_proxy", "netrc_location"),
        *("password", "source_address", "twofactor", "username", "videopassword"),
    }
)
_LISTS = frozenset({"allowed_extractors", "compat_opts", "format_sort"})
_MAPPINGS = frozenset({"extractor_args", "http_headers", "js_runtimes"})
_KINDS = {
    "a number": _NUMBERS,
    "true or false": _SWITCHES,
    "a text": _TEXTS,
    'a list of texts such as ["NAME"]': _LISTS,
    'names and values such as {"NAME": "VALUE"}': _MAPPINGS,
}


def check(options: Mapping[str, Any]) -> None:
    """Nothing, where yt-dlp can be given these options.

    Raises:
        ValueError: one cannot be set, or its value is of another kind; it says which, and not its
            value, which may be a secret.
    """
    for name, value in options.items():
        _check_name(name)
        kind = next(kind for kind, names in _KINDS.items() if name in names)
        if not _is_of(kind, value):
            raise ValueError(f"ytdlp_options: expected {kind} as {name}, got another kind of value")
    for name, of_one in options.get("extractor_args", {}).items():
        if not isinstance(of_one, Mapping) or not all(map(_are_texts, of_one.values())):
            raise ValueError(
                'ytdlp_options: expected extractor_args as {"youtube": {"NAME": ["VALUE"]}}, got '
                f"something else for {name[:40]!r}"
            )
    if any(options.get("js_runtimes", {}).values()):
        raise ValueError(
            'ytdlp_options: expected js_runtimes as {"node": {}}; a path in it would run any '
            "program, so put the runtime on the PATH"
        )
    if not all(isinstance(value, str) for value in options.get("http_headers", {}).values()):
        raise ValueError("ytdlp_options: expected http_headers whose values are texts")


def _check_name(name: str) -> None:
    if name in RUN_PROGRAMS:
        raise ValueError(
            f"ytdlp_options: {name} runs programs or code of others, which an ingest never does; "
            "leave it out"
        )
    if name in SET_BY_THE_INGEST:
        raise ValueError(
            f"ytdlp_options: {name} cannot be set here, since the ingest sets it; use its own "
            "options for cookies, proxies and timeouts"
        )
    allowed = sorted(frozenset[str]().union(*_KINDS.values()))
    if name not in allowed:
        raise ValueError(
            f"ytdlp_options: {name[:40]} is none that can be set here; those are "
            f"{', '.join(allowed)}"
        )


def _is_of(kind: str, value: object) -> bool:
    if kind == "a number":
        return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    if kind == "true or false":
        return isinstance(value, bool)
    if kind == "a text":
        return isinstance(value, str)
    if kind.startswith("a list"):
        return _are_texts(value)
    return isinstance(value, Mapping)


def _are_texts(value: object) -> bool:
    return isinstance(value, list | tuple | set) and all(isinstance(each, str) for each in value)
