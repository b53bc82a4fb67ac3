"""The next keyframe, learned from demonstrations alone: the robot's state where its gripper changes next or it stops.

One token after the sub-task's words reads the prefix; a perceptron on it says the normalised state at the keyframe and
how much of the sub-task is done. The action head attends to the token, which conditions the chunk.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lohovla.model.configuration import LoHoVLAConfig


class KeyframeHead(nn.Module):
    """The token and what is read from it."""

    def __init__(self, config: LoHoVLAConfig):
        super().__init__()
        hidden = config.text_config.hidden_size
        self.entry = nn.Parameter(torch.randn(hidden) * 0.02)
        self.read = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, config.state_dim + 1))

    def token(self, rows: int) -> Tensor:
        """The token to run through the decoder (B, 1, hidden)."""
        return self.entry.expand(rows, 1, -1)

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Of states (B, hidden): the keyframe's normalised state (B, n), and the sub-task's progress in [0, 1] (B,)."""
        said = self.read(states)
        return said[..., :-1], said[..., -1].sigmoid()
