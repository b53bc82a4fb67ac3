"""Workers that run the model beside the commands: a process, a thread, or in simulated time a set delay."""

from __future__ import annotations

import math
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from lohovla.control.inference.inference_messages import InferenceReply, InferenceRequest, run_inference
from lohovla.control.priority import urgent
from lohovla.errors import UserError
from lohovla.policies.base import PolicySpec
from lohovla.policies.realtime_policy import RealtimePolicy, as_realtime_policy

WORKERS = ("process", "thread")
_NICE = 5  # the model's process gives way to the commands


class InferenceWorker(Protocol):
    """Does one job at a time and never makes its client wait.

    ``state`` is ``starting``, ``idle``, ``busy`` or ``dead``.
    """

    @property
    def state(self) -> str: ...

    def submit(self, job: InferenceRequest, now: float) -> None:
        """Begin a job; only while idle."""
        ...

    def poll(self, now: float) -> list[InferenceReply]:
        """Replies that have come since the last call."""
        ...

    def restart(self, now: float) -> None:
        """Give the model up, busy or dead, and start it anew."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class SimulatedWorker:
    """Answers after a delay of simulated time; the model itself takes none of it.

    Args:
        policy: the model.
        delay: seconds that a job takes; ``inf`` never answers, as a stuck model, and ``nan`` dies of it.
        tamper: changes a reply on its way, as faults do.
        startup: seconds that a restart takes.
    """

    def __init__(
        self,
        policy: Any,
        delay: Callable[[InferenceRequest, float], float],
        tamper: Callable[[InferenceRequest, InferenceReply], InferenceReply] | None = None,
        startup: float = 1.0,
    ):
        self._policy, self._delay, self._tamper, self._startup = as_realtime_policy(policy), delay, tamper, startup
        self._due: tuple[float, InferenceReply] | None = None
        self._dies = math.inf
        self._ready = -math.inf
        self._now = -math.inf

    @property
    def state(self) -> str:
        if self._now >= self._dies:
            return "dead"
        if self._now < self._ready:
            return "starting"
        return "idle" if self._due is None else "busy"

    def submit(self, job: InferenceRequest, now: float) -> None:
        self._now = now
        delay = self._delay(job, now)
        if math.isnan(delay):
            self.kill(now)
            return
        reply = run_inference(self._policy, job)
        if self._tamper is not None:
            reply = self._tamper(job, reply)
        self._due = now + delay, reply

    def kill(self, now: float) -> None:
        """Die, as a process does that somebody kills; what it was at is lost."""
        self._dies, self._due = now, None

    def poll(self, now: float) -> list[InferenceReply]:
        self._now = now
        if self._due is None or now + 1e-9 < self._due[0] or self.state == "dead":
            return []
        reply, self._due = self._due[1], None
        return [reply]

    def restart(self, now: float) -> None:
        self._now = now
        self._due, self._dies, self._ready = None, math.inf, now + self._startup

    def close(self) -> None:
        """Nothing runs."""


class _WorkerProcess:
    """One life of a model: a thread that talks to it. ``state`` and ``replies`` are all that others read."""

    def __init__(self) -> None:
        self.state, self.error = "starting", ""
        self.refused: UserError | None = None  # why the policy could not be built, where a person can put it right
        self.spec: PolicySpec | None = None
        self.replies: deque[InferenceReply] = deque()
        self.inbox: queue.SimpleQueue[InferenceRequest | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="lohovla-model", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def _run(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        self.inbox.put(None)


class _WorkerThread(_WorkerProcess):
    def __init__(self, make: Callable[[], RealtimePolicy]):
        super().__init__()
        self._make = make

    def _run(self) -> None:
        try:
            policy = as_realtime_policy(self._make())
        except Exception as error:
            self.refused = error if isinstance(error, UserError) else None
            self.error = _words(error)
            self.replies.append(InferenceReply(-1, None, self.error))
            self.state = "dead"
            return
        self.spec = policy.spec
        self.state = "idle"
        while (job := self.inbox.get()) is not None:
            reply = run_inference(policy, job)
            self.replies.append(reply)
            self.state = "idle"


class _WorkerSubprocess(_WorkerProcess):
    def __init__(self, make: Callable[[], RealtimePolicy], priority: bool):
        super().__init__()
        self._priority = priority
        context = multiprocessing.get_context("spawn")  # threads and OpenGL do not survive a fork
        self._pipe, theirs = context.Pipe()
        self._theirs = theirs
        self.process = context.Process(target=_serve, args=(theirs, make), daemon=True, name="lohovla-model")

    def _run(self) -> None:
        try:
            self.process.start()
            self._theirs.close()
            first = self._pipe.recv()
            if isinstance(first, Exception):  # it could not be built
                self.refused = first if isinstance(first, UserError) else None
                self.error = _words(first)
                self.replies.append(InferenceReply(-1, None, self.error))
                self.state = "dead"
                return
            self.spec = first
            with urgent(self._priority):  # it holds the interpreter's lock now and then, which the commands need
                self.state = "idle"
                self._talk()
        except (EOFError, OSError):
            self.state = "dead"

    def _talk(self) -> None:
        while (job := self.inbox.get()) is not None:
            self._pipe.send(job)
            reply = self._pipe.recv()
            self.replies.append(reply)
            self.state = "idle"
        self._pipe.send(None)

    def end(self) -> None:
        super().end()
        if self.process.pid is not None and self.process.is_alive():
            self.process.kill()


def _words(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, UserError):
        return f"{error.cause}; {error.remedy}"
    return f"{type(error).__name__}: {error}"


def _serve(pipe: Any, make: Callable[[], RealtimePolicy]) -> None:
    """The model's process: build it, then answer until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the loop ends it
    os.nice(_NICE)
    try:
        policy = as_realtime_policy(make())
    except Exception as error:
        pipe.send(error if isinstance(error, UserError) else RuntimeError(_words(error)))
        return
    pipe.send(policy.spec)
    try:
        while (job := pipe.recv()) is not None:
            pipe.send(run_inference(policy, job))
    except (EOFError, OSError):
        return


