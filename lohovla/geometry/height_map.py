"""The view from above, fused from perspective RGB-D cameras: what a robot without an orthographic camera has.

Each pixel becomes a point; each point falls into a cell of the map; the highest point of a cell wins, as in
Zeng et al., "Transporter Networks" (2020). Cells that no camera sees take the nearest seen neighbour's value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lohovla.envs.scene.cameras import TOP_CEILING, WORKSPACE, CameraModel, rotation_of

_FILL_ROUNDS = 4


def points_of(camera: CameraModel, depth: np.ndarray) -> np.ndarray:
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
    points = np.concatenate([points_of(camera, depth).reshape(-1, 3) for camera, _, depth in views])
    colors = np.concatenate([color.reshape(-1, 3) for _, color, _ in views])
    return rasterize(points, colors, height, width)


def rasterize(points: np.ndarray, colors: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """What points (n, 3) in the base frame, m, with colours uint8 (n, 3), look like from above; see :func:`fuse`."""
    (x0, x1), (y0, y1) = WORKSPACE[0], WORKSPACE[1]
    row = np.floor((points[:, 0] - x0) / (x1 - x0) * height).astype(int)
    column = np.floor((points[:, 1] - y0) / (y1 - y0) * width).astype(int)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    inside &= (points[:, 2] < TOP_CEILING) & (points[:, 2] > -0.02)
    cell = row[inside] * width + column[inside]
    z = points[inside, 2]
    order = np.argsort(z, kind="stable")  # the last write, the highest, stays
    top = np.full(height * width, np.nan, np.float32)
    picture = np.zeros((height * width, 3), np.uint8)
    top[cell[order]] = z[order]
    picture[cell[order]] = colors[inside][order]
    return _fill(picture.reshape(height, width, 3), top.reshape(height, width))


def _fill(picture: np.ndarray, top: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give unseen cells the value of a seen neighbour, a ring a round; what stays unseen is table."""
    for _ in range(_FILL_ROUNDS):
        if not np.isnan(top).any():
            break
        for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            near, tint = np.roll(top, shift, (0, 1)), np.roll(picture, shift, (0, 1))
            empty = np.isnan(top) & ~np.isnan(near)
            top = np.where(empty, near, top)
            picture = np.where(empty[..., None], tint, picture)
    return picture, np.maximum(np.nan_to_num(top, nan=0.0), 0.0).astype(np.float32)
