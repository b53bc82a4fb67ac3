"""The guard's settings, from a robot's profile."""

from __future__ import annotations

import dataclasses

from lohovla.control.motion_limits import MotionLimits
from lohovla.ros.guard.guard import GuardSettings
from lohovla.ros.robot.joint_trajectories import ENDS
from lohovla.ros.robot.robot_profile import Profile

_GUARD_HZ = 125.0  # how often the guard looks at most


def guard_settings(profile: Profile, limits: MotionLimits, enable: str) -> GuardSettings:
    """What the guard of a robot is told.

    Args:
        profile: of the robot.
        limits: of the control loop.
        enable: where the enable comes from: ``always``, or anything else for the topic.
    """
    return GuardSettings(
        kind=profile.command["kind"],
        topic=profile.command["topic"],
        gripper=dict(profile.gripper),
        frame=profile.frame,
        tool=profile.tool.get("topic") or "",
        joints=profile.joints.get("topic") or "",
        names=tuple(profile.joints["names"]),
        limits=dataclasses.asdict(limits),
        offset=dict(profile.tool.get("offset") or {}),
        moved=dict(profile.command.get("offset") or profile.tool.get("offset") or {}),
        joint_limits=dict(profile.guard.joint_limits),
        ttl=profile.guard.ttl,
        speed_tolerance=profile.guard.speed_tolerance,
        enable="always" if enable == "always" else "topic",
        enable_timeout=profile.max_age.enable,
        state_timeout=profile.max_age.state,
        lookahead=float(profile.command.get("lookahead", 0.1)),
        end=profile.command.get("end", ENDS[0]),
        controller_timeout=profile.command_timeout,
        brake=profile.guard.brake,
        hz=min(profile.command_hz, _GUARD_HZ),
    )
