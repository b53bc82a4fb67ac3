"""The web page of a run: what the robot sees and does, and a stop button. The bridge serves it, and needs no other."""

from __future__ import annotations

import ipaddress
import json
import logging
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from lohovla.errors import UserError
from lohovla.ros.ui.command_log import CommandLog, draw
from lohovla.ros.vision.image_messages import compress

_log = logging.getLogger("lohovla.ros")
_PAGE = Path(__file__).with_name("page.html")
_LONGEST = 1024  # bytes of a request's body
_EVERYWHERE = ("", "0.0.0.0", "::")  # addresses to listen at that are nobody's name


class WebPage:
    """Serves the page from threads of its own; a press of its stop button is an emergency stop, at once.

    Who can reach the address can stop the robot and, with ``enable=page``, let it move. So it listens at loopback
    unless told otherwise, and hears no other site's pages: requests that change something must come from itself, and
    all must name this machine: ``localhost``, an address, its own name, or one of ``names``. A name of somebody
    else's that leads here is none of these.

    Args:
        session: what is shown.
        operator: who is told of the buttons.
        trace: of the commands.
        host: address to listen at.
        port: 0 takes a free one.
        names: by which others know this machine, beside its own.

    Raises:
        UserError: the address is taken or not this machine's.
    """

    def __init__(
        self,
        session: Any,
        operator: Any,
        trace: CommandLog,
        host: str = "127.0.0.1",
        port: int = 8010,
        names: Sequence[str] = (),
    ):
        self.session, self.operator, self.trace = session, operator, trace
        handler = type("Handler", (_Handler,), {"page": self})
        try:
            self._server = _Server((host, port), handler)
        except OSError as error:
            raise UserError(f"cannot listen at {host}:{port}: {error.strerror}", "choose page.port=PORT") from None
        self._server.daemon_threads = True
        self.port = self._server.server_port
        own = socket.gethostname().lower()
        self.url = f"http://{own if host in _EVERYWHERE else host}:{self.port}"
        self._names = {"localhost", own, f"{own}.local", socket.getfqdn().lower(), host.lower()}
        self._names |= {str(name).lower() for name in names}
        self._thread = threading.Thread(target=self._server.serve_forever, name="lohovla-page", daemon=True)
        self._thread.start()

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

    def state(self) -> dict[str, Any]:
        """What the page shows."""
        here = self.operator.enable == "page"
        return {**self.session.snapshot(), "has_subgoal": self.session.loop.subgoal is not None, "enable_here": here}

    def camera(self) -> bytes | None:
        """The newest picture as a jpeg: the top view, or else any."""
        pictures = self.session.robot.eyes.sight.pictures
        picture = pictures.get("images.top")
        if picture is None:
            picture = next((value for key, value in pictures.items() if key.startswith("images.")), None)
        return None if picture is None else compress(picture, "jpeg")

    def subgoal(self) -> bytes | None:
        """The picture that the sub-task should lead to, as a png."""
        picture = self.session.loop.subgoal
        return None if picture is None else compress(picture, "png")

    def path(self) -> bytes:
        """The commands so far, drawn, as a png."""
        top = self.session.robot.eyes.sight.pictures.get("images.top")
        return compress(np.asarray(draw(list(self.trace.moments), top)), "png")

    def press(self, button: str, text: str) -> bool:
        """Do what a button says; returns whether there is such a button."""
        operator = self.operator
        actions: dict[str, Callable[[], Any]] = {
            "stop": lambda: operator.emergency_stop("the page's stop button"),
            "release": operator.release,
            "start": operator.start,
            "pause": operator.pause,
            "enable": lambda: operator.enable == "page" and operator.press(),
            "let_go": lambda: operator.enable == "page" and operator.let_go(),
            "goal": lambda: operator.set_goal(text),
        }
        if button not in actions:
            return False
        actions[button]()
        return True


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that closes its connections is no error; others have their traceback in the log."""
        gone = isinstance(sys.exception(), OSError)
        _log.log(logging.DEBUG if gone else logging.ERROR, "page: request of %s", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    page: WebPage
    protocol_version = "HTTP/1.1"
    timeout = 30.0
    disable_nagle_algorithm = True  # a body of its own packet would wait 40 ms for the header's acknowledgement

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug("page: " + format, *args)

    def _from_here(self) -> bool:
        """Whether the request names this server (protection from DNS rebinding)."""
        return self.page.is_here(self.headers.get("Host", ""))

    def do_GET(self) -> None:
        if not self._from_here():
            self._answer(403, b"", "text/plain")
            return
        path = self.path.partition("?")[0]
        if path == "/":
            self._answer(200, _PAGE.read_bytes(), "text/html; charset=utf-8")
        elif path == "/state":
            self._answer(200, json.dumps(self.page.state()).encode(), "application/json")
        elif path == "/camera":
            self._picture(self.page.camera(), "image/jpeg")
        elif path == "/subgoal":
            self._picture(self.page.subgoal(), "image/png")
        elif path == "/path":
            self._picture(self.page.path(), "image/png")
        elif path == "/favicon.ico":  # browsers ask for it, and complain of 404
            self._answer(204, b"", "image/x-icon")
        else:
            self._answer(404, b"", "text/plain")

    def do_POST(self) -> None:
        origin = self.headers.get("Origin")
        foreign = origin is not None and origin.partition("://")[2] != self.headers.get("Host")
        # Another site's page cannot set this header without being asked first whether it may, and it is not.
        if not self._from_here() or foreign or self.headers.get("X-Lohovla") != "1":
            self.close_connection = True
            self._answer(403, b"", "text/plain")
            return
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _LONGEST:
            self.close_connection = True
            self._answer(413, b"", "text/plain")
            return
        text = self.rfile.read(int(length)).decode("utf-8", "replace")
        known = self.page.press(self.path.strip("/"), text)
        self._answer(204 if known else 404, b"", "text/plain")

    def _picture(self, data: bytes | None, kind: str) -> None:
        self._answer(404 if data is None else 200, data or b"", kind)

    def _answer(self, status: int, body: bytes, kind: str) -> None:
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
