"""Uniform random actions: the floor that any policy has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lohovla.policies.base import Context, Decision, Policy, PolicySpec


class RandomPolicy(Policy):
    """Draws each action uniformly between the limits of the action space.

    Args:
        control: ``ee`` or ``pick_place``.
        low: lowest action.
        high: highest action.
        control_hz: the rate of ``ee`` actions.
    """

    def __init__(self, control: str, low: np.ndarray, high: np.ndarray, control_hz: float):
        self.spec = PolicySpec((), control, low.shape, 1, control_hz)
        self._low, self._high = low, high
        self._streams: dict[int, np.random.Generator] = {}

    def reset(self, seed: int, slot: int = 0) -> None:
        """Start the episode's random stream."""
        self._streams[slot] = np.random.default_rng(seed)

    def act(self, observation: Mapping[str, Any], context: Context) -> Decision:
        """One random action."""
        stream = self._streams[context.slot]
        return Decision(stream.uniform(self._low, self._high).astype(np.float32)[None])
