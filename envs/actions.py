"""The two action spaces, and what is refused before anything is simulated."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from lohovla.data.dataset_layout import EE_NAMES
from lohovla.envs.control.end_effector import REACH
from lohovla.envs.errors import ActionError
from lohovla.geometry.workspace import WORKSPACE

CONTROLS = ("ee", "pick_place")
# Names of an action's numbers, in order: m and rad; the gripper is 0 open, 1 closed.
ACTION_NAMES = {
    "ee": EE_NAMES,
    "pick_place": tuple(f"{part}.{axis}" for part in ("pick", "place") for axis in ("x", "y", "z", "yaw")),
}
_TALLEST = 0.40  # m, the highest z of a pick or place


def action_space(control: str) -> gym.spaces.Box:
    """The space of one action: (7,) for ``ee``, (2, 4) for ``pick_place``; metres and rad in the base frame."""
    if control == "ee":
        low = np.array([*REACH[:, 0], -np.pi, -np.pi, -np.pi, 0.0], np.float32)
        high = np.array([*REACH[:, 1], np.pi, np.pi, np.pi, 1.0], np.float32)
        return gym.spaces.Box(low, high, dtype=np.float32)
    bounds = np.array([WORKSPACE[0], WORKSPACE[1], [0.0, _TALLEST], [-np.pi, np.pi]], np.float32)
    return gym.spaces.Box(np.stack([bounds[:, 0]] * 2), np.stack([bounds[:, 1]] * 2), dtype=np.float32)


def clip_action(action: np.ndarray, space: gym.spaces.Box) -> tuple[np.ndarray, bool]:
    """An action moved into its limits, and whether it had to be; yaws of ``pick_place`` are wrapped, not cut."""
    if action.ndim == 2:
        action = action.copy()
        action[:, 3] = (action[:, 3] + np.pi) % (2 * np.pi) - np.pi
    inside = np.clip(action, space.low, space.high)
    return inside, bool(np.abs(inside - action).max() > 1e-6)


def check_action(action: Any, space: gym.spaces.Box) -> np.ndarray:
    """``action`` as float64 of the space's shape; values outside its limits pass.

    Raises:
        ActionError: naming the first index that is not a finite number, or the shape that was wanted.
    """
    shape = space.shape
    try:
        array = np.asarray(action, dtype=np.float64)
    except (TypeError, ValueError):
        raise ActionError("the action is not an array of numbers", f"give float32 of shape {shape}") from None
    if array.shape != shape:
        raise ActionError(f"the action has shape {array.shape}, not {shape}", f"give float32 of shape {shape}")
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        index = tuple(int(i) for i in wrong[0])
        where = index[0] if len(index) == 1 else index
        raise ActionError(f"action[{where}] is {array[index]}", "every value must be a finite number")
    return array
