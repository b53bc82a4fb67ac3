"""What people want of a running bridge: enable, start, pause, stop, goal, emergency stop."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from lohovla.ros.transport.message_types import Message
from lohovla.ros.transport.namespace import full_name
from lohovla.ros.transport.transport import Subscription

_log = logging.getLogger("lohovla.ros")
ROOT = "/lohovla"
ENABLES = ("topic", "page", "always")
_LONGEST_GOAL = 160
_AGAIN = 0.5  # s after which an emergency stop that stands already is told again


class OperatorInterface:
    """The wishes that stand. Safe from any thread; nothing here waits.

    Topics: ``enable`` (Bool, to be repeated), ``goal`` (String), ``start``, ``stop``, ``pause``, ``emergency_stop``
    (Bool). Services: ``start``, ``stop``, ``emergency_stop``, ``release`` (Trigger), ``pause`` (SetBool). The goal is
    a topic only: no standard service carries a string.

    Args:
        enable: where the enable comes from: ``topic``, ``page`` (the button there), or ``always``.
        timeout: s that an enable holds.
        goal: the goal sentence, or "".
        started: whether it may begin without being told to.

    Attributes:
        contradicted: whether the enable is held and let go by turns, as by two that send it.
    """

    def __init__(self, enable: str, timeout: float, goal: str, started: bool = True):
        self.enable, self._timeout = enable, timeout
        self.goal, self.goals = goal, 0  # counts how often it was set
        self.started, self.paused, self.ended = started, False, ""
        self.emergency = ""
        self._pressed = self._let_go = self._ignored = -math.inf
        self._stopped = -math.inf  # when the emergency stop was told last
        self.contradicted = False
        self._refused = ""
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

    def _hear_enable(self, held: bool) -> None:
        """Of several that send it, the one counts that lets go: the enable holds again when nobody has for a while."""
        now = time.monotonic()
        lately = now - self._let_go <= self._timeout
        if held and lately:
            self._ignored = now
        elif held:
            self.contradicted = False
            self.press()
        else:
            if lately and self._ignored > self._let_go and not self.contradicted:
                self.contradicted = True
                topic = full_name(self._transport, f"{ROOT}/enable")
                _log.warning("%s is held and let go by turns: do two nodes send it? It is not enabled", topic)
            self._let_go = now
            self.let_go()

    def set_goal(self, text: str) -> str:
        """Another goal; returns why it is none, or "". The same refusal again is not worth another line in the log."""
        text = " ".join(text.split())
        refused = "" if text else "it is empty"
        if len(text) > _LONGEST_GOAL:
            refused = f"it is {len(text)} characters long, at most {_LONGEST_GOAL} are understood"
        with self._lock:
            again, self._refused = refused == self._refused, refused
            if not refused:
                self.goal, self.goals = text, self.goals + 1
        if refused and not again:
            _log.warning("a goal is refused: %s", refused)
        return refused

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
        """Brake at once, and stay so until :meth:`release`; the first cause is kept, and said once."""
        first, now = not self.emergency, time.monotonic()
        self.emergency = self.emergency or cause
        self.on_emergency(self.emergency)
        if first:
            _log.warning("emergency stop: %s", cause)
        if first or now - self._stopped > _AGAIN:
            self._stopped = now
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
            "goal": ("std_msgs/String", lambda m: self.set_goal(m["data"])),
            "start": ("std_msgs/Bool", lambda m: m["data"] and self.start()),
            "stop": ("std_msgs/Bool", lambda m: m["data"] and self.stop("stop topic")),
            "pause": ("std_msgs/Bool", lambda m: self.pause(m["data"])),
            "emergency_stop": ("std_msgs/Bool", lambda m: m["data"] and self.emergency_stop("emergency_stop topic")),
        }
        if self.enable == "page":
            transport.advertise(f"{ROOT}/enable", "std_msgs/Bool")
        if self.enable == "topic":
            hear["enable"] = "std_msgs/Bool", lambda m: self._hear_enable(m["data"])
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
