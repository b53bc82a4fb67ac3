"""Deliberate mistakes while recording, so that a policy sees how the teacher recovers.

The recorded ``action`` stays the teacher's; ``executed_action`` is what was really sent, and ``perturbed``
marks where the two differ (Laskey et al., "DART: Noise Injection for Robust Imitation Learning", 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lohovla.errors import UserError


@dataclass(frozen=True)
class NoiseSettings:
    """How often and how far actions are pushed off.

    Attributes:
        probability: chance of a push within a second (``ee``), or at an action (``pick_place``).
        start: chance that the episode begins with one.
        size: largest offset in each of x and y, metres (z in ``ee`` only upwards).
        seconds: how long a push lasts, with ``ee``.
        release: chance that a push, with ``ee``, also switches the gripper off.
    """

    probability: float = 0.0
    start: float = 0.0
    size: float = 0.04
    seconds: float = 0.4
    release: float = 0.1

    def __post_init__(self) -> None:
        for name in ("probability", "start", "release"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(f"disturb.{name} cannot be {getattr(self, name)}", "it is a probability, 0 to 1")


class ActionNoise:
    """Disturbs the actions of one episode.

    Args:
        disturbance: how.
        control: the action space.
        control_hz: its rate.
        seed: the episode's seed.
    """

    def __init__(self, disturbance: NoiseSettings, control: str, control_hz: float, seed: int):
        self._how, self._ee = disturbance, control == "ee"
        self._rng = np.random.default_rng([seed, 0xD15])
        each = disturbance.probability
        self._chance = 1.0 - (1.0 - each) ** (1.0 / control_hz) if self._ee else each
        self._length = max(1, round(disturbance.seconds * control_hz)) if self._ee else 1
        self._left, self._offset, self._release = 0, np.zeros(3), False
        if self._rng.random() < disturbance.start:
            self._push()

    def _push(self) -> None:
        size = self._how.size
        self._left = self._length
        self._offset = self._rng.uniform(-size, size, 3)
        self._release = bool(self._rng.random() < self._how.release)

    def apply(self, action: np.ndarray) -> tuple[np.ndarray, bool]:
        """What is sent in place of ``action``, and whether it differs."""
        if self._left == 0 and self._rng.random() < self._chance:
            self._push()
        if self._left == 0:
            return action, False
        self._left -= 1
        sent = action.copy()
        if self._ee:
            sent[:3] += [*self._offset[:2], abs(self._offset[2])]
            sent[6] = 0.0 if self._release else sent[6]
        else:
            sent[self._rng.integers(2), :2] += self._offset[:2]  # the pick or the place goes astray
        return sent, True
