"""The image head: the sub-goal as a picture, in continuous tokens, each denoised given the sequence so far.

The scene at the sub-task's end, seen from above at half the resolution, colour and depth, is coded by a small
autoencoder; squares of 2 x 2 latents are the image tokens. They have weights of their own and attend to the decoder's
cache (a mixture of transformers: Liang et al., 2411.04996), so that painting cannot spoil planning. A perceptron
denoises each token given its hidden state (Orthus, 2412.00127; Li et al., MAR, 2406.11838): in raster order, or many
at once. A sub-goal differs from the present in a few places, so it starts from the present: from the picture now, in
which the picked square of pixels stands at the place already (as Transporter networks move it, Zeng et al.,
2010.14406). What is missing is learned: what was under the block, its edges, its shadow on the depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lohovla.d2f.denoiser import attention_bias
from lohovla.model.action.action_expert import ActionExpertLayer, head_dim, pick_place_condition
from lohovla.model.action.flow_matching import sinusoidal_embedding
from lohovla.model.attention_mask import SequenceLayout, TokenType, expert_attention_mask
from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.subgoal.pixel_transport import NEAR_DIM, PATCH, token_grid, token_offsets


class SubgoalGenerator(nn.Module):
    """Image tokens on the decoder's cache, and the head that denoises each.

    ``scale`` and ``shift`` standardise latents by channel; :meth:`measure` sets them.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, config: LoHoVLAConfig):
        super().__init__()
        self.config = config
        rows, columns = token_grid(config)
        self.count, self.dim = rows * columns, config.image_channels * PATCH**2
        width = config.image_head_dim
        heads, size = config.expert_heads, head_dim(config.text_config)
        self.register_buffer("shift", torch.zeros(config.image_channels))
        self.register_buffer("scale", torch.ones(config.image_channels))
        codes = config.image_codes
        self.codes = nn.Parameter(torch.randn(codes, self.dim)) if codes else None
        self.content = nn.Linear(codes or self.dim, width, bias=not codes)
        self.observed = nn.Linear(2 * self.dim, width)
        self.near = nn.Sequential(nn.Linear(NEAR_DIM, width), nn.SiLU(), nn.Linear(width, width))
        self.place = nn.Parameter(torch.randn(self.count, width) * 0.02)
        self.kinds = nn.Parameter(torch.randn(3, width) * 0.02)
        self.subtask = nn.Sequential(nn.Linear(10 + config.stem_dim, width), nn.SiLU(), nn.Linear(width, width))
        self.layers = nn.ModuleList(ActionExpertLayer(width, heads, size) for _ in range(config.expert_layers))
        self.norm = nn.LayerNorm(width)
        self.head = TokenDenoiser(self.dim, width, config.image_head_blocks)

    # -- tokens ------------------------------------------------------------------------------------------

    def tokens(self, latents: Tensor) -> Tensor:
        """Standardised tokens (B, N, D), row by row, of latents (B, C, h, w)."""
        standard = (latents - self.shift[:, None, None]) / self.scale[:, None, None]
        return F.pixel_unshuffle(standard, PATCH).flatten(2).transpose(1, 2)

    def latents(self, tokens: Tensor) -> Tensor:
        """The inverse of :meth:`tokens`."""
        rows, columns = token_grid(self.config)
        grid = tokens.transpose(1, 2).reshape(-1, self.dim, rows, columns)
        return F.pixel_shuffle(grid, PATCH) * self.scale[:, None, None] + self.shift[:, None, None]

    @torch.no_grad()
    def fit_scale(self, latents: Tensor) -> None:
        """Take the scale of latents (B, C, h, w) as the one to standardise by."""
        self.shift.copy_(latents.mean((0, 2, 3)))
        self.scale.copy_(latents.std((0, 2, 3)))

    def embed(self, tokens: Tensor) -> Tensor:
        """Content (..., width) of tokens (..., D): linear, or a soft mixture of codes, softmax(-|v - c|^2 / tau)."""
        if self.codes is None:
            return self.content(tokens)
        distance = torch.cdist(tokens, self.codes.expand(*tokens.shape[:-2], -1, -1)).square()
        return self.content((-distance / self.config.image_tau).softmax(-1))

    # -- the sequence ------------------------------------------------------------------------------------

    def hidden(self, scene: GenerationContext, known: DecodedTokens, queries: Tensor) -> Tensor:
        """Hidden states (B, Q, width) at the positions ``queries`` (B, Q), given the tokens that are known.

        All see the picture now. A known token sees those of its own set and of earlier ones; a query those of sets
        before its own.
        """
        batch, count, _ = scene.observed.shape
        rows = torch.arange(batch, device=scene.observed.device)[:, None]
        about = self.observed(torch.cat([scene.observed, scene.moved], -1)) + self.near(scene.near) + self.place
        content = self.embed(known.tokens) + self.place[known.where] + self.kinds[0]
        y = torch.cat([about + self.kinds[2], content, about[rows, queries] + self.kinds[1]], 1)
        always = torch.ones(y.shape[:2], dtype=torch.bool, device=y.device)
        split = count + known.where.shape[1]
        part = SequenceLayout.concat(
            [
                SequenceLayout.of_type(TokenType.CONTENT, always[:, :count], 0, known.sets.new_full((1,), -1)),
                SequenceLayout.of_type(TokenType.CONTENT, always[:, count:split], 0, known.sets),
                SequenceLayout.of_type(TokenType.QUERY, always[:, split:], 0, known.query_sets),
            ]
        )
        among = part.attention_mask()
        bias = attention_bias(torch.cat([scene.valid[:, None, None].expand(-1, 1, y.shape[1], -1), among], -1), y.dtype)
        time = scene.subtask[:, None]
        for layer, (keys, values) in zip(self.layers, scene.cache, strict=True):
            y = layer(y, time, keys, values, bias)
        return self.norm(y[:, split:])


