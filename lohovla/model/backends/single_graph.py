"""A whole decision as one graph (``GraphFunctions.decide``): what it is made from, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lohovla.model.encoders.detector import Detections
from lohovla.model.inference.action_sampling import ActionContext
from lohovla.model.model_inputs import EncodedObservation
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.tensor_batch import tensor_tree

FORWARDS = 5  # of block diffusion; how many sub-tasks need: `lohovla bench decision`
ALWAYS_REPLAN, NEVER_REPLAN = -1.0, 2.0  # chances of completion that all and none are above


@dataclass(frozen=True)
class DecisionConfig:
    """What stays the same from decision to decision.

    Attributes:
        start: token that begins a sentence.
        end: token that ends one.
        mask: token that stands for a word not decided.
        control: action space of the chunk, ``ee`` or ``pick_place``.
        steps: denoising steps of the chunk.
        forwards: steps of block diffusion; a sub-task that needs more is not complete.
        accept: confidence above which a word is accepted.
    """

    start: int
    end: int
    mask: int
    control: str
    steps: int
    forwards: int = FORWARDS
    accept: float = 0.9


@dataclass(frozen=True)
class ChunkInputs:
    """What chunks are made from, beside what was planned.

    Attributes:
        motion: difference of the last two commands (B, 4).
        noise: (B, H, A).
        prefix: first actions (B, d, 7), if a sub-task that goes on continues some.
    """

    motion: Tensor
    noise: Tensor
    prefix: Tensor | None = None


@tensor_tree
@dataclass
class DecisionInputs:
    """What a batch of decisions is made from, beside the observations.

    Attributes:
        previous_tokens: words of the sub-tasks under way (B, max_subtask), the end behind them.
        replan_threshold: chance of completion above which a new sub-task takes its place (B,), perhaps
            :data:`ALWAYS_REPLAN` or :data:`NEVER_REPLAN`.
        initial_features: of the detector when they began (B, 2, dim), see ``ProgressHead.sample_features``.
        points: where they pick and place (B, 2, 5).
        motion: difference of the last two commands, x, y, z, yaw (B, 4); only ``ee`` reads it.
        noise: of the chunks (B, H, A).
        prefix: first actions (B, d, 7), which the chunks of sub-tasks that go on continue.
    """

    previous_tokens: Tensor
    replan_threshold: Tensor
    initial_features: Tensor
    points: Tensor
    motion: Tensor
    noise: Tensor
    prefix: Tensor | None = None

    @classmethod
    def for_first_subtasks(cls, model: LoHoVLA, motion: Tensor, noise: Tensor) -> DecisionInputs:
        """Where a sub-task is due for each, and none was under way."""
        rows, dim = noise.shape[0], model.progress.dim
        return cls(
            pad_subtask_tokens(model, [[]] * rows, 0),
            noise.new_full((rows,), ALWAYS_REPLAN),
            noise.new_zeros(rows, 2, dim),
            noise.new_zeros(rows, 2, 5),
            motion,
            noise,
        )


@dataclass
class DecisionOutputs:
    """Decisions, which hold where ``complete`` says so.

    Attributes:
        progress: chance that the sub-task under way is done (B,).
        replanned: where a new one took its place (B,).
        complete: whether its words were all decided (B,); true where none took its place.
        subtask_tokens: words of the sub-tasks (B, max_subtask), the end behind them.
        objects: that the stem saw.
        action_context: what the action expert read.
        initial_features: what is seen now at the points (B, 2, dim).
        action: the chunks.
        encoded_observation: makes the encoded observations, for going on pass by pass.
    """

    progress: Tensor
    replanned: Tensor
    complete: Tensor
    subtask_tokens: Tensor
    objects: Detections
    action_context: ActionContext
    initial_features: Tensor
    action: Tensor
    encoded_observation: Callable[[], EncodedObservation]

    def token_lists(self, end: int) -> list[list[int]]:
        """Of each sub-task, without the end."""
        return [row[: row.index(end)] if end in row else row for row in self.subtask_tokens.tolist()]


def pad_subtask_tokens(model: LoHoVLA, words: Sequence[Sequence[int]], end: int) -> Tensor:
    """Sub-tasks as :class:`DecisionInputs` keeps them."""
    longest = model.config.max_subtask
    return torch.tensor([[*row, *[end] * (longest - len(row))] for row in words], device=model.device)
