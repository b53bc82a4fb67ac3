"""The key layouts of published mixtures of experts: LLaDA-MoE, SDAR-MoE, LLaDA2, each as a class of transformers.

Published files have the experts of a layer one by one; transformers' classes have them in two parameters with the
expert as the first dimension, ``gate_up_proj`` (experts, 2 x inner, hidden) and ``down_proj`` (experts, hidden, inner).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Glm4MoeConfig, PretrainedConfig, Qwen3MoeConfig
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from lohovla.errors import UserError

EXPERTS = "lohovla_rows"
_ROWS = 16  # an expert's product has a multiple of this many rows, so that a row rounds alike in any company


@dataclass(frozen=True)
class TensorPart:
    """Where a part of a stored tensor belongs.

    Attributes:
        name: of the parameter.
        rows: of the stored tensor; None is all of it.
        place: index in the parameter; None is the whole parameter.
    """

    name: str
    rows: slice | None = None
    place: tuple[int | slice, ...] | None = None


def expert_parts(key: str, config: PretrainedConfig) -> list[TensorPart]:
    """The parts of a tensor in the names of Qwen3-MoE: a projection of one expert, or the whole of something else.

    >>> from types import SimpleNamespace
    >>> expert_parts("model.layers.3.mlp.experts.5.up_proj.weight", SimpleNamespace(moe_intermediate_size=8))
    [TensorPart(name='model.layers.3.mlp.experts.gate_up_proj', rows=None, place=(5, slice(8, 16, None)))]
    """
    found = re.fullmatch(r"(.+\.mlp\.experts)\.(\d+)\.(gate|up|down)_proj\.weight", key)
    if found is None:
        return [TensorPart(key)]
    inner: int = config.moe_intermediate_size  # type: ignore[attr-defined]
    if found[3] == "down":
        return [TensorPart(f"{found[1]}.down_proj", place=(int(found[2]),))]
    half = slice(0, inner) if found[3] == "gate" else slice(inner, 2 * inner)
    return [TensorPart(f"{found[1]}.gate_up_proj", place=(int(found[2]), half))]


_LLADA2_NAMES = {
    "attention.dense": "self_attn.o_proj",
    "attention.query_layernorm": "self_attn.q_norm",
    "attention.key_layernorm": "self_attn.k_norm",
    "mlp.gate.expert_bias": "mlp.gate.e_score_correction_bias",
}


def llada2_key(key: str) -> str:
    """A LLaDA2 key in the names of GLM-4-MoE; weights and modules alike.

    >>> llada2_key("model.layers.3.attention.query_layernorm.weight")
    'model.layers.3.self_attn.q_norm.weight'
    """
    key = key.replace("model.word_embeddings", "model.embed_tokens")
    for old, new in _LLADA2_NAMES.items():
        key = key.replace(f".{old}", f".{new}")
    return key


def llada2_parts(key: str, config: PretrainedConfig) -> list[TensorPart]:
    """The parts of a LLaDA2 tensor: its queries, keys and values lie in one, heads of queries first."""
    found = re.fullmatch(r"(.+)\.attention\.query_key_value\.(weight|bias)", key)
    if found is None:
        return expert_parts(llada2_key(key), config)
    sizes: Any = config
    ends = [0]
    for heads in (sizes.num_attention_heads, sizes.num_key_value_heads, sizes.num_key_value_heads):
        ends.append(ends[-1] + heads * sizes.head_dim)
    return [
        TensorPart(f"{found[1]}.self_attn.{name}_proj.{found[2]}", slice(ends[k], ends[k + 1]))
        for k, name in enumerate("qkv")
    ]


def llada2_config(raw: dict[str, Any]) -> Glm4MoeConfig:
    """LLaDA2 and LLaDA2.1: sigmoid router with groups and a bias of choice, a shared expert, half of a head turned."""
    _only(raw, "LLaDA2", use_bias=False, score_function="sigmoid", norm_topk_prob=True, hidden_act="silu")
    if not raw.get("num_shared_experts"):
        raise UserError("this LLaDA2 has no shared expert", "only checkpoints with one are supported")
    heads = raw["num_attention_heads"]
    settings: dict[str, Any] = {
        "vocab_size": raw["vocab_size"],
        "hidden_size": raw["hidden_size"],
        "intermediate_size": raw["intermediate_size"],
        "moe_intermediate_size": raw["moe_intermediate_size"],
        "num_hidden_layers": raw["num_hidden_layers"],
        "num_attention_heads": heads,
        "num_key_value_heads": raw.get("num_key_value_heads") or heads,
        "head_dim": raw.get("head_dim") or raw["hidden_size"] // heads,
        "hidden_act": "silu",
        "max_position_embeddings": raw.get("max_position_embeddings", 16384),
        "rms_norm_eps": raw.get("rms_norm_eps", 1e-5),
        "rope_parameters": _rope(raw, 10000.0, raw.get("partial_rotary_factor", 0.5)),
        "attention_bias": bool(raw.get("use_qkv_bias", False)),
        "use_qk_norm": bool(raw.get("use_qk_norm", True)),
        "tie_word_embeddings": bool(raw.get("tie_word_embeddings", False)),
        "n_routed_experts": raw["num_experts"],
        "n_shared_experts": raw["num_shared_experts"],
        "num_experts_per_tok": raw["num_experts_per_tok"],
        "n_group": raw.get("n_group", 8),
        "topk_group": raw.get("topk_group", 4),
        "routed_scaling_factor": raw.get("routed_scaling_factor", 2.5),
        "first_k_dense_replace": raw.get("first_k_dense_replace", 0),
        "norm_topk_prob": True,
        "num_nextn_predict_layers": 0,
    }
    return Glm4MoeConfig(**settings)


def llada_moe_config(raw: dict[str, Any]) -> Qwen3MoeConfig:
    """LLaDA-MoE: softmax over all experts, whose chosen weights are not scaled to a sum of 1."""
    _only(
        raw,
        "LLaDA-MoE",
        qk_layernorm=True,
        moe_router_score_function="softmax",
        moe_router_enable_expert_bias=False,
        shared_expert_intermediate_size=None,
        clip_qkv=None,
        routed_scaling_factor=1,
        partial_rotary_factor=1.0,
        hidden_act="silu",
    )
    layers = raw["num_hidden_layers"]
    sparse = raw.get("moe_layer_freq") or [1] * layers
    settings: dict[str, Any] = {
        "vocab_size": raw["vocab_size"],
        "hidden_size": raw["hidden_size"],
        "intermediate_size": raw.get("dense_intermediate_size", 8192),
        "moe_intermediate_size": raw["expert_intermediate_size"],
        "num_hidden_layers": layers,
        "num_attention_heads": raw["num_attention_heads"],
        "num_key_value_heads": raw.get("num_key_value_heads") or raw["num_attention_heads"],
        "head_dim": raw["hidden_size"] // raw["num_attention_heads"],
        "hidden_act": "silu",
        "max_position_embeddings": raw.get("max_position_embeddings", 4096),
        "rms_norm_eps": raw.get("rms_norm_eps", 1e-5),
        "rope_parameters": _rope(raw, 10000.0),
        "attention_bias": bool(raw.get("attention_bias", False)),
        "tie_word_embeddings": bool(raw.get("tie_word_embeddings", False)),
        "num_experts": raw["num_experts"],
        "num_experts_per_tok": raw["num_experts_per_tok"],
        "norm_topk_prob": False,
        "mlp_only_layers": [layer for layer in range(layers) if not sparse[layer]],
    }
    return Qwen3MoeConfig(**settings)


def _rope(raw: dict[str, Any], base: float, partial: float = 1.0) -> dict[str, Any]:
    if raw.get("rope_scaling"):
        raise UserError(
            "this checkpoint scales its rotary angles", "mixtures of experts are supported without rope_scaling"
        )
    return {"rope_type": "default", "rope_theta": raw.get("rope_theta", base), "partial_rotary_factor": partial}


def _only(raw: dict[str, Any], family: str, **known: Any) -> None:
    """Refuse what is computed otherwise than here."""
    for name, value in known.items():
        given = raw.get(name)
        if given is not None and given != value:
            raise UserError(
                f"this {family} has {name}={given!r}", f"only checkpoints with {name}={value!r} are supported"
            )


def rows_alike(experts: Any, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """The experts of a layer for (rows, d) hidden states.

    A row's result is the same whatever other rows come with it: an expert's product always has a multiple of 16 rows,
    and a row adds up its experts in the order of their numbers.

    Args:
        experts: the layer's, of a class of transformers.
        hidden: (rows, d).
        chosen: (rows, k) experts of each row.
        weights: (rows, k) how much each counts.
    """
    out = torch.zeros_like(hidden)
    for number in chosen.unique().tolist():
        rows, places = (chosen == number).nonzero(as_tuple=True)
        states = nn.functional.pad(hidden[rows], (0, 0, 0, -len(rows) % _ROWS))
        gate, up = nn.functional.linear(states, experts.gate_up_proj[number]).chunk(2, -1)
        told = nn.functional.linear(experts.act_fn(gate) * up, experts.down_proj[number])[: len(rows)]
        out.index_add_(0, rows, (told * weights[rows, places, None]).to(out.dtype))
    return out


ALL_EXPERTS_FUNCTIONS.register(EXPERTS, rows_alike)
