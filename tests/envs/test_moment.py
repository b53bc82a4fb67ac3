"""An observation is of one moment: joints, tool, blocks, cameras and pictures, in motion as well."""

from __future__ import annotations

import gymnasium as gym
import mujoco
import numpy as np
import pytest

import lohovla.envs  # noqa: F401
from lohovla.envs.env import BlocksEnv
from lohovla.envs.oracle import Oracle
from lohovla.envs.scene.grippers import TOOL_LENGTH
from lohovla.envs.tasks.names import TASKS, VERSION, gym_name
from lohovla.geometry import ur5e_kinematics
from lohovla.geometry.rotations import matrix_from_rotvec
from lohovla.geometry.ur5e_kinematics import TCP_IN_FLANGE


def off_by(state: np.ndarray, gripper: str) -> tuple[float, float]:
    """How far the tool of a ``state`` is from where its joints have it: metres, and the largest term of rotation."""
    position, rotation = ur5e_kinematics.forward_kinematics(state[7:].astype(float))
    tool = rotation @ TCP_IN_FLANGE
    away = np.linalg.norm(position - tool[:, 2] * TOOL_LENGTH[gripper] - state[:3])
    return float(away), float(np.abs(tool - matrix_from_rotvec(state[3:6].astype(float))).max())


@pytest.mark.parametrize("gripper", ["suction", "jaw"])
def test_the_tool_of_a_state_is_where_its_joints_have_it(gripper):
    env = BlocksEnv(gripper=gripper, cameras={})
    env.reset(seed=10001)
    action, fastest, before = env.observe_state()[:7].copy(), 0.0, env.observe_state()[:3]
    for step in range(40):
        action[:3] = 0.48 + 0.1 * np.sin(step / 6), 0.2 * np.sin(step / 5), 0.25
        action[5] = 0.5 * np.sin(step / 4)
        env.advance(action)
        state = env.observe_state()
        fastest = max(fastest, float(np.linalg.norm(state[:3] - before)) * env.control_hz)
        before = state[:3]
        away, turned = off_by(state, gripper)
        assert away < 1e-4
        assert turned < 1e-4
    assert fastest > 0.5  # m/s: of the step before, it would be millimetres off


def test_it_is_while_the_cup_is_pressed_in(set_table):
    env = BlocksEnv("pick-and-place-primitive", cameras={})
    env.reset(seed=10001)
    action = np.array([0.3, -0.45, 0.05, 0.0, 0.0, 0.0, 0.0], np.float32)
    for _ in range(40):
        env.advance(action)
    action[2] = -0.004
    for _ in range(20):
        env.advance(action)
        assert off_by(env.observe_state(), "suction")[0] < 1e-4
    assert env.simulation.data.joint("cup_slide").qpos[0] < -0.002


def carrying(cameras: dict) -> BlocksEnv:
    """An environment whose arm carries a block sideways, a metre a second or so."""
    env = BlocksEnv("pick-and-place-primitive", cameras=cameras)
    env.reset(seed=10001)
    oracle = Oracle(env)
    speed, at = 0.0, env.simulation.tcp()[0]
    while not (env.simulation.held and speed > 0.5):
        env.advance(oracle.act())
        speed, at = float(np.linalg.norm(env.simulation.tcp()[0] - at)) * env.control_hz, env.simulation.tcp()[0]
    return env


def test_poses_scores_and_pictures_are_of_the_moment_of_the_joints():
    env = carrying({"wrist": {"width": 64, "height": 64}, "front": {"width": 160, "height": 120}})
    simulation, seen = env.simulation, env.observe()
    scene, tool = env.scene(), simulation.tcp()[0]
    poses = {name: getattr(simulation.data, name).copy() for name in ("xpos", "geom_xpos", "site_xpos", "cam_xpos")}
    held = simulation.held
    assert held is not None
    block = simulation.data.joint(simulation.model.body(held).jntadr[0]).qpos
    np.testing.assert_allclose(scene.centre(held), block[:3], atol=1e-9)
    mujoco.mj_forward(simulation.model, simulation.data)  # everything anew from the joints
    for name, before in poses.items():
        np.testing.assert_allclose(getattr(simulation.data, name), before, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(simulation.tcp()[0], tool, atol=1e-9)
    for name, picture in env.observe().items():
        if name.startswith("images."):
            np.testing.assert_array_equal(picture, seen[name])


# -- the version that says so --------------------------------------------------------------------------


def test_the_version_is_in_the_names_and_in_what_travels_with_observations():
    assert VERSION == 1
    assert {f"lohovla/{gym_name(task)}" for task in TASKS} <= set(gym.registry)
    assert BlocksEnv(cameras={}).describe()["version"] == VERSION


def test_a_name_of_the_version_before_warns():
    name = gym_name(TASKS[0], 0)
    with pytest.warns(DeprecationWarning, match=rf"{name} is out of date.*`v1`"):
        gym.make(f"lohovla/{name}", cameras={})
