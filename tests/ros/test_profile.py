"""Profiles: those that ship are sound, mistakes are named."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from lohovla.envs.scene.arm import HOME
from lohovla.errors import UserError
from lohovla.ros.frames import BadPose, attach, inverse, pose_message, pose_of
from lohovla.ros.geometry import joints_of_tool, tool_of_joints
from lohovla.ros.profile import Profile
from lohovla.settings import compose


def settings(robot="sim"):
    return OmegaConf.to_container(compose("ros", [f"robot={robot}"]).robot)


@pytest.mark.parametrize("robot", ["sim", "sim-fused", "ur5e", "cartesian", "trajectory"])
def test_shipped_profiles_are_sound(robot):
    assert Profile.of(settings(robot)).name == robot


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"command": {"kind": "wish"}}, "command.kind"),
        ({"home": [0.0]}, "home"),
        ({"top_from": ["nose"]}, "nose"),
        ({"command_hz": 5}, "command_hz"),
        ({"generation": 3}, "generation"),
        ({"colour": 1}, "colour"),
        ({"fresh": {"state": 0.0}}, "fresh.state"),
        ({"start": {"pace": 1.0}}, "pace"),
    ],
)
def test_mistakes_are_named(change, cause):
    with pytest.raises(UserError) as error:
        Profile.of({**settings(), **change})
    assert cause in error.value.cause


def test_poses_survive_messages_and_frames():
    pose = np.array([0.4, -0.1, 0.2, 0.3, -0.5, 1.2])
    np.testing.assert_allclose(pose_of(pose_message(pose)), pose, atol=1e-12)
    offset = Profile.of(settings("ur5e")).tool_offset
    np.testing.assert_allclose(attach(attach(pose, offset), inverse(offset)), pose, atol=1e-9)


def test_kinematics_there_and_back():
    tool = tool_of_joints(HOME, 0.13)
    np.testing.assert_allclose(tool[3:], 0.0, atol=1e-6)  # straight down, no yaw
    joints, reachable = joints_of_tool(tool, 0.13, HOME)
    assert reachable
    np.testing.assert_allclose(joints, HOME, atol=1e-6)


def test_quaternions_must_have_length_one():
    message = pose_message(np.zeros(6))
    message["orientation"]["w"] = 0.5
    with pytest.raises(BadPose):
        pose_of(message)
