"""The oracle as a policy: it reads the true world, so it is a teacher and an upper bound, not a contestant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lohovla.policies.base import Context, Decision, Policy, PolicySpec


class OraclePolicy(Policy):
    """Plans from the true state; recovers from drops and misses.

    Args:
        control: the action space to act in, ``ee`` or ``pick_place``.
        action_shape: shape of one action there.
        control_hz: the rate of ``ee`` actions.
    """

    def __init__(self, control: str, action_shape: tuple[int, ...], control_hz: float):
        self.spec = PolicySpec((), control, action_shape, 1, control_hz, frozenset({"subtask"}))
        self._oracle: Any = None

    def reset(self, seed: int) -> None:
        """Forget the episode before."""
        self._oracle = None

    def act(self, observation: Mapping[str, Any], context: Context) -> Decision:
        """One action towards the goal, and the sub-task it belongs to."""
        if context.world is None:
            raise ValueError("the oracle needs the true world in its context")
        if self._oracle is None:
            from lohovla.envs.oracle import Oracle

            self._oracle = Oracle(context.world)
        before = self._oracle.plans
        action = self._oracle.act()
        subtask = self._oracle.subtask
        text = subtask.text if subtask else ""
        return Decision(action[None], subtask=text, planned=bool(text) and self._oracle.plans > before)
