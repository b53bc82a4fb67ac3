"""Commands of the loop as the messages that a robot's controllers take."""

from __future__ import annotations

import numpy as np

from lohovla.control.limits import Limits
from lohovla.control.poses import compose
from lohovla.control.receiver import Command
from lohovla.ros.frames import attach, inverse, point_of, pose_message
from lohovla.ros.geometry import joints_of_tool
from lohovla.ros.messages import Message, header, stamp_of
from lohovla.ros.profile import Profile


class Commander:
    """Makes messages of one kind; which one the profile says.

    Args:
        profile: of the robot.
        limits: velocities that a twist never exceeds.
    """

    def __init__(self, profile: Profile, limits: Limits):
        self._profile, self._limits = profile, limits
        self._back = inverse(profile.tool_offset)
        self._make = getattr(self, f"_{profile.command['kind']}")
        self._joints: np.ndarray | None = None
        self.unreachable = False

    def reset(self) -> None:
        """The next command begins a motion: nothing goes before."""
        self._joints = None

    def message(self, command: Command, measured: np.ndarray, joints: np.ndarray | None, seconds: float) -> Message:
        """The message of a command.

        Args:
            command: of the loop.
            measured: the tool's pose (6,).
            joints: as measured (6,), if the robot tells.
            seconds: the stamp, s since the epoch on the robot's clock.
        """
        return self._make(command, measured, joints, seconds)

    def rest(self, seconds: float) -> Message | None:
        """What makes the arm stand still whatever it was last told; None where it does so by itself.

        A velocity goes on until another comes, and a point of a trajectory may have been passed at some speed. A pose
        is kept.

        Args:
            seconds: the stamp, s since the epoch on the robot's clock.
        """
        kind = self._profile.command["kind"]
        if kind == "twist":
            still = point_of(np.zeros(3))
            return {"header": header(seconds, self._profile.frame), "twist": {"linear": still, "angular": still}}
        if kind == "trajectory" and self._joints is not None:
            return self._point(self._joints, np.zeros(len(self._joints)))
        return None

    def _pose(self, command: Command, measured: np.ndarray, joints: np.ndarray | None, seconds: float) -> Message:
        pose = pose_message(attach(command.pose, self._back))
        return {"header": header(seconds, self._profile.frame), "pose": pose}

    def _twist(self, command: Command, measured: np.ndarray, joints: np.ndarray | None, seconds: float) -> Message:
        """Velocity of the command, and a share of what the arm is behind: no faster than the limits."""
        gain = float(self._profile.command.get("gain", 3.0))
        linear = command.velocity[:3] + gain * (command.pose[:3] - measured[:3])
        angular = command.velocity[3:] + gain * compose(command.pose[3:], -measured[3:])
        linear = _at_most(linear, self._limits.velocity)
        angular = _at_most(angular, self._limits.turn_velocity)
        twist = {"linear": point_of(linear), "angular": point_of(angular)}
        return {"header": header(seconds, self._profile.frame), "twist": twist}

    def _trajectory(self, command: Command, measured: np.ndarray, joints: np.ndarray | None, seconds: float) -> Message:
        length = float(self._profile.tool["length"])
        near = self._joints if self._joints is not None else joints
        if near is None:
            raise ValueError("a joint trajectory needs the joint states")
        goal, reachable = joints_of_tool(command.pose, length, near)
        later, _ = joints_of_tool(command.pose + 0.01 * command.velocity, length, goal)
        self.unreachable, self._joints = not reachable, goal
        return self._point(goal, (later - goal) / 0.01)

    def _point(self, positions: np.ndarray, velocities: np.ndarray) -> Message:
        """A trajectory of one point."""
        profile = self._profile
        point = {
            "positions": positions.tolist(), "velocities": velocities.tolist(),
            "time_from_start": stamp_of(float(profile.command.get("ahead", 0.1))),
        }  # fmt: skip
        # A stamp of zero means "from now on": the controller's clock is not asked to agree with anybody's.
        zero = {"stamp": {"sec": 0, "nanosec": 0}, "frame_id": profile.frame}
        return {"header": zero, "joint_names": list(profile.joints["names"]), "points": [point]}


def _at_most(vector: np.ndarray, length: float) -> np.ndarray:
    size = float(np.linalg.norm(vector))
    return vector if size <= length else vector * (length / size)
