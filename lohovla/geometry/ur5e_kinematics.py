"""Forward and inverse kinematics of the six-joint arm in closed form.

The inverse follows Hawkins, "Analytic Inverse Kinematics for the Universal Robots UR-5/UR-10 Arms"
(2013), for one branch: the shoulder, elbow and wrist configuration of the home pose, so that the arm never
flips. It takes about 20 microseconds, a tenth of one step of a numerical solver. Rotations are 3 x 3,
positions in metres in the base frame, joints in radians.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

_TWO_PI = 2 * math.pi

JOINTS = (
    "shoulder_pan_joint",
    "shoulder_lift_joint",
    "elbow_joint",
    "wrist_1_joint",
    "wrist_2_joint",
    "wrist_3_joint",
)

# Denavit-Hartenberg parameters of the UR5e as its maker publishes them.
DH_D = (0.1625, 0.0, 0.0, 0.1333, 0.0997, 0.0996)
DH_A = (0.0, -0.425, -0.3922, 0.0, 0.0, 0.0)
DH_ALPHA = (math.pi / 2, 0.0, 0.0, math.pi / 2, -math.pi / 2, 0.0)

JOINT_LIMITS = np.array([(-2 * math.pi, 2 * math.pi)] * 6)
JOINT_LIMITS[2] = (-math.pi, math.pi)

# Half a turn about (1, -1, 0): the flange's z points at the work, the tcp's away; no yaw at the home pose.
TCP_IN_FLANGE = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])


class Solution(NamedTuple):
    """Joints of an inverse-kinematics query; ``reachable`` is False where the pose had to be approached."""

    joints: np.ndarray
    reachable: bool


def forward_kinematics(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flange position (3,) and rotation (3, 3) of ``joints`` (6,)."""
    pose = np.eye(4)
    for q, d, a, alpha in zip(joints, DH_D, DH_A, DH_ALPHA, strict=True):
        cq, sq, ca, sa = math.cos(q), math.sin(q), math.cos(alpha), math.sin(alpha)
        pose = pose @ np.array(
            [[cq, -sq * ca, sq * sa, a * cq], [sq, cq * ca, -cq * sa, a * sq], [0, sa, ca, d], [0, 0, 0, 1]]
        )
    return pose[:3, 3], pose[:3, :3]


def inverse_kinematics(position: np.ndarray, rotation: np.ndarray, near: np.ndarray) -> Solution:
    """Joints that bring the flange to a pose, each the turn nearest to ``near`` within its limits.

    A position out of reach gives the arm stretched towards it, or folded as far as it goes.
    """
    (r11, r12, r13), (r21, r22, r23), (r31, r32, r33) = rotation.tolist()
    px, py, pz = position.tolist()
    reachable = True

    # Shoulder pan: the wrist's second axis keeps the distance d4 from the plane through the base axis.
    wx, wy = px - DH_D[5] * r13, py - DH_D[5] * r23
    radius = math.hypot(wx, wy)
    if radius <= DH_D[3]:
        reachable, ratio = False, 1.0
    else:
        ratio = DH_D[3] / radius
    q1 = math.atan2(wy, wx) + math.acos(ratio) + math.pi / 2
    s1, c1 = math.sin(q1), math.cos(q1)

    # Wrist 2 and 3, from the angle between the tool and the elbow's axis (s1, -c1, 0).
    q5 = -math.acos(min(1.0, max(-1.0, r13 * s1 - r23 * c1)))
    s5 = math.sin(q5)
    in_line = abs(s5) < 1e-6  # wrist 1 and 3 turn about one axis: keep wrist 3 where it is
    q6 = float(near[5]) if in_line else math.atan2((-r12 * s1 + r22 * c1) / s5, (r11 * s1 - r21 * c1) / s5)

    # Elbow and shoulder lift in the arm's plane.
    s6, c6 = math.sin(q6), math.cos(q6)
    ux, uy, uz = (r11 * s6 + r12 * c6), (r21 * s6 + r22 * c6), (r31 * s6 + r32 * c6)
    along = (px - DH_D[5] * r13 + DH_D[4] * ux) * c1 + (py - DH_D[5] * r23 + DH_D[4] * uy) * s1
    up = pz - DH_D[5] * r33 + DH_D[4] * uz - DH_D[0]
    a2, a3 = DH_A[1], DH_A[2]
    cos3 = (along * along + up * up - a2 * a2 - a3 * a3) / (2 * a2 * a3)
    if not -1.0 <= cos3 <= 1.0:
        reachable, cos3 = False, min(1.0, max(-1.0, cos3))
    q3 = math.acos(cos3)
    q2 = math.atan2(up, along) - math.atan2(a3 * math.sin(q3), a2 + a3 * math.cos(q3))
    q4 = math.atan2(-(ux * c1 + uy * s1), uz) - q2 - q3
    return Solution(_nearest_turn(np.array([q1, q2, q3, q4, q5, q6]), near), reachable)


def _nearest_turn(joints: np.ndarray, near: np.ndarray) -> np.ndarray:
    turned = joints + np.round((near - joints) / _TWO_PI) * _TWO_PI
    turned = np.where(turned > JOINT_LIMITS[:, 1], turned - _TWO_PI, turned)
    return np.where(turned < JOINT_LIMITS[:, 0], turned + _TWO_PI, turned)
