"""Tool poses as numbers: positions (m) and rotation vectors (rad) in the robot's base frame.

A rotation vector is the axis times the angle. Turning by a whole circle more gives the same rotation, so the
loop keeps its vectors *unwrapped*: each is the one nearest to the one before, and so moves without leaps.
The speed of such a vector is never below the angular speed of the tool (its left Jacobian has norm at most
one), so that limits on the vector are limits on the turning.
"""

from __future__ import annotations

import math

import numpy as np

_TURN = 2.0 * math.pi
POSE = 6  # numbers of a pose: position and rotation vector


def nearest(rotvec: np.ndarray, near: np.ndarray) -> np.ndarray:
    """The rotation vector of the same rotation that is nearest to ``near``, both (3,)."""
    angle = math.sqrt(float(rotvec @ rotvec))
    if angle < 1e-9:  # no rotation: whole circles about the axis of the other
        length = math.sqrt(float(near @ near))
        circles = round(length / _TURN)
        return near * (circles * _TURN / length) if circles else rotvec.copy()
    axis = rotvec / angle
    return axis * (angle + _TURN * round((float(near @ axis) - angle) / _TURN))


def unwrap(actions: np.ndarray, near: np.ndarray) -> np.ndarray:
    """``ee`` actions (n, A) with rotation vectors unwrapped one after the other, the first nearest to ``near`` (3,)."""
    actions = np.array(actions, dtype=np.float64)
    for action in actions:
        near = action[3:6] = nearest(action[3:6], near)
    return actions


def shortest_rotation(rotvec: np.ndarray) -> np.ndarray:
    """The shortest rotation vector (3,) of the same rotation: its angle is at most pi."""
    angle = math.sqrt(float(rotvec @ rotvec))
    if angle <= math.pi:
        return rotvec.copy()
    return rotvec * ((angle - _TURN * round(angle / _TURN)) / angle)


def compose_rotations(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The rotation vector of turning by ``first`` and then by ``second``, each (3,) in the base frame."""
    w2, v2 = _quaternion(second)
    w1, v1 = _quaternion(first)
    w = w2 * w1 - float(v2 @ v1)
    v = w2 * v1 + w1 * v2 + np.cross(v2, v1)
    length = math.sqrt(float(v @ v))
    if length < 1e-12:
        return np.zeros(3)
    return shortest_rotation(v * (2.0 * math.atan2(length, w) / length))


def _quaternion(rotvec: np.ndarray) -> tuple[float, np.ndarray]:
    angle = math.sqrt(float(rotvec @ rotvec))
    if angle < 1e-12:
        return 1.0, 0.5 * rotvec
    return math.cos(angle / 2), rotvec * (math.sin(angle / 2) / angle)


def to_absolute(actions: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Relative ``ee`` actions (n, 7) as absolute ones.

    Args:
        actions: offsets from ``pose``: position along the base frame's axes, rotation about them, the gripper
            as it is.
        pose: the tool's pose (6,) in the observation that the actions were decided on.
    """
    absolute = np.array(actions, dtype=np.float64)
    absolute[:, :3] += pose[:3]
    absolute[:, 3:6] = [compose_rotations(turn, pose[3:6]) for turn in absolute[:, 3:6]]
    return absolute


def to_relative(actions: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Absolute ``ee`` actions (n, 7) as offsets from ``pose`` (6,): what :func:`to_absolute` undoes."""
    relative = np.array(actions, dtype=np.float64)
    relative[:, :3] -= pose[:3]
    relative[:, 3:6] = [compose_rotations(turn, -pose[3:6]) for turn in relative[:, 3:6]]
    return relative
