"""The progress head: is the sub-task done? Judged from pictures alone, at the two places that matter.

It compares what is seen now where the block was picked from and where it was to be put with what was seen there when
the sub-task began; that is what replaces the simulator's reward on a robot.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.encoders.detector import DetectionMap, detection_channels


class ProgressHead(nn.Module):
    """Completion in [0, 1] of a sub-task, from the stem's maps before and after."""

    def __init__(self, config: LoHoVLAConfig):
        super().__init__()
        self.config = config
        self.dim = detection_channels(config)
        self.judge = nn.Sequential(
            nn.Linear(4 * self.dim + 5, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 1)
        )

    def sample_features(self, seen: DetectionMap, points: Tensor) -> Tensor:
        """What is seen at the pick and the place (B, 2, 5), interpolated to the point: (B, 2, dim)."""
        (x0, x1), (y0, y1) = self.config.workspace_xy
        grid = torch.stack([(points[..., 1] - y0) / (y1 - y0), (points[..., 0] - x0) / (x1 - x0)], -1) * 2 - 1
        said = seen.concatenated()
        found = F.grid_sample(said, grid[:, None].to(said), align_corners=False, padding_mode="border")
        return found[:, :, 0].transpose(1, 2)

    def forward(self, before: Tensor, now: Tensor, points: Tensor) -> Tensor:
        """Logit (B,) that the sub-task is done.

        Args:
            before: of :meth:`remember` when the sub-task began.
            now: of :meth:`remember` now, at the same points.
            points: the pick and the place (B, 2, 5).
        """
        heights = torch.cat([points[..., 2] / 0.05, points[:, :, 4] / 0.05, (points[:, 0, :1] - points[:, 1, :1])], 1)
        return self.judge(torch.cat([before.flatten(1), (now - before).flatten(1), heights], 1))[:, 0]
