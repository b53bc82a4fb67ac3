"""From a robot's observations to the core's inputs, and from its outputs to the robot's actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lohovla.data.features import RobotFeatures
from lohovla.data.resize_images import resize_pictures
from lohovla.errors import UserError
from lohovla.model.action.action_representation import ActionRepresentation
from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.language.text_processor import TextProcessor, read_processor
from lohovla.model.normalization import Normalizer
from lohovla.model.robot_inputs import RobotInputs


class RobotProcessor(TextProcessor):
    """Checks, resizes and normalises what a robot sends, and turns the core's chunks into its actions.

    Args:
        tokenizer: of goals and sub-tasks.
        features: what the core reads and says, with the statistics of its training data.
        normalization: of states and actions, see :class:`Normalizer`.
        max_goal: most tokens of a goal.
        max_subtask: most tokens of a sub-task, the end included.
        subtasks: the training data had sub-tasks, so that the core can plan them.
        relative_actions: as :class:`ActionRepresentation` wants them.
        rotation_actions: likewise.

    Attributes:
        state: normalises states (..., n).
        representation: in which numbers actions are learned.
        action: normalises these (..., M).
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        features: RobotFeatures,
        normalization: str = "mean_std",
        max_goal: int = 40,
        max_subtask: int = 20,
        subtasks: bool = False,
        relative_actions: Mapping[str, str] | None = None,
        rotation_actions: Sequence[Sequence[str]] = (),
    ):
        super().__init__(tokenizer, max_goal, max_subtask)
        self.features, self.normalization, self.subtasks_known = features, normalization, subtasks
        none: dict[str, list[float]] = {name: [] for name in ("mean", "std", "min", "max", "q01", "q99")}
        self.state = Normalizer(features.statistics.get("state", none), normalization)  # a robot may tell no state
        self.representation = ActionRepresentation(
            features.action_names, features.state_names, relative_actions, rotation_actions
        )
        learned = "action" if self.representation.changes_nothing else "learned_action"
        self.action = Normalizer(features.statistics[learned], normalization)

    @classmethod
    def from_model_config(
        cls, config: LoHoVLAConfig, tokenizer: PreTrainedTokenizerBase, subtasks: bool = False
    ) -> RobotProcessor:
        """The processor that a configuration asks for."""
        assert config.features is not None
        features = RobotFeatures.from_dict(config.features)
        return cls(
            tokenizer,
            features,
            config.normalization,
            config.max_goal,
            config.max_subtask,
            subtasks,
            config.relative_actions,
            config.rotation_actions,
        )

    def __call__(
        self,
        observations: Sequence[Mapping[str, Any]],
        told: Sequence[str] | None = None,
        rename: Mapping[str, str] | None = None,
    ) -> RobotInputs:
        """A batch of observations.

        Args:
            observations: with ``images.<camera>`` uint8 (H, W, 3), ``state`` (n,) and ``instruction``.
            told: the sub-task of each that is acted on; "" or None is none.
            rename: names of the observation's cameras by those of the model, where they differ.

        Raises:
            UserError: a key is missing, or has another shape or type, or is not finite; or the goal is too long.
        """
        for observation in observations:
            self._check(observation, rename or {})
        images = {
            camera.name: np.concatenate(
                [
                    resize_pictures(
                        np.asarray(o[f"images.{(rename or {}).get(camera.name, camera.name)}"])[None],
                        camera.height,
                        camera.width,
                    )
                    for o in observations
                ]
            )
            for camera in self.features.cameras
        }
        state = torch.from_numpy(np.stack([np.asarray(o["state"], np.float32) for o in observations]))
        goals = [str(o["instruction"]) for o in observations]
        return self.inputs({name: torch.from_numpy(picture) for name, picture in images.items()}, state, goals, told)

    def inputs(
        self, images: Mapping[str, Tensor], state: Tensor, goals: Sequence[str], told: Sequence[str] | None = None
    ) -> RobotInputs:
        """Inputs of pictures uint8 (B, h, w, 3) at the model's size, states (B, n) and words.

        Args:
            images: by camera.
            state: in its own units.
            goals: of each.
            told: the sub-task that is acted on; "" is none.
        """
        goal, valid = self.goals(goals)
        acted = [sub or whole for sub, whole in zip(told or [""] * len(goals), goals, strict=True)]
        words, words_valid = (goal, valid) if acted == list(goals) else self.goals(acted)
        pictures = {name: picture.permute(0, 3, 1, 2).float() / 127.5 - 1 for name, picture in images.items()}
        return RobotInputs(pictures, self.state(state.float()), goal, valid, words, words_valid)

    def _check(self, observation: Mapping[str, Any], rename: Mapping[str, str]) -> None:
        has = ", ".join(sorted(observation))
        for camera in self.features.cameras:
            key = f"images.{rename.get(camera.name, camera.name)}"
            if key not in observation:
                raise UserError(f"the observation has no {key}, which the checkpoint reads", f"it has {has}")
            picture = np.asarray(observation[key])
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
                raise UserError(
                    f"{key} is {picture.dtype} {picture.shape}, not uint8 (H, W, 3)", "give colours from 0 to 255"
                )
        for key in ("state", "instruction"):
            if key not in observation:
                raise UserError(f"the observation has no {key!r}", f"it has {has}")
        state, names = np.asarray(observation["state"]), self.features.state_names
        if state.shape != (len(names),):
            raise UserError(
                f"state has shape {state.shape}, the checkpoint reads {len(names)} numbers",
                f"they are {', '.join(names)}",
            )
        if state.dtype.kind not in "fiu" or not np.isfinite(state).all():
            raise UserError("state has values that are not finite", "check the sensor that it comes from")

    def chunks(self, actions: np.ndarray, state: np.ndarray) -> Tensor:
        """Normalised chunks (B, H, M) of actions (B, H, A) that follow states (B, n), float32 in the robot's units."""
        return self.action(torch.from_numpy(self.representation.encode(actions, state[:, None])))

    def actions(self, chunk: Tensor, state: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`chunks`: actions float32 (B, H, A) in the robot's units."""
        learned = self.action.inverse(chunk.float()).cpu().numpy().astype(np.float32)
        return self.representation.decode(learned, state[:, None])

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the tokenizer and ``processor_config.json``."""
        settings = {
            "features": self.features.to_dict(),
            "normalization": self.normalization,
            "max_goal": self.max_goal,
            "max_subtask": self.max_subtask,
            "subtasks": self.subtasks_known,
            "relative_actions": self.representation.relative,
            "rotation_actions": self.representation.rotations,
        }
        self.save_settings(folder, settings)

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> RobotProcessor:
        """Read what :meth:`save_pretrained` wrote.

        Raises:
            UserError: something is missing or damaged.
        """
        return read_processor(
            folder,
            lambda tokenizer, s: cls(tokenizer, **{**s, "features": RobotFeatures.from_dict(s["features"])}),
            "processor of a robot's features",
            "`lohovla train dataset=...` makes such a checkpoint",
        )
