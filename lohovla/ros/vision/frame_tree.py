"""Frames as ROS tells them, on ``/tf_static`` and ``/tf``, and where one is in another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lohovla.errors import UserError
from lohovla.ros.robot.pose_conversion import (
    BadPose,
    matrix_of,
    quaternion_of,
    rotvec_of,
    rotvec_of_quaternion,
    vector_of,
)
from lohovla.ros.transport.message_types import Message, header
from lohovla.ros.transport.subscriptions import Subscriptions

STATIC, MOVING, KIND = "/tf_static", "/tf", "tf2_msgs/TFMessage"
_PATIENCE = 2.0  # s that static frames have to connect two; then moving ones are heard too, which are many
_LONGEST = 100  # frames from a leaf to its root
_SHOWN = 8  # frames in an error


class FrameTree:
    """Hears frames, and tells where one is in another.

    ``/tf`` is heard only if ``/tf_static`` does not connect what is asked for: it has hundreds of messages a second.

    Args:
        feeds: to hear with.
        now: a clock, s.
    """

    def __init__(self, feeds: Subscriptions, now: Callable[[], float] = time.monotonic):
        self._feeds, self._now, self._began, self._all = feeds, now, now(), False
        self._parents: dict[str, tuple[str, np.ndarray, np.ndarray]] = {}  # parent, position, rotation in it
        self._lock = threading.Lock()
        feeds.listen(STATIC, KIND, self.take, latched=True)

    def take(self, message: Message) -> None:
        """Keep the transforms of a message; one that is none is left out."""
        for one in message["transforms"]:
            try:
                rotation = matrix_of(rotvec_of_quaternion(one["transform"]["rotation"]))
            except BadPose:
                continue
            position = vector_of(one["transform"]["translation"])
            if np.isfinite(position).all():
                with self._lock:
                    self._parents[_bare(one["child_frame_id"])] = _bare(one["header"]["frame_id"]), position, rotation

    def lookup(self, target: str, source: str) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,), m, and rotation vector (3,) of the frame ``source`` in the frame ``target``.

        Raises:
            UserError: nothing connects them so far; it names the frames, and what each hangs on.
        """
        with self._lock:
            parents = dict(self._parents)
        known = set(parents) | {parent for parent, _, _ in parents.values()}
        up, down = _chain(parents, _bare(source)), _chain(parents, _bare(target))
        if _bare(source) in known and _bare(target) in known and up[-1][0] == down[-1][0]:
            (_, position, rotation), (_, origin, turned) = up[-1], down[-1]
            return turned.T @ (position - origin), rotvec_of(turned.T @ rotation)
        if not self._all and self._now() - self._began > _PATIENCE:
            self._all = True
            self._feeds.listen(MOVING, KIND, self.take)
        raise UserError(_why(known, _bare(target), _bare(source), up[-1][0], down[-1][0]), _HELP)


_HELP = (
    "have it published (ros2 run tf2_ros static_transform_publisher ... --frame-id PARENT --child-frame-id CHILD), "
    "or give robot.cameras.*.position and .rotation (docs/robots.md)"
)


def _chain(parents: Mapping[str, tuple[str, np.ndarray, np.ndarray]], frame: str) -> list[tuple[str, Any, Any]]:
    """The frames from one to its root, each with where the first is in it."""
    position, rotation, found = np.zeros(3), np.eye(3), [(frame, np.zeros(3), np.eye(3))]
    while frame in parents and len(found) < _LONGEST:
        frame, offset, turn = parents[frame]
        position, rotation = offset + turn @ position, turn @ rotation
        found.append((frame, position, rotation))
    return found


def _why(known: set[str], target: str, source: str, up: str, down: str) -> str:
    if not known:
        return f"no frames have come on {STATIC}; {source} in {target} is asked for"
    for frame in (target, source):
        if frame not in known:
            names = sorted(known)
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            return f"there is no frame {frame}; there are {', '.join(names[:_SHOWN])}{more}"
    return f"the frames {target} and {source} are not connected: {target} hangs on {down}, {source} on {up}"


def _bare(frame: str) -> str:
    """A frame's name without the slash that ROS 1 once put before it."""
    return frame.lstrip("/")


def static_transform(parent: str, child: str, position: np.ndarray, rotation: np.ndarray, seconds: float) -> Message:
    """A ``geometry_msgs/TransformStamped``: where ``child`` is in ``parent``.

    Args:
        parent: a frame.
        child: a frame.
        position: (3,), m.
        rotation: vector (3,), rad.
        seconds: the stamp, s since the epoch.
    """
    translation = dict(zip("xyz", np.asarray(position, float).tolist(), strict=True))
    transform = {"translation": translation, "rotation": quaternion_of(np.asarray(rotation, float))}
    return {"header": header(seconds, parent), "child_frame_id": child, "transform": transform}
