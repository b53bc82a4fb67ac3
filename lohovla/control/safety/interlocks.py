"""What stands between a model and an arm: checks of chunks, a deadman switch, an emergency stop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lohovla.control.poses import nearest
from lohovla.control.settings import SafetySettings
from lohovla.policies.base import PolicySpec


def fault_of(decision: Any, spec: PolicySpec) -> str:
    """What is wrong with a decision's chunk, or ""."""
    try:
        actions = np.asarray(decision.actions, dtype=np.float64)
        progress = float(decision.progress)
    except (AttributeError, TypeError, ValueError):
        return f"the model gave {type(decision).__name__}, not a decision with actions and progress"
    if actions.ndim != 2 or not len(actions) or actions.shape[1:] != spec.action_shape:
        return f"the chunk has shape {actions.shape}, not (H, {spec.action_shape[0]})"
    wrong = np.argwhere(~np.isfinite(actions))
    if len(wrong):
        row, column = wrong[0].tolist()
        return f"actions[{row}, {column}] is {actions[row, column]}"
    return "" if math.isfinite(progress) else f"the progress is {progress}"


def bound_changes(actions: np.ndarray, before: np.ndarray, safety: SafetySettings) -> tuple[np.ndarray, int]:
    """Absolute ``ee`` actions (H, 7), each moved so near to the one before as is allowed, and how many had to be.

    Args:
        actions: the chunk; grippers are clipped to [0, 1] in silence.
        before: the pose (6,) that goes before the first.
        safety: holds the largest changes.
    """
    bounded, count = np.array(actions, dtype=np.float64), 0
    for action in bounded:
        action[6] = min(max(action[6], 0.0), 1.0)
        action[3:6] = nearest(action[3:6], before[3:])
        moved = False
        for part, most in ((slice(0, 3), safety.max_step), (slice(3, 6), safety.max_turn_step)):
            way = action[part] - before[part]
            length = math.sqrt(float(way @ way))
            if length > most:
                action[part] = before[part] + way * (most / length)
                moved = True
        count += moved
        before = action[:6]
    return bounded, count


class Deadman:
    """A button that a person keeps pressed; a press holds for a while and must be renewed.

    Args:
        timeout: how long a press holds, s.
    """

    def __init__(self, timeout: float):
        self._timeout = timeout
        self._pressed = -math.inf

    def press(self, now: float) -> None:
        """The person is there."""
        self._pressed = now

    def release(self) -> None:
        """The person has let go."""
        self._pressed = -math.inf

    def held(self, now: float) -> bool:
        """Whether somebody holds it at this moment."""
        return -1e-9 <= now - self._pressed <= self._timeout


class EmergencyStop:
    """Latches: once triggered, it stays so until a person releases it."""

    def __init__(self) -> None:
        self.cause = ""

    def __bool__(self) -> bool:
        return bool(self.cause)

    def trigger(self, cause: str) -> None:
        """Stop; the first cause is kept."""
        self.cause = self.cause or cause

    def release(self) -> None:
        """A person says that it may go on."""
        self.cause = ""
