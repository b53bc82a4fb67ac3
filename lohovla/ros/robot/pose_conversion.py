"""Poses between ROS messages (position, quaternion) and the policy's (position, rotation vector), frames included.

Nothing but numpy: this runs on the robot's side too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Tuple

import numpy as np

Offset = Tuple[np.ndarray, np.ndarray]  # position (3,) m, rotation (3, 3)

_UNIT = 1e-3  # how far from length 1 a quaternion may be


class BadPose(ValueError):
    """A pose that is none: its quaternion has not length 1, or a number is not finite."""


def rotvec_of_quaternion(quaternion: Mapping[str, float]) -> np.ndarray:
    """Rotation vector (3,), its angle in [0, pi], of a ``geometry_msgs/Quaternion``.

    Raises:
        BadPose: it has not length 1.
    """
    q = np.array([quaternion[name] for name in "wxyz"], float)
    if not np.isfinite(q).all() or abs(float(q @ q) - 1.0) > 2 * _UNIT:
        raise BadPose(f"the quaternion (w, x, y, z) = {q.tolist()} has not length 1")
    q = q if q[0] >= 0.0 else -q
    length = float(np.linalg.norm(q[1:]))
    if length < 1e-12:
        return np.zeros(3)
    return q[1:] * (2.0 * math.atan2(length, q[0]) / length)


def quaternion_of(rotvec: np.ndarray) -> dict[str, float]:
    """``geometry_msgs/Quaternion`` of a rotation vector (3,), with w >= 0."""
    angle = float(np.linalg.norm(rotvec))
    axis = np.asarray(rotvec, float) / angle if angle > 1e-12 else np.zeros(3)
    q = np.array([math.cos(angle / 2), *(math.sin(angle / 2) * axis)])
    return dict(zip("wxyz", (q if q[0] >= 0.0 else -q).tolist()))


def matrix_of(rotvec: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) of a rotation vector (3,), by Rodrigues' formula."""
    angle = float(np.linalg.norm(rotvec))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = np.asarray(rotvec, float) / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * (cross @ cross)


def rotvec_of(matrix: np.ndarray) -> np.ndarray:
    """Rotation vector (3,), its angle in [0, pi], of a rotation (3, 3)."""
    m = np.asarray(matrix, float)
    # The quaternion from its largest part, which is the one that is known best (Shepperd, 1978).
    squares = np.array([1.0 + m.trace(), *(1.0 - m.trace() + 2.0 * np.diag(m))])
    k = int(np.argmax(squares))
    skew = np.array([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]])
    q = np.empty(4)
    if k == 0:
        q[:] = squares[0], *skew
    else:
        i = k - 1
        q[0], q[1:] = skew[i], m[i] + m[:, i]
        q[k] = squares[k]
    q /= np.linalg.norm(q)
    return rotvec_of_quaternion(dict(zip("wxyz", q.tolist())))


def point_of(position: np.ndarray) -> dict[str, float]:
    """``geometry_msgs/Point`` or ``Vector3`` of (3,)."""
    return dict(zip("xyz", np.asarray(position, float).tolist()))


def vector_of(message: Mapping[str, float]) -> np.ndarray:
    """(3,) of a ``geometry_msgs/Point`` or ``Vector3``."""
    return np.array([message[name] for name in "xyz"], float)


def pose_message(pose: np.ndarray) -> dict[str, Any]:
    """``geometry_msgs/Pose`` of a position and rotation vector (6,)."""
    return {"position": point_of(pose[:3]), "orientation": quaternion_of(pose[3:6])}


def pose_of(message: Mapping[str, Any]) -> np.ndarray:
    """Position and rotation vector (6,) of a ``geometry_msgs/Pose``.

    Raises:
        BadPose: it is none.
    """
    position = vector_of(message["position"])
    if not np.isfinite(position).all():
        raise BadPose(f"the position is {position.tolist()}")
    return np.concatenate([position, rotvec_of_quaternion(message["orientation"])])


def joints_of(message: Mapping[str, Any], names: Sequence[str]) -> np.ndarray | None:
    """Positions (n,) of joints in a ``sensor_msgs/JointState``, found by their names; None where one is missing."""
    known = dict(zip(message["name"], message["position"]))  # some drivers leave positions out
    if any(name not in known for name in names):
        return None
    joints = np.array([known[name] for name in names], float)
    return joints if np.isfinite(joints).all() else None


def offset_of(settings: Mapping[str, Any] | None) -> Offset:
    """An offset from ``{position: [...], rotation: [...]}``; what is not given is none."""
    known = settings or {}
    position = np.asarray(known.get("position") or (0.0, 0.0, 0.0), float)
    return position, matrix_of(np.asarray(known.get("rotation") or (0.0, 0.0, 0.0), float))


def pose_at_offset(pose: np.ndarray, offset: Offset) -> np.ndarray:
    """The pose (6,) of a frame that is fixed at ``offset`` in the frame at ``pose``."""
    rotation = matrix_of(pose[3:6])
    return np.concatenate([pose[:3] + rotation @ offset[0], rotvec_of(rotation @ offset[1])])


def lever_of(tip: np.ndarray, back: Offset) -> np.ndarray:
    """The way from another frame of the tool to its tip (3,), in the base frame, m.

    Where the tip goes with v and the tool turns with w, the other frame goes with v - w x lever.

    Args:
        tip: the pose of the tip (6,).
        back: the other frame in that of the tip.
    """
    return -(matrix_of(tip[3:6]) @ back[0])


def inverse_offset(offset: Offset) -> Offset:
    """The offset the other way round."""
    return -(offset[1].T @ offset[0]), offset[1].T
