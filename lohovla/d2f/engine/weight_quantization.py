"""Linear layers with weights of eight bits: half or a quarter of the bytes, a little rounding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lohovla.errors import UserError
from lohovla.kernels import weight_only_linear

KINDS = {"int8": torch.int8, "fp8": torch.float8_e4m3fn}


class QuantizedLinear(nn.Module):
    """A linear layer whose weights are scaled by output channel and kept in eight bits.

    A row's result does not depend on the other rows: inputs keep their precision.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear, dtype: torch.dtype):
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight, scale = weight_only_linear.quantise(layer.weight.detach(), dtype)
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return weight_only_linear.linear(x.flatten(0, -2), self.weight, self.scale, self.bias).unflatten(
            0, x.shape[:-1]
        )


def quantize_linear(text: Any, kind: str) -> None:
    """Change the layers of a text model (its base and its student) in place; embedding and language head stay.

    Args:
        text: a :class:`lohovla.d2f.text_model.TextModel`.
        kind: of :data:`KINDS`.

    Raises:
        UserError: there is no such kind, or the model is a mixture of experts, whose weights are no linear layers.
    """
    if kind not in KINDS:
        raise UserError(f"weights cannot be {kind!r}", f"choose one of {', '.join(KINDS)}")
    if any(hasattr(module, "gate_up_proj") for denoiser in text.denoisers for module in denoiser.decoder.modules()):
        raise UserError(
            "the weights of a mixture of experts cannot be quantized", "leave weights out; dtype=bfloat16 works"
        )
    for denoiser in text.denoisers:
        inner: nn.Module = denoiser.decoder
        for module in list(inner.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(module, name, QuantizedLinear(child, KINDS[kind]))
