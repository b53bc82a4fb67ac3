"""The thread that decodes. Requests come from the event loop, and their news go back to it, once a step."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lohovla.d2f.engine import Engine, GenerationRequest, RequestOutput
from lohovla.serve.model_thread import ModelThread

_LOG = logging.getLogger(__name__)


@dataclass(eq=False)
class RequestHandle:
    """Requests of one client that belong together, and the latest news of each. It lives in the event loop.

    Attributes:
        engine: that decodes them.
        every: whether all news are wanted, not only the last of each.
        numbers: of the requests.
        open: those (by index) that are not over.
        first: when (monotonic clock, s) the first token was known.
    """

    engine: Engine
    every: bool
    numbers: list[int] = field(default_factory=list)
    open: set[int] = field(default_factory=set)
    first: float | None = None
    began: float = field(default_factory=time.monotonic)
    _news: dict[int, RequestOutput] = field(default_factory=dict)
    _fresh: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, index: int, update: RequestOutput) -> None:
        """Tell news; what was told of the same request and not heard is replaced, since news tell all so far."""
        if index not in self.open:
            return
        if update.answer is not None or update.error is not None:
            self.open.discard(index)
        self._news[index] = update
        self._fresh.set()

    async def news(self) -> dict[int, RequestOutput]:
        """Wait for news; by index."""
        await self._fresh.wait()
        self._fresh.clear()
        news, self._news = self._news, {}
        return news


class EngineThread:
    """Steps engines in a thread of its own. All methods are for the event loop that it was made in.

    Args:
        engines: each is stepped in turn while it has anything to do.
        first: told the seconds from a request's arrival to its first token.

    Attributes:
        owner: the thread.
    """

    def __init__(self, engines: Sequence[Engine], first: Callable[[float], None] = lambda seconds: None):
        self.engines, self._first = engines, first
        self._outbox: list[tuple[RequestHandle, int, RequestOutput]] = []
        self.owner = ModelThread("model", self._turn)

    def submit(self, engine: Engine, requests: Sequence[GenerationRequest], every: bool) -> RequestHandle:
        """Queue requests, all or none.

        Raises:
            UserError: one cannot be carried out.
            QueueFull: too many are waiting.
        """
        job = RequestHandle(engine, every)
        try:
            for index, request in enumerate(requests):
                job.open.add(index)
                number = engine.submit(request, lambda update, index=index: self._hear(job, index, update))
                job.numbers.append(number)
        except BaseException:
            self.leave(job)
            raise
        self.owner.wake()
        return job

    def leave(self, job: RequestHandle) -> None:
        """Drop what is not over; its pages are free when the present step is."""
        for index, number in enumerate(job.numbers):
            if index in job.open:
                job.engine.abort(number)
        job.open.clear()
        self.owner.wake()

    # In the thread.

    def _turn(self) -> bool:
        busy = [self._step(engine) for engine in self.engines]
        if self._outbox:
            outbox, self._outbox = self._outbox, []
            self.owner.call_in_loop(_hand_out, outbox)
        return any(busy)

    def _step(self, engine: Engine) -> bool:
        try:
            return engine.step()
        except Exception as error:
            _LOG.exception("a step failed")
            engine.fail(f"the model failed: {type(error).__name__}")
            return True

    def _hear(self, job: RequestHandle, index: int, update: RequestOutput) -> None:
        if job.first is None and update.tokens:
            job.first = time.monotonic()
            self._first(job.first - job.began)
        if job.every or update.answer is not None or update.error is not None:
            self._outbox.append((job, index, update))


def _hand_out(outbox: list[tuple[RequestHandle, int, RequestOutput]]) -> None:
    for job, index, update in outbox:
        job.put(index, update)
