"""A sub-task's move on the picture itself: the picked square of pixels, taken away and set down at the place."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lohovla.model.configuration import DEPTH_UNIT, LoHoVLAConfig

SHRINK = 2  # of the camera's picture
PATCH = 2  # latents along the square that is a token
FACTOR = 8  # of the autoencoder, from pixels to latents
_MARGIN = 0.001  # m, around the square
_RIM, _AROUND = 0.006, 0.012  # m beyond the square: what is painted over, and where that is looked up
_SIDE = 5  # places looked at on each side
NEAR_DIM = 2 * 13


def token_grid(config: LoHoVLAConfig) -> tuple[int, int]:
    """Rows and columns of image tokens."""
    rows, columns = (size // (SHRINK * FACTOR * PATCH) for size in config.picture_size)
    return rows, columns


def table_to_pixels(config: LoHoVLAConfig, xy: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Rows and columns (..., 2) of points of the table (..., 2), m, in a top view of ``shape``; from its corner."""
    low, high = (xy.new_tensor([limits[k] for limits in config.workspace_xy]) for k in range(2))
    return (xy - low) / (high - low) * xy.new_tensor(shape)


def pixel_centres(config: LoHoVLAConfig, shape: tuple[int, int], device: torch.device) -> Tensor:
    """The points of the table (rows, columns, 2), m, in the middle of each pixel of a top view of ``shape``."""
    (x0, x1), (y0, y1) = config.workspace_xy
    x, y = ((torch.arange(count, device=device) + 0.5) / count for count in shape)
    return torch.stack(torch.meshgrid(x0 + x * (x1 - x0), y0 + y * (y1 - y0), indexing="ij"), -1)


def transport_pixels(picture: Tensor, points: Tensor, config: LoHoVLAConfig) -> Tensor:
    """A top view (B, 4, h, w) in which the block at the pick stands at the place; what lies around the pick covers it.

    Args:
        picture: colour and depth (dm).
        points: pick and place (B, 2, 5): x, y, z (m), yaw (rad), edge (m); a pick's z is the block's top, a place's
            what it is to stand on.
        config: of the model: where the picture lies.
    """
    pick, place = points[:, 0], points[:, 1]
    everywhere = pixel_centres(config, picture.shape[2:], picture.device)[None]  # type: ignore
    local = _turned(everywhere - place[:, None, None, :2], -place[:, 3])  # in the frame of the block
    inside = (local.abs().amax(-1) < pick[:, 4, None, None] / 2 + _MARGIN)[:, None]
    source = table_to_pixels(config, pick[:, None, None, :2] + _turned(local, pick[:, 3]), (2, 2)) - 1
    block = F.grid_sample(picture, source.flip(-1), align_corners=False, padding_mode="border")
    rise = (place[:, 2] + pick[:, 4] - pick[:, 2]) / DEPTH_UNIT
    block = torch.cat([block[:, :3], block[:, 3:] + rise[:, None, None, None]], 1)
    left = _turned(everywhere - pick[:, None, None, :2], -pick[:, 3])
    gone = (left.abs().amax(-1) < pick[:, 4, None, None] / 2 + _RIM)[:, None]
    return torch.where(inside, block, torch.where(gone, _around(picture, pick, config), picture))


def _around(picture: Tensor, pick: Tensor, config: LoHoVLAConfig) -> Tensor:
    """The median (B, 4, 1, 1) of what is seen around the square of a pick (B, 5)."""
    side = torch.linspace(-1, 1, _SIDE, device=picture.device)
    one = torch.ones_like(side)
    rim = torch.cat([torch.stack(pair, -1) for pair in ((side, one), (side, -one), (one, side), (-one, side))])
    at = rim[None, None] * (pick[:, 4] / 2 + _AROUND)[:, None, None, None]
    source = table_to_pixels(config, pick[:, None, None, :2] + _turned(at, pick[:, 3]), (2, 2)) - 1
    found = F.grid_sample(picture, source.flip(-1), align_corners=False, padding_mode="border")
    return found.median(-1, keepdim=True).values


def token_offsets(points: Tensor, config: LoHoVLAConfig) -> Tensor:
    """Where pick and place (B, 2, 5) lie from the middle of each token, in tokens, if near: (B, N, NEAR_DIM)."""
    rows, columns = token_grid(config)
    (x0, x1), (y0, y1) = config.workspace_xy
    size = points.new_tensor([(x1 - x0) / rows, (y1 - y0) / columns])
    middle = pixel_centres(config, (rows, columns), points.device).flatten(0, 1)
    way = (points[:, None, :, :2] - middle[:, None]) / size  # (B, N, 2, 2)
    close = (way.abs().amax(-1, keepdim=True) < 1.0).to(way)
    angle = torch.cat([way, 2 * way], -1) * torch.pi
    yaw = 4 * points[:, None, :, 3:4].expand(-1, len(middle), -1, -1)
    waves = torch.cat([angle.sin(), angle.cos(), yaw.sin(), yaw.cos()], -1)
    return torch.cat([way.clamp(-1.5, 1.5), close, waves * close], -1).flatten(2)


def _turned(xy: Tensor, angle: Tensor) -> Tensor:
    """Vectors (B, h, w, 2) turned by angles (B,)."""
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    x, y = xy.unbind(-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y], -1)
