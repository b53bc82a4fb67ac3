"""The view from above, fused from perspective RGB-D cameras: what a robot without an orthographic camera has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lohovla.envs.scene.cameras import CameraModel, rotation_of
from lohovla.geometry.height_map import rasterize


def point_cloud(camera: CameraModel, depth: np.ndarray) -> np.ndarray:
    """Points (H, W, 3) in the base frame of a depth map (H, W) along the optical axis, both in metres.

    The camera must be fixed to the world and perspective, at the resolution of ``depth``.
    """
    rows, columns = np.indices(depth.shape)
    focal_x, focal_y = camera.intrinsics[0, 0], camera.intrinsics[1, 1]
    centre_x, centre_y = camera.intrinsics[0, 2], camera.intrinsics[1, 2]
    rays = np.stack([(columns + 0.5 - centre_x) / focal_x, (rows + 0.5 - centre_y) / focal_y, np.ones_like(depth)], -1)
    return (rays * depth[..., None]) @ rotation_of(camera).T + np.array(camera.position)


def fuse(
    views: Sequence[tuple[CameraModel, np.ndarray, np.ndarray]], height: int = 160, width: int = 320
) -> tuple[np.ndarray, np.ndarray]:
    """Colour and height seen from above.

    Args:
        views: (camera, colour uint8 (h, w, 3), depth float32 (h, w) in metres) of each camera.
        height: rows of the map, along x of the workspace.
        width: columns of the map, along y.

    Returns:
        Colour uint8 (height, width, 3) and height above the table float32 (height, width) in metres.
    """
    points = np.concatenate([point_cloud(camera, depth).reshape(-1, 3) for camera, _, depth in views])
    colors = np.concatenate([color.reshape(-1, 3) for _, color, _ in views])
    return rasterize(points, colors, height, width)
