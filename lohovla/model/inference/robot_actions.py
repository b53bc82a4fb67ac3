"""From an encoded observation of a robot to its keyframe and its chunk of actions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lohovla.model.action.flow_matching import ActionVelocity
from lohovla.model.attention_mask import SequenceLayout, TokenType, expert_attention_mask
from lohovla.model.inference.pick_place_prediction import SubtaskTokens, embed_tokens, pad_tokens
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.robot_inputs import EncodedRobotObservation


@dataclass
class RobotActionContext:
    """What the action head reads, and what the keyframe head said.

    Attributes:
        cache: keys and values (B, heads, L, head_dim) by layer of the action head.
        valid: which cached positions it may see (B, L).
        state: normalised proprioception (B, n).
        condition: normalised proprioception, and the decoder's state of the last token plus the cameras' summary
            (B, n + hidden).
        keyframe: the normalised state at the next keyframe (B, n).
        progress: of the sub-task, in [0, 1] (B,).
    """

    cache: list[tuple[Tensor, Tensor]]
    valid: Tensor
    state: Tensor
    condition: Tensor
    keyframe: Tensor
    progress: Tensor


@torch.no_grad()
def read_subtask(model: LoHoVLA, words: SubtaskTokens, prefix: EncodedRobotObservation) -> RobotActionContext:
    """Run what the decoder has not seen yet of the sub-task's words, and the keyframe token.

    Args:
        model: the core.
        words: the sub-tasks; no words but the start where there is none. Their cache is extended.
        prefix: of :meth:`LoHoVLA.encode_robot`.
    """
    state = prefix.state
    fed = [len(row) + 1 - len(waiting) for row, waiting in zip(words.tokens, words.waiting, strict=True)]
    tokens, part, places = embed_tokens(model, *pad_tokens(words.waiting, fed, state.device))
    layout = SequenceLayout.concat([words.layout, part])
    rows = len(state)
    if model.config.keyframes:
        one = torch.ones(rows, 1, dtype=torch.bool, device=state.device)
        layout = SequenceLayout.concat([layout, SequenceLayout.of_type(TokenType.POINT, one, 0)])
        tokens = torch.cat([tokens, keyframe_tokens(model, rows)], 1)
        places = torch.cat([places, places.new_full((rows, 1), model.places.point)], 1)
    states = model.run(tokens, layout, places, words.cache)
    ends = [tokens.shape[1] if model.config.keyframes else len(waiting) for waiting in words.waiting]
    last = states[torch.arange(rows, device=state.device), torch.tensor(ends, device=state.device) - 1] + prefix.cameras
    keyframe, progress = model.keyframe_head(last)
    condition = torch.cat([state, last], -1)
    valid = expert_attention_mask(layout, 0)
    return RobotActionContext(model.expert_cache(words.cache), valid, state, condition, keyframe, progress)


def keyframe_tokens(model: LoHoVLA, rows: int) -> Tensor:
    """The keyframe token as it enters the decoder (B, 1, hidden)."""
    return model.keyframe_head.token(rows) + model.kind_entry.weight[int(TokenType.POINT)]


def action_sampler(model: LoHoVLA, context: RobotActionContext) -> ActionVelocity:
    """The velocity field of normalised chunks."""
    return ActionVelocity(model.experts["action"], context.condition, context.cache, context.valid)  # type: ignore[arg-type]


@torch.no_grad()
def action_chunk(
    model: LoHoVLA, context: RobotActionContext, steps: int, noise: Tensor, prefix: Tensor | None = None
) -> Tensor:
    """Normalised chunks (B, H, A).

    Args:
        model: the core.
        context: of :func:`read_subtask`.
        steps: denoising steps.
        noise: (B, H, A).
        prefix: the first d normalised actions (B, d, A), which the chunk continues.
    """
    return action_sampler(model, context).run(noise, steps, prefix)
