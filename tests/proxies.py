"""HTTP proxies on 127.0.0.1: they forward, tunnel or refuse, and keep what they were asked.

with proxy() as healthy, proxy(refuses=429) as banned:
    healthy.url("user:secret"), banned.n_asked
"""

import contextlib
import select
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Proxy:
    """A running proxy; `refuses` may be changed while it runs."""

    port: int
    refuses: int | None
    n_asked: int = 0
    logins: set[str | None] = field(default_factory=set)
    cookies: set[str | None] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, login: str = "") -> str:
        return f"http://{login}{'@' if login else ''}127.0.0.1:{self.port}"


@contextlib.contextmanager
def proxy(refuses: int | None = None) -> Iterator[Proxy]:
    """A running proxy; with `refuses` it answers every request with that HTTP status."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.block_on_close = False
    server.state = Proxy(server.server_address[1], refuses)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def _is_refused(self) -> bool:
        state = self.server.state
        with state.lock:
            state.n_asked += 1
            state.logins.add(self.headers.get("Proxy-Authorization"))
            state.cookies.add(self.headers.get("Cookie"))
        if state.refuses:
            self._begin(state.refuses, [("Content-Length", "0")])
        return bool(state.refuses)

    def _begin(self, status, headers):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("connection", "date", "server"):
                self.send_header(name, value)
        self.end_headers()

    def do_GET(self):
        with contextlib.suppress(ConnectionError):
            if self._is_refused():
                return
            passed = {k: v for k, v in self.headers.items() if not k.lower().startswith("proxy-")}
            try:
                answer = _DIRECT.open(urllib.request.Request(self.path, headers=passed), timeout=30)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                self._begin(answer.status, answer.headers.items())
                while piece := answer.read1(65536):  # as it comes: a slow source stays slow
                    self.wfile.write(piece)

    def do_CONNECT(self):
        if self._is_refused():
            return
        host, _, port = self.path.rpartition(":")
        with (
            contextlib.suppress(ConnectionError),
            socket.create_connection((host, int(port)), timeout=30) as there,
        ):
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: there, there: self.connection}
            while True:
                for end in select.select(ends, [], [], 30)[0]:
                    if not (data := end.recv(65536)):
                        return
                    ends[end].sendall(data)
