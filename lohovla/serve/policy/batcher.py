"""One thread that owns a policy and decides for whoever waits, all of them in one forward."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lohovla.client.request_error import RequestError
from lohovla.errors import UserError
from lohovla.policies.base import Context, Decision, Policy
from lohovla.serve.model_thread import ModelThread

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchedDecision:
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
class PendingRequest:
    """An observation that waits for its decision.

    Attributes:
        observation: what the policy reads.
        context: with the session's slot.
        seed: reset the slot with it before deciding, unless None.
        future: gets the :class:`BatchedDecision`, or a :class:`RequestError`; cancel it to withdraw the item.
    """

    observation: dict[str, Any]
    context: Context
    seed: int | None
    future: asyncio.Future[BatchedDecision]
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Batches waiting requests. A free policy takes those that are there at once, without waiting for more.

    While a forward runs, what arrives meanwhile gathers for the next one, so batches grow with the load.
    All calls of the policy, resets too, come from one thread. If a batch fails, its observations are decided
    one at a time, so that a failure stays with the one that caused it.

    Args:
        policy: what decides.
        max_batch: most observations in one forward.

    Attributes:
        owner: the thread.
    """

    def __init__(self, policy: Policy, max_batch: int):
        self._policy, self._max_batch = policy, max_batch
        self._waiting: queue.SimpleQueue[PendingRequest] = queue.SimpleQueue()
        self.owner = ModelThread("policy", self._turn)

    @property
    def waiting(self) -> int:
        """How many observations wait for the next forward."""
        return self._waiting.qsize()

    def submit(
        self, observation: dict[str, Any], context: Context, seed: int | None
    ) -> asyncio.Future[BatchedDecision]:
        """Queue an observation; returns the future of its outcome."""
        item = PendingRequest(observation, context, seed, asyncio.get_running_loop().create_future())
        self._waiting.put(item)
        self.owner.wake()
        return item.future

    # In the thread.

    def _turn(self) -> bool:
        gathered = self._gather()
        # Checked when the batch is complete: a slot given to somebody new is then in it only once.
        batch = [item for item in gathered if not item.future.done()]
        if batch:
            self.owner.call_in_loop(_deliver, batch, self._decide(batch, time.monotonic()))
        return bool(gathered)

    def _gather(self) -> list[PendingRequest]:
        batch: list[PendingRequest] = []
        with contextlib.suppress(queue.Empty):
            while len(batch) < self._max_batch:
                batch.append(self._waiting.get_nowait())
        return batch

    def _decide(self, batch: list[PendingRequest], began: float) -> list[BatchedDecision | RequestError]:
        try:
            for item in batch:
                if item.seed is not None:
                    self._policy.reset(item.seed, item.context.slot)
            decisions = self._policy.act_batch([item.observation for item in batch], [item.context for item in batch])
        except Exception as error:
            if len(batch) > 1:
                return [outcome for item in batch for outcome in self._decide([item], time.monotonic())]
            if isinstance(error, UserError):  # what was asked is at fault, not the policy
                return [RequestError(f"{error.cause}; {error.remedy}")]
            _LOG.exception("the policy failed")
            return [RequestError(f"the policy failed: {type(error).__name__}: {error}", "failed")]
        inferred = time.monotonic() - began
        return [
            self._check(BatchedDecision(decision, began - item.since, inferred, len(batch)))
            for item, decision in zip(batch, decisions, strict=True)
        ]

    def _check(self, outcome: BatchedDecision) -> BatchedDecision | RequestError:
        actions, shape = np.asarray(outcome.decision.actions), self._policy.spec.action_shape
        if actions.ndim < 1 or not len(actions) or actions.shape[1:] != shape:
            return RequestError(f"the policy gave actions of shape {actions.shape}, not (H, *{shape})", "failed")
        if not np.isfinite(actions).all():
            return RequestError("the policy gave actions that are not finite", "failed")
        return outcome


def _deliver(batch: Sequence[PendingRequest], outcomes: Sequence[BatchedDecision | RequestError]) -> None:
    for item, outcome in zip(batch, outcomes, strict=True):
        if item.future.done():
            continue
        if isinstance(outcome, RequestError):
            item.future.set_exception(outcome)
        else:
            item.future.set_result(outcome)
