"""Following the trajectory of chunks within the limits of motion: a hold at its end, and after a while a stop."""

from __future__ import annotations

import numpy as np

from lohovla.control.chunks.chunk_blending import Setpoint
from lohovla.control.chunks.chunk_handover import AcceptedChunk
from lohovla.control.chunks.trajectory import Trajectory
from lohovla.control.event_log import EventLog
from lohovla.control.latency_stats import LatencyStats
from lohovla.control.motion_limits import MotionLimiter
from lohovla.control.poses import POSE
from lohovla.control.settings import LoopSettings

_LAGGING = 0.01  # m between the trajectory and the command that count as held back by the limits


class TrajectoryFollower:
    """Moves a limiter along a trajectory.

    Args:
        trajectory: of the chunks; chunks are added by :meth:`add_chunk`.
        limiter: makes the commands.
        settings: of the loop.
        log: of events; may be replaced.
        latency_stats: where jumps between chunks are counted.

    Attributes:
        gripper: the last command of it.
        chunks: how many were added in this episode.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        limiter: MotionLimiter,
        settings: LoopSettings,
        log: EventLog,
        latency_stats: LatencyStats,
    ):
        self._trajectory, self._limiter, self._settings = trajectory, limiter, settings
        self.log, self._latency_stats = log, latency_stats
        self._sync = settings.chunking_mode == "sync"
        self.begin_episode(0.0)

    def begin_episode(self, now: float) -> None:
        """Forget all before; the limiter is at rest where the arm is."""
        self._trajectory.clear()
        self.gripper, self.chunks = 0.0, 0
        self._last = self._limiter.pose, np.zeros(POSE)  # pose and velocity of the trajectory at the last command
        self._joined = False
        self._idle_since = now
        self._expires = now  # when the trajectory is too old to be followed

    def add_chunk(self, joined: AcceptedChunk) -> None:
        """Go on along a chunk that takes over."""
        self.chunks += 1
        self._trajectory.add_chunk(joined.chunk, replace_all=joined.replaces_trajectory)
        self._joined, self._expires = True, joined.expires

    def restart_hold_timeout(self, now: float) -> None:
        """Count how long the arm has been without actions from now on."""
        self._idle_since = now

    def brake(self) -> None:
        """One command towards rest."""
        self._limiter.brake()
        self._last = self._limiter.pose, self._limiter.velocity

    def follow(self, now: float, ahead: float) -> str:
        """The command for time ``ahead``: along the trajectory, or holding at its end, and after a while braking.

        Returns:
            The mode: ``run``, ``hold``, ``stop``, or ``wait`` before the first chunk.
        """
        # What has expired may still be coming to rest, or fading.
        if self._trajectory.newest_chunk is not None and now >= self._expires:
            self.log.set_condition(now, "stop", True, "what the path was decided on is too old")
            self._trajectory.clear()
        target = self._trajectory.setpoint_at(ahead, self._limiter.pose)
        if target is None:
            self.brake()
            return "stop" if self.chunks else "wait"
        self._follow_setpoint(now, target)
        if self._trajectory.has_actions(now):
            self._idle_since = now
            self.log.set_condition(now, "hold", False)
            self.log.set_condition(now, "stop", False)
            return "run"
        waited = now - self._idle_since
        self.log.set_condition(now, "hold", not self._sync, "the chunk ended before the next was there")
        if waited <= self._settings.safety.hold_timeout:
            return "hold"
        self.log.set_condition(now, "stop", True, f"no chunk for {waited:.2f} s")
        self._trajectory.clear()
        return "stop"

    def _follow_setpoint(self, now: float, target: Setpoint) -> None:
        if self._joined:
            pose, velocity = self._last
            jump = target.pose - pose - velocity * self._settings.period
            self._latency_stats.handover_jumps.append(float(np.linalg.norm(jump[:3])))
            self._joined = False
        self._limiter.follow(target.pose, target.velocity, target.acceleration)
        self.gripper = target.gripper
        self._last = target.pose, target.velocity
        lag = float(np.linalg.norm(self._limiter.pose[:3] - target.pose[:3]))
        self.log.set_condition(now, "limited", lag > _LAGGING, f"the limits hold the tool {1000 * lag:.0f} mm behind")
