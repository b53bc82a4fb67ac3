"""The simulated arm tells the truth about what its cameras see."""

import numpy as np
import pytest

from lohovla.control.simulated_robots import SimulatedArm
from lohovla.envs.env import BlocksEnv


@pytest.mark.parametrize("gripper", ["suction", "jaw"])
def test_a_tool_in_sight_of_the_top_camera_changes_its_picture_when_it_moves_sideways(gripper):
    env = BlocksEnv("pick-and-place-primitive", control_hz=100.0, gripper=gripper)
    env.reset(seed=10001)
    sight = SimulatedArm(env).sight["images.top"]

    def picture(x, height):
        for _ in range(150):
            env.advance(np.array([x, -0.3, height, 0, 0, 0, 0], np.float32))
        assert np.abs(env.observe_state()[:3] - [x, -0.3, height]).max() < 2e-3
        return env.observe()["images.top"]

    inside, outside = sight.high[2] - 0.003, sight.high[2] + 0.1
    assert (picture(0.5, inside) != picture(0.6, inside)).any()
    assert (picture(0.5, outside) == picture(0.6, outside)).all()  # what is not claimed is not there either
