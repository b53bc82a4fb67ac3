"""Commands of the loop as the messages that a robot's controllers take."""

from __future__ import annotations

import numpy as np

from lohovla.control.motion_limits import MotionLimits
from lohovla.control.poses import compose_rotations
from lohovla.control.safety.command_receiver import Command
from lohovla.ros.robot.joint_trajectories import ENDS, trajectory
from lohovla.ros.robot.pose_conversion import inverse_offset, lever_of, point_of, pose_at_offset, pose_message
from lohovla.ros.robot.robot_profile import Profile
from lohovla.ros.robot.ur5e_tool_pose import joints_of_tool
from lohovla.ros.transport.message_types import Message, header


class ArmCommander:
    """Makes messages of one kind; which one the profile says.

    Poses and twists are of the frame that the controller moves (``Profile.moved_offset``; with MoveIt Servo the last
    link of its move group, a UR's ``tool0``), in the profile's frame. The loop's commands are of the tool's tip.

    Args:
        profile: of the robot.
        limits: velocities that a twist never exceeds.
    """

    def __init__(self, profile: Profile, limits: MotionLimits):
        self._profile, self._limits = profile, limits
        self._back = inverse_offset(profile.moved_offset)
        self._make = getattr(self, f"_{profile.command['kind']}")
        self._joints: np.ndarray | None = None
        self._joint_limits = profile.guard.joint_limits
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
        if kind == "joint_velocity":
            return {"data": [0.0] * len(self._profile.joints["names"])}
        if kind == "trajectory" and self._joints is not None:
            return self._trajectory_of(self._joints, np.zeros(len(self._joints)))
        return None

    def _pose(self, command: Command, measured: np.ndarray, joints: np.ndarray | None, seconds: float) -> Message:
        pose = pose_message(pose_at_offset(command.pose, self._back))
        return {"header": header(seconds, self._profile.frame), "pose": pose}

    def _twist(self, command: Command, measured: np.ndarray, joints: np.ndarray | None, seconds: float) -> Message:
        """Velocity of the command, and a share of what the arm is behind: the tip is no faster than the limits."""
        gain = float(self._profile.command.get("gain", 3.0))
        linear = command.velocity[:3] + gain * (command.pose[:3] - measured[:3])
        angular = command.velocity[3:] + gain * compose_rotations(command.pose[3:], -measured[3:])
        linear = _at_most(linear, self._limits.velocity)
        angular = _at_most(angular, self._limits.turn_velocity)
        moved = linear - np.cross(angular, lever_of(measured, self._back))
        twist = {"linear": point_of(moved), "angular": point_of(angular)}
        return {"header": header(seconds, self._profile.frame), "twist": twist}

    def _trajectory(self, command: Command, measured: np.ndarray, joints: np.ndarray | None, seconds: float) -> Message:
        return self._trajectory_of(*self._solve(command, joints))

    def _joint_position(
        self, command: Command, measured: np.ndarray, joints: np.ndarray | None, seconds: float
    ) -> Message:
        return {"data": self._solve(command, joints)[0].tolist()}

    def _joint_velocity(
        self, command: Command, measured: np.ndarray, joints: np.ndarray | None, seconds: float
    ) -> Message:
        """Speeds of the joints at the command, and a share of what they are behind: no faster than the limits."""
        gain = float(self._profile.command.get("gain", 3.0))
        goal, velocity = self._solve(command, joints)
        there, _ = joints_of_tool(measured, float(self._profile.tool["length"]), goal)
        most = float(self._joint_limits["velocity"])
        return {"data": np.clip(velocity + gain * (goal - there), -most, most).tolist()}

    def _solve(self, command: Command, joints: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Positions and velocities of the joints at a command, within their limits, (6,) each.

        Raises:
            ValueError: the joints were never heard, so that nobody knows on which side to look for them.
        """
        length = float(self._profile.tool["length"])
        near = self._joints if self._joints is not None else joints
        if near is None:
            raise ValueError(f"commands of the kind {self._profile.command['kind']} need the joint states")
        goal, reachable = joints_of_tool(command.pose, length, near)
        later, _ = joints_of_tool(command.pose + 0.01 * command.velocity, length, goal)
        low, high = (float(self._joint_limits[key]) for key in ("low", "high"))
        inside = bool(((goal >= low) & (goal <= high)).all())
        self.unreachable, self._joints = not (reachable and inside), np.clip(goal, low, high)
        return self._joints, (later - goal) / 0.01

    def _trajectory_of(self, positions: np.ndarray, velocities: np.ndarray) -> Message:
        profile, slow = self._profile, float(self._joint_limits["acceleration"])
        lookahead, end = float(profile.command.get("lookahead", 0.1)), profile.command.get("end", ENDS[0])
        points = trajectory(positions, velocities, lookahead, end, slow)
        # A stamp of zero means "from now on": the controller's clock is not asked to agree with anybody's.
        zero = {"stamp": {"sec": 0, "nanosec": 0}, "frame_id": profile.frame}
        return {"header": zero, "joint_names": list(profile.joints["names"]), "points": points}


def _at_most(vector: np.ndarray, length: float) -> np.ndarray:
    size = float(np.linalg.norm(vector))
    return vector if size <= length else vector * (length / size)
