"""The guard as a node: its topics, its clock, and what it tells people."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from lohovla.ros.grippers import Gripper
from lohovla.ros.guard import COMMAND, GRIPPER, STATE, Guard, GuardSettings
from lohovla.ros.messages import BadMessage, Message, header
from lohovla.ros.transport import Subscription

_log = logging.getLogger("lohovla.guard")
_TYPES = {
    "pose": "geometry_msgs/PoseStamped",
    "twist": "geometry_msgs/TwistStamped",
    "trajectory": "trajectory_msgs/JointTrajectory",
}
_SAY_EVERY, _DIAGNOSE_EVERY = 0.1, 1.0  # s
_LEVELS = {"idle": 0, "relaying": 0, "braking": 1, "stopped": 1}


class GuardNode:
    """Runs a guard between the bridge's topics and the controllers'.

    It hears ``/lohovla/guarded/command`` and ``/lohovla/guarded/gripper``, ``/lohovla/enable``,
    ``/lohovla/emergency_stop``, ``/lohovla/release`` and ``/lohovla/emergency``, the tool's pose and the joints. It
    tells its state on ``/lohovla/guard`` ten times a second (JSON in a String), and on ``/diagnostics``.

    Args:
        transport: to ROS.
        settings: of the guard.
    """

    def __init__(self, transport: Any, settings: GuardSettings):
        self._transport, self._settings, self.guard = transport, settings, Guard(settings)
        self._lock = threading.RLock()
        self._said = self._diagnosed = -1e9
        self._gripper = Gripper(transport, settings.gripper)
        transport.advertise(settings.topic, _TYPES[settings.kind])
        self._gripper.advertise()
        transport.advertise(STATE, "std_msgs/String")
        transport.advertise("/diagnostics", "diagnostic_msgs/DiagnosticArray")
        self._listen()

    def _listen(self) -> None:
        guard, hear = self.guard, self._hear
        hear(COMMAND, _TYPES[self._settings.kind], self._take_command)
        hear(GRIPPER, "std_msgs/Float64", self._take_gripper)
        for name, take in (
            ("enable", lambda m, now: guard.hear_enable(m["data"], now)),
            ("emergency_stop", lambda m, now: m["data"] and guard.hear_emergency(True, now)),
            ("release", lambda m, now: m["data"] and guard.hear_emergency(False, now)),
            ("emergency", lambda m, now: guard.hear_emergency(m["data"], now, "bridge")),
        ):
            hear(f"/lohovla/{name}", "std_msgs/Bool", take, reliable=True)
        if self._settings.tool:
            hear(self._settings.tool, "geometry_msgs/PoseStamped", guard.hear_tool)
        if self._settings.joints:
            hear(self._settings.joints, "sensor_msgs/JointState", guard.hear_joints)

    def _hear(self, topic: str, kind: str, take: Callable[[Message, float], Any], reliable: bool = False) -> None:
        def callback(message: Message) -> None:
            with self._lock:
                take(message, time.monotonic())

        self._transport.subscribe(Subscription(topic, kind, callback, reliable=reliable))

    def _take_command(self, message: Message, now: float) -> None:
        passed = self.guard.command(message, now)
        if passed is not None:
            self._publish(self._settings.topic, passed)

    def _take_gripper(self, message: Message, now: float) -> None:
        closed = self.guard.gripper(message["data"], now)
        if closed is not None:
            self._gripper.send(closed)

    def run(self, stop: threading.Event) -> None:
        """Watch until ``stop``; then bring the arm to rest before leaving."""
        period, due = 1.0 / self._settings.hz, time.monotonic()
        while not stop.is_set() or self.guard.state in ("relaying", "braking"):
            if stop.is_set():
                self.guard.leave(time.monotonic())
            self.tick(time.monotonic())
            due = max(due + period, time.monotonic())
            time.sleep(max(due - time.monotonic(), 0.0))

    def tick(self, now: float) -> None:
        """One look at everything."""
        with self._lock:
            message = self.guard.tick(now)
            events = self.guard.news()
            if message is not None:
                if self._settings.kind != "trajectory":  # there a stamp of zero means at once
                    message["header"] = header(time.time(), self._settings.frame)
                self._publish(self._settings.topic, message)
        for event in events:
            _log.warning("%s: %s", event.kind, event.cause)
        if now - self._said >= _SAY_EVERY:
            self._said = now
            self._transport.publish(STATE, {"data": json.dumps(self._state(now))}, newest=True)
        if now - self._diagnosed >= _DIAGNOSE_EVERY:
            self._diagnosed = now
            self._transport.publish("/diagnostics", self._diagnosis(now), newest=True)

    def _publish(self, topic: str, message: Message) -> None:
        try:
            self._transport.publish(topic, message, newest=True)
        except BadMessage as error:
            _log.error("%s", error)

    def _state(self, now: float) -> dict[str, Any]:
        guard = self.guard
        return {
            "state": guard.state, "cause": guard.cause, "waits_for": guard.waits_for(now),
            "passed": guard.passed, "refused": guard.refused,
        }  # fmt: skip

    def _diagnosis(self, now: float) -> Message:
        state = self._state(now)
        status = {
            "level": _LEVELS[state["state"]], "name": "lohovla: guard", "hardware_id": self._settings.topic,
            "message": f"{state['state']}; {state['waits_for'] or state['cause'] or 'all is well'}",
            "values": [{"key": key, "value": str(state[key])} for key in ("passed", "refused")],
        }  # fmt: skip
        return {"header": header(time.time()), "status": [status]}
