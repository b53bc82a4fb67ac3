"""Limits on connections: how many there are, how long a request's header may take, how many files may be open."""

from __future__ import annotations

import asyncio
import logging
import resource
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_LOG = logging.getLogger(__name__)
_SPARE = 64  # files for everything but connections
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"Retry-After: 1\r\nConnection: close\r\n\r\n%b"
)
_BODY = (
    b'{"error": {"message": "too many connections; try again later", "type": "server_error", "param": null, '
    b'"code": "overloaded"}}'
)


def connections_possible(wanted: int) -> int:
    """How many connections can be open at once, at most ``wanted``; raises the limit on open files where it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _SPARE
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    possible = wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - _SPARE))
    if possible < wanted:
        _LOG.warning("at most %d connections: the limit on open files is %d", possible, soft)
    return possible


def limited_protocol(most: int, patience: float) -> type[H11Protocol]:
    """Uvicorn's protocol with limits.

    Args:
        most: connections at once. For a further one, that which has been without a request for longest is closed; if
            all have one, the further one is answered 503 and closed.
        patience: seconds that a request's header may take, from its first byte or the connection on.
    """
    idle: dict[H11Protocol, None] = {}  # connections without a request, the oldest first

    class LimitedProtocol(H11Protocol):
        """A connection that is closed when its client takes too long to say what it wants."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            """Take a connection, or refuse it."""
            super().connection_made(transport)
            if len(self.connections) > most and not self._replace_idle():
                self.connections.discard(self)
                transport.write(_FULL % (len(_BODY), _BODY))
                transport.close()
                return
            idle[self] = None
            self._expect()

        def _replace_idle(self) -> bool:
            """Close the connection that has been idle for longest; whether there was one."""
            for oldest in idle:
                del idle[oldest]
                self.connections.discard(oldest)
                oldest.transport.abort()
                return True
            return False

        def data_received(self, data: bytes) -> None:
            """Read on."""
            if self.transport.is_closing():
                return
            super().data_received(data)
            if self.conn.their_state is h11.IDLE:
                self._expect()
            else:
                idle.pop(self, None)
                self._received()

        def on_response_complete(self) -> None:
            """The connection may be asked again."""
            super().on_response_complete()
            if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
                idle[self] = None

        def connection_lost(self, exc: Exception | None) -> None:
            """Forget the deadline."""
            self._received()
            idle.pop(self, None)
            super().connection_lost(exc)

        def _expect(self) -> None:
            if self._deadline is None:
                self._deadline = self.loop.call_later(patience, self.transport.abort)

        def _received(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return LimitedProtocol


def note_loop_errors(loop: asyncio.AbstractEventLoop) -> None:
    """Log what goes wrong in the event loop in a line each: asyncio's own log has a traceback for every attempt."""

    def handle(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        _LOG.warning("event loop: %s: %s", context.get("message"), error)

    loop.set_exception_handler(handle)
