"""An HTTP server on 127.0.0.1 that serves encoded tones, and misbehaves on order.

    with serve({"/a.m4a": Route(tones("m4a"))}) as server:
        server.url("/a.m4a"), server.requests["/a.m4a"]

The tone's frequency steps every second, so that a cut can be told from its frequency.
yt-dlp's generic extractor asks twice for each file: once as a page, once as media; a fault with
`after=1` therefore hits the media request alone.
"""

import contextlib
import functools
import io
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import av
import numpy as np

CONTENT_TYPES = {
    "m4a": "audio/mp4",
    "webm": "audio/webm",
    "mp4": "video/mp4",
    "html": "text/html; charset=utf-8",
}
HTML = b"<!DOCTYPE html><html><head><title>Sorry</title></head><body>No audio here</body></html>"
_LONGEST_STALL_S = 20.0


@dataclass(frozen=True)
class Route:
    """What one path answers.

    A fault strikes requests number `after` .. `after + times - 1`; the others are served well.

    status: answers with `status` (and Retry-After, if given). reset: half the body, then a TCP
    reset. stall: half the body, then silence. truncate: half the body, then a clean close.
    redirect_loop: redirects to itself. slow: the body in pieces, `pause_s` apart. html: a page.
    empty: a body of zero bytes.
    """

    body: bytes = b""
    content_type: str = CONTENT_TYPES["m4a"]
    fault: (
        Literal["status", "reset", "stall", "truncate", "redirect_loop", "slow", "html", "empty"]
        | None
    ) = None
    status: int = 200
    retry_after: str | None = None
    after: int = 0
    times: float = float("inf")
    ranges: bool = True
    pause_s: float = 0.05


@dataclass
class Server:
    """A running server: `routes` may be changed while it runs; `requests` counts by path."""

    port: int
    routes: dict[str, Route]
    requests: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextlib.contextmanager
def serve(routes: dict[str, Route]) -> Iterator[Server]:
    """The running server; it stops, stalled answers included, when the block ends."""
    http_server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http_server.daemon_threads = True
    http_server.block_on_close = False
    http_server.state = Server(http_server.server_address[1], routes)
    thread = threading.Thread(target=http_server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield http_server.state
    finally:
        http_server.state.closing.set()
        http_server.shutdown()
        http_server.server_close()
        thread.join(timeout=5)


def nobody() -> str:
    """The address of a port of this machine on which nobody listens, as without a network."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{closed.getsockname()[1]}/"


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        state = self.server.state
        path = self.path.partition("?")[0]
        with state.lock:
            number = state.requests[path]
            state.requests[path] += 1
        route = state.routes.get(path, Route(fault="status", status=404))
        strikes = route.after <= number < route.after + route.times
        fault = route.fault if strikes else None
        with contextlib.suppress(ConnectionError):
            if fault == "status":
                headers = {"Retry-After": route.retry_after} if route.retry_after else {}
                self._answer(route.status, b"refused", "text/plain", **headers)
            elif fault == "redirect_loop":
                self._answer(302, b"", "text/plain", Location=path)
            elif fault == "html":
                self._answer(200, HTML, CONTENT_TYPES["html"])
            elif fault == "empty":
                self._answer(200, b"", route.content_type)
            else:
                self._answer_body(route, fault)

    def _answer(self, status, body, content_type, **headers):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _answer_body(self, route, fault):
        first, size = 0, len(route.body)
        wanted = self.headers.get("Range", "") if route.ranges else ""
        if wanted.startswith("bytes="):
            first_text, _, last_text = wanted.removeprefix("bytes=").partition("-")
            first = int(first_text)
            if first >= size:
                self._answer(416, b"", "text/plain", Content_Range=f"bytes */{size}")
                return
            size = min(int(last_text) + 1, size) if last_text else size
        part = route.body[first:size]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{len(route.body)}")
        if route.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", route.content_type)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self._write_body(part, fault, route.pause_s)

    def _write_body(self, part, fault, pause_s):
        if fault == "slow":
            for at in range(0, len(part), 4096):
                if self.server.state.closing.wait(pause_s):
                    return
                self.wfile.write(part[at : at + 4096])
            return
        self.wfile.write(part if fault is None else part[: len(part) // 2])
        if fault == "stall":
            self.server.state.closing.wait(_LONGEST_STALL_S)
        elif fault == "reset":
            # Linger of zero seconds: close() sends RST instead of FIN.
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()


def tone_hz(second: int) -> float:
    """The frequency of the tone during one second of `tones`, counted from 0."""
    return 300.0 + 100.0 * (second % 40)


@functools.cache
def tones(kind: Literal["m4a", "webm"], seconds: int = 12) -> bytes:
    """Stepped tones, stereo: AAC at 44.1 kHz in m4a, or Opus at 48 kHz in webm."""
    codec, container, rate = {
        "m4a": ("aac", "mp4", 44_100),
        "webm": ("libopus", "webm", 48_000),  # Opus knows no 44.1 kHz
    }[kind]
    frequency_hz = np.repeat([tone_hz(second) for second in range(seconds)], rate)
    wave = 0.5 * np.sin(2 * np.pi * np.cumsum(frequency_hz) / rate)
    return _encoded(np.stack([wave, 0.5 * wave]), codec, container, rate)


def _encoded(samples: np.ndarray, codec: str, container: str, rate: int) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(
            samples.astype(np.float32), format="fltp", layout="stereo"
        )
        frame.sample_rate = rate
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


@functools.cache
def silence(seconds: int = 12) -> bytes:
    """An m4a whose samples are all zero."""
    return _encoded(np.zeros((2, 44_100 * seconds)), "aac", "mp4", 44_100)


@functools.cache
def silent_film(seconds: int = 2) -> bytes:
    """An mp4 with a video stream and no audio stream."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(10 * seconds):
            picture = np.full((48, 64, 3), 10 * index % 256, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    return buffer.getvalue()