@dataclass
class GenerationContext:
    """What a sub-goal is painted from.

    Attributes:
        observed: tokens of the picture now (B, N, D).
        moved: the same, with the picked square of pixels at the place.
        near: where pick and place lie from each token (B, N, NEAR_DIM).
        cache: keys and values of the decoder.
        valid: which of them may be seen (B, L).
        subtask: embedded points of the sub-task, and what is seen at the pick (B, width).
    """

    observed: Tensor
    moved: Tensor
    near: Tensor
    cache: list[tuple[Tensor, Tensor]]
    valid: Tensor
    subtask: Tensor

    def tokens_at(self, where: Tensor) -> tuple[Tensor, Tensor]:
        """Observed and moved tokens at positions (B, Q)."""
        rows = torch.arange(len(where), device=where.device)[:, None]
        return self.observed[rows, where], self.moved[rows, where]


@dataclass
class DecodedTokens:
    """Tokens that are painted already, and the order of things.

    Attributes:
        tokens: (B, K, D).
        where: their positions (B, K).
        sets: the step at which each was painted (B, K).
        query_sets: the step at which each query is painted (B, Q).
    """

    tokens: Tensor
    where: Tensor
    sets: Tensor
    query_sets: Tensor


@dataclass
class SubtaskMove:
    """A sub-task as the painter is told of it.

    Attributes:
        points: pick and place (B, 2, 5).
        picked: the stem's features where it is picked (B, stem_dim).
        observed: tokens of the picture now (B, N, D).
        moved: tokens of :func:`lohovla.model.subgoal.pixel_transport.transport_pixels` (B, N, D).
    """

    points: Tensor
    picked: Tensor
    observed: Tensor
    moved: Tensor


def generation_context(
    painter: SubgoalGenerator,
    move: SubtaskMove,
    cache: list[tuple[Tensor, Tensor]],
    layout: SequenceLayout,
    without_subtask: Tensor | None = None,
) -> GenerationContext:
    """What to paint from; where ``without_subtask`` (B,) words, points and the move are hidden, for guidance."""
    subtask = painter.subtask(torch.cat([pick_place_condition(move.points), move.picked], -1))
    valid, about, moved = expert_attention_mask(layout, 0), token_offsets(move.points, painter.config), move.moved
    if without_subtask is not None:
        hide = without_subtask[:, None]
        prefix = (layout.group == -1) & (layout.kind != int(TokenType.PAD))
        valid, subtask = torch.where(hide, prefix, valid), torch.where(hide, 0.0, subtask)
        about, moved = torch.where(hide[..., None], 0.0, about), torch.where(hide[..., None], move.observed, moved)
    return GenerationContext(move.observed, moved, about, cache, valid, subtask)


class TokenDenoiser(nn.Module):
    """A perceptron with residual blocks modulated by the hidden state and the noise level.

    It says the clean token, as what must be added to the moved one: untrained, it gives that.
    """

    def __init__(self, dim: int, width: int, blocks: int):
        super().__init__()
        self.enter = nn.Linear(3 * dim, width)
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(blocks))
        self.modulate = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(blocks))
        self.mix = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(blocks)
        )
        self.leave = nn.Linear(width, dim)
        for layer in self.modulate:
            nn.init.zeros_(layer.weight)  # type: ignore
            nn.init.zeros_(layer.bias)  # type: ignore
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, t: Tensor, hidden: Tensor, observed: Tensor, moved: Tensor) -> Tensor:
        """Clean tokens (..., D) of noisy ones at levels t (...), beside what is there now and with the move made."""
        condition = F.silu(self.time(sinusoidal_embedding(t)) + hidden)
        y = self.enter(torch.cat([x, observed, moved], -1))
        for norm, modulate, mix in zip(self.norms, self.modulate, self.mix, strict=True):
            shift, scale, gate = modulate(condition).chunk(3, -1)
            y = y + (1 + gate) * mix(norm(y) * (1 + scale) + shift)
        return moved + self.leave(y)
