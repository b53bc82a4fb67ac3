"""From a robot's cameras to the policy's ``top`` view: colour and height above the table, seen from above.

A camera's calibration is its intrinsics, from ``CameraInfo`` or the profile, and its pose in the robot's base frame,
from the profile. Pixel centres are whole numbers, as in OpenCV and ROS; the rest of this project has the corner of
the first pixel at 0, half a pixel away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lohovla.errors import UserError
from lohovla.geometry.height_map import rasterize
from lohovla.geometry.rotations import matrix_from_rotvec
from lohovla.ros.transport.message_types import Message
from lohovla.ros.vision.lens_distortion import distort, model_of


@dataclass(frozen=True)
class Calibration:
    """A camera that is known.

    Attributes:
        name: of the camera.
        width: pixels.
        height: pixels.
        intrinsics: (3, 3), with the corner of the first pixel at 0.
        distortion: coefficients of the model, in OpenCV's order; or none.
        position: of the optical centre in the base frame, m.
        rotation: (3, 3), the optical frame (z ahead, x right, y down) in the base frame.
        model: of the distortion: plumb_bob, rational_polynomial, equidistant; "" where nothing is bent.
    """

    name: str
    width: int
    height: int
    intrinsics: np.ndarray
    distortion: tuple[float, ...]
    position: tuple[float, float, float]
    rotation: np.ndarray
    model: str = "plumb_bob"

    @classmethod
    def from_message(cls, name: str, settings: Mapping[str, Any], info: Message | None) -> Calibration | None:
        """From a profile and, where that has no intrinsics, the camera's own info; None while that has not come.

        Raises:
            UserError: the profile does not say where the camera is, or its distortion is of a model that is not known.
        """
        if settings.get("position") is None or settings.get("rotation") is None:
            raise UserError(
                f"the profile does not say where camera {name} is",
                f"give robot.cameras.{name}.position and .rotation (docs/robots.md shows how to calibrate)",
            )
        given = settings.get("intrinsics")
        if given is not None:
            fx, fy, cx, cy = (float(v) for v in given["focal"] + given["centre"])
            width, height = (int(v) for v in given["size"])
            bent, model = given.get("distortion", ()), str(given.get("distortion_model", ""))
        elif info is not None and info["width"] and info["k"][0] > 0:
            k = info["k"]
            fx, fy, cx, cy, width, height = k[0], k[4], k[2], k[5], info["width"], info["height"]
            bent, model = info["d"], str(info["distortion_model"])
        else:
            return None
        matrix = np.array([[fx, 0.0, cx + 0.5], [0.0, fy, cy + 0.5], [0.0, 0.0, 1.0]])
        rotation = matrix_from_rotvec(np.asarray(settings["rotation"], float))
        x, y, z = (float(v) for v in settings["position"])
        bent = tuple(float(v) for v in bent)
        return cls(name, width, height, matrix, bent, (x, y, z), rotation, model_of(model, bent, name))

    def rays(self, every: int) -> np.ndarray:
        """What a metre of depth adds in the base frame (n, 3), for every ``every``-th pixel of rows and columns."""
        rows, columns = np.indices((self.height, self.width))[:, ::every, ::every].reshape(2, -1) + 0.5
        m = self.intrinsics
        ahead = np.stack([(columns - m[0, 2]) / m[0, 0], (rows - m[1, 2]) / m[1, 1], np.ones(len(rows))], 1)
        return (ahead @ self.rotation.T).astype(np.float32)

    def straightening(self) -> np.ndarray | None:
        """For each pixel of a picture without distortion, the flat index of the one to take; None without any.

        It is -1 where that lies outside of the picture.
        """
        if not self.model:
            return None
        rows, columns = np.indices((self.height, self.width)) + 0.5
        m = self.intrinsics
        x, y = (columns - m[0, 2]) / m[0, 0], (rows - m[1, 2]) / m[1, 1]
        u, v = distort(self.model, self.distortion, x, y)
        column = np.floor(u * m[0, 0] + m[0, 2]).astype(int)
        row = np.floor(v * m[1, 1] + m[1, 2]).astype(int)
        inside = (column >= 0) & (column < self.width) & (row >= 0) & (row < self.height)
        return np.where(inside, row * self.width + column, -1)


@dataclass(frozen=True)
class CameraView:
    """What one camera saw: its calibration, colour uint8 (H, W, 3), depth float32 (H, W) along its axis, metres."""

    camera: Calibration
    color: np.ndarray
    depth: np.ndarray


class TopView:
    """Makes the ``top`` view from calibrated RGB-D cameras, as training's ``top_source: fused`` does.

    Args:
        width: columns, along y.
        height: rows, along x.
        every: takes every n-th pixel only; a full picture has more points than the map has cells.
    """

    def __init__(self, width: int, height: int, every: int = 2):
        self._size, self._every = (height, width), every
        self._known: dict[str, tuple[Calibration, np.ndarray, np.ndarray | None]] = {}

    def __call__(self, views: Sequence[CameraView]) -> tuple[np.ndarray, np.ndarray]:
        """Colour uint8 (height, width, 3) and height above the table float32 (height, width), metres.

        A pixel without depth (0) is no point.

        Raises:
            UserError: a picture has another size than its calibration.
        """
        points, colors = zip(*(self._points(view) for view in views), strict=True)
        return rasterize(np.concatenate(points), np.concatenate(colors), *self._size)

    def _points(self, view: CameraView) -> tuple[np.ndarray, np.ndarray]:
        camera, color, depth = view.camera, view.color, view.depth
        if color.shape[:2] != (camera.height, camera.width) or depth.shape != color.shape[:2]:
            raise UserError(
                f"camera {camera.name} sends {color.shape[1]} x {color.shape[0]} colour and {depth.shape[1]} x "
                f"{depth.shape[0]} depth, its calibration is {camera.width} x {camera.height}",
                "use the depth topic that is aligned to colour, and the CameraInfo of that picture",
            )
        known = self._known.get(camera.name)
        if known is None or known[0] is not camera:
            known = self._known[camera.name] = camera, camera.rays(self._every), camera.straightening()
        _, rays, straight = known
        if straight is not None:
            color, depth = color.reshape(-1, 3)[straight], np.where(straight < 0, 0.0, depth.ravel()[straight])
        n = self._every
        depth, color = depth[::n, ::n].ravel(), color[::n, ::n].reshape(-1, 3)
        seen = depth > 0.0
        points = rays[seen] * depth[seen, None] + np.asarray(camera.position, np.float32)
        return points, color[seen]
