"""A decision of pi0's shape (Black et al., 2410.24164) on random weights, plainly and on the project's kernels.

Views of 224 px through a SigLIP tower, a Gemma of 18 layers over patches and words, and an expert of 300 M that
denoises a chunk on the cached keys and values. Only sizes are pi0's; the numbers that it computes mean nothing.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lohovla.benchmarks.gpu.pi0_shape import Pi0Shape
from lohovla.kernels.expert_attention import expert_attention
from lohovla.kernels.gated_mlp import add_linear, gated_mlp
from lohovla.kernels.qkv import fold, qkv

EPS = 1e-6
Cache = list[tuple[Tensor, Tensor]]


class Pi0Layer(nn.Module):
    """A decoder layer, with its weights as a checkpoint has them and folded."""

    def __init__(self, width: int, inner: int, shape: Pi0Shape):
        super().__init__()
        self.heads, self.kv, self.head = shape.heads, shape.kv, shape.head

        def weight(n: int, k: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(n, k) * k**-0.5 * 0.5)

        self.q, self.k, self.v = (weight(n * shape.head, width) for n in (shape.heads, shape.kv, shape.kv))
        self.out, self.gate, self.value = (
            weight(width, shape.heads * shape.head),
            weight(inner, width),
            weight(inner, width),
        )
        self.down = weight(width, inner)
        self.gain1, self.gain2 = (nn.Parameter(1 + 0.1 * torch.randn(width)) for _ in range(2))

    def prepare(self) -> None:
        """Fold the norms' gains into the products that follow; the plain weights stay for comparison."""
        self.joint = fold(self.gain1.data, self.q.data, self.k.data, self.v.data)
        self.up = fold(self.gain2.data, self.gate.data, self.value.data)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Any]:
        """Rows (R, D) after the layer, and their keys and values (1, key heads, R, d): as one writes it first."""
        y = F.rms_norm(x, x.shape[1:], self.gain1, EPS)
        q, k, v = (_heads(F.linear(y, weight), self.head) for weight in (self.q, self.k, self.v))
        q, k = _turn(q, cos, sin), _turn(k, cos, sin)
        keys, values = (k, v) if past is None else (torch.cat([past[0], k], 2), torch.cat([past[1], v], 2))
        seen = F.scaled_dot_product_attention(q, keys, values, enable_gqa=True)
        x = x + F.linear(_rows(seen), self.out)
        y = F.rms_norm(x, x.shape[1:], self.gain2, EPS)
        gated = F.gelu(F.linear(y, self.gate), approximate="tanh") * F.linear(y, self.value)
        return x + F.linear(gated, self.down), (k, v)

    def fused(
        self, x: Tensor, cos: Tensor, sin: Tensor, past: tuple[Tensor, Tensor] | None, last: bool = False
    ) -> tuple[Tensor, Any]:
        """The same on the kernels; of the ``last`` prefix layer only keys and values, all that is read of it."""
        if last:
            weight, rotated = self.joint[self.heads * self.head :], self.kv
        else:
            weight, rotated = self.joint, self.heads + self.kv
        joint = _heads(qkv(x, weight, cos, sin, rotated, EPS), self.head)
        k, v = joint[:, -2 * self.kv : -self.kv], joint[:, -self.kv :]
        if last:
            return x, (k, v)
        q = joint[:, : self.heads]
        if past is None:
            seen = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        else:
            seen = expert_attention(q, k, v, past, torch.ones_like(past[0][:, 0, :, 0], dtype=torch.bool))
        x = add_linear(_rows(seen), self.out, x)
        return gated_mlp(x, self.up, self.down, EPS, True), (k, v)


