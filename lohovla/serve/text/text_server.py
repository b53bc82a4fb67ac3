"""The text server's life: it serves, it drains on SIGTERM, it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn

from lohovla import __version__
from lohovla.d2f.engine import RequestOutput
from lohovla.d2f.engine.engine_stats import percentile
from lohovla.serve.api_keys import ApiKeys
from lohovla.serve.lifecycle import Drain, HealthEndpoints
from lohovla.serve.metrics import Registry, resident_bytes
from lohovla.serve.sockets import listening_socket
from lohovla.serve.text.app import build_app
from lohovla.serve.text.completion_handler import GOING, CompletionHandler
from lohovla.serve.text.connection_limits import connections_possible, limited_protocol, note_loop_errors
from lohovla.serve.text.engine_thread import EngineThread
from lohovla.serve.text.request_log import RequestLog
from lohovla.serve.text.text_service import TextService

_LOG = logging.getLogger(__name__)
_LONG = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


@dataclass(frozen=True)
class TextServerSettings:
    """How text is served.

    Attributes:
        host, port: where to listen; port 0 takes a free one.
        body_mb: largest request, MB.
        drain: seconds after SIGTERM in which running requests may come to their end.
        max_connections: at once; further ones are answered 503 and closed.
        patience: seconds in which a request's header has to come, and then its body.
        access_log: log a line for each request.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    body_mb: float = 4.0
    drain: float = 30.0
    max_connections: int = 1024
    patience: float = 20.0
    access_log: bool = False


class TextServer:
    """Serves one text model. Make it in a running event loop.

    Args:
        service: the model.
        settings: limits and places.
        keys: who may come in.
        tls: for ``https://``.
    """

    def __init__(
        self,
        service: TextService,
        settings: TextServerSettings,
        keys: ApiKeys,
        tls: ssl.SSLContext | None = None,
    ):
        self.service, self.settings, self.drain = service, settings, Drain()
        registry = Registry()
        self._requests = registry.counter("lohovla_text_requests_total", "Requests by outcome.")
        self._took = registry.histogram("lohovla_text_request_seconds", "Of requests that were answered.", _LONG)
        first = registry.histogram("lohovla_text_first_token_seconds", "From arrival to the first token.", _LONG)
        self.worker = EngineThread(service.engines, first.observe)
        self.answering = CompletionHandler(service, self.worker, self.drain.draining.is_set, self._count)
        _measure(registry, service, self)
        pages = HealthEndpoints(keys, registry, self.drain, self.worker.owner.health_error)
        config = uvicorn.Config(
            RequestLog(build_app(self.answering, pages, settings.body_mb, settings.patience), settings.access_log),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            http=limited_protocol(connections_possible(settings.max_connections), settings.patience),
            h11_max_incomplete_event_size=32 * 1024,  # of a header
            timeout_keep_alive=60,
            timeout_graceful_shutdown=10,
            server_header=False,
        )
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        config.load()
        config.ssl = tls
        self._server = _Uvicorn(config)
        self._socket: socket.socket | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._socket is not None
        return self._socket.getsockname()[1]

    async def start(self) -> None:
        """Listen.

        Raises:
            UserError: the place is taken or cannot be.
        """
        note_loop_errors(asyncio.get_running_loop())
        self._socket = listening_socket(self.settings.host, self.settings.port)
        self._serving = asyncio.ensure_future(self._server.serve([self._socket]))
        while not self._server.started:
            await asyncio.sleep(0.01)
            if self._serving.done():
                await self._serving

    async def run(self) -> bool:
        """Serve until the drain is over; False if the model had to be left hanging."""
        await self.drain.draining.wait()
        _LOG.info("draining: %d requests", len(self.answering.jobs))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.drain):
                while self.answering.jobs and not self.drain.at_once.is_set():
                    await asyncio.sleep(0.05)
        return await self.stop()

    async def stop(self) -> bool:
        """Tell those who still wait, close every connection, end the thread."""
        self.drain.draining.set()
        for job in self.answering.jobs:
            for index in list(job.open):
                job.put(index, RequestOutput([], [], [], 0, error=GOING))
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
        self.service.close()
        return await asyncio.to_thread(self.worker.owner.stop, 10.0)

    def _count(self, outcome: str, seconds: float) -> None:
        self._requests.add(outcome=outcome)
        if outcome == "ok":
            self._took.observe(seconds)


class _Uvicorn(uvicorn.Server):
    """Signals are for :class:`Drain`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _measure(registry: Registry, service: TextService, server: TextServer) -> None:
    """What ``/metrics`` shows of the engines: those of one weight each by its mode."""
    for name, engine in zip(("d2f", "ar"), service.engines, strict=False):
        stats, pool = engine.stats, engine.pool
        totals: dict[str, tuple[str, Any]] = {
            "forwards": ("Model calls.", lambda s=stats: s.forwards),
            "rows": ("Tokens that went through the model.", lambda s=stats: s.rows),
            "tokens": ("Tokens of finished answers.", lambda s=stats: s.tokens),
            "answer_forwards": ("Forwards that finished answers took part in.", lambda s=stats: s.steps),
            "prompt_tokens": ("Of admitted requests.", lambda s=stats: s.prompt_tokens),
            "shared_tokens": ("Of those, found in the cache.", lambda s=stats: s.shared_tokens),
            "finished": ("Answers that came to their end.", lambda s=stats: s.finished),
            "aborted": ("Answers whose client left.", lambda s=stats: s.aborted),
            "failed": ("Answers that the model failed on.", lambda s=stats: s.failed),
            "preempted": ("Answers put back because pages ran out.", lambda s=stats: s.preempted),
            "step_seconds": ("In steps.", lambda s=stats: s.seconds),
            "forward_seconds": ("Of them in the model.", lambda s=stats: s.forward_seconds),
        }
        gauges: dict[str, tuple[str, Any]] = {
            "running": ("Answers being decoded.", lambda e=engine: e.running),
            "longest_step_seconds": ("Of the longest step.", lambda s=stats: s.longest_step),
            "waiting": ("Answers that wait.", lambda e=engine: e.queued),
            "pages": ("Pages of the cache.", lambda p=pool: p.count),
            "pages_held": ("Pages that answers hold.", lambda p=pool: p.num_held_blocks),
            "pages_remembered": ("Pages kept for requests that begin alike.", lambda p=pool: p.num_cached_blocks),
            "tokens_a_forward": ("Tokens of an answer for each forward.", lambda s=stats: s.tokens_a_forward),
        }
        for key, (help_, read) in totals.items():
            registry.total(f"lohovla_text_{key}_total", help_, read, engine=name)
        for key, (help_, read) in gauges.items():
            registry.gauge(f"lohovla_text_{key}", help_, read, engine=name)
        for share in (0.5, 0.9, 0.99):
            registry.gauge(
                "lohovla_text_queue_seconds",
                "Waiting for the first forward, of the last 1000 answers.",
                lambda s=stats, q=share: percentile(s.queued, q),
                engine=name,
                quantile=str(share),
            )
    registry.gauge("lohovla_draining", "1 while the server goes away.", server.drain.draining.is_set)
    registry.gauge("process_resident_memory_bytes", "Memory held.", resident_bytes)
    registry.gauge("lohovla_info", "1; its labels say what runs.", lambda: 1, version=__version__, model=service.name)
