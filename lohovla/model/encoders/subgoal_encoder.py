"""A sub-goal picture as the decoder reads it: the places where it differs from what is there now.

The stem sees both pictures, as it sees everything; the cells where it says something else of them become tokens, each
with what is there now and what shall be there. A sub-task moves one block, so that a few cells say all of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.encoders.detector import (
    DetectionMap,
    cell_centres,
    detection_channels,
    gather_cells,
    split_attributes,
)
from lohovla.model.encoders.fourier import FOURIER_DIM, fourier_features

NUM_SUBGOAL_TOKENS = 6  # tokens of a sub-goal


class SubgoalEncoder(nn.Module):
    """Tokens (B, CHANGES, hidden) of a sub-goal picture, the greatest change first."""

    def __init__(self, config: LoHoVLAConfig):
        super().__init__()
        self.config = config
        hidden, seen = config.text_config.hidden_size, detection_channels(config)
        self.enter = nn.Sequential(nn.Linear(2 * seen + 1 + FOURIER_DIM, hidden), nn.SiLU(), nn.Linear(hidden, hidden))

    def forward(self, now: DetectionMap, then: DetectionMap) -> Tensor:
        """Tokens of the change from one view of the stem to the other."""
        change = change_map(now, then)
        peak = change == F.max_pool2d(change[:, None], 3, stride=1, padding=1)[:, 0]
        size, cell = torch.where(peak, change, change * 1e-3).flatten(1).topk(NUM_SUBGOAL_TOKENS, dim=1)
        before, after = (gather_cells(seen.concatenated(), cell) for seen in (now, then))
        place = fourier_features(cell_centres(self.config, cell)).to(before)
        return self.enter(torch.cat([before, after - before, size[..., None], place], -1))


def change_map(now: DetectionMap, then: DetectionMap) -> Tensor:
    """How much differs in each cell (B, rows, columns): that an object's centre is there, its height, its colour."""
    heats = torch.stack([now.heat.sigmoid(), then.heat.sigmoid()])
    said = [split_attributes(seen.attributes.permute(0, 1, 3, 4, 2)) for seen in (now, then)]
    height = (said[1]["height"] - said[0]["height"]).abs()[..., 0]
    color = (said[1]["color"].softmax(-1) - said[0]["color"].softmax(-1)).abs().sum(-1) / 2
    each = (heats[1] - heats[0]).abs() + heats.amax(0) * (height + color)
    return each.sum(1)
