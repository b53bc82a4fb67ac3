"""When to ask the model for a plan or a chunk, which answers still count, and when to restart it."""

from __future__ import annotations

import itertools
import math
from collections import deque
from typing import Any

import numpy as np

from lohovla.control.event_log import EventLog
from lohovla.control.inference.inference_messages import InferenceReply, InferenceRequest
from lohovla.control.inference.inference_worker import InferenceWorker
from lohovla.control.latency_stats import LatencyStats
from lohovla.control.poses import shortest_rotation, to_relative
from lohovla.control.settings import LoopSettings
from lohovla.policies.base import PolicySpec
from lohovla.policies.realtime_policy import SubtaskPlan
from lohovla.policies.replan_rule import SubtaskFailures

_NUMBERS = itertools.count(1)  # of jobs: a worker may outlive the loop that asked it
_REMEMBERED = 10  # replies whose slowest is taken for the delay of the next


class InferenceClient:
    """Keeps the model busy with the right question, one at a time.

    Every question carries the epoch in which it was asked. Whatever makes answers worthless (a reset, a stop,
    a jump of the clock) begins another epoch, and answers to the old ones are thrown away when they come.

    Args:
        worker: who runs the model.
        spec: of the policy.
        settings: of the loop.
        log: where events go.
        latency_stats: where durations go.
    """

    def __init__(
        self,
        worker: InferenceWorker,
        spec: PolicySpec,
        settings: LoopSettings,
        log: EventLog,
        latency_stats: LatencyStats,
    ):
        self._worker, self._spec, self._settings, self.log = worker, spec, settings, log
        self._latency_stats = latency_stats
        self.epoch = 0
        self.period = 1.0 / spec.control_hz
        self._count = 0  # of this loop's questions
        self._pending: tuple[InferenceRequest, float] | None = None
        self.failure_cause = ""  # why the model is given up for good

    def begin_episode(self, now: float, seed: int) -> None:
        """A new episode: everything in flight is void."""
        self.epoch += 1
        self._seed, self._reset_due, self._first_request = seed, True, True
        self.subtask_plan: SubtaskPlan | None = None
        self._plan_due, self._plan_began, self._reward = True, now, 0.0
        self._failures = SubtaskFailures(self._settings.max_subtask_failures)
        self._latencies: deque[float] = deque(maxlen=_REMEMBERED)
        self._restarts, self.failure_cause = 0, ""
        self._subtask_length = 0.0  # m, of the sub-task
        self._busy_since = now  # with somebody else's question

    def discard_pending(self, now: float, cause: str) -> None:
        """What is in flight was asked in another situation."""
        self.epoch += 1
        if self._pending is not None:
            self.log.add(now, "discarded", f"the answer in flight, because {cause}")

    def restart_timeouts(self, now: float) -> None:
        """The clock jumped: what is waited for is waited for since now."""
        self._plan_began = now
        if self._pending is not None:
            self._pending = self._pending[0], now

    @property
    def inference_delay(self) -> int:
        """Actions that will pass until the answer to a question asked now: the slowest of the last few replies."""
        return math.ceil(max(self._latencies, default=0.0) / self.period - 1e-6)

    # -- asking ------------------------------------------------------------------------------------

    def next_request_kind(self, now: float, reward: float, chunk_due: bool) -> str:
        """What to ask now: ``reset``, ``plan``, ``chunk`` or nothing, ""."""
        self._check_subtask_end(now, reward)
        if self._worker.state != "idle" or self._pending is not None:
            return ""
        if self._reset_due:
            return "reset"
        if self._plan_due:
            return "plan"
        return "chunk" if chunk_due else ""

    def submit_request(self, now: float, kind: str, **particulars: Any) -> InferenceRequest:
        """Put the question; ``particulars`` are fields of :class:`InferenceRequest`."""
        self._count += 1
        number = next(_NUMBERS)
        rtc = kind == "chunk" and self._settings.chunking_mode == "rtc"
        seed = self._seed if kind == "reset" else self._seed * 100003 + self._count
        fields = {
            "taken": now,
            "seed": seed,
            "rtc_guided": rtc,
            "max_guidance_weight": self._settings.max_guidance_weight,
            "plan": self.subtask_plan,
        }
        job = InferenceRequest(number, kind, self.epoch, **{**fields, **particulars})
        self._pending = job, now
        self._worker.submit(job, now)
        return job

    def _check_subtask_end(self, now: float, reward: float) -> None:
        """Whether the sub-task is done, by the reward, or has failed too often."""
        if self._settings.progress == "reward" and reward > self._reward + 1e-9:
            self._reward, self._plan_due = reward, True
            self._failures.clear()
        elif self.subtask_plan is not None and now - self._plan_began > self._settings.subtask_time_allowed(
            self._subtask_length
        ):
            self._plan_began = now
            if self._failures.add():
                self._plan_due = True
                self.log.add(
                    now, "gave up", f"{self.subtask_plan.subtask or 'the sub-task'} failed too often: plan again"
                )

    def note_progress(self, job: InferenceRequest, progress: float) -> None:
        """The model's own view of a sub-task's completion, with a chunk of it."""
        done = self._settings.progress == "model" and progress >= self._settings.success_threshold
        if done and job.plan is self.subtask_plan:
            self._plan_due = True
            self._failures.clear()

    def note_new_subtask(self, now: float, way: float) -> None:
        """A policy that plans within its chunks has turned to another sub-task, of ``way`` m."""
        self._plan_began, self._subtask_length = now, way
        self._failures.clear()

    # -- answers -----------------------------------------------------------------------------------

    def poll_replies(self, now: float) -> list[tuple[InferenceRequest, InferenceReply]]:
        """Answers that are still wanted. A plan is kept here too."""
        wanted = []
        for reply in self._worker.poll(now):
            if self._pending is None or reply.number != self._pending[0].number:
                if reply.error:
                    self.log.add(now, "model error", reply.error)
                continue
            job, _ = self._pending
            self._pending = None
            if job.epoch != self.epoch:
                self.log.add(now, "late answer", f"{job.kind} of an epoch that has ended")
            elif reply.error:
                self.log.add(now, "model error", reply.error)
            else:
                self._accept_reply(now, job, reply)
                wanted.append((job, reply))
        return wanted

    def _accept_reply(self, now: float, job: InferenceRequest, reply: InferenceReply) -> None:
        timing = getattr(reply.result, "timing", None)
        if job.kind == "reset":
            self._reset_due = False
        elif job.kind == "plan":
            self._first_request = False
            self._latency_stats.add_timing(timing, "plan", reply.seconds)
            if isinstance(plan := reply.result, SubtaskPlan):
                self.subtask_plan, self._plan_due, self._plan_began, self._subtask_length = plan, False, now, plan.way
        else:
            self._first_request = False
            self._latency_stats.add_timing(timing, "act", reply.seconds)
            self._latency_stats.add("reply", now - job.taken)
            self._latencies.append(now - job.taken)

    def restart_failed_worker(self, now: float) -> None:
        """Notice a model that is dead or stuck, and start it anew, a few times."""
        state = self._worker.state
        stuck = (
            self._pending is None and state == "busy" and now - self._busy_since > self._settings.safety.plan_timeout
        )
        if self._pending is not None and state != "dead":
            job, since = self._pending
            safety = self._settings.safety
            quick = job.kind == "chunk" and not self._first_request
            stuck = now - since > (safety.model_timeout if quick else safety.plan_timeout)
        if state != "dead" and not stuck:
            return
        if self._restarts >= self._settings.safety.restarts:
            self.failure_cause = f"the model was lost {self._restarts + 1} times"
            return
        self._restarts += 1
        what = self._pending[0].kind if self._pending is not None else "nothing"
        self.log.add(now, "model stuck" if stuck else "model died", f"while asked for {what}; started anew")
        self._pending = None
        self.epoch += 1
        self._reset_due = self._first_request = True
        self._worker.restart(now)


def action_prefix(spec: PolicySpec, remainder: np.ndarray | None, pose: np.ndarray) -> np.ndarray | None:
    """What remains of the chunk before, in the policy's own frame: relative ones anchored to ``pose`` (6,)."""
    if remainder is None:
        return None
    if spec.relative:
        return to_relative(remainder, pose).astype(np.float32)
    rows = remainder.copy()
    rows[:, 3:6] = [shortest_rotation(turn) for turn in rows[:, 3:6]]
    return rows.astype(np.float32)
