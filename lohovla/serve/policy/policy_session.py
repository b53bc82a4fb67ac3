"""A session: one client's connection, its slot in the policy and its episode."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from lohovla.client.msgpack_codec import pack_message
from lohovla.client.request_error import RequestError
from lohovla.policies.base import Context
from lohovla.serve.metrics import Counter, Histogram
from lohovla.serve.policy.batcher import BatchedDecision, Batcher
from lohovla.serve.policy.observation_schema import ObservationSchema, PolicyRequest

_LOG = logging.getLogger(__name__)
_NUMBERS = itertools.count(1)


class PolicySlots:
    """The slots of a policy, lowest first, so that its memory stays small."""

    def __init__(self, count: int):
        self._free = list(range(count))

    @property
    def free(self) -> int:
        """How many are left."""
        return len(self._free)

    def take(self) -> int | None:
        """A slot, or None if there is none."""
        return heapq.heappop(self._free) if self._free else None

    def give_back(self, slot: int) -> None:
        """Let somebody else have it."""
        heapq.heappush(self._free, slot)


class SessionHost(Protocol):
    """What a session needs of its server: limits, the schema of observations, the batcher, and counters."""

    settings: Any
    expected: ObservationSchema
    batcher: Batcher
    decoders: ThreadPoolExecutor
    requests: Counter
    bytes: Counter
    took: Histogram
    queued: Histogram
    inferred: Histogram
    batch: Histogram


class PolicySession:
    """Answers a client's requests, one after the other.

    Args:
        server: what it belongs to.
        connection: to the client, open.
        slot: its own in the policy.
    """

    def __init__(self, server: SessionHost, connection: ServerConnection, slot: int):
        self._server, self._connection, self._slot = server, connection, slot
        self._number = next(_NUMBERS)
        self._ending = self._winding_down = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._gone = asyncio.ensure_future(connection.wait_closed())
        self._episode: Any = None
        self._started = False
        self._step = 0
        self._total: float | None = None

    def wind_down(self) -> None:
        """From now on take no request that begins an episode."""
        self._winding_down = True

    async def finish(self, patience: float) -> None:
        """Close the connection, after the reply to the request at hand if there is one."""
        self._ending = True
        try:
            await asyncio.wait_for(self._idle.wait(), patience)
        except TimeoutError:
            _LOG.warning("session %d closed without its reply", self._number)
        await self._leave()

    async def serve(self) -> None:
        """Answer until the client goes, a request is wrong, or the server goes away."""
        try:
            async for frame in self._connection:
                self._idle.clear()
                try:
                    if not await self._answer(frame):
                        break
                finally:
                    self._idle.set()
        finally:
            self._gone.cancel()

    async def _answer(self, frame: str | bytes) -> bool:
        """Send the reply, or the error; False if the session is over."""
        server, began = self._server, time.monotonic()
        server.bytes.add(len(frame), direction="in")
        try:
            reply = await self._decide(frame, began)
        except RequestError as error:
            server.requests.add(outcome=error.outcome)
            _LOG.info("session %d: %s", self._number, error)
            await self._send(str(error))
            await self._connection.close(1011, error.outcome)
            return False
        if reply is None:
            await self._leave()
            return False
        if not await self._send(reply):
            server.requests.add(outcome="lost")
            return False
        self._total = time.monotonic() - began
        server.requests.add(outcome="ok")
        server.took.observe(self._total)
        if self._ending:
            await self._leave()
        return not self._ending

    async def _leave(self) -> None:
        await self._connection.close(1001, "the server is going away")

    async def _decide(self, frame: str | bytes, began: float) -> bytes | None:
        if isinstance(frame, str):
            raise RequestError("a request is a binary frame of msgpack, not text")
        loop = asyncio.get_running_loop()
        request = await loop.run_in_executor(self._server.decoders, self._server.expected.parse, frame)
        decoded = time.monotonic() - began
        seed = self._seed(request)
        if seed is not None:
            if self._winding_down and self._started:
                return None  # the next episode is for another server
            self._started, self._step = True, 0
            self._episode = request.extras.get("episode")
        context = Context(
            step=request.extras.get("step", self._step),
            reward=float(request.extras.get("reward", 0.0)),
            slot=self._slot,
        )
        outcome = await self._wait(self._server.batcher.submit(request.observation, context, seed), request, began)
        # Unless it says otherwise, a client carries out what it was given.
        self._step = context.step + len(outcome.decision.actions)
        return pack_message(self._reply(request, outcome, decoded))

    def _seed(self, request: PolicyRequest) -> int | None:
        """The seed of the episode that the request begins, or None if it goes on with one."""
        extras = request.extras
        begins = not self._started or extras.get("reset") or extras.get("episode") != self._episode
        return extras.get("seed", self._number) if begins else None

    async def _wait(
        self, future: asyncio.Future[BatchedDecision], request: PolicyRequest, began: float
    ) -> BatchedDecision:
        allowed = min(self._server.settings.deadline, request.extras.get("deadline_ms", float("inf")) / 1000)
        left = began + allowed - time.monotonic()
        await asyncio.wait({future, self._gone}, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            return future.result()
        future.cancel()
        if self._gone.done():
            raise RequestError("the client went away", "lost")
        raise RequestError(f"deadline: no decision within {1000 * allowed:.0f} ms", "expired")

    def _reply(self, request: PolicyRequest, outcome: BatchedDecision, decoded: float) -> dict[str, Any]:
        decision, server = outcome.decision, self._server
        server.queued.observe(outcome.queued)
        server.inferred.observe(outcome.inferred)
        server.batch.observe(outcome.batch)
        timing = {
            "infer_ms": 1000 * outcome.inferred,
            "queue_ms": 1000 * outcome.queued,
            "decode_ms": 1000 * decoded,
            "batch": outcome.batch,
        }
        if self._total is not None:
            timing["prev_total_ms"] = 1000 * self._total
        reply = {
            "actions": np.ascontiguousarray(decision.actions, np.float32),
            "subtask": decision.subtask,
            "planned": bool(decision.planned),
            "progress": float(decision.progress),
            "over": decision.over,
            "way": decision.way,
            "policy_timing": {"infer_ms": 1000 * outcome.inferred, **decision.timing},
            "server_timing": timing,
            **request.echo,
        }
        return reply if decision.subgoal is None else {**reply, "subgoal": decision.subgoal}

    async def _send(self, message: str | bytes) -> bool:
        """Send; False if the client is gone or does not read."""
        self._server.bytes.add(len(message), direction="out")
        try:
            await asyncio.wait_for(self._connection.send(message), self._server.settings.deadline)
        except ConnectionClosed:
            return False
        except TimeoutError:
            self._connection.transport.abort()
            return False
        return True
