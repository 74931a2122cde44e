"""The port for those who run Weir: `/livez`, `/readyz`, `/metrics`. Open only where WEIR_OPS_PORT says so.

A thread answers, so that an event loop that hangs is told of instead of hanging its own check: Kubernetes restarts
a process whose `/livez` says 503, and sends no work to one whose `/readyz` does. Without a broker a process lives
and is not ready; told to stop it is not ready at once, and answers until it is gone. Bodies say in words what is wrong.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socket import AF_INET, AF_INET6
from socketserver import TCPServer, ThreadingMixIn

from common import metrics
from common.errors import UserError
from common.health import BEAT_EVERY, Health
from common.settings import Settings

_PATIENCE = 10.0
"""Seconds that one who asks may take to say what."""
_TEXT = "text/plain; charset=utf-8"


class _Server(ThreadingMixIn, TCPServer):  # HTTPServer looks its own name up, which may take long
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 16
    health: Health
    service: str
    region: str


class _Answer(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE
    server_version = "weir"
    sys_version = ""

    def do_GET(self) -> None:
        health = self.server.health
        match self.path.partition("?")[0]:
            case "/livez":
                self._say(health.live())
            case "/readyz":
                self._say(health.ready())
            case "/metrics":
                metrics.READY.set(not health.ready())
                metrics.CONNECTED.set(health.connected)
                metrics.BEAT_AGE.set(health.beat_age)
                text = metrics.exposition(self.server.service, self.server.region)
                self._send(HTTPStatus.OK, text, metrics.CONTENT_TYPE_LATEST)
            case _:
                self._send(HTTPStatus.NOT_FOUND, b"there are /livez, /readyz and /metrics\n", _TEXT)

    do_HEAD = do_GET  # noqa: N815

    def _say(self, wrong: list[str]) -> None:
        status = HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK
        self._send(status, ("\n".join(wrong or ["ok"]) + "\n").encode(), _TEXT)

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: those who ask, ask every few seconds."""


@contextmanager
def port(settings: Settings, service: str, health: Health) -> Iterator[bool]:
    """Answer on the port during the block, if one is set; whether it is. UserError if it cannot listen.

    To be entered in the event loop whose turning is the process's life.
    """
    if not settings.ops_port:
        yield False
        return
    loop, beating = asyncio.get_running_loop(), True

    def beat() -> None:
        health.beat()
        if beating:
            loop.call_later(BEAT_EVERY, beat)

    server = _listen(settings)
    server.health, server.service, server.region = health, service, settings.region
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="ops", daemon=True)
    thread.start()
    beat()
    try:
        yield True
    finally:
        beating = False
        server.shutdown()
        server.server_close()


def _listen(settings: Settings) -> _Server:
    kind = type("_Server", (_Server,), {"address_family": AF_INET6 if ":" in settings.ops_host else AF_INET})
    try:
        server: _Server = kind((settings.ops_host, settings.ops_port), _Answer)
    except OSError as error:
        raise UserError(
            f"WEIR_OPS_PORT {settings.ops_port}: cannot listen on {settings.ops_host} ({error.strerror}); "
            "free it, set another, or 0 for none"
        ) from None
    return server
