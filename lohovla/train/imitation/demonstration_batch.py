"""Batches of demonstrations as tensors: what is told, what is to be done, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lohovla.model.robot_inputs import RobotInputs
from lohovla.model.robot_processor import RobotProcessor
from lohovla.train.imitation.image_augmentation import augment_images


@dataclass(frozen=True)
class ImitationSettings:
    """How demonstrations are learned from.

    Attributes:
        shift: most pixels that pictures are moved by, each time they are seen.
        color: largest change of brightness and contrast.
        flow_samples: noises that each observation is used with.
        hide_subtask: share of samples told the goal alone, which learn to plan the sub-task and to act without it.
        prefix_share: share of chunks whose first actions are given clean, so that chunks can be joined.
    """

    shift: int = 4
    color: float = 0.2
    flow_samples: int = 1
    hide_subtask: float = 0.15
    prefix_share: float = 0.3


@dataclass
class DemonstrationBatch:
    """A batch of demonstrations.

    Attributes:
        inputs: the observations, and the words that each is told.
        subtasks: tokens of the sub-tasks (B, T), ends repeated to the full length; None where no sample has one.
        told: which samples are told their sub-task (B,); the others are told the goal.
        planned: which samples learn to say their sub-task (B,).
        action: normalised (B, H, A).
        padded: which actions lie past the episode's end (B, H).
        keyframe: the normalised state at the next keyframe (B, n).
        keyframe_known: where there is one (B,).
        progress: share of the sub-task that is done (B,); NaN where it is not known.
    """

    inputs: RobotInputs
    subtasks: Tensor | None
    told: Tensor
    planned: Tensor
    action: Tensor
    padded: Tensor
    keyframe: Tensor
    keyframe_known: Tensor
    progress: Tensor

    def to(self, device: torch.device) -> DemonstrationBatch:
        """On another device."""
        moved: dict[str, Any] = {n: None if value is None else value.to(device) for n, value in vars(self).items()}
        return DemonstrationBatch(**moved)


def demonstration_batch(
    batch: Mapping[str, Any], processor: RobotProcessor, settings: ImitationSettings | None = None
) -> DemonstrationBatch:
    """Tensors of a batch of :class:`lohovla.data.training_set.TrainingSet`.

    Args:
        batch: as the set gives it.
        processor: of the core.
        settings: how pictures are changed and sub-tasks hidden; None changes and hides nothing.
    """
    subtasks: Sequence[str] = batch["subtask"]
    known = torch.tensor([bool(text) for text in subtasks])
    hidden = torch.rand(len(known)) < (settings.hide_subtask if settings else 0.0)
    told = known & ~hidden
    acted = [text if told[row] else "" for row, text in enumerate(subtasks)]
    images = {name.removeprefix("images."): value for name, value in batch.items() if name.startswith("images.")}
    inputs = processor.inputs(images, batch["state"], batch["instruction"], acted)
    if settings:
        changed = {n: augment_images(picture, settings.shift, settings.color) for n, picture in inputs.images.items()}
        inputs.images = changed
    words = processor.subtasks([text or batch["instruction"][0] for text in subtasks]) if bool(known.any()) else None
    if words is not None:
        words = torch.where(known[:, None], words, processor.end)
    return DemonstrationBatch(
        inputs,
        words,
        told,
        known & hidden,
        processor.chunks(np.asarray(batch["action"], np.float32), np.asarray(batch["state"], np.float32)),
        batch["action_is_pad"],
        processor.state(batch["keyframe_state"].float()),
        batch["keyframe_valid"],
        batch["progress"].float(),
    )
