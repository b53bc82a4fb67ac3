"""Where a camera is: as the profile says, or as ROS's frames do."""

from __future__ import annotations

from typing import Any

import numpy as np

from lohovla.errors import UserError
from lohovla.ros.robot.pose_conversion import matrix_of
from lohovla.ros.robot.robot_profile import CameraTopics
from lohovla.ros.vision.frame_tree import FrameTree

_MOVED, _TURNED = 0.005, 0.01  # m and rad that a camera that stands still may be from where it was at first


class CameraPlacement:
    """Where one camera's optical frame is in the robot's base frame.

    Args:
        name: of the camera.
        topics: of the camera.
        base: the robot's frame.
        frames: as ROS tells them, where the profile asks for them.
    """

    def __init__(self, name: str, topics: CameraTopics, base: str, frames: FrameTree | None):
        self._name, self._topics, self._base, self._frames = name, topics, base, frames
        self._first: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(self, frame: str) -> tuple[Any, Any]:
        """Position (3,) and rotation vector (3,) for a picture; None and None where the profile does not know.

        Args:
            frame: in the picture's header.

        Raises:
            UserError: it is another frame than the calibrated one, nothing connects it with the base, or it moved.
        """
        wanted, name = self._topics.frame, self._name
        if wanted and frame != wanted:
            raise UserError(
                f"camera {name} sends pictures of the frame {frame or '(none)'}, and {wanted} is calibrated",
                f"calibrate {frame or 'that frame'}, or correct robot.cameras.{name}.frame",
            )
        if not self._topics.tf or self._frames is None:
            return self._topics.position, self._topics.rotation
        if not frame:
            raise UserError(
                f"the pictures of camera {name} name no frame", f"give robot.cameras.{name}.position and .rotation"
            )
        position, rotation = self._frames.lookup(self._base, frame)
        if self._first is None:
            self._first = position, rotation
        moved = float(np.linalg.norm(position - self._first[0]))
        cosine = (np.trace(matrix_of(self._first[1]).T @ matrix_of(rotation)) - 1.0) / 2.0
        turned = float(np.arccos(np.clip(cosine, -1.0, 1.0)))
        if moved > _MOVED or turned > _TURNED:
            raise UserError(
                f"the frame {frame} moved in {self._base} by {1000 * moved:.0f} mm and {turned:.3f} rad",
                "a top view needs fixed cameras: fix the camera, calibrate it and start again",
            )
        return self._first
