"""The policy server: a websocket a session, observations in, action chunks out."""

from __future__ import annotations

import asyncio
import logging
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from lohovla import __version__
from lohovla.client.msgpack_codec import pack_message
from lohovla.client.request_error import RequestError
from lohovla.errors import UserError
from lohovla.policies.base import Context, Policy
from lohovla.serve.api_keys import ApiKeys
from lohovla.serve.lifecycle import UNAUTHORIZED, Drain, HealthEndpoints, HttpAnswer, unavailable
from lohovla.serve.metrics import Registry, resident_bytes
from lohovla.serve.policy.batcher import Batcher
from lohovla.serve.policy.observation_schema import ObservationSchema
from lohovla.serve.policy.policy_session import PolicySession, PolicySlots
from lohovla.serve.sockets import listening_socket

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerSettings:
    """How a policy is served.

    Attributes:
        host, port: where to listen; port 0 takes a free one.
        sessions: most clients at once; the next one is answered 503.
        max_batch: most observations in one forward.
        max_frame: largest message taken, bytes.
        deadline: seconds from a request's arrival to its reply; then an error goes out instead.
        drain: seconds after SIGTERM in which running episodes may come to their end.
        keepalive: seconds between pings; a client that answers none for as long again is gone.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    sessions: int = 64
    max_batch: int = 16
    max_frame: int = 8 << 20
    deadline: float = 5.0
    drain: float = 10.0
    keepalive: float = 20.0


class PolicyServer:
    """Serves one policy to many clients. Make it in a running event loop.

    Args:
        policy: what decides; every client has a slot of its own in it.
        expected: what its observations look like.
        about: what else to tell clients on connection, such as the environment's calibration.
        settings: limits and places.
        keys: who may come in.
        tls: for ``wss://``.
    """

    def __init__(
        self,
        policy: Policy,
        expected: ObservationSchema,
        about: dict[str, Any],
        settings: ServerSettings,
        keys: ApiKeys,
        tls: ssl.SSLContext | None = None,
    ):
        self.settings, self.expected = settings, expected
        self.drain = Drain()
        self.batcher = Batcher(policy, settings.max_batch)
        self.decoders = ThreadPoolExecutor(2, thread_name_prefix="lohovla-decode")
        self.slots = PolicySlots(settings.sessions)
        self._keys, self._tls, self._server = keys, tls, None
        self._sessions: set[PolicySession] = set()
        self._emptied = asyncio.Event()
        self._measure()
        self._pages = HealthEndpoints(keys, self._registry, self.drain, self.batcher.owner.health_error)
        spec = policy.spec
        self._greeting = pack_message(
            {
                "server": "lohovla",
                "version": __version__,
                "spec": {
                    "observation_keys": list(spec.observation_keys),
                    "control": spec.control,
                    "action_shape": list(spec.action_shape),
                    "horizon": spec.horizon,
                    "control_hz": spec.control_hz,
                    "emits": sorted(spec.emits),
                },
                "observations": expected.describe(),
                "limits": {"frame_bytes": settings.max_frame, "deadline_ms": 1000 * settings.deadline},
                **about,
            }
        )

    def _measure(self) -> None:
        self._registry = registry = Registry()
        self.requests = registry.counter("lohovla_requests_total", "Requests by outcome.")
        self.bytes = registry.counter("lohovla_bytes_total", "Bytes of messages by direction.")
        self.turned_away = registry.counter("lohovla_connections_refused_total", "Connections refused by reason.")
        self.opened = registry.counter("lohovla_sessions_total", "Sessions opened.")
        registry.gauge("lohovla_sessions", "Sessions open now.", lambda: len(self._sessions))
        registry.gauge("lohovla_waiting", "Observations that wait for a forward.", lambda: self.batcher.waiting)
        registry.gauge("lohovla_draining", "1 while the server goes away.", lambda: self.drain.draining.is_set())
        registry.gauge("process_resident_memory_bytes", "Memory held.", resident_bytes)
        registry.gauge("lohovla_info", "1; its labels say what runs.", lambda: 1, version=__version__)
        self.took = registry.histogram("lohovla_request_seconds", "From a request's arrival to its reply.")
        self.queued = registry.histogram("lohovla_queue_seconds", "Waiting for the forward before.")
        self.inferred = registry.histogram("lohovla_infer_seconds", "Of a forward.")
        self.batch = registry.histogram(
            "lohovla_batch_size", "Observations in a request's forward.", (1, 2, 4, 8, 16, 32, 64)
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return self._server.sockets[0].getsockname()[1]

    async def warm_up(self) -> None:
        """Decide once on blank observations, alone and in the largest batch, so that the first client does not wait.

        Raises:
            UserError: the policy fails on them.
        """
        for count in (1, min(self.settings.max_batch, self.settings.sessions)):
            blank = [self.batcher.submit(self.expected.blank(), Context(slot=slot), 0) for slot in range(count)]
            try:
                await asyncio.gather(*blank)
            except RequestError as error:
                raise UserError(f"an observation of zeros gets no answer: {error}", "see the log above") from None

    async def start(self) -> None:
        """Listen.

        Raises:
            UserError: the place is taken or cannot be.
        """
        settings = self.settings
        quiet = logging.getLogger(f"{__name__}.websockets")
        quiet.setLevel(logging.CRITICAL)  # what strangers send to a port is counted, not told with a traceback
        self._server = await serve(
            self._handle,
            sock=listening_socket(settings.host, settings.port),
            process_request=self._admit,
            compression=None,
            max_size=settings.max_frame,
            max_queue=1,
            ping_interval=settings.keepalive,
            ping_timeout=settings.keepalive,
            open_timeout=10,
            close_timeout=5,
            ssl=self._tls,
            origins=[None],  # a page in somebody's browser must not drive a robot
            logger=quiet,
        )

    async def run(self) -> bool:
        """Serve until the drain is over; False if the policy had to be left hanging."""
        await self.drain.draining.wait()
        for session in self._sessions:
            session.wind_down()
        _LOG.info("draining: %d sessions", len(self._sessions))
        if self._sessions:
            over = [asyncio.ensure_future(event.wait()) for event in (self._emptied, self.drain.at_once)]
            await asyncio.wait(over, timeout=self.settings.drain, return_when=asyncio.FIRST_COMPLETED)
            for waiter in over:
                waiter.cancel()
        return await self.stop()

    async def stop(self) -> bool:
        """Answer what is being decided, close every session, stop listening."""
        self.drain.draining.set()
        await asyncio.gather(*[session.finish(self.settings.deadline) for session in self._sessions])
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        self.decoders.shutdown(wait=False, cancel_futures=True)
        return await asyncio.to_thread(self.batcher.owner.stop, self.settings.deadline)

    def _admit(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        authorization = request.headers.get("Authorization")
        answer = self._pages.answer(request.path, authorization)
        if answer is not None:
            return _respond(connection, answer)
        if not self._keys.allows(authorization):
            self.turned_away.add(reason="key")
            return _respond(connection, UNAUTHORIZED)
        if self.drain.draining.is_set():
            self.turned_away.add(reason="draining")
            return _respond(connection, unavailable("the server is going away"))
        if not self.slots.free:
            self.turned_away.add(reason="full")
            return _respond(connection, unavailable(f"all {self.settings.sessions} sessions are taken"))
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        slot = self.slots.take()
        if slot is None or self.drain.draining.is_set():  # the last one went to somebody else meanwhile
            if slot is not None:
                self.slots.give_back(slot)
            await connection.close(1013, "try again later")
            return
        session = PolicySession(self, connection, slot)
        self._sessions.add(session)
        self.opened.add()
        try:
            await connection.send(self._greeting)
            await session.serve()
        except ConnectionClosed:
            pass
        finally:
            self._sessions.discard(session)
            self.slots.give_back(slot)
            if not self._sessions:
                self._emptied.set()


def _respond(connection: ServerConnection, answer: HttpAnswer) -> Response:
    response = connection.respond(answer.status, answer.body)
    for name, value in answer.headers.items():
        if name in response.headers:
            del response.headers[name]  # the library's would stand beside ours
        response.headers[name] = value
    return response
