"""Where the pictures of sub-tasks' ends come from: the model paints them, unless an evaluation shows others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lohovla.model.encoders.detector import DetectionMap
from lohovla.model.inference.pick_place_prediction import PickPlacePrediction
from lohovla.model.inference.subgoal_generation import generate_subgoal
from lohovla.model.modeling_lohovla import LoHoVLA


@dataclass(frozen=True)
class PlannedSubtask:
    """A new sub-task of one episode.

    Attributes:
        words: its tokens.
        now: the picture that it was planned on (1, 4, H, W).
        seen: the stem's view of that.
        pointed: where its words say to pick and place.
    """

    words: list[int]
    now: Tensor
    seen: DetectionMap
    pointed: PickPlacePrediction


class SubgoalSource(Protocol):
    """Makes the sub-goal pictures of one episode."""

    def __call__(self, planned: PlannedSubtask) -> Tensor:
        """The picture of a sub-task's end (1, 4, H, W), as the stem reads it."""
        ...


class ModelSubgoals:
    """The model's own.

    Args:
        model: the core; it must paint.
        seed: of the noise: a stream of its own, so that pictures which nothing acts on change no action.
    """

    def __init__(self, model: LoHoVLA, seed: int):
        self._model, self._noise = model, torch.Generator().manual_seed(seed)

    def __call__(self, planned: PlannedSubtask) -> Tensor:
        """Paint the end."""
        return generate_subgoal(self._model, planned.now, planned.seen, planned.pointed, generator=self._noise).picture
