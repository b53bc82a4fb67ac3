"""robosuite's side of simulation: a step of Stack with a UR5e and two pictures of 96 x 96."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parent.parent))
import robosuite  # type: ignore[import-not-found]
from turn_process import repeat, serve_turns  # type: ignore[import-not-found]

_SIZE, _CAMERAS = 96, ["agentview", "robot0_eye_in_hand"]


def prepare(threads: int) -> Any:
    """The environment as it comes, at its control rate of 20 Hz."""
    env = robosuite.make(
        "Stack",
        robots="UR5e",
        has_renderer=False,
        has_offscreen_renderer=True,
        use_camera_obs=True,
        camera_names=_CAMERAS,
        camera_heights=_SIZE,
        camera_widths=_SIZE,
        control_freq=20,
        horizon=200,
    )
    env.reset()
    low, high = env.action_spec
    rng = np.random.default_rng(0)

    def once() -> None:
        _, _, done, _ = env.step(rng.uniform(0.2 * low, 0.2 * high))
        if done:
            env.reset()

    return repeat(once), {"control Hz": 20}


if __name__ == "__main__":
    serve_turns(prepare)
