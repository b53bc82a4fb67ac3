"""MetaWorld's side of simulation: a step with two pictures of 96 x 96, drawn as it comes or cheaply."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

sys.path.append(str(Path(__file__).parent.parent))
from metaworld.env_dict import ALL_V3_ENVIRONMENTS  # type: ignore[import-not-found]
from turn_process import repeat, serve_turns  # type: ignore[import-not-found]

_SIZE, _CAMERAS = 96, ("corner2", "gripperPOV")


def prepare(threads: int, cheap: bool) -> Any:
    """One environment, drawn by MuJoCo's own renderer; cheap is without shadows, reflections, sky and multisampling."""
    env = ALL_V3_ENVIRONMENTS["pick-place-v3"]()
    env._set_task_called, env._freeze_rand_vec = True, False
    env.seeded_rand_vec = True
    env.seed(1)
    env.reset()
    if cheap:
        env.model.vis.quality.shadowsize = env.model.vis.quality.offsamples = 0
    renderer = mujoco.Renderer(env.model, _SIZE, _SIZE)
    if cheap:
        for flag in (
            mujoco.mjtRndFlag.mjRND_SHADOW,
            mujoco.mjtRndFlag.mjRND_REFLECTION,
            mujoco.mjtRndFlag.mjRND_SKYBOX,
        ):
            renderer.scene.flags[flag] = 0
    rng = np.random.default_rng(0)

    def once() -> None:
        _, _, terminated, truncated, _ = env.step(rng.uniform(-0.3, 0.3, 4).astype(np.float32))
        for camera in _CAMERAS:
            renderer.update_scene(env.data, camera)
            renderer.render()
        if terminated or truncated or env.curr_path_length >= 400:
            env.reset()

    return repeat(once), {"control Hz": 80}


if __name__ == "__main__":
    serve_turns(prepare)
