"""Rotation vectors (axis times angle, rad) and 3 x 3 matrices, through MuJoCo's own quaternions."""

from __future__ import annotations

import math

import numpy as np

from lohovla.mujoco_import import mujoco


def matrix_from_rotvec(rotvec: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) of a rotation vector (3,)."""
    angle = float(np.linalg.norm(rotvec))
    quat, matrix = np.empty(4), np.empty(9)
    if angle < 1e-12:
        return np.eye(3)
    mujoco.mju_axisAngle2Quat(quat, np.asarray(rotvec, float) / angle, angle)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)


def rotvec_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Rotation vector (3,) of a rotation matrix, its angle in [0, pi]."""
    quat, rotvec = np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(matrix, float).ravel())
    mujoco.mju_quat2Vel(rotvec, quat, 1.0)
    return rotvec


def yaw_of_quat(quat: np.ndarray) -> float:
    """Turn about the vertical of a body lying on any face of a cube, in [-pi/4, pi/4).

    A cube looks the same after a quarter turn, so the horizontal edge nearest to x counts.
    """
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, quat)
    columns = matrix.reshape(3, 3)
    flattest = int(np.argmin(np.abs(columns[2])))
    edge = columns[:, flattest]
    return quarter_turn(math.atan2(edge[1], edge[0]))


def quarter_turn(yaw: float) -> float:
    """``yaw`` modulo a quarter turn, in [-pi/4, pi/4)."""
    return (yaw + math.pi / 4) % (math.pi / 2) - math.pi / 4
