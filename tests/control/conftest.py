"""A loop on the stand-in arm, in simulated time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lohovla.control.clock import SimulatedClock
from lohovla.control.inference.inference_worker import SimulatedWorker
from lohovla.control.loop import ControlLoop
from lohovla.control.settings import LoopSettings, SafetySettings
from lohovla.control.simulated_robots import KinematicArm
from lohovla.policies.random_waypoints import RandomWaypointPolicy

HOME = np.array([0.5, 0.0, 0.3, 0.0, 0.0, 0.0])


class Rig:
    """A loop with its arm, clock, worker and policy; ``delay`` is a number or a function of job and moment."""

    def __init__(self, delay: Any = 0.1, policy: Any = None, tamper: Any = None, **settings: Any):
        safety = settings.pop("safety", {})
        self.settings = LoopSettings(**settings, safety=SafetySettings(**safety))
        self.clock, self.arm, self.policy = SimulatedClock(), KinematicArm(HOME), policy or RandomWaypointPolicy()
        self.delay: Callable[[Any, float], float] = delay if callable(delay) else lambda job, now: delay
        self.jobs: list[Any] = []
        self.worker = SimulatedWorker(self.policy, self._delayed, tamper, startup=0.3)
        self.loop = ControlLoop(self.arm, self.policy.spec, self.worker, self.settings, self.clock)
        self.commands: list[Any] = []
        self.loop.on_tick = lambda loop: self.commands.append(loop.last_command)
        self.loop.start(7)

    def _delayed(self, job: Any, now: float) -> float:
        self.jobs.append(job)
        return 0.0 if job.kind == "reset" else self.delay(job, now)

    def run(self, seconds: float) -> None:
        """Go on for that long."""
        end = self.clock.now() + seconds
        self.loop.run(lambda: self.clock.now() >= end - 0.5 * self.settings.period)

    @property
    def speed(self) -> float:
        """Of the arm's target, m/s."""
        return float(np.linalg.norm(self.arm.targets[-1][:3] - self.arm.targets[-2][:3])) / 0.01

    @property
    def way(self) -> float:
        """What the arm's target has gone in the last second, m."""
        return float(np.linalg.norm(np.diff(np.array(self.arm.targets[-101:])[:, :3], axis=0), axis=1).sum())

    @property
    def counts(self) -> dict[str, int]:
        """Events by kind."""
        return dict(self.loop.log.counts)


@pytest.fixture
def rig() -> type[Rig]:
    return Rig