class BackgroundWorker:
    """A model in a process or thread of its own.

    A process can be killed and be stuck, and is started anew; it does not share this interpreter's lock with
    the commands. A stuck thread cannot be ended: it is left to itself, and a new one is started.

    Args:
        make: builds the policy, there; for a process it is pickled.
        kind: ``process`` or ``thread``.
        priority: whether what talks to the process asks for real-time priority, as the commands do.
    """

    def __init__(self, make: Callable[[], RealtimePolicy], kind: str = "process", priority: bool = False):
        self._make, self._kind, self._priority = make, kind, priority
        self._begin()

    def _begin(self) -> None:
        process = self._kind == "process"
        self._life = _WorkerSubprocess(self._make, self._priority) if process else _WorkerThread(self._make)
        self._life.start()

    @property
    def state(self) -> str:
        return self._life.state

    def wait(self) -> PolicySpec:
        """Wait until the model is built; returns its spec.

        Raises:
            UserError: it could not be built.
        """
        while self._life.state == "starting":
            time.sleep(0.01)
        if self._life.refused is not None:
            raise self._life.refused
        if self._life.spec is None:
            cause = self._life.error or "its process ended"
            raise UserError(f"the model did not start: {cause}", "loop.clock=simulated runs it in this process")
        return self._life.spec

    @property
    def pid(self) -> int | None:
        """The process's number, if it is one that has started."""
        return self._life.process.pid if isinstance(self._life, _WorkerSubprocess) else None

    def submit(self, job: InferenceRequest, now: float) -> None:
        self._life.state = "busy"
        self._life.inbox.put(job)

    def poll(self, now: float) -> list[InferenceReply]:
        replies = []
        while self._life.replies:
            replies.append(self._life.replies.popleft())
        return replies

    def restart(self, now: float) -> None:
        self._life.end()
        self._begin()

    def close(self) -> None:
        self._life.end()
        if isinstance(self._life, _WorkerSubprocess) and self._life.process.pid is not None:
            self._life.process.join(2.0)
