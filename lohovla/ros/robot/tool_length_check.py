"""Whether the tool's length is counted once: the pose that the robot tells, against the joints."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np

from lohovla.ros.robot.ur5e_tool_pose import tool_of_joints

_log = logging.getLogger("lohovla.ros")


class ToolCheck:
    """A watcher of a session: pauses it before the first motion where two ways to the tool's tip disagree.

    A driver that tells the pose of a tool centre set elsewhere (a UR's, on the pendant) has the tool's length counted
    twice, or not at all, if ``tool.offset`` does not fit it. The way over the joints needs the UR5e's kinematics and
    ``tool.length`` only. A person who knows better presses start.

    Args:
        tool: the profile's ``tool``; ``check`` is how far apart the two may be, m, null for any.
    """

    def __init__(self, tool: Any):
        self._length, self._most = float(tool["length"]), float(tool.get("check") or math.inf)
        self._told, self.apart = bool(tool.get("topic")), 0.0
        self._done = False

    def __call__(self, session: Any) -> None:
        """Called after every look at the arm; looks while it has not moved."""
        if self._done or session.phase != "waiting" or not self._told:
            return
        told, joints = session.robot.measured(), session.robot.joints()
        if told is None or joints is None:
            return
        self._done = True
        computed = tool_of_joints(joints, self._length)
        self.apart = float(np.linalg.norm(told[:3] - computed[:3]))
        if self.apart > self._most:
            words = (
                f"the robot tells the tool's tip at {_point(told)} m, its joints with tool.length {self._length:g} m "
                f"give {_point(computed)}: {1000 * self.apart:.0f} mm apart"
            )
            _log.warning("%s. Is the length in both tool.offset and the pendant's TCP, or in neither? Paused", words)
            session.log.add(session.clock.now(), "tool in doubt", words)
            session.operator.pause()


def _point(pose: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in pose[:3]) + ")"
