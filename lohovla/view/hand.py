"""What a person's keys and clicks ask of the tool."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lohovla.envs.control.end_effector import REACH
from lohovla.envs.render.renderer import render_camera_picture
from lohovla.geometry.workspace import WORKSPACE

_SPEED, _TURN = 0.25, 1.5  # m/s and rad/s, of a key that is held
_HEARD = 0.4  # s that a held key counts after it was last heard of: a page that is gone moves nothing
_TOP = (320, 160)  # pixels of the view that is clicked on


class Hand:
    """A person's wishes: velocities of held keys, the gripper, and places clicked on in the view from above.

    With continuous commands a click sends the tool above a place. With ``pick_place`` the first click is the pick and
    the second the place.

    Attributes:
        closed: whether the gripper is to hold.
        pick: the place clicked on first, with ``pick_place``, as (x, y) m; None before.
    """

    def __init__(self) -> None:
        self.closed = False
        self.pick: tuple[float, float] | None = None
        self._place: tuple[float, float] | None = None
        self._velocity, self._until = np.zeros(4), -math.inf
        self._target = np.zeros(7)
        self._aim: tuple[float, float] | None = None

    def take(self, state: np.ndarray) -> None:
        """Begin where the tool is: ``state`` (13,) of an observation."""
        self._target = np.array(state[:7], float)
        self.closed = bool(state[6] > 0.5)
        self.pick = self._place = self._aim = None
        self._velocity, self._until = np.zeros(4), -math.inf

    def move(self, directions: np.ndarray, now: float) -> None:
        """Keys are held: directions along x, y, z and about the vertical (4,), each in [-1, 1]."""
        self._velocity = np.clip(directions, -1.0, 1.0) * [_SPEED, _SPEED, _SPEED, _TURN]
        self._until, self._aim = now + _HEARD, None

    def click(self, across: float, down: float, control: str) -> None:
        """A place was clicked on: shares of the width and height of the view from above, in [0, 1]."""
        (x0, x1), (y0, y1) = WORKSPACE[0], WORKSPACE[1]
        at = x0 + down * (x1 - x0), y0 + across * (y1 - y0)
        if control == "ee":
            self._aim = at
        elif self.pick is None:
            self.pick = at
        else:
            self._place = at

    def action(self, env: Any, now: float) -> np.ndarray | None:
        """The next action for a :class:`~lohovla.envs.env.BlocksEnv`; None where a click is waited for."""
        return self._command(env, now) if env.control == "ee" else self._pick_place(env)

    def _command(self, env: Any, now: float) -> np.ndarray:
        period = 1.0 / env.control_hz
        if now < self._until:
            self._target[:3] += self._velocity[:3] * period
            self._target[5] += self._velocity[3] * period
        elif self._aim is not None:
            way = np.subtract(self._aim, self._target[:2])
            left = float(np.hypot(*way))
            self._target[:2] += way * min(1.0, _SPEED * period / max(left, 1e-9))
            self._aim = None if left < 1e-3 else self._aim
        self._target[:3] = np.clip(self._target[:3], REACH[:, 0], REACH[:, 1])
        self._target[5] = (self._target[5] + math.pi) % (2 * math.pi) - math.pi
        self._target[6] = float(self.closed)
        return self._target.astype(np.float32)

    def _pick_place(self, env: Any) -> np.ndarray | None:
        if self.pick is None or self._place is None:
            return None
        heights = render_camera_picture(env.simulation.model, env.simulation.data, "top", *_TOP)[1]
        both = [(*at, _height(heights, at), 0.0) for at in (self.pick, self._place)]
        self.pick = self._place = None
        return np.array(both, np.float32)


def _height(heights: np.ndarray, at: tuple[float, float]) -> float:
    """Metres above the table at a place (x, y), by the view from above."""
    rows, columns = heights.shape
    (x0, x1), (y0, y1) = WORKSPACE[0], WORKSPACE[1]
    row = min(int((at[0] - x0) / (x1 - x0) * rows), rows - 1)
    column = min(int((at[1] - y0) / (y1 - y0) * columns), columns - 1)
    return float(heights[row, column])
