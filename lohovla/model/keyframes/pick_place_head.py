"""Pointing: where to pick and where to place, as attention over the cells of the map, read out to the millimetre."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.device_constants import constant_like
from lohovla.model.encoders.detector import (
    ATTRIBUTE_DIM,
    HEIGHT_UNIT,
    DetectionMap,
    Detections,
    cell_centres,
    gather_cells,
)
from lohovla.model.encoders.fourier import FOURIER_DIM, fourier_features

POINT_DIM = 5  # x, y, z (m), yaw (rad), edge (m)
READOUT_DIM = 6  # offset x, y in cells; height, edge in units of 5 cm; cosine and sine of four times the yaw


class PickPlaceHead(nn.Module):
    """Scores every cell for a query, and reads the exact point from the chosen cell.

    A cell's key comes from the stem's map and from where it is; where an object's token stands, what the decoder
    made of it is added: it knows the goal and what lies elsewhere.
    """

    def __init__(self, config: LoHoVLAConfig):
        super().__init__()
        hidden, dim = config.text_config.hidden_size, config.stem_dim
        self.config = config
        self.cell_key = nn.Sequential(nn.Linear(dim + FOURIER_DIM, dim), nn.SiLU(), nn.Linear(dim, config.key_dim))
        self.object_key = nn.Linear(hidden, config.key_dim)
        self.query = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 2 * config.key_dim))
        local = dim + 3 * ATTRIBUTE_DIM + FOURIER_DIM
        self.readout = nn.Sequential(
            nn.Linear(local + hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, READOUT_DIM),
        )
        self.mark = nn.Linear(dim + 3 * ATTRIBUTE_DIM + FOURIER_DIM, hidden)

    def keys(self, seen: DetectionMap) -> Tensor:
        """Keys of the cells (B, cells, key_dim)."""
        features = seen.map.flatten(2).transpose(1, 2)
        cells = torch.arange(features.shape[1], device=features.device)
        places = fourier_features(cell_centres(self.config, cells)).to(features).expand(features.shape[0], -1, -1)
        return self.cell_key(torch.cat([features, places], -1))

    def score(self, hidden: Tensor, keys: Tensor, objects: Detections, tokens: Tensor) -> Tensor:
        """Logits over cells (B, Q, cells) of query states (B, Q, hidden).

        Args:
            hidden: states of the pointing tokens.
            keys: of :meth:`keys`.
            objects: the cells that are tokens.
            tokens: the decoder's states of those tokens (B, K, hidden).
        """
        place = self.query(hidden)[..., : self.config.key_dim]
        logits = torch.einsum("bqd,bcd->bqc", place, keys) * self.config.key_dim**-0.5
        cell = objects.cell[:, None].expand(-1, hidden.shape[1], -1)
        return logits.scatter_add(2, cell, self.score_objects(hidden, tokens).to(logits.dtype))

    def score_objects(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """The part of the logits that comes from the objects' tokens (B, Q, K)."""
        thing = self.query(hidden)[..., self.config.key_dim :]
        return torch.einsum("bqd,bkd->bqk", thing, self.object_key(tokens)) * self.config.key_dim**-0.5

    def local_features(self, seen: DetectionMap, cell: Tensor) -> Tensor:
        """What is known at cells (B, Q): features, what the stem says, where it is."""
        said = gather_cells(seen.attributes.flatten(1, 2), cell)
        return torch.cat(
            [gather_cells(seen.map, cell), said, fourier_features(cell_centres(self.config, cell)).to(said)], -1
        )

    def regress(self, seen: DetectionMap, cell: Tensor, hidden: Tensor) -> Tensor:
        """The readout (B, Q, READOUT_DIM) at cells (B, Q)."""
        return self.readout(torch.cat([self.local_features(seen, cell), hidden], -1))

    def embed(self, seen: DetectionMap, cell: Tensor) -> Tensor:
        """What the placing token is told of the cell picked from (B, Q, hidden)."""
        return self.mark(self.local_features(seen, cell))


def to_points(said: Tensor, cell: Tensor, config: LoHoVLAConfig) -> Tensor:
    """Points (..., 5): x, y, z (m), yaw (rad, in [-pi/4, pi/4]), edge (m), of readouts (..., 6) at cells (...)."""
    xy = cell_centres(config, cell) + said[..., :2] * constant_like(said, config.cell_size)
    yaw = torch.atan2(said[..., 5], said[..., 4]) / 4
    return torch.cat([xy, said[..., 2:3] * HEIGHT_UNIT, yaw[..., None], said[..., 3:4] * HEIGHT_UNIT], -1)


def to_readout(points: Tensor, cell: Tensor, config: LoHoVLAConfig) -> Tensor:
    """The inverse of :func:`to_points`: what the readout at ``cell`` should say of ``points``."""
    offset = (points[..., :2] - cell_centres(config, cell)) / constant_like(points, config.cell_size)
    height, yaw, edge = points[..., 2:3] / HEIGHT_UNIT, points[..., 3], points[..., 4:5] / HEIGHT_UNIT
    return torch.cat([offset, height, edge, torch.cos(4 * yaw)[..., None], torch.sin(4 * yaw)[..., None]], -1)
