"""The expert that a world brings: it reads the true state, so it is a teacher and an upper bound, not a contestant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lohovla.policies.base import Context, Decision, Policy, PolicySpec


class ExpertPolicy(Policy):
    """Asks the world of its context what to do, an action at a time.

    Args:
        control: the action space.
        action_shape: shape of one action there.
        control_hz: actions a second.
    """

    needs_world = True

    def __init__(self, control: str, action_shape: tuple[int, ...], control_hz: float):
        self.spec = PolicySpec((), control, action_shape, 1, control_hz)

    def act(self, observation: Mapping[str, Any], context: Context) -> Decision:
        """The expert's action in the state that the world is in now."""
        if context.world is None:
            raise ValueError("the expert needs the true world in its context")
        return Decision(context.world.expert()[None])
