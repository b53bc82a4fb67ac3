"""The tool's length counted twice is noticed before the arm moves."""

from types import SimpleNamespace

import numpy as np
import pytest

from lohovla.control.event_log import EventLog
from lohovla.envs.scene.arm import HOME
from lohovla.ros.robot.pose_conversion import offset_of, pose_at_offset
from lohovla.ros.robot.robot_profile import Profile
from lohovla.ros.robot.tool_length_check import ToolCheck
from lohovla.ros.robot.ur5e_tool_pose import tool_of_joints
from lohovla.settings.hydra_config import compose

DOWN = [2.221441469, -2.221441469, 0.0]


def session_of(pose):
    paused = []
    robot = SimpleNamespace(measured=lambda: pose, joints=lambda: np.asarray(HOME))
    operator = SimpleNamespace(pause=lambda: paused.append(True))
    clock = SimpleNamespace(now=lambda: 1.0)
    return SimpleNamespace(phase="waiting", robot=robot, operator=operator, log=EventLog(), clock=clock), paused


@pytest.mark.parametrize(
    ("pendant", "offset", "apart"),
    [(0.0, 0.13, 0.0), (0.13, 0.0, 0.0), (0.13, 0.13, 0.13), (0.0, 0.0, 0.13)],
)
def test_the_length_counts_once(pendant, offset, apart):
    """``pendant`` and ``offset``: the lengths there, m; the broadcaster tells the pendant's tool centre."""
    from lohovla.ros.robot.pose_conversion import inverse_offset

    tip = tool_of_joints(np.asarray(HOME), 0.13)
    flange = pose_at_offset(tip, inverse_offset(offset_of({"position": [0, 0, 0.13], "rotation": DOWN})))
    told = pose_at_offset(flange, offset_of({"position": [0, 0, pendant]}))
    tool = {"topic": "/tcp_pose_broadcaster/pose", "length": 0.13, "check": 0.05}
    session, paused = session_of(pose_at_offset(told, offset_of({"position": [0, 0, offset], "rotation": DOWN})))
    check = ToolCheck(tool)
    for _ in range(3):
        check(session)
    assert check.apart == pytest.approx(apart, abs=1e-6)
    assert paused == ([True] if apart else [])  # once: a person who presses start is believed
    assert session.log.counts["tool in doubt"] == (1 if apart else 0)


@pytest.mark.parametrize(("robot", "checked"), [("ur5e", True), ("cartesian", False), ("trajectory", False)])
def test_only_arms_of_these_kinematics_are_checked(robot, checked):
    from omegaconf import OmegaConf

    profile = Profile.from_config(OmegaConf.to_container(compose("ros", [f"robot={robot}"]).robot))
    session, paused = session_of(np.array([0.1, 0.2, 0.9, 0.0, 0.0, 0.0]))
    ToolCheck(profile.tool)(session)
    assert bool(paused) == checked
