"""The thread that decodes. Requests come from the event loop, and their news go back to it, once a step."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lohovla.d2f.engine import Engine, Request, Update

_LOG = logging.getLogger(__name__)


@dataclass(eq=False)
class Job:
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
    _news: dict[int, Update] = field(default_factory=dict)
    _fresh: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, index: int, update: Update) -> None:
        """Tell news; what was told of the same request and not heard is replaced, since news tell all so far."""
        if index not in self.open:
            return
        if update.answer is not None or update.error is not None:
            self.open.discard(index)
        self._news[index] = update
        self._fresh.set()

    async def news(self) -> dict[int, Update]:
        """Wait for news; by index."""
        await self._fresh.wait()
        self._fresh.clear()
        news, self._news = self._news, {}
        return news


class Worker:
    """Steps engines in a thread of its own. All methods are for the event loop that it was made in.

    Args:
        engines: each is stepped in turn while it has anything to do.
        first: told the seconds from a request's arrival to its first token.
    """

    def __init__(self, engines: Sequence[Engine], first: Callable[[float], None] = lambda seconds: None):
        self.engines, self._first = engines, first
        self._loop = asyncio.get_running_loop()
        self._wake, self._stopping = threading.Event(), False
        self._outbox: list[tuple[Job, int, Update]] = []
        self._since: float | None = None
        # A daemon, so that a step that hangs does not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="lohovla-text", daemon=True)
        self._thread.start()

    @property
    def running(self) -> float:
        """Seconds that the present step has been running; 0 between steps."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def submit(self, engine: Engine, requests: Sequence[Request], every: bool) -> Job:
        """Queue requests, all or none.

        Raises:
            UserError: one cannot be carried out.
            Overloaded: too many are waiting.
        """
        job = Job(engine, every)
        try:
            for index, request in enumerate(requests):
                job.open.add(index)
                number = engine.submit(request, lambda update, index=index: self._hear(job, index, update))
                job.numbers.append(number)
        except BaseException:
            self.leave(job)
            raise
        self._wake.set()
        return job

    def leave(self, job: Job) -> None:
        """Drop what is not over; its pages are free when the present step is."""
        for index, number in enumerate(job.numbers):
            if index in job.open:
                job.engine.abort(number)
        job.open.clear()
        self._wake.set()

    def stop(self, patience: float) -> bool:
        """End the thread after its present step; False if that took longer than ``patience`` seconds."""
        self._stopping = True
        self._wake.set()
        self._thread.join(patience)
        return not self._thread.is_alive()

    # In the thread.

    def _work(self) -> None:
        while not self._stopping:
            self._wake.clear()
            self._since = time.monotonic()
            busy = [self._step(engine) for engine in self.engines]
            self._since = None
            try:
                self._deliver()
            except RuntimeError:  # the loop was closed: nobody listens any more
                return
            if not any(busy):
                self._wake.wait()

    def _step(self, engine: Engine) -> bool:
        try:
            return engine.step()
        except Exception as error:
            _LOG.exception("a step failed")
            engine.fail(f"the model failed: {type(error).__name__}")
            return True

    def _hear(self, job: Job, index: int, update: Update) -> None:
        if job.first is None and update.tokens:
            job.first = time.monotonic()
            self._first(job.first - job.began)
        if job.every or update.answer is not None or update.error is not None:
            self._outbox.append((job, index, update))

    def _deliver(self) -> None:
        if self._outbox:
            outbox, self._outbox = self._outbox, []
            self._loop.call_soon_threadsafe(_hand_out, outbox)


def _hand_out(outbox: list[tuple[Job, int, Update]]) -> None:
    for job, index, update in outbox:
        job.put(index, update)
