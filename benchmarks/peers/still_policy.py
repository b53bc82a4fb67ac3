"""A policy that answers at once, so that what is measured is the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lohovla.policies.base import Context, Decision, Policy, PolicySpec

HORIZON = 16


class StillPolicy(Policy):
    """Reads two pictures and the state, and says the same chunk of zeros.

    Args:
        env: what it is for.
    """

    def __init__(self, env: Any):
        keys = [key for key in env.observation_space.spaces if key.startswith("images.")]
        shape = env.action_space.shape
        self.spec = PolicySpec((*keys, "state", "instruction"), env.control, shape, HORIZON, env.control_hz)
        self._chunk = np.zeros((HORIZON, *shape), np.float32)

    def reset(self, seed: int, slot: int = 0) -> None:
        """Nothing is remembered."""

    def act(self, observation: Mapping[str, Any], context: Context) -> Decision:
        """The chunk."""
        return Decision(self._chunk)

    def act_batch(self, observations: Sequence[Mapping[str, Any]], contexts: Sequence[Context]) -> list[Decision]:
        """The chunk for each."""
        return [Decision(self._chunk) for _ in observations]
