"""The kinds of commands, and the forms of a joint trajectory that is sent anew with every command.

Runs on the robot's side too.
"""

from __future__ import annotations

import numpy as np

from lohovla.ros.transport.message_types import Message, stamp_of

# The message that each kind of a profile's `command` is.
COMMANDS = {
    "pose": "geometry_msgs/PoseStamped",
    "twist": "geometry_msgs/TwistStamped",
    "trajectory": "trajectory_msgs/JointTrajectory",
    "joint_position": "std_msgs/Float64MultiArray",
    "joint_velocity": "std_msgs/Float64MultiArray",
}
# How a trajectory ends. Newer joint trajectory controllers refuse one whose last point moves.
ENDS = ("rest", "open", "moving")
_SHORTEST = 0.05  # s from the point to the end at rest


def trajectory(
    positions: np.ndarray, velocities: np.ndarray, ahead: float, end: str, acceleration: float
) -> list[Message]:
    """The points of a trajectory.

    Args:
        positions: of the joints (n,), rad.
        velocities: there (n,), rad/s.
        ahead: s until then.
        end: ``rest`` adds a second point where the joints come to rest at an even deceleration, if nothing else
            comes; ``open`` names no velocities; ``moving`` is the point alone, which older controllers take.
        acceleration: rad/s^2, of that deceleration.
    """
    point = {"positions": positions.tolist(), "time_from_start": stamp_of(ahead)}
    if end == "open":
        return [point]
    point["velocities"] = velocities.tolist()
    if end == "moving" or not velocities.any():
        return [point]
    seconds = max(float(np.abs(velocities).max()) / acceleration, _SHORTEST)
    still = {
        "positions": (positions + 0.5 * seconds * velocities).tolist(),
        "velocities": [0.0] * len(velocities),
        "time_from_start": stamp_of(ahead + seconds),
    }
    return [point, still]
