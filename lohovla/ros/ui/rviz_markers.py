"""What a run intends, for RViz: the path ahead, where it picks and places, the workspace, the sub-task."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lohovla.control.motion_limits import MotionLimits
from lohovla.errors import SetupError
from lohovla.ros.robot.pose_conversion import point_of
from lohovla.ros.transport.message_types import BadMessage, Message, header

_log = logging.getLogger("lohovla.ros")
TOPIC, KIND = "/lohovla/markers", "visualization_msgs/MarkerArray"
_EVERY = 0.2  # s
_SPHERE, _LINE_STRIP, _LINE_LIST, _TEXT = 2, 4, 5, 9  # kinds of visualization_msgs/Marker
_ADD, _DELETE = 0, 2
_CLOSED = 0.5  # the gripper's command from which it holds
_PATH, _BOX, _PICK, _PLACE, _WORDS = (0.2, 0.6, 1.0), (0.6, 0.6, 0.6), (0.1, 0.8, 0.3), (1.0, 0.6, 0.1), (1.0, 1.0, 1.0)
_ABOVE = 0.12  # m that the words are above the tool


class RvizMarkers:
    """A watcher of a session that publishes ``/lohovla/markers``, five times a second, in the robot's base frame.

    Names: ``workspace`` (the limits, where they are finite), ``path`` (the newest chunk, from now on), ``pick`` and
    ``place`` (where the gripper closes and opens: 0 is what the chunk intends, 1 what was done last), ``subtask``.
    Stamps are zero: RViz then takes the newest frames.

    Args:
        transport: to ROS.
        frame: the robot's base frame.
        limits: of the tool.
    """

    def __init__(self, transport: Any, frame: str, limits: MotionLimits):
        self._transport, self._frame, self._limits = transport, frame, limits
        self._next, self._closed = -math.inf, False
        self._done: dict[str, np.ndarray | None] = {"pick": None, "place": None}
        self._works = True
        try:
            transport.advertise(TOPIC, KIND)
        except SetupError as error:  # nobody but RViz needs them
            self._works = False
            _log.warning("no markers: %s; %s", error.cause, error.remedy)

    def __call__(self, session: Any) -> None:
        """Called after every look at the arm."""
        command = session.commanded
        if command is None:
            self._done = {"pick": None, "place": None}  # another run
        elif (command.gripper >= _CLOSED) != self._closed:
            self._closed = not self._closed
            self._done["pick" if self._closed else "place"] = np.array(command.pose[:3])
        now = session.clock.now()
        if now < self._next or not self._works:
            return
        self._next = now + _EVERY
        try:
            self._transport.publish(TOPIC, {"markers": self.markers(session, now)}, newest=True)
        except BadMessage as error:
            _log.warning("markers: %s", error)

    def markers(self, session: Any, now: float) -> list[Message]:
        """All markers at a moment of the loop's clock."""
        ahead, grips = self._ahead(session, now)
        found = [self._workspace(), self._line("path", ahead)]
        for name, color in (("pick", _PICK), ("place", _PLACE)):
            found.append(self._sphere(name, 0, grips[name], color, 0.5))
            found.append(self._sphere(name, 1, self._done[name], color, 1.0))
        pose = session.robot.measured()
        found.append(self._words(session.subtask, None if pose is None else pose[:3]))
        return found

    def _ahead(self, session: Any, now: float) -> tuple[list[np.ndarray], dict[str, np.ndarray | None]]:
        """What of the newest chunk is ahead (n, 3), and where in it the gripper closes and opens first."""
        chunk, command = session.loop.trajectory.newest_chunk, session.commanded
        grips: dict[str, np.ndarray | None] = {"pick": None, "place": None}
        if chunk is None or command is None or session.phase != "running":
            return [], grips
        left = [k for k, time in enumerate(chunk.times) if time > now and k > 0]
        grippers = [command.gripper, *(chunk.actions[k - 1, 6] for k in left)]
        for k, (before, after) in zip(left, itertools.pairwise(grippers), strict=True):
            if (before >= _CLOSED) != (after >= _CLOSED):
                name = "pick" if after >= _CLOSED else "place"
                if grips[name] is None:
                    grips[name] = chunk.values[k, :3]
        return [np.asarray(command.pose[:3]), *(chunk.values[k, :3] for k in left)], grips

    def _marker(self, ns: str, number: int, kind: int, color: Sequence[float], alpha: float, size: float) -> Message:
        return {
            "header": header(0.0, self._frame),
            "ns": ns,
            "id": number,
            "type": kind,
            "action": _ADD,
            "scale": {"x": size, "y": size, "z": size},
            "color": dict(zip("rgba", [*color, alpha], strict=True)),
        }

    def _gone(self, ns: str, number: int = 0) -> Message:
        return {"header": header(0.0, self._frame), "ns": ns, "id": number, "action": _DELETE}

    def _line(self, ns: str, points: list[np.ndarray]) -> Message:
        if len(points) < 2:
            return self._gone(ns)
        return {**self._marker(ns, 0, _LINE_STRIP, _PATH, 1.0, 0.004), "points": [point_of(p) for p in points]}

    def _sphere(self, ns: str, number: int, place: np.ndarray | None, color: Sequence[float], alpha: float) -> Message:
        if place is None:
            return self._gone(ns, number)
        marker = self._marker(ns, number, _SPHERE, color, alpha, 0.03)
        return {**marker, "pose": {"position": point_of(place)}}

    def _words(self, text: str, place: np.ndarray | None) -> Message:
        if not text or place is None:
            return self._gone("subtask")
        marker = self._marker("subtask", 0, _TEXT, _WORDS, 1.0, 0.03)
        return {**marker, "text": text, "pose": {"position": point_of(place + np.array([0.0, 0.0, _ABOVE]))}}

    def _workspace(self) -> Message:
        """The twelve edges of the box."""
        sides = list(zip(self._limits.low, self._limits.high, strict=True))
        if not np.isfinite(sides).all():
            return self._gone("workspace")
        corners = [np.array(corner, float) for corner in itertools.product(*sides)]
        edges = [(a, b) for a, b in itertools.combinations(corners, 2) if (a != b).sum() == 1]
        marker = self._marker("workspace", 0, _LINE_LIST, _BOX, 0.8, 0.003)
        return {**marker, "points": [point_of(end) for edge in edges for end in edge]}
