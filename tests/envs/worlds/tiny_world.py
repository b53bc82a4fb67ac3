"""A tiny Gymnasium environment, registered when this module is imported: move a point onto its mark."""

import os
from typing import ClassVar

import gymnasium
import numpy as np


class PointOnMark(gymnasium.Env):
    """A point in a square of [-1, 1]; the action is a step of at most 0.1; the picture shows point and mark."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode=None, loud=False):
        self.render_mode, self._loud = render_mode, loud
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = gymnasium.spaces.Dict(
            {
                "views": gymnasium.spaces.Dict({"top": gymnasium.spaces.Box(0, 255, (16, 24, 3), np.uint8)}),
                "agent": gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float64),
            }
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._point, self._mark = self.np_random.uniform(-1, 1, 2), self.np_random.uniform(-1, 1, 2)
        if self._loud:
            print("the environment says something on standard output")
        return self._seen(), {}

    def step(self, action):
        if self._loud and action[0] > 0.999 and action[1] > 0.999:
            raise RuntimeError("the motor\nburned")
        if self._loud and action[0] < -0.999 and action[1] < -0.999:
            os._exit(3)
        self._point = np.clip(self._point + 0.1 * action, -1, 1)
        away = float(np.linalg.norm(self._point - self._mark))
        return self._seen(), -away, False, False, {"is_success": away < 0.05}

    def render(self):
        return self._seen()["views"]["top"]

    def _seen(self):
        picture = np.zeros((16, 24, 3), np.uint8)
        for channel, at in enumerate((self._point, self._mark)):
            picture[int((at[1] + 1) * 7.5), int((at[0] + 1) * 11.5), channel] = 255
        return {"views": {"top": picture}, "agent": np.concatenate([self._point, self._mark])}


def expert(env):
    """The way to the mark, asked for too strongly; it gives up where the mark is far off to the left."""
    return 8 * (env._mark - env._point) * (env._mark[0] > -0.5)


gymnasium.register("PointOnMark-v0", PointOnMark)
