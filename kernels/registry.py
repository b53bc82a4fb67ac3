"""All kernels by name, with random inputs of any size to test and to time them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from lohovla.kernels import (
    expert_attention,
    gated_mlp,
    lm_head_argmax,
    paged_attention,
    qkv,
    weight_only_linear,
)


@dataclass(frozen=True)
class Kernel:
    """A kernel.

    Attributes:
        module: holds ``reference``, ``cost``, ``saved`` and ``ahead``, all of the call's own arguments.
        call: the function that chooses an implementation.
        inputs: ``(sizes, dtype, generator) -> arguments``, on the generator's device.
        small: sizes for tests, ragged and tiny ones among them.
        serving: sizes for timing.
    """

    module: ModuleType
    call: Callable[..., Any]
    inputs: Callable[..., tuple]
    small: tuple[dict[str, Any], ...]
    serving: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Shapes:
    """Stands in for a generator where only shapes matter: inputs without memory, their lengths alone are real."""

    device: torch.device = field(default_factory=lambda: torch.device("meta"))


class _Random:
    """Random tensors of one type."""

    def __init__(self, dtype: torch.dtype, generator: Any):
        self.dtype, self.device = dtype, generator.device
        self.generator = None if isinstance(generator, Shapes) else generator

    def normal(self, *shape: int, scale: float = 1.0, dtype: torch.dtype | None = None) -> Tensor:
        drawn = torch.randn(shape, generator=self.generator, device=self.device) * scale
        return drawn.to(dtype or self.dtype)

    def weight(self, n: int, k: int) -> Tensor:
        return self.normal(n, k, scale=k**-0.5)

    def integers(self, *shape: int, high: int) -> Tensor:
        return torch.randint(high, shape, generator=self.generator, device=self.device, dtype=torch.int32)


def _qkv(sizes: dict[str, Any], dtype: torch.dtype, generator: Any) -> tuple:
    random, head = _Random(dtype, generator), sizes["head"]
    angle = random.normal(sizes["rows"], head // 2, dtype=torch.float32)
    heads = sizes["heads"] + 2 * sizes["kv"]
    weight, rotated = random.weight(heads * head, sizes["width"]), heads - sizes["kv"]
    gains = 1 + 0.1 * random.normal(rotated, head) if sizes.get("normed") else None
    return random.normal(sizes["rows"], sizes["width"]), weight, angle.cos(), angle.sin(), rotated, 1e-6, gains


def _gated_mlp(sizes: dict[str, Any], dtype: torch.dtype, generator: Any) -> tuple:
    random, width, inner = _Random(dtype, generator), sizes["width"], sizes["inner"]
    up, down = random.weight(2 * inner, width), random.weight(width, inner)
    return random.normal(sizes["rows"], width), up, down, 1e-6, sizes.get("gelu", True)


def _paged_attention(sizes: dict[str, Any], dtype: torch.dtype, generator: Any) -> tuple:
    random, d, page = _Random(dtype, generator), sizes["head"], sizes["page"]
    device = torch.device("cpu") if isinstance(generator, Shapes) else generator.device
    windows, lengths, block = sizes["windows"], sizes["lengths"], sizes["block"]
    tokens = sum(windows)
    widest = max(1, max(-(-length // page) for length in lengths))
    count = len(lengths) * widest
    table = torch.randperm(count, generator=random.generator, device=device).int().view(len(lengths), widest)
    order = [torch.arange(window, dtype=torch.int32, device=device) // block for window in windows]
    starts = torch.tensor([0, *windows], dtype=torch.int32, device=device).cumsum(0).int()
    q = random.normal(tokens, sizes["heads"], d)
    k, v = (random.normal(tokens, sizes["kv"], d) for _ in range(2))
    pages = (random.normal(count, page, sizes["kv"], d), random.normal(count, page, sizes["kv"], d))
    return q, k, v, torch.cat(order), starts, pages, table, torch.tensor(lengths, dtype=torch.int32, device=device)


def _expert_attention(sizes: dict[str, Any], dtype: torch.dtype, generator: Any) -> tuple:
    random, batch, d = _Random(dtype, generator), sizes.get("batch", 1), sizes["head"]
    # As a joint product leaves them: heads side by side, row by row.
    joint = random.normal(batch, sizes["rows"], sizes["heads"] + 2 * sizes["kv"], d).transpose(1, 2)
    q, k, v = joint.split([sizes["heads"], sizes["kv"], sizes["kv"]], 1)
    past = tuple(random.normal(batch, sizes["kv"], sizes["prefix"], d) for _ in range(2))
    return q, k, v, past, random.integers(batch, sizes["prefix"], high=4) > 0


def _confidence(sizes: dict[str, Any], dtype: torch.dtype, generator: Any) -> tuple:
    random, width = _Random(dtype, generator), sizes["width"]
    rows = torch.randperm(sizes["rows"], generator=random.generator, device=random.device).int()[: sizes["asked"]]
    # Wide enough that some rows are sure of their word, as masked rows of a trained model are.
    head = random.normal(sizes["vocabulary"], width, scale=4 * width**-0.5)
    return random.normal(sizes["rows"], width), rows, head, 3


def _quantised(sizes: dict[str, Any], dtype: torch.dtype, generator: Any) -> tuple:
    random = _Random(dtype, generator)
    kind = torch.float8_e4m3fn if sizes.get("float8") else torch.int8
    weight, scale = weight_only_linear.quantise(random.weight(sizes["out"], sizes["width"]), kind)
    return random.normal(sizes["rows"], sizes["width"]), weight, scale, random.normal(sizes["out"])


_D2F = {"heads": 28, "kv": 4, "head": 128, "page": 32, "block": 32}

KERNELS: dict[str, Kernel] = {
    "qkv": Kernel(
        qkv,
        qkv.qkv,
        _qkv,
        (
            dict(rows=1, width=24, heads=1, kv=1, head=8),
            dict(rows=37, width=72, heads=2, kv=1, head=72),
            dict(rows=67, width=40, heads=3, kv=1, head=72, normed=True),
        ),
        (
            dict(rows=560, width=2048, heads=8, kv=1, head=256),
            dict(rows=51, width=1024, heads=8, kv=1, head=256),
            dict(rows=64, width=3584, heads=28, kv=4, head=128),
            dict(rows=35, width=192, heads=4, kv=4, head=48, normed=True),
        ),
    ),
    "gated_mlp": Kernel(
        gated_mlp,
        gated_mlp.gated_mlp,
        _gated_mlp,
        (
            dict(rows=1, width=8, inner=1),
            dict(rows=37, width=72, inner=50, gelu=False),
            dict(rows=70, width=24, inner=40),
        ),
        (dict(rows=560, width=2048, inner=16384), dict(rows=51, width=1024, inner=4096)),
    ),
    "paged_attention": Kernel(
        paged_attention,
        paged_attention.paged_attention,
        _paged_attention,
        (
            dict(windows=[1], lengths=[0], heads=1, kv=1, head=8, page=4, block=2),
            dict(windows=[7, 0, 3], lengths=[9, 4, 0], heads=6, kv=2, head=24, page=4, block=3),
        ),
        (
            {**_D2F, "windows": [64] * 16, "lengths": [1024 + 64 * i for i in range(16)]},
            {**_D2F, "windows": [64], "lengths": [1024]},
        ),
    ),
    "expert_attention": Kernel(
        expert_attention,
        expert_attention.expert_attention,
        _expert_attention,
        (dict(rows=1, prefix=1, heads=1, kv=1, head=8), dict(batch=2, rows=5, prefix=37, heads=4, kv=2, head=24)),
        (dict(rows=51, prefix=560, heads=8, kv=1, head=256), dict(rows=16, prefix=80, heads=4, kv=4, head=48)),
    ),
    "confidence": Kernel(
        lm_head_argmax,
        lm_head_argmax.lm_head_argmax,
        _confidence,
        (dict(rows=1, asked=1, width=8, vocabulary=5), dict(rows=23, asked=19, width=40, vocabulary=203)),
        (
            dict(rows=64, asked=64, width=3584, vocabulary=152064),
            dict(rows=1024, asked=512, width=3584, vocabulary=152064),
        ),
    ),
    "quantised": Kernel(
        weight_only_linear,
        weight_only_linear.linear,
        _quantised,
        (dict(rows=1, width=8, out=3), dict(rows=37, width=72, out=50), dict(rows=5, width=40, out=35, float8=True)),
        (dict(rows=64, width=3584, out=18944), dict(rows=64, width=3584, out=18944, float8=True)),
    ),
}


def as_double(value: Any) -> Any:
    """Arguments in float64, for a reference to compare with; what is 8 bits wide or whole stays."""
    if isinstance(value, tuple):
        return tuple(as_double(one) for one in value)
    if isinstance(value, Tensor) and value.dtype in (torch.float32, torch.bfloat16, torch.float16):
        return value.double()
    return value
