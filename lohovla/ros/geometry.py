"""Poses between ROS messages (position, quaternion) and the policy's (position, rotation vector), frames included."""

from __future__ import annotations

import mujoco
import numpy as np

from lohovla.envs.control import kinematics
from lohovla.envs.control.rotations import matrix_from_rotvec, rotvec_from_matrix
from lohovla.envs.scene.grippers import TCP_IN_FLANGE
from lohovla.ros.messages import Message

_UNIT = 1e-3  # how far from length 1 a quaternion may be


class BadPose(ValueError):
    """A pose that is none: its quaternion has not length 1, or a number is not finite."""


def matrix_of(quaternion: Message) -> np.ndarray:
    """Rotation (3, 3) of a ``geometry_msgs/Quaternion``.

    Raises:
        BadPose: it has not length 1.
    """
    q = np.array([quaternion[name] for name in "wxyz"], float)
    if not np.isfinite(q).all() or abs(float(q @ q) - 1.0) > 2 * _UNIT:
        raise BadPose(f"the quaternion (w, x, y, z) = {q.tolist()} has not length 1")
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, q / np.sqrt(q @ q))
    return matrix.reshape(3, 3)


def quaternion_of(matrix: np.ndarray) -> Message:
    """``geometry_msgs/Quaternion`` of a rotation (3, 3), with w >= 0."""
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(matrix, float).ravel())
    if quat[0] < 0:
        quat = -quat
    return dict(zip("wxyz", quat.tolist(), strict=True))


def point_of(position: np.ndarray) -> Message:
    """``geometry_msgs/Point`` or ``Vector3`` of (3,)."""
    return dict(zip("xyz", np.asarray(position, float).tolist(), strict=True))


def pose_message(pose: np.ndarray) -> Message:
    """``geometry_msgs/Pose`` of a position and rotation vector (6,)."""
    return {"position": point_of(pose[:3]), "orientation": quaternion_of(matrix_from_rotvec(pose[3:6]))}


def pose_of(message: Message) -> np.ndarray:
    """Position and rotation vector (6,) of a ``geometry_msgs/Pose``.

    Raises:
        BadPose: it is none.
    """
    position = np.array([message["position"][name] for name in "xyz"], float)
    if not np.isfinite(position).all():
        raise BadPose(f"the position is {position.tolist()}")
    return np.concatenate([position, rotvec_from_matrix(matrix_of(message["orientation"]))])


def attach(pose: np.ndarray, offset: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The pose (6,) of a frame that is fixed at ``offset`` (position, rotation) in the frame at ``pose``."""
    rotation = matrix_from_rotvec(pose[3:6])
    turned = rotvec_from_matrix(rotation @ offset[1])
    return np.concatenate([pose[:3] + rotation @ offset[0], turned])


def inverse(offset: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The offset the other way round."""
    return -(offset[1].T @ offset[0]), offset[1].T


def tool_of_joints(joints: np.ndarray, length: float) -> np.ndarray:
    """The policy's tool pose (6,) of a UR5e's joints (6,), rad, with a tool ``length`` m beyond the flange."""
    position, rotation = kinematics.forward(joints)
    tool = rotation @ TCP_IN_FLANGE
    return np.concatenate([position - tool[:, 2] * length, rotvec_from_matrix(tool)])


def joints_of_tool(pose: np.ndarray, length: float, near: np.ndarray) -> tuple[np.ndarray, bool]:
    """Joints (6,) for a tool pose (6,), those nearest to ``near``, and whether the pose can be reached."""
    rotation = matrix_from_rotvec(pose[3:6])
    solution = kinematics.inverse(pose[:3] + rotation[:, 2] * length, rotation @ TCP_IN_FLANGE.T, near)
    return solution.joints, solution.reachable
