"""Chunks of tool poses faster: what does not change between denoising steps is computed once.

``eager`` is :func:`lohovla.model.acting.ee_chunk`; ``compile`` is the same with the expert under ``torch.compile``;
``fused`` computes the modulation of all steps in one product a layer and reads the cached prefix where it lies, on
CUDA in one graph for each shape. Eight-bit weights gained nothing on CPU (docs/performance.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lohovla.errors import UserError
from lohovla.model.acting import Attended
from lohovla.model.action import Denoise, Expert, ee_action, ee_anchors, ee_condition, sinusoid
from lohovla.model.core import LoHoVLA

BACKENDS = ("eager", "compile", "fused")


class Chunks:
    """Denoises chunks of tool poses.

    Args:
        model: the core.
        backend: one of :data:`BACKENDS`.

    Raises:
        UserError: there is no such backend.
    """

    def __init__(self, model: LoHoVLA, backend: str = "eager"):
        if backend not in BACKENDS:
            raise UserError(f"there is no backend {backend!r}", f"choose {', '.join(BACKENDS)}")
        self._model, self._backend = model, backend
        self._expert: Any = model.experts["ee"]
        self._graphs: dict[tuple, tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]] = {}
        if backend == "compile":
            self._expert = torch.compile(self._expert, dynamic=False)

    @torch.no_grad()
    def ee(self, attended: Attended, state: Tensor, motion: Tensor, steps: int, noise: Tensor) -> Tensor:
        """Tool poses (B, H, 7); arguments as those of :func:`lohovla.model.acting.ee_chunk`."""
        condition = ee_condition(attended.points, state, motion)
        anchors = ee_anchors(attended.points, state, self._model.config.look)
        if self._backend != "fused":
            denoise = Denoise(self._expert, condition, attended.cache, attended.valid, anchors)
            return ee_action(denoise.run(noise, steps), state)
        flat = [noise, condition, attended.valid, anchors, *(x for pair in attended.cache for x in pair)]
        chunk = self._replay(flat, steps) if noise.is_cuda else self._denoise(flat, steps)
        return ee_action(chunk, state)

    def _denoise(self, flat: list[Tensor], steps: int) -> Tensor:
        noise, condition, valid, anchors, *rest = flat
        return fused_chunk(
            self._expert, noise, steps, condition, list(zip(rest[::2], rest[1::2], strict=True)), valid, anchors
        )

    def _replay(self, flat: list[Tensor], steps: int) -> Tensor:
        """One CUDA graph for each number of steps and shape of the inputs, which are copied to where it reads them."""
        key = (steps, *(tuple(x.shape) for x in flat))
        if key not in self._graphs:
            own = [x.clone() for x in flat]
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(2):
                    self._denoise(own, steps)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                out = self._denoise(own, steps)
            self._graphs[key] = graph, own, out
        graph, own, out = self._graphs[key]
        for mine, given in zip(own, flat, strict=True):
            mine.copy_(given)
        graph.replay()
        return out.clone()


def fused_chunk(
    expert: Expert,
    noise: Tensor,
    steps: int,
    condition: Tensor,
    cache: list[tuple[Tensor, Tensor]],
    valid: Tensor,
    anchors: Tensor,
) -> Tensor:
    """Denoise ``noise`` (B, H, A); the same numbers as :class:`Denoise`, up to rounding.

    All actions have the same noise level, so that a step's modulation is one row and not one for each action, and
    those of all steps are one product; :class:`Denoise` computes H times as many rows, step by step.
    """
    from lohovla.kernels.expert_attention import expert_attention

    batch, horizon, _ = noise.shape
    levels = 1 - torch.arange(steps, device=noise.device, dtype=noise.dtype) / steps
    given = expert.condition(condition)[:, None]
    time = F.silu(expert.time(sinusoid(levels))[:, None, None] + given)  # (steps, B, 1, width)
    modulations = [layer.modulate(time).chunk(6, -1) for layer in expert.layers]  # type: ignore[operator, union-attr]
    standing = expert.place[:horizon] + given
    x = noise
    for step in range(steps):
        y = expert.enter(x) + standing
        for layer, (keys, values), own in zip(expert.layers, cache, modulations, strict=True):
            shift1, scale1, gate1, shift2, scale2, gate2 = (part[step] for part in own)
            z: Any = layer.norm1(y) * (1 + scale1) + shift1  # type: ignore[operator]
            q, k, v = layer.qkv(z).view(batch, horizon, 3, expert.heads, expert.head_dim).permute(2, 0, 3, 1, 4)  # type: ignore[operator]
            z = expert_attention(q, k, v, (keys, values), valid)
            y = y + (1 + gate1) * layer.out(z.transpose(1, 2).reshape(batch, horizon, -1))  # type: ignore[operator]
            z = layer.norm2(y) * (1 + scale2) + shift2  # type: ignore[operator]
            y = y + (1 + gate2) * layer.down(F.silu(layer.up(z)))  # type: ignore[operator]
        x = x - expert.velocity(expert.norm(y), x, levels[step].expand(batch, horizon), anchors) / steps
    return x
