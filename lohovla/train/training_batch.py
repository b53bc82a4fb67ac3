"""Batches of labelled observations, as tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lohovla.model.model_inputs import ModelInputs
from lohovla.model.processor import Processor, picture_of


@dataclass
class LabelledBatch:
    """A batch of labelled observations; S sub-tasks each: the oracle's first, then any, and last none at all.

    The last has no words and the oracle's points, so that the model can also act from the goal alone.

    Attributes:
        inputs: the observations.
        subtasks: tokens (B, S, T), ends repeated to the full length.
        points: pick and place (B, S, 2, 5); NaN where there is none.
        objects: dense targets (B, N, 10).
        after: the picture after the move (B, 4, H, W).
        reached: whether the move succeeded (B,).
    """

    inputs: ModelInputs
    subtasks: Tensor
    points: Tensor
    objects: Tensor
    after: Tensor
    reached: Tensor

    def oracle_only(self) -> LabelledBatch:
        """The same with the oracle's sub-task alone."""
        return replace(self, subtasks=self.subtasks[:, :1], points=self.points[:, :1])

    def goal_alone(self) -> LabelledBatch:
        """The same with no sub-task but the empty one."""
        return replace(self, subtasks=self.subtasks[:, -1:], points=self.points[:, -1:])

    def with_subgoal_image(self, end: int) -> LabelledBatch:
        """The same with one more: what the oracle's led to as a picture, for half of them without its words.

        Where it led elsewhere, or nothing was done, there are no points.

        Args:
            end: the token that stands for no word.
        """
        hidden = torch.rand(len(self.subtasks), 1, 1, device=self.subtasks.device) < 0.5
        words = torch.where(hidden, end, self.subtasks[:, :1])
        points = torch.where(self.reached[:, None, None, None] > 0.5, self.points[:, :1], torch.nan)
        subtasks = torch.cat([self.subtasks, words], 1)
        return replace(self, subtasks=subtasks, points=torch.cat([self.points, points], 1))

    def to(self, device: torch.device) -> LabelledBatch:
        """On another device."""
        return LabelledBatch(*(value.to(device) for value in vars(self).values()))


@dataclass
class ActionChunks:
    """Moments of motions, n of each sub-task.

    Attributes:
        state: proprioception (B, n, 13).
        motion: of the last commands (B, n, 4).
        action: what followed (B, n, H, 7); past the motion's end the last is repeated.
    """

    state: Tensor
    motion: Tensor
    action: Tensor


def labelled_batch(batch: dict[str, Any], processor: Processor) -> LabelledBatch:
    """Tensors of a collated batch of :class:`lohovla.collect.rendered_scenes.LabelledScenes`."""
    goal, valid = processor.goals(batch["instruction"])
    picture = picture_of(batch["images.top"], batch["depth.top"])
    inputs = ModelInputs(picture, batch["state"].float(), goal, valid)
    sentences = [[first, *others] for first, others in zip(batch["subtask"], batch["other.subtasks"], strict=True)]
    tokens = torch.stack([processor.subtasks(row) for row in sentences])
    tokens = torch.cat([tokens, torch.full_like(tokens[:, :1], processor.end)], 1)
    points = torch.cat([batch["points"][:, None], batch["other.points"], batch["points"][:, None]], 1).float()
    after, reached = picture, torch.ones(len(tokens))  # played motions do not say what came after
    if "next.images.top" in batch:
        after, reached = picture_of(batch["next.images.top"], batch["next.depth.top"]), batch["next.reached"]
    return LabelledBatch(inputs, tokens, points, batch["objects"], after, reached)
