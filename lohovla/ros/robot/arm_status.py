"""What a UR's driver tells of the arm: whether its program runs, what stopped it, how far the speed slider is down."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from lohovla.errors import SetupError
from lohovla.ros.transport.message_types import Message
from lohovla.ros.transport.transport import Subscription

_log = logging.getLogger("lohovla.ros")
_MOVES = (1, 2)  # of the safety modes: normal, reduced
_SAFETY = {
    3: "protective stop",
    4: "recovery mode",
    5: "safeguard stop",
    6: "emergency stop of the system",
    7: "emergency stop of the robot",
    8: "safety violation",
    9: "safety fault",
    10: "a joint is to be validated",
    11: "safety mode undefined",
    12: "safeguard stop in automatic mode",
    13: "three-position switch not held",
}
_RUNNING = 7  # of the robot modes
_MODES = {
    -1: "no controller",
    0: "disconnected",
    1: "safety to be confirmed",
    2: "booting",
    3: "power is off",
    4: "power is on, brakes are not released",
    5: "brakes are not released",
    6: "it is moved by hand",
    8: "firmware is updated",
}
_STILL = 1e-3  # of the speed scaling, whether it is a share or in per cent


def _safety(message: Message) -> str:
    mode = message["mode"]
    return "" if mode in _MOVES else _SAFETY.get(mode, f"safety mode {mode}")


def _mode(message: Message) -> str:
    mode = message["mode"]
    return "" if mode == _RUNNING else _MODES.get(mode, f"robot mode {mode}")


# In the order in which they count: the type of each topic, and what speaks against moving by a message of it.
STATUSES: Mapping[str, tuple[str, Callable[[Message], str]]] = {
    "safety": ("ur_dashboard_msgs/SafetyMode", _safety),
    "mode": ("ur_dashboard_msgs/RobotMode", _mode),
    "program": ("std_msgs/Bool", lambda m: "" if m["data"] else "the pendant's program does not run"),
    "scaling": ("std_msgs/Float64", lambda m: "" if m["data"] > _STILL else "the speed is scaled to 0"),
}


class ArmStatus:
    """Hears the topics of a profile's ``status``.

    A topic that never spoke says nothing: what it would tell, the arm shows by not following.

    Args:
        transport: to ROS.
        topics: by their names in :data:`STATUSES`; those that are not given or empty are not heard.
    """

    def __init__(self, transport: Any, topics: Mapping[str, str]):
        self._said: dict[str, str] = {}
        for name, (kind, judge) in STATUSES.items():
            if not topics.get(name):
                continue
            try:
                transport.subscribe(
                    Subscription(
                        topics[name],
                        kind,
                        self._ear(name, judge),
                        reliable=name != "scaling",
                        latched=name != "scaling",
                    )
                )
            except SetupError as error:  # a driver of another make: the arm moves without
                _log.warning("%s is not heard: %s", topics[name], error.cause)

    def _ear(self, name: str, judge: Callable[[Message], str]) -> Callable[[Message], None]:
        def hear(message: Message) -> None:
            self._said[name] = judge(message)

        return hear

    @property
    def fault(self) -> str:
        """Why the arm cannot move, by the first of them that says so, or ""."""
        return next((said for name in STATUSES if (said := self._said.get(name, ""))), "")
