"""The image head: the sub-goal as a picture, in continuous tokens, each denoised given the sequence so far.

The scene at the sub-task's end, seen from above at half the resolution, is coded by a small autoencoder; squares of
2 x 2 latents are the image tokens. They have weights of their own and attend to the decoder's cache (a mixture of
transformers: Liang et al., 2411.04996), so that painting cannot spoil planning. A perceptron denoises each token
given its hidden state (Orthus, 2412.00127; Li et al., MAR, 2406.11838): in raster order, or many at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from lohovla.model.action import ExpertLayer, head_dim, pick_place_condition, sinusoid
from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.layout import Kind, Layout, additive, expert_sees

SHRINK = 2  # of the camera's picture
_PATCH = 2
_FACTOR = 8  # of the autoencoder


def token_grid(config: LoHoVLAConfig) -> tuple[int, int]:
    """Rows and columns of image tokens."""
    rows, columns = (size // (SHRINK * _FACTOR * _PATCH) for size in config.picture)
    return rows, columns


def make_autoencoder(config: LoHoVLAConfig) -> Any:
    """The autoencoder, of diffusers' own class."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=config.image_channels, block_out_channels=(16, 32, 64, 64),  # type: ignore
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,  # type: ignore
        layers_per_block=1, norm_num_groups=8, mid_block_add_attention=False,
    )  # fmt: skip


def small(picture: Tensor) -> Tensor:
    """The colours of the stem's picture (B, 4, H, W), in [-1, 1], at the size that is coded (B, 3, H / 2, W / 2)."""
    return F.avg_pool2d(picture[:, :3], SHRINK)


class Painter(nn.Module):
    """Image tokens on the decoder's cache, and the head that denoises each.

    ``scale`` and ``shift`` standardise latents by channel; :meth:`measure` sets them.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, config: LoHoVLAConfig):
        super().__init__()
        self.config = config
        rows, columns = token_grid(config)
        self.count, self.dim = rows * columns, config.image_channels * _PATCH**2
        width = config.image_head_dim
        heads, size = config.expert_heads, head_dim(config.text_config)
        self.register_buffer("shift", torch.zeros(config.image_channels))
        self.register_buffer("scale", torch.ones(config.image_channels))
        codes = config.image_codes
        self.codes = nn.Parameter(torch.randn(codes, self.dim)) if codes else None
        self.content = nn.Linear(codes or self.dim, width, bias=not codes)
        self.observed = nn.Linear(self.dim, width)
        self.place = nn.Parameter(torch.randn(self.count, width) * 0.02)
        self.kinds = nn.Parameter(torch.randn(2, width) * 0.02)
        self.subtask = nn.Sequential(nn.Linear(10, width), nn.SiLU(), nn.Linear(width, width))
        self.layers = nn.ModuleList(ExpertLayer(width, heads, size) for _ in range(config.expert_layers))
        self.norm = nn.LayerNorm(width)
        self.head = TokenDenoiser(self.dim, width, config.image_head_blocks)

    # -- tokens ------------------------------------------------------------------------------------------

    def tokens(self, latents: Tensor) -> Tensor:
        """Standardised tokens (B, N, D), row by row, of latents (B, C, h, w)."""
        standard = (latents - self.shift[:, None, None]) / self.scale[:, None, None]
        return F.pixel_unshuffle(standard, _PATCH).flatten(2).transpose(1, 2)

    def latents(self, tokens: Tensor) -> Tensor:
        """The inverse of :meth:`tokens`."""
        rows, columns = token_grid(self.config)
        grid = tokens.transpose(1, 2).reshape(-1, self.dim, rows, columns)
        return F.pixel_shuffle(grid, _PATCH) * self.scale[:, None, None] + self.shift[:, None, None]

    @torch.no_grad()
    def measure(self, latents: Tensor) -> None:
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

    def hidden(self, scene: Scene, known: Known, queries: Tensor) -> Tensor:
        """Hidden states (B, Q, width) at the positions ``queries`` (B, Q), given the tokens that are known.

        A known token sees those of its own set and of earlier ones; a query those of sets before its own.
        """
        batch = scene.observed.shape[0]
        seen = self.observed(scene.observed)
        rows = torch.arange(batch, device=seen.device)[:, None]
        content = self.embed(known.tokens) + self.place[known.where] + self.kinds[0]
        query = seen[rows, queries] + self.place[queries] + self.kinds[1]
        y = torch.cat([content, query], 1)
        always = torch.ones(y.shape[:2], dtype=torch.bool, device=y.device)
        split = known.where.shape[1]
        part = Layout.join(
            [
                Layout.part(Kind.CONTENT, always[:, :split], 0, known.sets),
                Layout.part(Kind.QUERY, always[:, split:], 0, known.query_sets),
            ]
        )
        among = part.allowed()
        bias = additive(torch.cat([scene.valid[:, None, None].expand(-1, 1, y.shape[1], -1), among], -1), y.dtype)
        time = scene.subtask[:, None]
        for layer, (keys, values) in zip(self.layers, scene.cache, strict=True):
            y = layer(y, time, keys, values, bias)
        return self.norm(y[:, split:])


@dataclass
class Scene:
    """What a sub-goal is painted from.

    Attributes:
        observed: tokens of the picture now (B, N, D).
        cache: keys and values of the decoder.
        valid: which of them may be seen (B, L).
        subtask: embedded points of the sub-task (B, width).
    """

    observed: Tensor
    cache: list[tuple[Tensor, Tensor]]
    valid: Tensor
    subtask: Tensor


@dataclass
class Known:
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


def scene_of(
    painter: Painter,
    observed: Tensor,
    points: Tensor,
    cache: list[tuple[Tensor, Tensor]],
    layout: Layout,
    without_subtask: Tensor | None = None,
) -> Scene:
    """What to paint from; where ``without_subtask`` (B,) the words and points are hidden, for guidance."""
    subtask = painter.subtask(pick_place_condition(points))
    valid = expert_sees(layout, 0)
    if without_subtask is not None:
        prefix = (layout.group == -1) & (layout.kind != int(Kind.PAD))
        valid = torch.where(without_subtask[:, None], prefix, valid)
        subtask = torch.where(without_subtask[:, None], 0.0, subtask)
    return Scene(observed, cache, valid, subtask)


class TokenDenoiser(nn.Module):
    """A perceptron with residual blocks modulated by the hidden state and the noise level; starts at zero.

    It predicts noise - data (``flow``), or sqrt(a) noise - sqrt(1 - a) data (``v``).
    """

    def __init__(self, dim: int, width: int, blocks: int):
        super().__init__()
        self.enter = nn.Linear(2 * dim, width)
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(blocks))
        self.modulate = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(blocks))
        self.mix = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(blocks)
        )
        self.leave = nn.Linear(width, dim)
        for layer in (*self.modulate, self.leave):
            nn.init.zeros_(layer.weight)  # type: ignore
            nn.init.zeros_(layer.bias)  # type: ignore

    def forward(self, x: Tensor, t: Tensor, hidden: Tensor, observed: Tensor) -> Tensor:
        """The prediction (..., D) for noisy tokens (..., D) at levels t (...), the picture now being ``observed``."""
        condition = F.silu(self.time(sinusoid(t)) + hidden)
        y = self.enter(torch.cat([x, observed], -1))
        for norm, modulate, mix in zip(self.norms, self.modulate, self.mix, strict=True):
            shift, scale, gate = modulate(condition).chunk(3, -1)
            y = y + gate * mix(norm(y) * (1 + scale) + shift)
        return self.leave(y)
