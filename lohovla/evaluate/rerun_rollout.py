"""What a policy saw and decided in an episode, for the Rerun viewer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lohovla.policies.base import Context, Decision, Policy
from lohovla.rerun_recording import RerunRecording


class RecordedPolicy(Policy):
    """A policy that is written down as it decides; it decides what it would without.

    Written are the observation, and of the decision its actions, sub-task, sub-goal, progress and timing; with ``ee``
    actions also the chunk's path, with ``pick_place`` where it picks and places. The time lines are ``step`` (actions
    carried out) and ``time`` (simulated seconds).

    Args:
        policy: that is recorded.
        recording: where to.
        env: the environment, for names and the time.
    """

    def __init__(self, policy: Policy, recording: RerunRecording, env: Any):
        self.policy, self.recording, self._env = policy, recording, env.unwrapped
        self.spec, self.needs_world = policy.spec, policy.needs_world
        self._score = 0.0

    def reset(self, seed: int, slot: int = 0) -> None:
        """Begin an episode."""
        self._score = 0.0
        self.policy.reset(seed, slot)

    def act(self, observation: Mapping[str, Any], context: Context) -> Decision:
        """Decide, and write it down."""
        decision = self.policy.act(observation, context)
        recording, first = self.recording, context.step == 0
        recording.set_time(context.step, self._env.simulation.time)
        features = self._env.features
        recording.observation(observation, features.state_names)
        self._score += context.reward
        recording.numbers("score", [self._score], ["goal"])
        if first:
            recording.words("goal", str(observation["instruction"]))
        if decision.planned:
            recording.words("subtask", decision.subtask)
            if decision.subgoal is not None:
                recording.picture("subgoal", decision.subgoal)
        if "progress" in self.spec.emits:
            recording.numbers("progress", [decision.progress], ["subtask"])
        if decision.timing:
            recording.numbers("timing_ms", list(decision.timing.values()), list(decision.timing))
        if decision.over:
            recording.words("subtask", f"says that {decision.over}")
        self._actions(decision.actions, features.action_names)
        return decision

    def _actions(self, actions: np.ndarray, names: tuple[str, ...]) -> None:
        if not len(actions):
            return
        self.recording.numbers("action", actions[0], names)
        if self.spec.control == "ee" and not self.spec.relative:
            self.recording.path("tool/chunk", actions[:, :3])
        elif self.spec.control == "pick_place":
            for name, place in zip(("tool/pick", "tool/place"), actions[0], strict=True):
                self.recording.point(name, place[:3])
