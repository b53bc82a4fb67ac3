"""Chunks of actions from a sub-task that was planned and pointed at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lohovla.model.action.action_expert import (
    ee_condition,
    ee_waypoints,
    pick_place_condition,
    scale_ee,
    unscale_ee,
    unscale_pick_place,
)
from lohovla.model.action.flow_matching import ActionVelocity
from lohovla.model.configuration import ACTION_DIMS
from lohovla.model.inference.pick_place_prediction import PickPlacePrediction
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.tensor_batch import tensor_tree


@tensor_tree
@dataclass
class ActionContext:
    """What the action expert needs of one or more sub-tasks.

    Attributes:
        points: (B, 2, 5).
        cache: keys and values (B, heads, L, head_dim) by layer.
        valid: (B, L).
    """

    points: Tensor
    cache: list[tuple[Tensor, Tensor]]
    valid: Tensor

    @classmethod
    def from_predictions(cls, pointed: PickPlacePrediction) -> ActionContext:
        """Of a batch just pointed at."""
        return cls(pointed.points, pointed.cache, pointed.valid)

    def select_row(self, number: int) -> ActionContext:
        """One of the batch."""
        at = slice(number, number + 1)
        return ActionContext(self.points[at], [(k[at], v[at]) for k, v in self.cache], self.valid[at])

    @staticmethod
    def stack(several: list[ActionContext]) -> ActionContext:
        """A batch of several, whose caches may differ in length."""
        longest = max(one.valid.shape[1] for one in several)

        def longer(x: Tensor, one: ActionContext) -> Tensor:
            return F.pad(x, (0, 0, 0, longest - one.valid.shape[1]))

        cache = [
            tuple(torch.cat([longer(one.cache[layer][part], one) for one in several]) for part in range(2))
            for layer in range(len(several[0].cache))
        ]
        valid = torch.cat([F.pad(one.valid, (0, longest - one.valid.shape[1])) for one in several])
        return ActionContext(torch.cat([one.points for one in several]), cache, valid)  # type: ignore[arg-type]


@torch.no_grad()
def sample_pick_place(model: LoHoVLA, attended: ActionContext, steps: int, noise: Tensor) -> Tensor:
    """Actions (B, 2, 4): pick and place as x, y, z (m), yaw (rad).

    Args:
        model: the core.
        attended: the sub-tasks.
        steps: denoising steps.
        noise: (B, 1, 8).
    """
    condition = pick_place_condition(attended.points)
    denoise = ActionVelocity(model.experts["pick_place"], condition, attended.cache, attended.valid)  # type: ignore
    return unscale_pick_place(denoise.run(noise, steps), attended.points)


def ee_denoise(model: LoHoVLA, attended: ActionContext, state: Tensor, motion: Tensor) -> ActionVelocity:
    """The velocity field of a chunk of tool poses, for a state (B, 13) and the motion of the last commands (B, 4)."""
    condition = ee_condition(attended.points, state, motion)
    anchors = ee_waypoints(attended.points, state, model.config.observe_position)
    return ActionVelocity(model.experts["ee"], condition, attended.cache, attended.valid, anchors)  # type: ignore


@torch.no_grad()
def sample_ee_chunk(
    model: LoHoVLA,
    attended: ActionContext,
    state: Tensor,
    motion: Tensor,
    steps: int,
    noise: Tensor,
    prefix: Tensor | None = None,
) -> Tensor:
    """Tool poses (B, H, 7): position (m), rotation vector (rad), gripper 0 or 1, at 20 Hz.

    Args:
        model: the core.
        attended: the sub-tasks.
        state: proprioception (B, 13).
        motion: difference of the last two commands, x, y, z, yaw (B, 4).
        steps: denoising steps.
        noise: (B, H, 7).
        prefix: the first d actions (B, d, 7), d at most ``config.max_prefix``, which the chunk continues.
    """
    clean = None if prefix is None or not prefix.shape[1] else scale_ee(prefix, state)
    chunk = unscale_ee(ee_denoise(model, attended, state, motion).run(noise, steps, clean), state)
    return chunk if clean is None or prefix is None else torch.cat([prefix, chunk[:, prefix.shape[1] :]], 1)


def sample_action_noise(model: LoHoVLA, control: str, generators: list[torch.Generator]) -> Tensor:
    """Noise (B, H, A) for a chunk, a row from each generator, on the model's device."""
    shape = model.config.horizons[control], ACTION_DIMS[control]
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(model.device)
