"""What the model reads of the block world, and an observation once it is encoded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from transformers import DynamicCache

from lohovla.model.attention_mask import SequenceLayout
from lohovla.model.encoders.detector import DetectionMap, Detections
from lohovla.model.tensor_batch import tensor_tree


@tensor_tree
@dataclass
class ModelInputs:
    """A batch of observations of the block world, as the processor makes them.

    Attributes:
        picture: colour in [-1, 1] and depth in decimetres (B, 4, rows, columns).
        state: proprioception, m and rad (B, 13).
        goal: tokens of the goal sentence (B, G), padded on the right.
        goal_valid: which of them are real (B, G).
    """

    picture: Tensor
    state: Tensor
    goal: Tensor
    goal_valid: Tensor

    def to(self, device: torch.device | str) -> ModelInputs:
        """On another device."""
        return pytree.tree_map(lambda value: value.to(device), self)


@dataclass
class EncodedObservation:
    """An encoded observation of the block world, an :class:`~lohovla.model.robot_inputs.EncodedPrefix`.

    Attributes:
        seen: the stem's map.
        objects: the cells that are tokens.
        tokens: the decoder's states of those tokens (B, K, hidden).
        layout: of what the cache holds.
        cache: keys and values.
        state: proprioception (B, 13).
    """

    seen: DetectionMap
    objects: Detections
    tokens: Tensor
    layout: SequenceLayout
    cache: DynamicCache
    state: Tensor
