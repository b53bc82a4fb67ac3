"""The thread that a model belongs to, beside the event loop that requests come from."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

HUNG = 30.0  # s of one step after which the health check fails


class ModelThread:
    """Takes turns in a thread of its own. All methods but :meth:`tell` are for the event loop that it was made in.

    Args:
        what: the model's name, in words.
        turn: one go of the model, called in the thread; gives whether there was anything to do. Where there was
            nothing, the thread sleeps until it is woken.
    """

    def __init__(self, what: str, turn: Callable[[], bool]):
        self._what, self._turn = what, turn
        self._loop = asyncio.get_running_loop()
        self._wake, self._stopping = threading.Event(), False
        self._since: float | None = None
        # A daemon, so that a model that hangs does not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name=f"lohovla-{what}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    def health_error(self) -> str:
        """What is wrong with the model right now, or ""."""
        since = self._since
        running = 0.0 if since is None else time.monotonic() - since
        return f"the {self._what} has not answered for {running:.0f} s" if running > HUNG else ""

    def stop(self, patience: float) -> bool:
        """End the thread after its present turn; False if that took longer than ``patience`` seconds."""
        self._stopping = True
        self._wake.set()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def call_in_loop(self, call: Callable[..., object], *given: Any) -> None:
        """From the thread: have the event loop call something. Where that is closed, nobody listens any more."""
        try:
            self._loop.call_soon_threadsafe(call, *given)
        except RuntimeError:
            self._stopping = True

    def _work(self) -> None:
        while not self._stopping:
            self._wake.clear()
            self._since = time.monotonic()
            busy = self._turn()
            self._since = None
            if not busy:
                self._wake.wait()
