"""Looks at the newest pictures in a thread of its own: decodes them, and makes the policy's views."""

from __future__ import annotations

import logging
import math
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from lohovla.errors import UserError
from lohovla.geometry.depth import quantize_depth
from lohovla.ros.robot.robot_profile import CameraTopics, Profile
from lohovla.ros.transport.subscriptions import ReceivedMessage, Subscriber, Subscriptions
from lohovla.ros.vision.camera_placement import CameraPlacement
from lohovla.ros.vision.frame_tree import FrameTree
from lohovla.ros.vision.image_messages import BadImage, color_of, depth_of
from lohovla.ros.vision.top_view import Calibration, CameraView, TopView

_log = logging.getLogger("lohovla.ros")
_APART = 0.1  # s that colour and depth, or two cameras, may be apart
# Of the period of top views: servers drop what comes sooner after the last. A camera at one and a half times that rate
# passes whole, although its pictures come 10 ms early and late; with half of the period one in six of them was lost.
_THROTTLE = 0.35
DEPTH_STEP = 2e-5  # m, of the top view, as in training


@dataclass(frozen=True)
class CameraFrames:
    """What was seen at one time: pictures by the observation's keys, and when each was taken, on our clock."""

    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    stamps: dict[str, float] = field(default_factory=dict)


class _Camera:
    """The topics of one camera."""

    def __init__(
        self,
        name: str,
        topics: CameraTopics,
        feeds: Subscriptions,
        throttle: float,
        on_new: Callable[[], None],
        place: CameraPlacement,
    ):
        self.name, self.topics, self._place = name, topics, place
        kind = "sensor_msgs/CompressedImage" if topics.compressed else "sensor_msgs/Image"
        self.color = feeds.subscribe(topics.image, kind, throttle, on_new)
        self.depth: Subscriber | None = None
        self.info: Subscriber | None = None
        if topics.depth:
            packed = topics.depth.endswith("compressedDepth") or topics.depth.endswith("compressed")
            kind = "sensor_msgs/CompressedImage" if packed else "sensor_msgs/Image"
            self.depth = feeds.subscribe(topics.depth, kind, throttle, on_new)
        if topics.info and topics.intrinsics is None:
            self.info = feeds.subscribe(topics.info, "sensor_msgs/CameraInfo", 1.0)
        self._calibration: Calibration | None = None
        self._alike: dict[
            str, tuple[int, int, int]
        ] = {}  # of the last picture: order, fingerprint, how many are like it

    def note(self) -> None:
        """Compare the newest pictures, as they came, with those before them."""
        for name, feed in (("", self.color), (" depth", self.depth)):
            arrival = feed.newest if feed is not None else None
            if arrival is None:
                continue
            order, before, alike = self._alike.get(name, (-1, 0, 0))
            if arrival.order != order:
                print_ = zlib.crc32(arrival.message["data"])
                self._alike[name] = arrival.order, print_, alike + 1 if alike and print_ == before else 1

    def longest_unchanged(self) -> tuple[str, int]:
        """Which of its pictures has come most often in a row without a change, to the byte, and how often."""
        name, (_, _, count) = max(self._alike.items(), key=lambda item: item[1][2], default=("", (0, 0, 0)))
        return f"{self.name}{name}", count

    def calibration(self, frame: str) -> Calibration | None:
        """Its calibration, once everything is there.

        Args:
            frame: of the picture at hand.

        Raises:
            UserError: nobody says where the camera is, or that is not the frame that was calibrated, or it moved.
        """
        position, rotation = self._place(frame)
        if self._calibration is None:
            info = self.info.newest if self.info else None
            settings = {**vars(self.topics), "position": position, "rotation": rotation}
            self._calibration = Calibration.from_message(self.name, settings, info.message if info else None)
        return self._calibration

    def newest(self) -> tuple[ReceivedMessage, ReceivedMessage | None] | None:
        """Colour and the depth that belongs to it; None while one is missing or they are too far apart.

        The two come one after the other, over a network some time apart: the newest colour has no depth yet when it
        comes. The pair is chosen whose older half is newest, less how far the halves are apart.
        """
        if self.depth is None:
            return None if self.color.newest is None else (self.color.newest, None)
        pairs = [(color, depth) for color in self.color.recent for depth in self.depth.recent]
        apart = [abs(depth.taken - color.taken) for color, depth in pairs]
        worth = [
            min(color.taken, depth.taken) - gap if gap <= _APART else -math.inf
            for (color, depth), gap in zip(pairs, apart, strict=True)
        ]
        best = max(worth, default=-math.inf)
        return None if math.isinf(best) else pairs[worth.index(best)]


