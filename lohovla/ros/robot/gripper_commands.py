"""Gripper commands: a number, a switch, or the standard action. Runs on the robot's side too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lohovla.ros.transport.message_types import Message

ACTION = "action"
GRIPPERS = {
    "array": "std_msgs/Float64MultiArray",
    "number": "std_msgs/Float64",
    "bool": "std_msgs/Bool",
    ACTION: "control_msgs/GripperCommand",
}


def gripper_message(gripper: Mapping[str, Any], closed: float) -> Message:
    """The message, or the action's goal, for a gripper that is to be ``closed``, 0 to 1."""
    kind = gripper["kind"]
    if kind == "bool":
        return {"data": closed >= 0.5}
    low, high = float(gripper.get("open", 0.0)), float(gripper.get("closed", 1.0))
    position = low + (high - low) * min(max(closed, 0.0), 1.0)
    if kind == "array":
        return {"data": [position]}
    if kind == "number":
        return {"data": position}
    return {"command": {"position": position, "max_effort": float(gripper.get("effort", 0.0))}}


class GripperCommander:
    """A gripper that is commanded as a profile's ``gripper`` says.

    Args:
        transport: to ROS.
        settings: ``kind`` (one of :data:`GRIPPERS`), ``topic``, ``open``, ``closed``, ``effort``.
    """

    def __init__(self, transport: Any, settings: Mapping[str, Any]):
        self._transport, self._settings, self.topic = transport, settings, str(settings["topic"])

    def advertise(self) -> None:
        """Say that commands will come."""
        if self._settings["kind"] != ACTION:
            self._transport.advertise(self.topic, GRIPPERS[self._settings["kind"]])

    def message(self, closed: float) -> Message:
        """The command for ``closed``, 0 to 1."""
        return gripper_message(self._settings, closed)

    def send(self, closed: float) -> None:
        """Send it, without waiting."""
        if self._settings["kind"] == ACTION:
            self._transport.act(self.topic, GRIPPERS[ACTION], self.message(closed))
        else:
            self._transport.publish(self.topic, self.message(closed), newest=True)
