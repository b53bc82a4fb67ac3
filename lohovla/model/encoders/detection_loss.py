"""Dense targets for the stem, from what the simulator knows, and their losses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.encoders.detector import HEIGHT_UNIT, DetectionMap, cell_centres, split_attributes
from lohovla.model.encoders.object_schema import KINDS, LABEL, LABEL_XY

_SPREAD = 0.45  # cells; how far around a centre a cell still counts in part
_NEAR = 0.8  # cells; up to where a cell must say the attributes of an object
WEIGHTS = {
    "heat": 1.0,
    "offset": 1.0,
    "height": 0.5,
    "turn": 0.5,
    "color": 0.5,
    "big": 0.3,
    "support": 0.3,
    "support_color": 0.2,
    "occupied": 0.3,
}


def detection_losses(seen: DetectionMap, objects: Tensor, config: LoHoVLAConfig) -> dict[str, Tensor]:
    """Losses of what the stem says, by attribute, means over objects; unweighted.

    Args:
        seen: of a batch.
        objects: (B, N, 10) as :func:`lohovla.collect.privileged_labels.objects_of` gives them; kind -1 is none.
        config: of the model.
    """
    rows, columns = config.cells
    kind = objects[..., LABEL["kind"]]
    centres = cell_centres(config, torch.arange(rows * columns, device=objects.device))
    offset = (objects[:, :, None, LABEL_XY] - centres) / objects.new_tensor(config.cell_size)  # (B, N, cells, 2)
    distance = offset.norm(dim=-1)
    losses = {"heat": heat_loss(seen.heat.flatten(2), kind, distance)}
    near = (offset.abs().amax(-1) < _NEAR) & (kind >= 0)[..., None]
    at, number, cell = near.nonzero(as_tuple=True)
    row = objects[at, number]
    kinds, yaw = row[:, LABEL["kind"]].long(), row[:, LABEL["yaw"]]
    said = split_attributes(seen.attributes.flatten(3)[at, kinds, :, cell])
    block, bowl, zone = (kinds == k for k in range(len(KINDS)))
    turns = torch.stack([torch.cos(4 * yaw), torch.sin(4 * yaw)], -1)
    losses["offset"] = chosen_mean(
        F.smooth_l1_loss(said["offset"], offset[at, number, cell], beta=0.1, reduction="none")
    )
    losses["color"] = chosen_mean(F.cross_entropy(said["color"], row[:, LABEL["color"]].long(), reduction="none"))
    losses["height"] = chosen_mean(
        F.smooth_l1_loss(said["height"][:, 0], row[:, LABEL["z"]] / HEIGHT_UNIT, beta=0.1, reduction="none")
    )
    losses["turn"] = chosen_mean((said["turn"] - turns).square(), ~bowl)
    losses["big"] = chosen_mean(
        F.binary_cross_entropy_with_logits(said["big"][:, 0], row[:, LABEL["big"]], reduction="none"), ~bowl
    )
    losses["support"] = chosen_mean(
        F.cross_entropy(said["support"], row[:, LABEL["support"]].long(), reduction="none"), block
    )
    losses["support_color"] = chosen_mean(
        F.cross_entropy(said["support_color"], row[:, LABEL["support_color"]].long(), reduction="none"), block
    )
    occupied = F.binary_cross_entropy_with_logits(said["occupied"][:, 0], row[:, LABEL["occupied"]], reduction="none")
    losses["occupied"] = chosen_mean(occupied, bowl | zone)
    return losses


def heat_loss(heat: Tensor, kind: Tensor, distance: Tensor) -> Tensor:
    """Penalty-reduced focal loss over cells (Zhou et al., "Objects as Points", 1904.07850), a mean over objects.

    Args:
        heat: logits (B, kinds, cells).
        kind: (B, N), -1 for none.
        distance: of objects from cells, in cells (B, N, cells).
    """
    wanted = torch.zeros_like(heat)
    bump = torch.exp(-distance.square() / (2 * _SPREAD**2))
    for number in range(heat.shape[1]):
        bumps = torch.where((kind == number)[..., None], bump, 0.0)
        wanted[:, number] = bumps.amax(1)
        nearest = bumps.argmax(-1)[..., None]
        hit = (kind == number)[..., None]
        wanted[:, number].scatter_reduce_(1, nearest[..., 0], hit[..., 0].to(wanted.dtype), "amax")
    chance = heat.sigmoid()
    positive = wanted == 1
    loss = torch.where(
        positive,
        -((1 - chance) ** 2) * F.logsigmoid(heat),
        -((1 - wanted) ** 4) * chance**2 * F.logsigmoid(-heat),
    )
    return loss.sum() / positive.sum().clamp(min=1)


def chosen_mean(values: Tensor, chosen: Tensor | None = None) -> Tensor:
    """The mean of ``values`` (over their last axis, too) where ``chosen``; 0 where nothing is."""
    if values.ndim > 1:
        values = values.mean(-1)
    if chosen is None:
        return values.sum() / max(1, values.numel())
    return torch.where(chosen, values, 0.0).sum() / chosen.sum().clamp(min=1)
