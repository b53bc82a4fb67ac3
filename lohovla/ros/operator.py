"""What people want of a running bridge: enable, start, pause, stop, goal, emergency stop."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from lohovla.ros.messages import Message
from lohovla.ros.transport import Subscription

_log = logging.getLogger("lohovla.ros")
ROOT = "/lohovla"
ENABLES = ("topic", "page", "always")
_LONGEST_GOAL = 160


class Operator:
    """The wishes that stand. Safe from any thread; nothing here waits.

    Topics: ``enable`` (Bool, to be repeated), ``goal`` (String), ``start``, ``stop``, ``pause``, ``emergency_stop``
    (Bool). Services: ``start``, ``stop``, ``emergency_stop``, ``release`` (Trigger), ``pause`` (SetBool). The goal is
    a topic only: no standard service carries a string.

    Args:
        enable: where the enable comes from: ``topic``, ``page`` (the button there), or ``always``.
        timeout: s that an enable holds.
        goal: the goal sentence, or "".
        started: whether it may begin without being told to.
    """

    def __init__(self, enable: str, timeout: float, goal: str, started: bool = True):
        self.enable, self._timeout = enable, timeout
        self.goal, self.goals = goal, 0  # counts how often it was set
        self.started, self.paused, self.ended = started, False, ""
        self.emergency = ""
        self._pressed = -math.inf
        self._transport: Any = None
        self._lock = threading.Lock()
        self.on_emergency: Callable[[str], None] = lambda cause: None

    # -- wishes --------------------------------------------------------------------------------------------

    def press(self) -> None:
        """Somebody holds the enable."""
        self._pressed = time.monotonic()
        if self.enable == "page" and self._transport is not None:  # the guard on the robot's side wants to know
            self._transport.publish(f"{ROOT}/enable", {"data": True}, newest=True)

    def let_go(self) -> None:
        """The enable is let go."""
        self._pressed = -math.inf
        if self.enable == "page" and self._transport is not None:
            self._transport.publish(f"{ROOT}/enable", {"data": False}, newest=True)

    def enabled(self, now: float) -> bool:
        """Whether the arm may move for all that the operator says."""
        return self.enable == "always" or now - self._pressed <= self._timeout

    def set_goal(self, text: str) -> bool:
        """Another goal; returns whether it is one."""
        text = " ".join(text.split())
        if not text or len(text) > _LONGEST_GOAL:
            return False
        with self._lock:
            self.goal, self.goals = text, self.goals + 1
        return True

    def start(self) -> None:
        """Begin, or go on after a pause."""
        self.started, self.paused = True, False

    def pause(self, wanted: bool = True) -> None:
        """Hold still, or go on."""
        self.paused = wanted

    def stop(self, cause: str) -> None:
        """End the run: brake, then leave."""
        self.ended = self.ended or cause

    def emergency_stop(self, cause: str) -> None:
        """Brake at once, and stay so until :meth:`release`."""
        self.emergency = self.emergency or cause
        self.on_emergency(cause)
        self._say_emergency()

    def release(self) -> None:
        """A person says that it may go on; it goes on paused."""
        if self.emergency:
            self.emergency, self.paused = "", True
        self._say_emergency()
        if self._transport is not None:  # the guard on the robot's side has heard the button itself
            self._transport.publish(f"{ROOT}/release", {"data": True})

    # -- over ROS ------------------------------------------------------------------------------------------

    def attach(self, transport: Any) -> None:
        """Hear the topics and answer the services."""
        self._transport = transport
        hear = {
            "goal": ("std_msgs/String", lambda m: self.set_goal(m["data"]) or _log.warning("a goal that is none")),
            "start": ("std_msgs/Bool", lambda m: m["data"] and self.start()),
            "stop": ("std_msgs/Bool", lambda m: m["data"] and self.stop("stop topic")),
            "pause": ("std_msgs/Bool", lambda m: self.pause(m["data"])),
            "emergency_stop": ("std_msgs/Bool", lambda m: m["data"] and self.emergency_stop("emergency_stop topic")),
        }
        if self.enable == "page":
            transport.advertise(f"{ROOT}/enable", "std_msgs/Bool")
        if self.enable == "topic":
            hear["enable"] = "std_msgs/Bool", lambda m: self.press() if m["data"] else self.let_go()
        for name, (kind, callback) in hear.items():
            transport.subscribe(Subscription(f"{ROOT}/{name}", kind, callback, reliable=True))
        transport.advertise(f"{ROOT}/emergency", "std_msgs/Bool", latch=True)
        transport.advertise(f"{ROOT}/release", "std_msgs/Bool")
        self._say_emergency()
        for name, action in {
            "start": self.start,
            "stop": lambda: self.stop("stop service"),
            "emergency_stop": lambda: self.emergency_stop("emergency_stop service"),
            "release": self.release,
        }.items():
            transport.offer(f"{ROOT}/{name}", "std_srvs/Trigger", _trigger(name, action))
        transport.offer(f"{ROOT}/pause", "std_srvs/SetBool", self._pause_service)

    def _pause_service(self, request: Message) -> Message:
        self.pause(request["data"])
        return {"success": True, "message": "paused" if self.paused else "going on"}

    def _say_emergency(self) -> None:
        if self._transport is not None:
            self._transport.publish(f"{ROOT}/emergency", {"data": bool(self.emergency)})


def _trigger(name: str, action: Callable[[], None]) -> Callable[[Message], Message]:
    def answer(request: Message) -> Message:
        action()
        return {"success": True, "message": name.replace("_", " ")}

    return answer
