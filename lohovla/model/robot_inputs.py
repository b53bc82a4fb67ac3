"""What the core reads of a robot, and its prefix in the KV cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from lohovla.model.attention_mask import SequenceLayout


@dataclass
class RobotInputs:
    """A batch of observations of a robot, as :class:`lohovla.model.robot_processor.RobotProcessor` makes them.

    Attributes:
        images: colour in [-1, 1] (B, 3, h, w) of each camera, by name.
        state: proprioception, normalised (B, n).
        goal: tokens of the goal sentence (B, G), padded on the right.
        goal_valid: which of them are real (B, G).
        told: tokens of the words that are acted on (B, T): the sub-task's, or the goal's where there is none.
        told_valid: which of them are real (B, T).
    """

    images: dict[str, Tensor]
    state: Tensor
    goal: Tensor
    goal_valid: Tensor
    told: Tensor
    told_valid: Tensor

    def to(self, device: torch.device | str) -> RobotInputs:
        """On another device."""
        images = {name: picture.to(device) for name, picture in self.images.items()}
        rest = (self.state, self.goal, self.goal_valid, self.told, self.told_valid)
        return RobotInputs(images, *(value.to(device) for value in rest))


class EncodedPrefix(Protocol):
    """A prefix in the KV cache: what words and actions are made from.

    Attributes:
        layout: of what the cache holds.
        cache: keys and values.
        state: proprioception (B, n).
    """

    layout: SequenceLayout
    cache: Any
    state: Tensor


@dataclass
class EncodedRobotObservation:
    """An :class:`EncodedPrefix` of a robot's cameras, state and goal.

    Attributes:
        cameras: of :class:`lohovla.model.encoders.camera_encoder.CameraSummary` (B, hidden), or 0.
    """

    layout: SequenceLayout
    cache: Any
    state: Tensor
    cameras: Tensor | float
