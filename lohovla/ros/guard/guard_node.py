"""The guard as a node: its topics, its clock, and what it tells people."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from lohovla.errors import UserError
from lohovla.ros.guard.guard import COMMAND, GRIPPER, STATE, Guard, GuardSettings
from lohovla.ros.robot.gripper_commands import GripperCommander
from lohovla.ros.robot.joint_trajectories import COMMANDS
from lohovla.ros.transport.message_types import BadMessage, Message, header, seconds_of
from lohovla.ros.transport.namespace import full_name
from lohovla.ros.transport.transport import Subscription

_log = logging.getLogger("lohovla.guard")
_SAY_EVERY, _DIAGNOSE_EVERY = 0.1, 1.0  # s
_TOGETHER = 0.2  # s between the beginnings of two guards within which their names decide which is the first
_LEVELS = {"idle": 0, "relaying": 0, "braking": 1, "stopped": 1}


class GuardNode:
    """Runs a guard between the bridge's topics and the controllers'.

    It hears ``/lohovla/guarded/command`` and ``/lohovla/guarded/gripper``, ``/lohovla/enable``,
    ``/lohovla/emergency_stop``, ``/lohovla/release`` and ``/lohovla/emergency``, the tool's pose and the joints. It
    tells its state on ``/lohovla/guard`` ten times a second (JSON in a String), and on ``/diagnostics``. There it hears
    of another guard of the same robot, too: the one that began later ends.

    Args:
        transport: to ROS.
        settings: of the guard.

    Attributes:
        guard: the guard itself.
        name: of this guard among others.
        rival: another guard of this robot, which began earlier, or "".
    """

    def __init__(self, transport: Any, settings: GuardSettings):
        self._transport, self._settings, self.guard = transport, settings, Guard(settings)
        self.name, self.rival = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}", ""
        self._begun = time.monotonic()
        self._others: dict[str, float] = {}  # how long other guards have run, as they said last
        self._lock = threading.RLock()
        self._said = self._diagnosed = -1e9
        self._stamp, self._stamped = 0.0, 0.0  # the robot's newest stamp, and when it came
        self._gripper = GripperCommander(transport, settings.gripper)
        transport.advertise(settings.topic, COMMANDS[settings.kind])
        self._gripper.advertise()
        transport.advertise(STATE, "std_msgs/String")
        transport.advertise("/diagnostics", "diagnostic_msgs/DiagnosticArray")
        self._listen()

    def _listen(self) -> None:
        guard, hear = self.guard, self._hear
        hear(COMMAND, COMMANDS[self._settings.kind], self._take_command)
        hear(GRIPPER, "std_msgs/Float64", self._take_gripper)
        hear(STATE, "std_msgs/String", self._take_state)
        for name, take in (
            ("enable", lambda m, now: guard.hear_enable(m["data"], now)),
            ("emergency_stop", lambda m, now: m["data"] and guard.hear_emergency(True, now)),
            ("release", lambda m, now: m["data"] and guard.hear_emergency(False, now)),
            ("emergency", lambda m, now: guard.hear_emergency(m["data"], now, "bridge")),
        ):
            hear(f"/lohovla/{name}", "std_msgs/Bool", take, reliable=True, latched=name == "emergency")
        if self._settings.tool:
            hear(self._settings.tool, "geometry_msgs/PoseStamped", self._timed(guard.hear_tool))
        if self._settings.joints:
            hear(self._settings.joints, "sensor_msgs/JointState", self._timed(guard.hear_joints))

    def _timed(self, take: Callable[[Message, float], Any]) -> Callable[[Message, float], Any]:
        def timed(message: Message, now: float) -> None:
            self._stamp, self._stamped = seconds_of(message["header"]["stamp"]) or self._stamp, now
            take(message, now)

        return timed

    def _header(self, now: float) -> Message:
        """A header of this moment on the robot's clock: it may be simulated, or have been set."""
        seconds = self._stamp + now - self._stamped if self._stamp > 0.0 else time.time()
        return header(seconds, self._settings.frame)

    def _hear(self, topic: str, kind: str, take: Callable[[Message, float], Any], **quality: bool) -> None:
        def callback(message: Message) -> None:
            with self._lock:
                take(message, time.monotonic())

        self._transport.subscribe(Subscription(topic, kind, callback, **quality))

    def _take_command(self, message: Message, now: float) -> None:
        passed = self.guard.command(message, now)
        if passed is not None:
            self._tell(passed, now)

    def _tell(self, message: Message, now: float) -> None:
        """Tell the controller, stamped by its own clock: how old a command is was looked at here."""
        self._publish(self._settings.topic, {**message, "header": self._header(now)} if self.guard.stamped else message)

    def _take_gripper(self, message: Message, now: float) -> None:
        closed = self.guard.gripper(message["data"], now)
        if closed is not None:
            self._gripper.send(closed)

    def _take_state(self, message: Message, now: float) -> None:
        """What a guard says of itself: this one, or another. One that was killed may be heard once more, not twice."""
        try:
            said = json.loads(message["data"])
            name, age = str(said["guard"]), float(said["for"])
        except (ValueError, KeyError, TypeError):
            return
        if name == self.name:
            return
        before, self._others[name] = self._others.get(name, age), age
        earlier = age - (now - self._begun)
        if age > before and (earlier > _TOGETHER or (abs(earlier) <= _TOGETHER and name < self.name)):
            self.rival = name

    @property
    def topics(self) -> tuple[str, str]:
        """Where the controller hears it, and where it hears commands, as ROS has the names."""
        return full_name(self._transport, self._settings.topic), full_name(self._transport, COMMAND)

    def run(self, stop: threading.Event) -> None:
        """Watch until ``stop``; then bring the arm to rest before leaving.

        Raises:
            UserError: another guard has this robot: it does the rest.
        """
        period, due = 1.0 / self._settings.hz, time.monotonic()
        while not stop.is_set() or self.guard.state in ("relaying", "braking"):
            if stop.is_set():
                self.guard.shut_down(time.monotonic())
            self.tick(time.monotonic())
            if self.rival:
                topic = full_name(self._transport, STATE)
                raise UserError(
                    f"{self.rival} guards this robot already, it says on {topic}",
                    "end one of the two, or give each robot its own namespace (namespace=/left)",
                )
            due = max(due + period, time.monotonic())
            time.sleep(max(due - time.monotonic(), 0.0))

    def tick(self, now: float) -> None:
        """One look at everything."""
        with self._lock:
            message = self.guard.tick(now)
            events = self.guard.take_events()
            if message is not None:
                self._tell(message, now)
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
            "guard": self.name,
            "for": round(now - self._begun, 2),
            "state": guard.state,
            "cause": guard.cause,
            "waits_for": guard.waits_for(now),
            "refuses": guard.refuses(now),
            "passed": guard.passed,
            "refused": guard.refused,
        }

    def _diagnosis(self, now: float) -> Message:
        state = self._state(now)
        status = {
            "level": _LEVELS[state["state"]],
            "name": "lohovla: guard",
            "hardware_id": self._settings.topic,
            "message": f"{state['state']}; {state['waits_for'] or state['refuses'] or state['cause'] or 'all is well'}",
            "values": [{"key": key, "value": str(state[key])} for key in ("passed", "refused")],
        }
        return {"header": header(time.time()), "status": [status]}
