"""Fetching from this machine: little patience, no proxy, and an extractor that answers to order."""

from yt_dlp.extractor.common import InfoExtractor

from loopback import serve
from slvr.ingest.recipe import ClipFailure
from slvr.ingest.youtube.fetch import Fetched, Fetcher, probed
from slvr.ingest.youtube.options import FetchOptions


def options(server=None, **changes) -> FetchOptions:
    """Options for a server on this machine: no proxy, little patience."""
    values = {"proxy": "", "socket_timeout_s": 0.5, "ytdlp_options": {"retries": 1}}
    if server:
        values["source_url"] = server.url("/{id}")
    return FetchOptions(**values | changes)


def fetch_audio(url, directory, chosen) -> Fetched:
    return probed(Fetcher(chosen).fetch(url, directory), chosen)


def fetch_route(route, tmp_path, **changes):
    """What fetching this one route gives, and how many requests it took."""
    with serve({"/clip": route}) as server:
        chosen = options(server, **changes)
        try:
            return fetch_audio(chosen.url("clip"), tmp_path, chosen), server.requests["/clip"]
        except ClipFailure as failure:
            return failure, server.requests["/clip"]


class StubIE(InfoExtractor):
    """An extractor for `stub:` URLs that does what the test says."""

    _VALID_URL = r"stub:(?P<id>[\w-]+)"
    IE_NAME = "youtube"

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def _real_extract(self, url):
        return self.answer(self, self._match_id(url))
