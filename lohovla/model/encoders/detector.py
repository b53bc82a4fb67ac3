"""The convolutional stem: the whole top view at full resolution, colour and depth, to a map of cells.

A cell is 8 x 8 pixels, 25 mm of table. Beside the map the stem says what it sees in each cell: where the centres of
blocks, bowls and zones are, and their colour, size, turn, height and support. Those are trained on what the
simulator knows; the cells where something is seen become the image tokens of the decoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.device_constants import constant_like
from lohovla.model.encoders.object_schema import ATTRIBUTE_DIM, ATTRIBUTES, FACT, FACTS, KINDS
from lohovla.model.tensor_batch import TensorBatch, tensor_tree

HEIGHT_UNIT = 0.05
_MIDDLE = 0.02  # m
_REAL = 0.25  # score; less is no object
_MOST = 5  # that are counted apart


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around which the input passes."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, width), nn.Conv2d(width, width, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(8, width), nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(y)))


class ConvNeXtBlock(nn.Module):
    """A depthwise 5 x 5 convolution and a perceptron on each cell (Liu et al., ConvNeXt, 2201.03545)."""

    def __init__(self, width: int, expansion: int = 2):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.GroupNorm(1, width)
        self.up, self.down = nn.Conv2d(width, expansion * width, 1), nn.Conv2d(expansion * width, width, 1)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.silu(self.up(self.norm(self.depthwise(x)))))


@tensor_tree
@dataclass
class DetectionMap(TensorBatch):
    """What the stem sees of a batch.

    Attributes:
        map: features of each cell (B, C, rows, columns).
        heat: logit that a block's, bowl's, zone's centre lies in a cell (B, 3, rows, columns).
        attributes: of an object of each kind centred there (B, 3, ATTRIBUTE_DIM, rows, columns).
    """

    map: Tensor
    heat: Tensor
    attributes: Tensor

    def concatenated(self) -> Tensor:
        """All of it by cell (B, :func:`detection_channels`, rows, columns)."""
        return torch.cat([self.map, self.heat, self.attributes.flatten(1, 2)], 1)


def detection_channels(config: LoHoVLAConfig) -> int:
    """How many numbers the stem says of each cell."""
    return config.stem_dim + len(KINDS) * (1 + ATTRIBUTE_DIM)


class ObjectDetector(nn.Module):
    """Colour and depth (B, 4, H, W) to :class:`DetectionMap` at an eighth of the resolution."""

    def __init__(self, config: LoHoVLAConfig):
        super().__init__()
        width, dim = config.stem_width, config.stem_dim
        fine, coarse = config.stem_blocks
        self.entry = nn.Conv2d(4, width, 7, stride=4, padding=3)
        self.fine = nn.Sequential(*(ResidualBlock(width) for _ in range(fine)))
        self.pool = nn.Conv2d(width, dim, 3, stride=2, padding=1)
        self.coarse = nn.Sequential(*(ConvNeXtBlock(dim) for _ in range(coarse)))
        self.norm = nn.GroupNorm(8, dim)
        self.head = nn.Sequential(nn.Conv2d(dim, dim, 1), nn.SiLU(), nn.Conv2d(dim, 3 * (1 + ATTRIBUTE_DIM), 1))
        nn.init.constant_(self.head[-1].bias[: len(KINDS)], -3.0)  # type: ignore

    def forward(self, picture: Tensor) -> DetectionMap:
        x = picture.contiguous(memory_format=torch.channels_last)
        x = self.coarse(self.pool(self.fine(self.entry(x))))
        x = self.norm(x)
        said = self.head(x)
        heat, attributes = said[:, :3], said[:, 3:]
        shape = attributes.shape
        return DetectionMap(x, heat, attributes.reshape(shape[0], 3, ATTRIBUTE_DIM, *shape[2:]))


@tensor_tree
@dataclass
class Detections(TensorBatch):
    """Places of the map that were chosen as tokens.

    Attributes:
        features: of their cells (B, K, C).
        facts: kind (3, one-hot), score, and attributes as probabilities (B, K, FACT_DIM).
        xy: their centres in the base frame, m (B, K, 2).
        cell: index of the cell in row-major order (B, K).
    """

    features: Tensor
    facts: Tensor
    xy: Tensor
    cell: Tensor


def top_detections(seen: DetectionMap, config: LoHoVLAConfig) -> Detections:
    """The ``config.num_object_tokens`` likeliest centres, local maxima first, of whatever kind."""
    batch, _, rows, columns = seen.heat.shape
    heat = torch.sigmoid(seen.heat)
    peak = heat == F.max_pool2d(heat, 3, stride=1, padding=1)
    ranked = torch.where(peak, heat, heat * 1e-3).flatten(1)
    score, chosen = ranked.topk(config.num_object_tokens, dim=1)
    kind, cell = chosen // (rows * columns), chosen % (rows * columns)
    features = gather_cells(seen.map, cell)
    flat = seen.attributes.permute(0, 1, 3, 4, 2).reshape(batch, 3 * rows * columns, ATTRIBUTE_DIM)
    said = flat.gather(1, chosen[..., None].expand(-1, -1, ATTRIBUTE_DIM))
    parts = split_attributes(said)
    xy = cell_centres(config, cell) + parts["offset"] * constant_like(said, config.cell_size)
    kinds = torch.arange(len(KINDS), device=kind.device)
    facts = join_facts(
        {
            "kind": kind[..., None].eq(kinds).to(said.dtype),  # F.one_hot would wait for the device
            "score": score[..., None],
            "offset": parts["offset"],
            "height": parts["height"],
            "turn": parts["turn"],
            "color": parts["color"].softmax(-1),
            "big": parts["big"].sigmoid(),
            "support": parts["support"].softmax(-1),
            "support_color": parts["support_color"].softmax(-1),
            "occupied": parts["occupied"].sigmoid(),
        }
    )
    return Detections(features, facts, xy, cell)


def join_facts(parts: Mapping[str, Tensor]) -> Tensor:
    """Descriptions of objects (..., FACT_DIM) from their parts by name, in the order of the schema."""
    return torch.cat([parts[name] for name in FACTS], dim=-1)


def split_attributes(said: Tensor) -> dict[str, Tensor]:
    """The attributes by name, of a tensor (..., ATTRIBUTE_DIM)."""
    return dict(zip(ATTRIBUTES, said.split(list(ATTRIBUTES.values()), dim=-1), strict=True))


def gather_cells(grid: Tensor, cell: Tensor) -> Tensor:
    """Features (B, K, C) of a map (B, C, rows, columns) at the cells (B, K)."""
    flat = grid.flatten(2).transpose(1, 2)
    return flat.gather(1, cell[..., None].expand(-1, -1, flat.shape[-1]))


def table_side_encoding(xy: Tensor, config: LoHoVLAConfig) -> Tensor:
    """In which half of the table points (..., 2) of the base frame (m) lie, along x and y: -1 or 1, soft within 2 cm.

    Goals name quarters of the table, and the waves of a Fourier code are flat where these meet.
    """
    middle = constant_like(xy, [sum(limits) / 2 for limits in config.workspace_xy])
    return torch.tanh((xy - middle) / _MIDDLE)


COMPANY_DIM = 3 * (_MOST + 1)


def same_color_counts(facts: Tensor) -> Tensor:
    """How many blocks, bowls and zones are of an object's own colour, itself among them: (B, K, COMPANY_DIM), one-hot.

    Attention averages over what it looks at, so that a decoder hardly tells two from three; goals ask for even numbers.

    Args:
        facts: of :class:`Detections` (B, K, FACT_DIM).
    """
    real = facts[..., FACT["score"]] > _REAL
    color = facts[..., FACT["color"]].argmax(-1)
    alike = (color[:, :, None] == color[:, None, :]).to(facts.dtype)
    found = alike @ (facts[..., FACT["kind"]] * real)
    numbers = torch.arange(_MOST + 1, device=facts.device)
    return (found.round().clamp(max=_MOST)[..., None] == numbers).to(facts.dtype).flatten(-2)


def cell_centres(config: LoHoVLAConfig, cell: Tensor) -> Tensor:
    """Centres (..., 2) of cells in the base frame, m."""
    columns = config.cells[1]
    at = torch.stack([cell // columns, cell % columns], -1) + 0.5
    return constant_like(at, [limits[0] for limits in config.workspace_xy]) + at * constant_like(at, config.cell_size)


def heatmap_cells(config: LoHoVLAConfig, xy: Tensor) -> Tensor:
    """Indices of the cells that hold points (..., 2) of the base frame, m; points outside go to the border."""
    low = constant_like(xy, [limits[0] for limits in config.workspace_xy])
    at = ((xy - low) / constant_like(xy, config.cell_size)).floor().long()
    rows, columns = config.cells
    return at[..., 0].clamp(0, rows - 1) * columns + at[..., 1].clamp(0, columns - 1)
