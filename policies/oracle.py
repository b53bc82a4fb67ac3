"""The oracle as a policy: it reads the true state, so it is an expert for demonstrations and an upper bound."""

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

    needs_world = True

    def __init__(self, control: str, action_shape: tuple[int, ...], control_hz: float):
        self.spec = PolicySpec((), control, action_shape, 1, control_hz, frozenset({"subtask"}))
        self._oracles: dict[int, Any] = {}

    def reset(self, seed: int, slot: int = 0) -> None:
        """Forget the slot's episode before."""
        self._oracles.pop(slot, None)

    def act(self, observation: Mapping[str, Any], context: Context) -> Decision:
        """One action towards the goal, and the sub-task it belongs to."""
        if context.world is None:
            raise ValueError("the oracle needs the true world in its context")
        if context.slot not in self._oracles:
            from lohovla.envs.oracle import Oracle

            self._oracles[context.slot] = Oracle(context.world)
        oracle = self._oracles[context.slot]
        before = oracle.plans
        action = oracle.act()
        text = oracle.subtask.text if oracle.subtask else ""
        return Decision(action[None], subtask=text, planned=bool(text) and oracle.plans > before)
