"""The workspace in the base frame, and what an observation's state holds: shared by the simulator and robots."""

from __future__ import annotations

import numpy as np

from lohovla.geometry.ur5e_kinematics import JOINTS

WORKSPACE = np.array([[0.25, 0.75], [-0.5, 0.5], [0.0, 0.28]])  # x, y, z bounds, metres, base frame
TOP_CEILING = 0.34  # `top` does not see what is higher: the arm at home, as in a cropped height map

# Of `state`, float32 (13,): tool position (m), rotation vector (rad), gripper 0..1, joints (rad).
STATE_NAMES = ("ee.x", "ee.y", "ee.z", "ee.rx", "ee.ry", "ee.rz", "gripper", *JOINTS)
