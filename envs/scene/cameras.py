"""The cameras: where they stand, what they see, and their calibration as metadata.

``top`` is orthographic, as a fused height map is: rows run with x (the robot's side at the top of the
picture), columns with y (left is negative y), so that "top left" in a sentence is top left in the picture.
Perspective cameras follow the published poses. Poses are camera-to-base; the optical frame looks along
its +z with x to the right and y down, as in OpenCV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lohovla.mujoco_import import mujoco

_TOP_ALTITUDE = 1.2  # where the orthographic camera stands; only its ceiling matters


@dataclass(frozen=True)
class CameraModel:
    """A camera of the scene; ``fovy`` in degrees, or the height of the view in metres if orthographic."""

    name: str
    width: int
    height: int
    position: tuple[float, float, float]
    rotation: tuple[tuple[float, ...], ...]  # 3 x 3, optical frame (OpenCV) in the parent's frame
    fovy: float
    orthographic: bool = False
    parent: str = "world"

    @property
    def focal(self) -> float:
        """Focal length in pixels (a perspective camera)."""
        return self.height / 2 / math.tan(math.radians(self.fovy) / 2)

    @property
    def intrinsics(self) -> np.ndarray:
        """The 3 x 3 matrix from optical coordinates to pixels; for an orthographic camera, pixels a metre."""
        centre = (self.width / 2, self.height / 2)
        focal = self.height / self.fovy if self.orthographic else self.focal
        return np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1.0]])


def _published(roll: float, pitch: float, yaw: float) -> tuple[tuple[float, ...], ...]:
    """Rotation of a published camera (roll about x, then pitch about y, then yaw about z)."""
    quat = np.empty(4)
    mujoco.mju_euler2Quat(quat, np.array([roll, pitch, yaw]), "XYZ")
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, quat)
    return tuple(tuple(float(v) for v in row) for row in matrix.reshape(3, 3))


_FOVY_480 = math.degrees(2 * math.atan(240 / 450))  # 450 pixels of focal length at 480 rows
_LOOK_DOWN = ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
_PI = math.pi

CAMERAS: dict[str, CameraModel] = {
    camera.name: camera
    for camera in (
        CameraModel("top", 320, 160, (0.5, 0.0, _TOP_ALTITUDE), _LOOK_DOWN, 0.5, orthographic=True),
        CameraModel("front", 640, 480, (1.0, 0.0, 0.75), _published(_PI / 4, _PI, -_PI / 2), _FOVY_480),
        CameraModel("left", 640, 480, (0.0, 0.5, 0.75), _published(_PI / 4.5, _PI, _PI / 4), _FOVY_480),
        CameraModel("right", 640, 480, (0.0, -0.5, 0.75), _published(_PI / 4.5, _PI, 3 * _PI / 4), _FOVY_480),
        # On the wrist, beside the tool, tilted towards its tip.
        CameraModel(
            "wrist",
            128,
            128,
            (0.0, -0.075, 0.0),
            ((1.0, 0.0, 0.0), (0.0, math.cos(0.42), math.sin(0.42)), (0.0, -math.sin(0.42), math.cos(0.42))),
            70.0,
            parent="flange",
        ),
        # For people: the whole scene, a little from the side. Not a sensor of the robot.
        CameraModel("film", 640, 480, (1.55, -0.78, 1.05), ((0.0,) * 3,) * 3, 40.0),
    )
}
FILM_TARGET = (0.32, 0.02, 0.16)


def look_at(position: tuple[float, ...], target: tuple[float, ...]) -> np.ndarray:
    """Rotation of an optical frame at ``position`` that looks at ``target`` with the horizon level."""
    forward = np.subtract(target, position) / np.linalg.norm(np.subtract(target, position))
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward], axis=1)


def rotation_of(camera: CameraModel) -> np.ndarray:
    """The 3 x 3 rotation of the optical frame in the parent's frame."""
    if camera.name == "film":
        return look_at(camera.position, FILM_TARGET)
    return np.array(camera.rotation)


def add_camera(body: mujoco.MjsBody, camera: CameraModel) -> None:
    """Add ``camera`` to ``body``; MuJoCo's camera frame is the optical frame with y and z turned round."""
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, (rotation_of(camera) * [1, -1, -1]).ravel())
    spec = body.add_camera(name=camera.name, pos=camera.position, quat=quat, fovy=camera.fovy)
    if camera.orthographic:
        spec.proj = mujoco.mjtProjection.mjPROJ_ORTHOGRAPHIC
