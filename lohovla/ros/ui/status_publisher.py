"""What the bridge tells people and other programs, over ROS."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import numpy as np

from lohovla.ros.session.exclusive_control import STATE
from lohovla.ros.transport.message_types import Message, header
from lohovla.ros.vision.image_messages import compressed, image

_PERIOD, _DIAGNOSE_EVERY = 0.1, 1.0  # s
_OK, _WARN, _ERROR = 0, 1, 2
_TOPICS = {
    "subtask": ("std_msgs/String", True),
    "progress": ("std_msgs/Float64", False),
    "latency": ("std_msgs/Float64", False),
    "event": ("std_msgs/String", False),
    "subgoal/compressed": ("sensor_msgs/CompressedImage", True),
    "subgoal": ("sensor_msgs/Image", True),  # for RViz
}


class StatusPublisher:
    """Publishes a session's state from a thread of its own.

    Topics under ``/lohovla``: ``state`` (everything, as JSON), ``subtask``, ``progress`` (0 to 1), ``latency`` (s,
    from picture to chunk), ``event`` (one line each), ``subgoal`` and ``subgoal/compressed`` (the picture that the
    sub-task should lead to, if the policy has one); and ``/diagnostics``.

    Args:
        session: whose.
        transport: to ROS.
    """

    def __init__(self, session: Any, transport: Any):
        self._session, self._transport = session, transport
        transport.advertise(STATE, "std_msgs/String")
        transport.advertise("/diagnostics", "diagnostic_msgs/DiagnosticArray")
        for name, (kind, latch) in _TOPICS.items():
            transport.advertise(f"/lohovla/{name}", kind, latch)
        self._subtask, self._events, self._subgoal, self._diagnosed = "", 0, None, 0.0
        self._log: Any = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lohovla-reporter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Say the last of it, and no more."""
        self._stop.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        while not self._stop.wait(_PERIOD):
            self.publish_changes()
        self.publish_changes()

    def publish_changes(self) -> None:
        """Publish what is new."""
        state = self._session.snapshot()
        self._say("state", {"data": json.dumps(state)})
        self._say("progress", {"data": float(state["progress"])})
        if state["latency_ms"] is not None:
            self._say("latency", {"data": state["latency_ms"] / 1000.0})
        if state["subtask"] != self._subtask:
            self._subtask = state["subtask"]
            self._say("subtask", {"data": self._subtask})
        self._tell_events()
        self._tell_subgoal(self._session.loop.subgoal)
        now = time.monotonic()
        if now - self._diagnosed >= _DIAGNOSE_EVERY:
            self._diagnosed = now
            self._transport.publish("/diagnostics", diagnosis(state, time.time()), newest=True)
            # Latched messages of rosbridge on ROS 2 expire after a second: a guard that starts later must hear it too.
            self._say("emergency", {"data": bool(state["emergency"])})

    def _say(self, name: str, message: Message) -> None:
        self._transport.publish(f"/lohovla/{name}", message, newest=name in ("state", "progress", "latency"))

    def _tell_events(self) -> None:
        log = self._session.log
        if log is not self._log:
            self._log, self._events = log, 0
        for event in log.events[self._events :]:
            self._say("event", {"data": f"{event.time:.2f} s {event.kind}: {event.cause}"})
            self._events += 1

    def _tell_subgoal(self, picture: np.ndarray | None) -> None:
        if picture is not None and picture is not self._subgoal:
            self._say("subgoal/compressed", compressed(picture, "png", time.time(), "top_optical"))
            self._say("subgoal", image(picture, "rgb8", time.time(), "top_optical"))
        self._subgoal = picture


def diagnosis(state: dict[str, Any], seconds: float) -> Message:
    """A session's snapshot as ``diagnostic_msgs/DiagnosticArray``: connection, arm and cameras, model, safety.

    Args:
        state: from ``RobotSession.snapshot``.
        seconds: the stamp, s since the epoch.
    """

    def status(name: str, level: int, message: str, **values: Any) -> Message:
        pairs = [{"key": key, "value": str(value)} for key, value in values.items()]
        return {"level": level, "name": f"lohovla: {name}", "message": message, "hardware_id": "", "values": pairs}

    lost = state["fault"]
    stopped = bool(state["emergency"])
    parts = [
        status(
            "robot",
            _ERROR if lost else _OK,
            state["waits_for"] if lost else "state and pictures are fresh",
            picture_age_ms=state["picture_age_ms"],
            clock_offset_s=state["clock_offset_s"],
        ),
        status(
            "policy",
            _OK,
            state["subtask"] or state["phase"],
            progress=state["progress"],
            latency_ms=state["latency_ms"],
            goal=state["goal"],
        ),
        status(
            "safety",
            _ERROR if stopped else _WARN if state["waits_for"] else _OK,
            state["emergency"] or state["waits_for"] or "the arm may move",
            events=state["event_count"],
            enabled=state["enabled"],
            paused=state["paused"],
            guard=state["guard"],
        ),
    ]
    return {"header": header(seconds), "status": parts}
