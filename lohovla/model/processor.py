"""From observations of the block world to the model's inputs, and from words to tokens; saved beside the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lohovla.errors import UserError
from lohovla.model.configuration import DEPTH_UNIT, LoHoVLAConfig
from lohovla.model.language.byte_tokenizer import is_byte_level
from lohovla.model.language.subtask_constraints import SubtaskConstraints
from lohovla.model.language.text_processor import TextProcessor, read_processor
from lohovla.model.language.tokenizer import spells_words
from lohovla.model.model_inputs import ModelInputs

KEYS = ("images.top", "depth.top", "state", "instruction")


class Processor(TextProcessor):
    """Checks and scales observations, and tokenises sentences.

    Args:
        tokenizer: of goals and sub-tasks.
        picture: rows and columns of the top view.
        state_dim: numbers of proprioception.
        max_goal: most tokens of a goal.
        max_subtask: most tokens of a sub-task, the end included.
        statistics: of the training data, by name; kept with the model.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        picture: tuple[int, int] = (160, 320),
        state_dim: int = 13,
        max_goal: int = 40,
        max_subtask: int = 20,
        statistics: Mapping[str, Any] | None = None,
    ):
        super().__init__(tokenizer, max_goal, max_subtask)
        self.picture, self.state_dim = tuple(picture), state_dim
        self.statistics = dict(statistics or {})

    @classmethod
    def from_model_config(cls, config: LoHoVLAConfig, tokenizer: PreTrainedTokenizerBase) -> Processor:
        """The processor that a configuration asks for."""
        return cls(tokenizer, config.picture_size, config.state_dim, config.max_goal, config.max_subtask)  # type: ignore

    def __call__(self, observations: Sequence[Mapping[str, Any]]) -> ModelInputs:
        """A batch of observations.

        Raises:
            UserError: a key is missing, or has another shape, or is not finite; or the goal is too long.
        """
        colors, depths, states = map(torch.from_numpy, self.arrays(observations))
        goal, valid = self.goals([str(o["instruction"]) for o in observations])
        return ModelInputs(picture_of(colors, depths), states, goal, valid)

    def arrays(self, observations: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
        """Colours (B, H, W, 3), depths (B, H, W) and states (B, 13) of observations that were looked over.

        Raises:
            UserError: see :meth:`__call__`.
        """
        for observation in observations:
            self.check(observation)
        stacked = [np.stack([o[key] for o in observations]) for key in ("images.top", "depth.top", "state")]
        return [stacked[0], *(values.astype(np.float32, copy=False) for values in stacked[1:])]

    def check(self, observation: Mapping[str, Any]) -> None:
        """Refuse an observation that the model cannot read, in one line."""
        for key in KEYS:
            if key not in observation:
                raise UserError(f"the observation has no {key!r}", f"it has {', '.join(sorted(observation))}")
        for key, shape in (
            ("images.top", (*self.picture, 3)),
            ("depth.top", self.picture),
            ("state", (self.state_dim,)),
        ):
            found = np.shape(observation[key])
            if found != shape:
                raise UserError(f"{key} has shape {found}, not {shape}", "the checkpoint was trained on that shape")
        if (kind := np.asarray(observation["images.top"]).dtype) != np.uint8:
            raise UserError(f"images.top has values of type {kind}, not uint8", "give colours from 0 to 255")
        for key in ("depth.top", "state"):
            values = np.asarray(observation[key])
            if values.dtype.kind not in "fiu":
                raise UserError(f"{key} has values of type {values.dtype}, not float32", "give metres and radians")
            if wrong := int((~np.isfinite(values)).sum()):
                raise UserError(
                    f"{key} has {wrong} of {values.size} values that are not finite",
                    "check the sensor that it comes from",
                )
        if not isinstance(observation["instruction"], str):
            kind = type(observation["instruction"]).__name__
            raise UserError(f"instruction is of type {kind}, not str", "say the goal as a sentence")

    def subtask_constraints(self, stop: bool = True) -> SubtaskConstraints | None:
        """The sub-tasks that the model was trained to say, if the checkpoint lists what they are made of.

        Without ``stop`` "Done." is left out, and so is what says that nothing can be done.
        """
        parts = self.statistics.get("subtasks")
        if not parts:
            return None
        start, middle, last = parts["sentence"]
        picks, places = parts["pick"], parts["place"]
        others = [self._encode(text) for text in parts["others"]] if stop else []
        reasons = parts.get("missing", ()) if stop else ()
        missing = [{**reason, "tokens": self._encode(reason["text"])} for reason in reasons]
        # No word piece goes over a space, and the middle begins with one.
        if spells_words(self.tokenizer) or is_byte_level(self.tokenizer):
            picked = [self._encode(start + pick["text"]) for pick in picks]
            placed = [self._encode(middle + place["text"] + last) for place in places]
            said = [[pick + place for place in placed] for pick in picked]
        else:  # pieces depend on what stands beside them
            said = [[self._encode(start + a["text"] + middle + b["text"] + last) for b in places] for a in picks]
        return SubtaskConstraints(picks, places, said, others, self.end, missing)

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the tokenizer and ``processor_config.json``."""
        settings = {
            "picture": list(self.picture),
            "state_dim": self.state_dim,
            "max_goal": self.max_goal,
            "max_subtask": self.max_subtask,
            "statistics": self.statistics,
        }
        self.save_settings(folder, settings)

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> Processor:
        """Read what :meth:`save_pretrained` wrote.

        Raises:
            UserError: something is missing or damaged.
        """
        return read_processor(
            folder,
            lambda tokenizer, s: cls(tokenizer, **{**s, "picture": tuple(s["picture"])}),
            "processor",
            "a checkpoint has one; save it again",
        )


def picture_of(colors: Tensor, depths: Tensor) -> Tensor:
    """The stem's picture (B, 4, H, W): colour uint8 (B, H, W, 3) in [-1, 1], depth (B, H, W) m in decimetres."""
    color = colors.permute(0, 3, 1, 2).float() / 127.5 - 1
    return torch.cat([color, depths[:, None].float() / DEPTH_UNIT], 1)
