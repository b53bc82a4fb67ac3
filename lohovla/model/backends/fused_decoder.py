"""The decoder with fused projections: joint products with the norms folded in; the last layer runs few rows.

transformers' classes compute the same; they ask their configuration at every layer, keep gate and value, queries and
keys apart, and run the last layer for all rows. Here the last layer computes keys and values of all rows, and the rest
only of those asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lohovla.d2f.denoiser import attention_bias
from lohovla.errors import UserError
from lohovla.kernels.gated_mlp import add_linear, gated_mlp
from lohovla.kernels.qkv import fold, qkv

Pairs = list[tuple[Tensor, Tensor]]
_FAMILIES = ("qwen3", "gemma")


@dataclass(frozen=True)
class _Layer:
    """Weights of a layer: gains folded in, one below the other."""

    joint: Tensor
    gains: Tensor | None
    out: Tensor
    up: Tensor
    down: Tensor


class FusedDecoder:
    """Passes of a decoder of transformers (Qwen3, Gemma); its weights are copied as they are now.

    Args:
        decoder: where the weights come from; LoRA adapters are merged.
        implementation: of the kernels, see :func:`lohovla.kernels.runtime.use_triton`.

    Raises:
        UserError: it is of another family, or has biases.
    """

    def __init__(self, decoder: Any, implementation: str = "auto"):
        config = decoder.config
        if config.model_type not in _FAMILIES or getattr(config, "attention_bias", False):
            raise UserError(
                f"this backend does not support decoders of type {config.model_type}"
                + " with biases" * bool(getattr(config, "attention_bias", False)),
                "use policy.backend=eager",
            )
        self._implementation = implementation
        self._heads, self._kv = config.num_attention_heads, config.num_key_value_heads
        self._size = getattr(config, "head_dim", None) or config.hidden_size // self._heads
        self._eps, self._gelu = config.rms_norm_eps, config.model_type == "gemma"
        self._rates, self._turn = decoder.rotary_emb.inv_freq, float(decoder.rotary_emb.attention_scaling)
        # Newer transformers scale Gemma's words in the embedding, older ones whatever goes into the decoder.
        scaled = self._gelu and not hasattr(decoder.get_input_embeddings(), "embed_scale")
        self._scale = config.hidden_size**0.5 if scaled else 1.0
        with torch.inference_mode(False), torch.no_grad():
            self._layers = [self._layer(layer) for layer in decoder.layers]
            self._gain = self._gain_of(decoder.norm)

    def _gain_of(self, norm: Any) -> Tensor:
        weight = norm.weight.detach().float()
        return weight + 1 if self._gelu else weight

    def _layer(self, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        first, second = self._gain_of(layer.input_layernorm), self._gain_of(layer.post_attention_layernorm)
        gains = None
        if hasattr(attention, "q_norm"):
            norms = ((attention.q_norm, self._heads), (attention.k_norm, self._kv))
            gains = torch.cat([self._gain_of(norm).expand(count, -1) for norm, count in norms])
        return _Layer(
            fold(first, *(_weight(part) for part in (attention.q_proj, attention.k_proj, attention.v_proj))),
            gains,
            _weight(attention.o_proj).contiguous(),
            fold(second, _weight(mlp.gate_proj), _weight(mlp.up_proj)),
            _weight(mlp.down_proj).contiguous(),
        )

    def run(
        self, tokens: Tensor, allowed: Tensor, places: Tensor, past: Pairs | None = None, keep: Tensor | None = None
    ) -> tuple[Tensor, Pairs]:
        """States of ``tokens``, and their keys and values (B, key heads, n, head size) by layer.

        Args:
            tokens: embedded (B, n, hidden), in the decoder's precision.
            allowed: who sees whom, of the past and of these, bool (B, 1, n, L + n).
            places: position numbers (B, n).
            past: keys and values of the L positions before them.
            keep: (B, m) of the n tokens, those whose states are wanted; None wants all.
        """
        batch = tokens.shape[0]
        bias = attention_bias(allowed, tokens.dtype)
        cos, sin = self._angles(places)
        x, made = tokens * self._scale if self._scale != 1.0 else tokens, []
        for number, layer in enumerate(self._layers):
            rows = keep if number == len(self._layers) - 1 else None
            if rows is None:
                q, k, v = self._project(x, layer.joint, cos, sin, layer.gains, self._heads)
            else:
                width = self._heads * self._size
                gains = (None, None) if layer.gains is None else layer.gains.split([self._heads, self._kv])
                _, k, v = self._project(x, layer.joint[width:], cos, sin, gains[1], 0)
                x, cos, sin = (_rows(part, rows) for part in (x, cos, sin))
                bias = _rows(bias[:, 0], rows)[:, None]
                q = self._project(x, layer.joint[:width], cos, sin, gains[0], self._heads)[0]
            made.append((k, v))
            if past is not None:
                k, v = torch.cat([past[number][0], k], 2), torch.cat([past[number][1], v], 2)
            seen = F.scaled_dot_product_attention(q, k, v, bias, enable_gqa=self._heads != self._kv)
            flat = x.flatten(0, 1)
            flat = add_linear(seen.transpose(1, 2).flatten(0, 1).flatten(1), layer.out, flat, self._implementation)
            flat = gated_mlp(flat, layer.up, layer.down, self._eps, self._gelu, self._implementation)
            x = flat.view(batch, -1, x.shape[2])
        return _normed(x, self._gain, self._eps), made

    def _project(
        self, x: Tensor, weight: Tensor, cos: Tensor, sin: Tensor, gains: Tensor | None, queries: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, heads, n, head size); ``weight`` may lack the first or the last two."""
        batch, n, _ = x.shape
        heads = weight.shape[0] // self._size
        rotated = min(heads, queries + self._kv) if queries else self._kv
        joint = qkv(
            x.flatten(0, 1),
            weight,
            cos.flatten(0, 1),
            sin.flatten(0, 1),
            rotated,
            self._eps,
            gains,
            self._implementation,
        )
        joint = joint.view(batch, n, heads, self._size).transpose(1, 2)
        return joint[:, :queries], joint[:, queries : queries + self._kv], joint[:, queries + self._kv :]

    def _angles(self, places: Tensor) -> tuple[Tensor, Tensor]:
        angle = places[..., None].float() * self._rates
        return angle.cos() * self._turn, angle.sin() * self._turn


def _weight(module: nn.Module) -> Tensor:
    """Of a linear layer, with its adapter if it has one."""
    if hasattr(module, "get_delta_weight"):
        base: Tensor = module.base_layer.weight  # type: ignore[union-attr, assignment]
        return (base.float() + module.get_delta_weight("default").float()).to(base.dtype).detach()  # type: ignore
    return module.weight.detach()  # type: ignore[union-attr, return-value]


def _rows(x: Tensor, keep: Tensor) -> Tensor:
    """Rows ``keep`` (B, m) of a tensor (B, n, d)."""
    return x.gather(1, keep[..., None].expand(-1, -1, x.shape[2]))


def _normed(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * gain).to(x.dtype)
