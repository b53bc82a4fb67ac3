"""Faults of the model, the cameras, the clock, the sender and the operator, injected into a simulated episode."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from lohovla.control.inference.inference_messages import InferenceReply, InferenceRequest
from lohovla.control.safety.command_receiver import Command
from lohovla.control.settings import LoopSettings
from lohovla.control.simulated_robots import TimedObservation
from lohovla.policies.base import Decision

FAULTS = (
    "none",
    "slow model",
    "silent model",
    "killed model",
    "failing model",
    "nan",
    "wrong shape",
    "leaping model",
    "frozen camera",
    "stale camera",
    "clock set",
    "suspended",
    "lost commands",
    "garbage commands",
    "dead sender",
    "deadman",
    "emergency stop",
    "reset",
)
# After these for good, the arm must come to rest; the others let it go on.
FINAL = (
    "silent model",
    "killed model",
    "failing model",
    "nan",
    "wrong shape",
    "frozen camera",
    "stale camera",
    "dead sender",
    "deadman",
    "emergency stop",
)
_SPELL = 0.6  # s, how long a fault for a while lasts


class FaultInjector:
    """One episode's fault: hooks into the worker, the robot, the clock and the loop's inputs.

    Args:
        kind: one of :data:`FAULTS`.
        forever: whether it stays.
        start: when it begins, s.
        rng: of the episode.
        delay: of the model's answers without the fault, s, in the mean.
    """

    def __init__(self, kind: str, forever: bool, start: float, rng: np.random.Generator, delay: float):
        self.kind, self.forever, self.start, self.rng, self.usual_delay = kind, forever, start, rng, delay
        self.end = math.inf if forever else start + _SPELL
        self.done = False
        self._picture: Any = None

    def active(self, now: float) -> bool:
        """Whether the fault is there at a time, s."""
        return self.start <= now < self.end

    def delay(self, job: InferenceRequest, now: float) -> float:
        """Seconds after which the worker answers; infinite for never, NaN for a worker that dies."""
        if job.kind == "reset":
            return 0.0
        usual = self.usual_delay * self.rng.uniform(0.5, 1.5)
        if not self.active(now):
            return usual
        if self.kind == "slow model":
            return usual + self.rng.exponential(0.5)
        if self.kind == "silent model":
            return math.inf
        return math.nan if self.kind == "killed model" else usual

    def corrupt_reply(self, job: InferenceRequest, reply: InferenceReply) -> InferenceReply:
        """The reply with the fault in it, if the fault was active when the model was asked."""
        if not self.active(job.taken) or not isinstance(reply.result, Decision):
            return reply
        actions = reply.result.actions.copy()
        if self.kind == "failing model":
            return replace(reply, result=None, error="RuntimeError: out of memory")
        if self.kind == "nan":
            actions[self.rng.integers(len(actions)), self.rng.integers(7)] = self.rng.choice([np.nan, np.inf])
        elif self.kind == "wrong shape":
            actions = [actions[:, :6], actions[0], actions[:0], np.zeros((16, 8), np.float32)][self.rng.integers(4)]
        elif self.kind == "leaping model":
            actions = actions + self.rng.normal(0, 1.0, actions.shape).astype(np.float32)
        else:
            return reply
        return replace(reply, result=replace(reply.result, actions=actions))

    def corrupt_observation(self, sample: TimedObservation) -> TimedObservation:
        """The observation with the fault in its wrist picture or in that picture's time."""
        if self.kind not in ("frozen camera", "stale camera"):
            return sample
        if not self.active(sample.taken):
            self._picture = sample.observation.get("images.wrist"), sample.taken
            return sample
        picture, taken = self._picture or (sample.observation.get("images.wrist"), sample.taken)
        stamps = {"images.wrist": sample.taken if self.kind == "frozen camera" else taken}
        return replace(sample, observation={**sample.observation, "images.wrist": picture}, stamps=stamps)

    def corrupt_command(self, command: Command, now: float) -> Command | None:
        """The command as it arrives; None if it is lost."""
        if self.active(now) and self.kind == "lost commands" and self.rng.random() < 0.7:
            return None
        if self.active(now) and self.kind == "garbage commands" and self.rng.random() < 0.5:
            wild = [command.pose * math.nan, command.pose + self.rng.normal(0, 3, 6), command.pose[:3]]
            return replace(command, pose=wild[self.rng.integers(3)])
        return command

    def stated_rest_time(self, settings: LoopSettings) -> float:
        """The time until rest that is promised for this fault, s."""
        safety = settings.safety
        return {
            "deadman": safety.deadman_timeout + settings.stopping_time,
            "emergency stop": settings.stopping_time,
            "dead sender": safety.watchdog + settings.limits.stopping_time(0.01) + 0.02,
            "stale camera": safety.camera_stale + settings.worst_case_stop_time,
        }.get(self.kind, settings.worst_case_stop_time)
