"""A server's life cycle: it drains on SIGTERM, answers 503 meanwhile, and ends; ``/healthz`` and ``/metrics``."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from lohovla.serve.api_keys import ApiKeys
from lohovla.serve.metrics import CONTENT_TYPE, Registry


class Drain:
    """Whether the server is going away. The first signal begins a drain, the second ends it at once."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()
        self.at_once = asyncio.Event()

    def begin(self) -> None:
        """Take no new work; called again, give up waiting for the work at hand."""
        (self.at_once if self.draining.is_set() else self.draining).set()

    def on_signals(self) -> None:
        """Let SIGTERM and SIGINT (Ctrl-C) begin the drain. Only in the main thread."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.begin)


@dataclass(frozen=True)
class HttpAnswer:
    """A plain HTTP answer."""

    status: HTTPStatus
    body: str
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "text/plain; charset=utf-8"})


@dataclass
class HealthEndpoints:
    """What a server says to those who look after it.

    Attributes:
        keys: who may read the metrics; the health is for everybody.
        metrics: what ``/metrics`` shows.
        drain: while it goes on, ``/healthz`` answers 503, so that a load balancer sends nobody here.
        health_error: what is wrong with the server right now, or "".
    """

    keys: ApiKeys
    metrics: Registry
    drain: Drain
    health_error: Callable[[], str]

    def answer(self, path: str, authorization: str | None) -> HttpAnswer | None:
        """The answer to a GET, or None if the path is not one of these pages."""
        path = path.partition("?")[0]
        if path == "/healthz":
            trouble = "draining" if self.drain.draining.is_set() else self.health_error()
            return unavailable(trouble) if trouble else HttpAnswer(HTTPStatus.OK, "OK\n")
        if path == "/metrics":
            if not self.keys.allows(authorization):
                return UNAUTHORIZED
            return HttpAnswer(HTTPStatus.OK, self.metrics.text(), {"Content-Type": CONTENT_TYPE})
        return None


def unavailable(why: str) -> HttpAnswer:
    """503: the server is shutting down, or all its sessions are taken; a client tries again or goes elsewhere."""
    return HttpAnswer(HTTPStatus.SERVICE_UNAVAILABLE, f"{why}\n")


UNAUTHORIZED = HttpAnswer(
    HTTPStatus.UNAUTHORIZED,
    "an API key is needed: Authorization: Api-Key ...\n",
    {"Content-Type": "text/plain; charset=utf-8", "WWW-Authenticate": "Api-Key"},
)