class Pi0(nn.Module):
    """Tower, decoder and expert; each part plainly and fused."""

    def __init__(self, shape: Pi0Shape, seed: int = 0):
        super().__init__()
        from transformers import SiglipVisionConfig, SiglipVisionModel

        torch.manual_seed(seed)
        self.shape, width = shape, shape.expert_width
        vision = SiglipVisionConfig(**shape.vision, vision_use_head=False)  # type: ignore[arg-type]
        self.tower = SiglipVisionModel(vision)
        self.project = nn.Linear(shape.vision["hidden_size"], shape.width)
        self.decoder = nn.ModuleList(Pi0Layer(shape.width, shape.inner, shape) for _ in range(shape.layers))
        self.expert = nn.ModuleList(Pi0Layer(width, shape.expert_inner, shape) for _ in range(shape.layers))
        self.enter, self.leave = nn.Linear(shape.actions, width), nn.Linear(width, shape.actions)
        self.mix, self.mixed = nn.Linear(2 * width, width), nn.Linear(width, width)
        self.gain = nn.Parameter(1 + 0.1 * torch.randn(width))

    def prepare(self) -> Pi0:
        """Fold gains, and make each step's time embedding into a bias of the expert's entry."""
        for layer in (*self.decoder, *self.expert):
            layer.prepare()  # type: ignore[operator]
        width = self.shape.expert_width
        action, time = self.mix.weight.data.double().split(width, 1)
        times = torch.stack([self.time(k).double() for k in range(self.shape.steps)])
        dtype = self.mix.weight.dtype
        # mix([enter(x), t]) = (A E) x + (A e + T t + b): one small product, and a bias for each step.
        self.entry = (action @ self.enter.weight.data.double()).to(dtype)
        self.biases = (action @ self.enter.bias.data.double() + times @ time.t() + self.mix.bias.data.double()).to(
            dtype
        )
        return self

    def compile_layers(self) -> None:
        """Put every layer, the tower's too, under ``torch.compile``: one by one, as all together take minutes."""
        for layer in (*self.decoder, *self.expert, *self.tower.modules()):
            if isinstance(layer, Pi0Layer) or type(layer).__name__ == "SiglipEncoderLayer":
                layer.compile(dynamic=False)

    def time(self, step: int) -> Tensor:
        """Embedding (expert width,) of a step's noise level."""
        half = self.shape.expert_width // 2
        period = torch.exp(torch.linspace(math.log(4e-3), math.log(4.0), half, device=self.gain.device))
        angle = 2 * math.pi * (1 - step / self.shape.steps) / period
        return torch.cat([angle.sin(), angle.cos()]).to(self.gain.dtype)

    def angles(self, first: int, n: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine (n, head / 2) of positions."""
        half = self.shape.head // 2
        rate = 10000.0 ** (-torch.arange(half, device=self.gain.device) / half)
        angle = torch.arange(first, first + n, device=self.gain.device)[:, None] * rate
        return angle.cos(), angle.sin()

    def look(self, pictures: Tensor, words: Tensor) -> Tensor:
        """The prefix's tokens (L, width) of pictures (views, 3, S, S) and embedded words (n, width)."""
        return torch.cat([self.project(self.tower(pictures).last_hidden_state).flatten(0, 1), words])

    def read(self, tokens: Tensor, fused: bool) -> Cache:
        """Keys and values of every decoder layer."""
        cos, sin = self.angles(0, len(tokens))
        cache, x = [], tokens
        for number, layer in enumerate(self.decoder):
            if fused:
                x, kept = layer.fused(x, cos, sin, None, number == len(self.decoder) - 1)  # type: ignore[operator]
            else:
                x, kept = layer(x, cos, sin, None)
            cache.append(kept)
        return cache

    def act(self, cache: Cache, state: Tensor, noise: Tensor, fused: bool) -> Tensor:
        """A chunk (H, A) denoised from ``noise``; ``state`` (1, expert width) is the expert's first token."""
        shape = self.shape
        cos, sin = self.angles(shape.prefix, shape.chunk + 1)
        x, dt = noise, 1 / shape.steps
        for step in range(shape.steps):
            if fused:
                entry = torch.addmm(self.biases[step], x.to(state.dtype), self.entry.t())
            else:
                action = self.enter(x.to(state.dtype))
                entry = self.mix(torch.cat([action, self.time(step).expand_as(action)], -1))
            y = torch.cat([state, self.mixed(F.silu(entry))])
            for layer, past in zip(self.expert, cache, strict=True):
                y, _ = (layer.fused if fused else layer)(y, cos, sin, past)  # type: ignore[operator]
            velocity = self.leave(F.rms_norm(y[1:], y.shape[1:], self.gain, EPS))
            x = x - dt * velocity.to(x.dtype)
        return x

    def floor_counts(self) -> dict[str, tuple[float, float]]:
        """Bytes (weights once, in bfloat16; the cache at each step) and operations of each part."""
        shape = self.shape
        tower = float(sum(p.numel() for p in self.tower.parameters()))
        decoder = float(sum(p.numel() for p in self.decoder.parameters()))
        kept = decoder * (1 - 1 / shape.layers) + 2.0 * shape.kv * shape.head * shape.width
        expert = float(sum(p.numel() for p in self.expert.parameters()))
        cache = 2.0 * shape.layers * shape.kv * shape.head * shape.prefix
        pairs = 4.0 * shape.heads * shape.head * shape.layers
        rows = shape.chunk + 1
        return {
            "vision": (2 * tower, 2 * tower * (shape.prefix - shape.words)),
            "prefix": (2 * (kept + cache), 2 * kept * shape.prefix + pairs * shape.prefix**2),
            "chunk": (
                2 * shape.steps * (expert + cache),
                shape.steps * (2 * expert * rows + pairs * rows * (rows + shape.prefix)),
            ),
        }


def _heads(x: Tensor, size: int) -> Tensor:
    return x.unflatten(1, (-1, size)).transpose(0, 1)[None]


def _rows(x: Tensor) -> Tensor:
    return x[0].transpose(0, 1).flatten(1)


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.float().chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1).to(x.dtype)
