"""A small server for a page of this machine's own (a robot's run, a live view), deaf to the pages of other sites."""

from __future__ import annotations

import ipaddress
import logging
import socket
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from lohovla.errors import UserError

_log = logging.getLogger("lohovla.page")
_LONGEST = 1024  # bytes of a request's body
_EVERYWHERE = ("", "0.0.0.0", "::")  # addresses to listen at that are nobody's name


class PageContent(NamedTuple):
    """What a path answers: its bytes, and their media type."""

    body: bytes
    kind: str


class PageServer(ABC):
    """Serves one page, what it asks for, and what its buttons do, from threads of its own.

    Who can reach the address can use the buttons. So it listens at loopback unless told otherwise, and hears no other
    site's pages: requests that change something must come from itself, and all must name this machine: ``localhost``,
    an address, its own name, or one of ``names``. A name of somebody else's that leads here is none of these.

    Args:
        page: the HTML file.
        host: address to listen at.
        port: 0 takes a free one.
        names: by which others know this machine, beside its own.
        setting: that chooses the port, for the message.

    Raises:
        UserError: the address is taken or not this machine's.
    """

    def __init__(self, page: Path, host: str, port: int, names: Sequence[str], setting: str):
        self.page = page
        handler = type("Handler", (_Handler,), {"server_page": self})
        try:
            self._server = _Server((host, port), handler)
        except OSError as error:
            raise UserError(f"cannot listen at {host}:{port}: {error.strerror}", f"choose {setting}=PORT") from None
        self._server.daemon_threads = True
        self.port = self._server.server_port
        own = socket.gethostname().lower()
        self.url = f"http://{own if host in _EVERYWHERE else host}:{self.port}"
        self._names = {"localhost", own, f"{own}.local", socket.getfqdn().lower(), host.lower()}
        self._names |= {str(name).lower() for name in names}
        self._thread = threading.Thread(target=self._server.serve_forever, name="lohovla-page", daemon=True)
        self._thread.start()

    @abstractmethod
    def content(self, path: str) -> PageContent | None:
        """What is at a path of the page's own, such as ``/state``; None where there is nothing (yet)."""

    @abstractmethod
    def press(self, button: str, text: str) -> bool:
        """Do what a button says; returns whether there is such a button."""

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()

    def is_here(self, host: str) -> bool:
        """Whether a request's ``Host`` names this machine, at whatever port a tunnel ends."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            return bool(ipaddress.ip_address(name))  # an address is no name that could lead elsewhere
        except ValueError:
            return name in self._names


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that closes its connections is no error; others have their traceback in the log."""
        gone = isinstance(sys.exception(), OSError)
        _log.log(logging.DEBUG if gone else logging.ERROR, "page: request of %s", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server_page: PageServer
    protocol_version = "HTTP/1.1"
    timeout = 30.0
    disable_nagle_algorithm = True  # a body of its own packet would wait 40 ms for the header's acknowledgement

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug("page: " + format, *args)

    def _from_here(self) -> bool:
        """Whether the request names this server (protection from DNS rebinding)."""
        return self.server_page.is_here(self.headers.get("Host", ""))

    def do_GET(self) -> None:
        if not self._from_here():
            self._answer(403)
            return
        path = self.path.partition("?")[0]
        if path == "/":
            self._answer(200, self.server_page.page.read_bytes(), "text/html; charset=utf-8")
        elif path == "/favicon.ico":  # browsers ask for it, and complain of 404
            self._answer(204)
        elif (found := self.server_page.content(path)) is not None:
            self._answer(200, *found)
        else:
            self._answer(404)

    def do_POST(self) -> None:
        origin = self.headers.get("Origin")
        foreign = origin is not None and origin.partition("://")[2] != self.headers.get("Host")
        # Another site's page cannot set this header without being asked first whether it may, and it is not.
        if not self._from_here() or foreign or self.headers.get("X-Lohovla") != "1":
            self.close_connection = True
            self._answer(403)
            return
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _LONGEST:
            self.close_connection = True
            self._answer(413)
            return
        text = self.rfile.read(int(length)).decode("utf-8", "replace")
        self._answer(204 if self.server_page.press(self.path.strip("/"), text) else 404)

    def _answer(self, status: int, body: bytes = b"", kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'")
        try:
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # who asked has gone
            self.close_connection = True