class CameraPipeline:
    """Keeps :attr:`sight` up to date.

    Args:
        profile: of the robot.
        feeds: to hear with.
        size: width and height of the top view, pixels.
        top: whether the policy, or a recording, needs the top view.

    Attributes:
        sight: what was seen last.
        trouble: what is wrong with the pictures that come, or "".
    """

    def __init__(self, profile: Profile, feeds: Subscriptions, size: tuple[int, int], top: bool = True):
        self._profile, self._size, self._top = profile, size, top and bool(profile.top_view_cameras)
        self._wake, self._closed = threading.Event(), False
        throttle = _THROTTLE / profile.image_hz
        frames = FrameTree(feeds) if any(topics.tf for topics in profile.cameras.values()) else None
        self.cameras = {
            name: _Camera(
                name, topics, feeds, throttle, self._wake.set, CameraPlacement(name, topics, profile.frame, frames)
            )
            for name, topics in profile.cameras.items()
        }
        self._fuse = TopView(*size, profile.top_view_stride)
        self.sight, self.trouble = CameraFrames(), ""
        self._seen: tuple[int, ...] = ()
        self._thread = threading.Thread(target=self._run, name="lohovla-eyes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        self._wake.set()
        self._thread.join(2.0)

    def camera_age(self, now: float) -> tuple[str, float]:
        """The camera whose newest picture is oldest, and how old that is, s."""
        ages = {name: camera.color.age(now) for name, camera in self.cameras.items()}
        ages |= {f"{n} depth": c.depth.age(now) for n, c in self.cameras.items() if c.depth is not None}
        return max(ages.items(), key=lambda item: item[1], default=("", 0.0))

    def frozen(self) -> str:
        """Which camera sends the same picture again and again, in words, or "". A real sensor has noise."""
        most = self._profile.frozen_camera_frames
        for camera in self.cameras.values():
            name, count = camera.longest_unchanged()
            if most and count >= most:
                return f"{name} is frozen: its last {count} pictures are alike to the byte"
        return ""

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            if self._closed:
                return
            try:
                self._look()
            except (BadImage, UserError, ValueError) as error:
                cause = error.cause if isinstance(error, UserError) else str(error)
                if cause != self.trouble:
                    _log.warning("pictures: %s", cause)
                self.trouble = cause

    def _look(self) -> None:
        for camera in self.cameras.values():
            camera.note()
        found = {name: camera.newest() for name, camera in self.cameras.items()}
        order = tuple(part.order if part else -1 for pair in found.values() for part in pair or (None, None))
        if order == self._seen:
            return
        pictures: dict[str, np.ndarray] = {}
        stamps: dict[str, float] = {}
        for name, pair in found.items():
            if pair is not None and name not in self._profile.top_view_cameras:
                pictures[f"images.{name}"] = color_of(pair[0].message)
                stamps[f"images.{name}"] = pair[0].taken
        if self._top and all(found[name] for name in self._profile.top_view_cameras):
            self._look_down(found, pictures, stamps)
        if not pictures:
            return
        self._seen, self.trouble = order, ""
        self.sight = CameraFrames(pictures, stamps)

    def _look_down(self, found: dict, pictures: dict[str, np.ndarray], stamps: dict[str, float]) -> None:
        names = self._profile.top_view_cameras
        views = []
        for name in names:
            color, depth = found[name]
            unit = self._profile.cameras[name].depth_unit
            height = None if depth is None else depth_of(depth.message, unit)
            views.append((self.cameras[name], color_of(color.message), height))
        if self._profile.top_view_source == "direct":
            _, picture, height = views[0]
            if height is None:
                height = np.zeros(picture.shape[:2], np.float32)
        else:
            frames = [found[name][0].message["header"]["frame_id"] for name in names]
            known = [(c.calibration(frame), p, h) for (c, p, h), frame in zip(views, frames, strict=True)]
            if any(calibration is None for calibration, _, _ in known):
                self.trouble = "no CameraInfo yet"
                return
            picture, height = self._fuse([CameraView(c, p, h) for c, p, h in known])  # type: ignore[arg-type]
        if picture.shape[:2] != (self._size[1], self._size[0]):
            raise BadImage(f"the top view is {picture.shape[1]} x {picture.shape[0]}, the policy wants {self._size}")
        pictures["images.top"], pictures["depth.top"] = picture, quantize_depth(height, DEPTH_STEP)
        oldest = min(part.taken for name in names for part in found[name] if part is not None)
        stamps["images.top"] = oldest
