"""Request ids, and a line in the access log for each request."""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import Any

_LOG = logging.getLogger("lohovla.access")
_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_HEADER = b"x-request-id"


class RequestLog:
    """Middleware of ASGI: every response has ``X-Request-Id``, the client's own if it sent one.

    Args:
        app: the application.
        lines: whether to log a line for each request: id, client, method, path, status and seconds.
    """

    def __init__(self, app: Any, lines: bool):
        self._app, self._lines = app, lines

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == _HEADER), b"")
        own = given if _ID.fullmatch(given) else secrets.token_hex(12).encode()
        began, status = time.monotonic(), 499  # the client has gone

        async def noted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), (_HEADER, own)]}
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            if self._lines:
                client = (scope.get("client") or ("-",))[0]
                seconds = time.monotonic() - began
                path = scope["path"][:200].encode("unicode_escape").decode("ascii")
                _LOG.info("%s %s %s %s %d %.3f s", own.decode("ascii"), client, scope["method"], path, status, seconds)
