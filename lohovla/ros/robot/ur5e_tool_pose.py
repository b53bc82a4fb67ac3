"""The UR5e's joints and the policy's tool pose, by this project's own kinematics."""

from __future__ import annotations

import numpy as np

from lohovla.geometry import ur5e_kinematics
from lohovla.geometry.ur5e_kinematics import TCP_IN_FLANGE
from lohovla.ros.robot.pose_conversion import matrix_of, rotvec_of


def tool_of_joints(joints: np.ndarray, length: float) -> np.ndarray:
    """The policy's tool pose (6,) of a UR5e's joints (6,), rad, with a tool ``length`` m beyond the flange."""
    position, rotation = ur5e_kinematics.forward_kinematics(joints)
    tool = rotation @ TCP_IN_FLANGE
    return np.concatenate([position - tool[:, 2] * length, rotvec_of(tool)])


def joints_of_tool(pose: np.ndarray, length: float, near: np.ndarray) -> tuple[np.ndarray, bool]:
    """Joints (6,) for a tool pose (6,), those nearest to ``near``, and whether the pose can be reached."""
    rotation = matrix_of(pose[3:6])
    solution = ur5e_kinematics.inverse_kinematics(pose[:3] + rotation[:, 2] * length, rotation @ TCP_IN_FLANGE.T, near)
    return solution.joints, solution.reachable
