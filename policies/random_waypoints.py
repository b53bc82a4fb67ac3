"""Smooth motions between random places, from proprioception alone: a policy to try robots and the loop with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lohovla.policies.base import Context, Decision, Policy, PolicySpec
from lohovla.policies.gaussian_flow import GaussianFlowMixin
from lohovla.policies.realtime_policy import SubtaskPlan

_LOW, _HIGH = np.array([0.30, -0.35, 0.12]), np.array([0.70, 0.35, 0.40])  # m, base frame
_SPEED, _TURN = 0.5, 1.0  # m/s, rad/s
_RAMP = 2.5  # m/s^2, and twice as many rad/s^2
_NEAR = 0.01  # m from the goal at which it is reached


class RandomWaypointPolicy(GaussianFlowMixin, Policy):
    """Goes from goal to goal. Its chunks continue a given beginning, and it can be guided as a flow model.

    Args:
        control_hz: actions a second.
        horizon: actions in a chunk.
    """

    def __init__(self, control_hz: float = 20.0, horizon: int = 16):
        keys = ("state", "images.wrist")
        self.spec = PolicySpec(keys, "ee", (7,), horizon, control_hz, frozenset({"subtask", "progress"}), prefix=True)
        self.reset(0)

    def reset(self, seed: int, slot: int = 0) -> None:
        """Start the stream of goals."""
        self._stream = np.random.default_rng(seed)
        self._plan: SubtaskPlan | None = None

    def plan(self, observation: Mapping[str, Any], context: Context) -> SubtaskPlan:
        """Another goal."""
        place = self._stream.uniform(_LOW, _HIGH)
        goal = np.array([*place, 0.0, 0.0, self._stream.uniform(-1.5, 1.5), float(self._stream.integers(2))])
        words = ", ".join(f"{value:.2f}" for value in place)
        return SubtaskPlan(f"Go to ({words}).", memory=goal)

    def chunk(
        self,
        observation: Mapping[str, Any],
        context: Context,
        plan: SubtaskPlan,
        prefix: np.ndarray | None = None,
        inference_delay: int = 0,
    ) -> Decision:
        """The way to the goal, speeding up and slowing down."""
        dt, goal = 1.0 / self.spec.control_hz, plan.memory
        actions = np.zeros((self.spec.horizon, 7), np.float32)
        at, step = np.asarray(observation["state"][:6], np.float64), np.zeros(6)
        if prefix is not None and inference_delay:
            actions[:inference_delay] = prefix[:inference_delay]
            path = np.vstack([at, prefix[:inference_delay, :6]])
            at, step = path[-1], path[-1] - path[-2]
        for k in range(inference_delay if prefix is not None else 0, len(actions)):
            for part, speed, ramp in ((slice(0, 3), _SPEED, _RAMP), (slice(3, 6), _TURN, 2 * _RAMP)):
                way = goal[part] - at[part]
                far = float(np.linalg.norm(way))
                wanted = way / max(far, 1e-9) * min(speed * dt, np.sqrt(2 * ramp * far) * dt, 0.6 * far)
                change = wanted - step[part]
                most = ramp * dt * dt
                step[part] += change * min(1.0, most / max(float(np.linalg.norm(change)), 1e-12))
            at = at + step
            actions[k] = np.append(at, goal[6])
        left = float(np.linalg.norm(goal[:3] - np.asarray(observation["state"][:3], np.float64)))
        return Decision(actions, progress=1.0 if left < _NEAR else max(0.0, 0.9 - left))

    def act(self, observation: Mapping[str, Any], context: Context) -> Decision:
        """A chunk to the present goal, or to a new one where that is reached."""
        decision = self.chunk(observation, context, self._plan) if self._plan else None
        if self._plan is None or decision is None or decision.progress >= 1.0:
            self._plan = self.plan(observation, context)
            decision = self.chunk(observation, context, self._plan)
        return Decision(decision.actions, self._plan.subtask, progress=decision.progress)
