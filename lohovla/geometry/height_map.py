"""The height map: what coloured points look like from above.

Each point falls into a cell of the map; the highest point of a cell wins, as in
Zeng et al., "Transporter Networks" (2020). Cells that no camera sees take the nearest seen neighbour's value.
"""

from __future__ import annotations

import numpy as np

from lohovla.geometry.workspace import TOP_CEILING, WORKSPACE

_FILL_ROUNDS = 4


def rasterize(points: np.ndarray, colors: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """What points (n, 3) in the base frame, m, with colours uint8 (n, 3), look like from above; at that many pixels."""
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
