"""The stages of training: what each learns, from what, and which weights it moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lohovla.errors import UserError
from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor
from lohovla.model.robot_processor import RobotProcessor
from lohovla.train import objectives, subgoal_losses
from lohovla.train.imitation.demonstration_batch import ImitationSettings, demonstration_batch
from lohovla.train.imitation.demonstration_forward import DemonstrationForward
from lohovla.train.symbolic_pretraining import table_losses
from lohovla.train.trainable_parameters import check_freeze, is_trained
from lohovla.train.training_batch import ActionChunks, labelled_batch

STAGES = ("detector", "symbolic", "autoencoder", "planning", "action", "subgoal", "imitation")


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: one of :data:`STAGES`: ``detector`` (on the simulator's labels of objects), ``symbolic`` (sub-tasks, from
            symbolic scenes instead of pictures), ``planning`` (sub-tasks, pick and place poses, pick-and-place actions,
            progress), ``action`` (action chunks of ``ee``), ``autoencoder`` (of sub-goal pictures), ``subgoal`` (the
            sub-goal generator), ``imitation`` (from demonstrations of any robot).
        steps: optimiser steps.
        batch: samples a step and process.
        lr: the highest learning rate.
        muon_lr: that of the optimiser Muon for the matrices of hidden layers; None is AdamW for all weights.
        new_sample_fraction: share of each batch that is new; the rest comes from the replay buffer.
        weights: of the losses; 1 where none is given.
        symbolic_batch: symbolic scenes in each step of ``planning`` beside the pictures, so that what the stage
            ``symbolic`` taught is not forgotten.
        accumulate: batches whose gradients are summed for one optimiser step.
        freeze: of ``imitation``: parts that stay as they are, of :data:`FREEZABLE_PARTS`.
    """

    name: str
    steps: int
    batch: int = 16
    lr: float = 1e-3
    new_sample_fraction: float = 0.5
    weights: Mapping[str, float] = field(default_factory=dict)
    symbolic_batch: int = 0
    accumulate: int = 1
    freeze: tuple[str, ...] = ()
    muon_lr: float | None = None

    def __post_init__(self) -> None:
        if self.name not in STAGES:
            raise UserError(f"there is no stage {self.name!r}", f"choose one of {', '.join(STAGES)}")
        if self.steps < 1 or self.batch < 1 or not 0 < self.new_sample_fraction <= 1:
            raise UserError(
                f"stage {self.name}: steps and batch are at least 1, new_sample_fraction in (0, 1]", "for example 0.5"
            )
        if self.lr <= 0:
            raise UserError(f"stage {self.name}: lr is {self.lr:g}", "it is above 0, 1e-3 for example")
        if self.muon_lr is not None and self.muon_lr <= 0:
            raise UserError(
                f"stage {self.name}: muon_lr is {self.muon_lr:g}", "it is above 0, 0.02 for example, or null"
            )
        if self.accumulate < 1:
            raise UserError(f"stage {self.name}: accumulate is {self.accumulate}", "it is at least 1")
        check_freeze(self.freeze)
        if self.symbolic_batch < 0 or (self.symbolic_batch and self.name != "planning"):
            raise UserError(
                f"stage {self.name}: symbolic_batch is for stage planning, at least 0", "see configs/recipe/nano.yaml"
            )

    def trains(self, parameter: str, lora: bool = False) -> bool:
        """Whether the stage moves a parameter, by its name in the model.

        Args:
            parameter: its name.
            lora: the decoder has LoRA adapters: they alone are moved of it, and the vision tower stays as it is.
        """
        return is_trained(parameter, self.name, self.freeze, bool(self.symbolic_batch), lora)


def check_stage_fits(config: LoHoVLAConfig, stage: Stage) -> None:
    """Refuse a stage that a model cannot learn.

    Raises:
        UserError: it teaches sub-tasks, and the model has none.
    """
    if not config.use_subtasks and (stage.symbolic_batch or stage.name in ("symbolic", "subgoal")):
        raise UserError(
            f"stage {stage.name} trains sub-tasks, which this model does not use",
            "recipe=vanilla has the stages detector, planning and action, without symbolic_batch",
        )


class StageLosses(nn.Module):
    """A stage's losses as a module, so that it can be wrapped for many processes.

    Args:
        model: the core.
        processor: its processor.
        stage: which losses.
        imitation: how demonstrations are learned from, for the stage of that name.
    """

    def __init__(
        self,
        model: LoHoVLA,
        processor: Processor | RobotProcessor,
        stage: Stage,
        imitation: ImitationSettings | None = None,
    ):
        super().__init__()
        self.model, self.processor, self.stage = model, processor, stage
        self._imitation = imitation or ImitationSettings()
        check_stage_fits(model.config, stage)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(stage.trains(name, bool(model.config.lora_rank)))

    def forward(self, batch: dict[str, Any], step: int) -> dict[str, Tensor]:
        """Unweighted losses by name."""
        device = self.model.device
        if isinstance(self.processor, RobotProcessor):
            demonstrations = demonstration_batch(batch, self.processor, self._imitation).to(device)
            return DemonstrationForward(self.model, demonstrations, self.processor, self._imitation).losses()
        if self.stage.name == "symbolic":
            return table_losses(self.model, batch, self.processor)
        given = labelled_batch(batch, self.processor).to(device)
        if self.stage.name == "detector":
            return objectives.stem_losses(self.model, given)
        if self.stage.name == "planning":
            losses = objectives.core_losses(self.model, given, self.processor)
            if "symbolic" in batch:
                read = table_losses(self.model, batch["symbolic"], self.processor)
                losses |= {f"table/{name}": loss for name, loss in read.items()}
            return losses
        if self.stage.name == "action":
            pieces = ActionChunks(*(batch[f"piece.{k}"].to(device) for k in ("state", "motion", "action")))
            return {"act/ee": objectives.motion_loss(self.model, given, pieces, self.processor)}
        if self.stage.name == "autoencoder":
            return subgoal_losses.autoencoder_losses(self.model, given)
        return subgoal_losses.SubgoalForward(self.model, given, self.processor).losses()

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum."""
        parts = [self.stage.weights.get(name, 1.0) * loss for name, loss in losses.items()]
        return torch.stack(parts).sum()
