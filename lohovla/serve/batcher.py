"""One thread that owns a policy and decides for whoever waits, all of them in one forward."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lohovla.policies.base import Context, Decision, Policy
from lohovla.serve.errors import RequestError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """A decision and how it came about.

    Attributes:
        decision: the policy's.
        queued: seconds waited for the forward before to end.
        inferred: seconds of the forward.
        batch: how many observations were in it.
    """

    decision: Decision
    queued: float
    inferred: float
    batch: int


@dataclass(eq=False)
class Item:
    """An observation that waits for its decision.

    Attributes:
        observation: what the policy reads.
        context: with the session's slot.
        seed: reset the slot with it before deciding, unless None.
        future: gets the :class:`Outcome`, or a :class:`RequestError`; cancel it to withdraw the item.
    """

    observation: dict[str, Any]
    context: Context
    seed: int | None
    future: asyncio.Future[Outcome]
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Batches what waits. Nobody waits for company: a free policy takes what there is.

    While a forward runs, what arrives meanwhile gathers for the next one, so batches grow with the load.
    All calls of the policy, resets too, come from one thread. If a batch fails, its observations are decided
    one at a time, so that a failure stays with the one that caused it.

    Args:
        policy: what decides.
        max_batch: most observations in one forward.
    """

    def __init__(self, policy: Policy, max_batch: int):
        self._policy, self._max_batch = policy, max_batch
        self._waiting: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._running_since: float | None = None
        # A daemon, so that a policy that hangs does not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="lohovla-policy", daemon=True)
        self._thread.start()

    @property
    def running(self) -> float:
        """Seconds that the present forward has been running; 0 between forwards."""
        since = self._running_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def waiting(self) -> int:
        """How many observations wait for the next forward."""
        return self._waiting.qsize()

    def submit(self, observation: dict[str, Any], context: Context, seed: int | None) -> asyncio.Future[Outcome]:
        """Queue an observation; returns the future of its outcome."""
        item = Item(observation, context, seed, self._loop.create_future())
        self._waiting.put(item)
        return item.future

    def stop(self, patience: float) -> bool:
        """End the thread after its present forward; False if that took longer than ``patience`` seconds."""
        self._waiting.put(None)
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _work(self) -> None:
        stopped = False
        while not stopped:
            batch, stopped = self._gather()
            # Checked when the batch is complete: a slot given to somebody new is then in it only once.
            batch = [item for item in batch if not item.future.done()]
            if batch:
                self._running_since = began = time.monotonic()
                outcomes = self._decide(batch, began)
                self._running_since = None
                try:
                    self._loop.call_soon_threadsafe(_deliver, batch, outcomes)
                except RuntimeError:  # the loop was closed: nobody listens any more
                    return

    def _gather(self) -> tuple[list[Item], bool]:
        batch: list[Item] = []
        item = self._waiting.get()
        while item is not None:
            batch.append(item)
            if len(batch) == self._max_batch:
                return batch, False
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _decide(self, batch: list[Item], began: float) -> list[Outcome | RequestError]:
        try:
            for item in batch:
                if item.seed is not None:
                    self._policy.reset(item.seed, item.context.slot)
            decisions = self._policy.act_batch([item.observation for item in batch], [item.context for item in batch])
        except Exception as error:
            if len(batch) > 1:
                return [outcome for item in batch for outcome in self._decide([item], time.monotonic())]
            _LOG.exception("the policy failed")
            return [RequestError(f"the policy failed: {type(error).__name__}: {error}", "failed")]
        inferred = time.monotonic() - began
        return [
            self._check(Outcome(decision, began - item.since, inferred, len(batch)))
            for item, decision in zip(batch, decisions, strict=True)
        ]

    def _check(self, outcome: Outcome) -> Outcome | RequestError:
        actions, shape = np.asarray(outcome.decision.actions), self._policy.spec.action_shape
        if actions.ndim < 1 or not len(actions) or actions.shape[1:] != shape:
            return RequestError(f"the policy gave actions of shape {actions.shape}, not (H, *{shape})", "failed")
        if not np.isfinite(actions).all():
            return RequestError("the policy gave actions that are no finite numbers", "failed")
        return outcome


def _deliver(batch: Sequence[Item], outcomes: Sequence[Outcome | RequestError]) -> None:
    for item, outcome in zip(batch, outcomes, strict=True):
        if item.future.done():
            continue
        if isinstance(outcome, RequestError):
            item.future.set_exception(outcome)
        else:
            item.future.set_result(outcome)
