"""What the model is shown and told: whether its cameras can be trusted, and what the loop did meanwhile."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from lohovla.control.event_log import EventLog
from lohovla.control.poses import POSE
from lohovla.control.safety.camera_check import CameraCheck
from lohovla.control.settings import LoopSettings
from lohovla.control.simulated_robots import Robot, TimedObservation
from lohovla.policies.base import Context, PolicySpec

_SLOWEST = 3.0  # s of an action of an arm that is slow, for which commands are kept
_LOOK_AGAIN = 0.02  # s until the cameras are looked at again after one was found wanting: the next picture is near


class ObservationMonitor:
    """Keeps account of an episode for the model.

    Args:
        robot: whose cameras and rewards they are.
        spec: of the policy.
        settings: of the loop.
        period: of the actions, s.
        log: where faults of cameras are noted.
    """

    def __init__(self, robot: Robot, spec: PolicySpec, settings: LoopSettings, period: float, log: EventLog):
        self._robot, self._spec, self._period, self.log = robot, spec, period, log
        self._cameras, self._limits = CameraCheck(settings.safety), settings.limits
        kept = max(period, _SLOWEST) + settings.safety.camera_stale
        self._sent: deque[tuple[float, np.ndarray]] = deque(maxlen=math.ceil(kept / settings.period) + 2)
        self._at = -math.inf  # when to look again
        self.begin_episode(0.0, 0.0)

    def begin_episode(self, now: float, rewarded: float) -> None:
        """An episode begins; ``rewarded`` is what came before it."""
        self._began, self._rewarded = now, rewarded

    def shift_clock(self, now: float, gap: float) -> None:
        """The clock jumped to ``now``, by ``gap`` seconds."""
        self._began += gap
        self._at = now
        self._sent.clear()

    def record_command(self, time: float, pose: np.ndarray, gripper: float, pace: float = 0.0) -> None:
        """A command was sent, for a moment; ``pace`` is the s that its action takes where the arm is slow, else 0."""
        self._sent.append((time, np.concatenate([pose, [gripper, max(pace, self._period)]])))

    def ready_to_capture(self, now: float) -> bool:
        """Whether it is time to look; not at once after a camera was found wanting."""
        return now >= self._at

    def cameras_faulty(self, sample: TimedObservation, now: float) -> bool:
        """Whether a camera that the policy reads is not to be trusted."""
        watched = {k: v for k, v in sample.stamps.items() if k in self._spec.observation_keys}
        wrong = self._cameras.check(sample.observation, watched, now, self._robot.sight)
        for key in watched:
            for fault in ("stale", "frozen"):
                self.log.set_condition(
                    now, f"{fault} camera {key}", wrong.get(key) == fault, "its pictures are not used"
                )
        if wrong:
            self._at = now + _LOOK_AGAIN
        return bool(wrong)

    def policy_context(self, sample: TimedObservation) -> Context:
        """What the policy may know beside the observation."""
        step = int((sample.taken - self._began) / self._period + 1e-6)
        reward, self._rewarded = self._robot.reward - self._rewarded, self._robot.reward
        return Context(
            step, reward, sample.world, commanded=self._commanded(sample.taken), velocity=self._limits.velocity
        )

    def command_at(self, moment: float) -> np.ndarray:
        """The pose (6,) commanded for a moment, of which pictures and state come later; the nearest that is kept.

        Raises:
            LookupError: nothing was commanded yet.
        """
        if not self._sent:
            raise LookupError("no command was sent")
        return self._interpolated(moment)[:POSE]

    def _commanded(self, now: float) -> np.ndarray | None:
        """The commands (2, 7) of one action ago and of this moment."""
        if not self._sent:
            return None
        last = self._interpolated(now)
        before = self._interpolated(now - min(last[-1], _SLOWEST))
        return np.stack([before[:-1], last[:-1]]).astype(np.float32)

    def _interpolated(self, moment: float) -> np.ndarray:
        times, rows = np.array([time for time, _ in self._sent]), np.array([row for _, row in self._sent])
        return np.array([np.interp(moment, times, column) for column in rows.T])
