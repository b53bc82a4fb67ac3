"""The key layouts of published diffusion language models, each as a class of transformers with renamed keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import (
    Glm4MoeForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

from lohovla.d2f.expert_formats import (
    TensorPart,
    expert_parts,
    llada2_config,
    llada2_key,
    llada2_parts,
    llada_moe_config,
)
from lohovla.errors import UserError


@dataclass(frozen=True)
class CheckpointFormat:
    """How a family of checkpoints is read.

    Attributes:
        name: the family.
        model: the class whose computation it has.
        config: turns its ``config.json`` into that class's configuration.
        rename: turns a key (of a tensor, or of a module in an adapter) into that class's; None where it has none.
        shift: see :class:`~lohovla.d2f.denoiser.BlockDenoiser`, as the next two.
        prompt: who sees whom in the prompt.
        block: the block size in training.
        mask_id: the mask token, where the configuration does not say.
        eos_ids: the end tokens, where it does not say.
        autoregressive: it predicts the next token and nothing else, and has no mask token.
        divide: for a stored tensor's key and the configuration, where its parts belong; None renames and no more.
    """

    name: str
    model: type[PreTrainedModel]
    config: Callable[[dict[str, Any]], PretrainedConfig]
    rename: Callable[[str], str | None]
    shift: bool
    prompt: str
    block: int | None
    mask_id: int | None = None
    eos_ids: tuple[int, ...] = ()
    autoregressive: bool = False
    divide: Callable[[str, PretrainedConfig], list[TensorPart]] | None = None

    def parts(self, key: str, config: PretrainedConfig) -> list[TensorPart]:
        """Where a stored tensor belongs; nowhere, if the class has nothing of the kind."""
        if self.divide is not None:
            return self.divide(key, config)
        name = self.rename(key)
        return [] if name is None else [TensorPart(name)]


_LLADA_PARTS = {
    "attn_norm": "input_layernorm",
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ff_norm": "post_attention_layernorm",
    "ff_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "ff_out": "mlp.down_proj",
}
_LLADA_ENDS = {"wte": "model.embed_tokens", "ln_f": "model.norm", "ff_out": "lm_head"}


def llada_key(key: str) -> str | None:
    """A LLaDA key in Llama's names; weights and modules alike.

    >>> llada_key("model.transformer.blocks.3.attn_out.weight")
    'model.layers.3.self_attn.o_proj.weight'
    """
    found = re.fullmatch(r"model\.transformer\.blocks\.(\d+)\.(\w+)(\..+)?", key)
    if found and found[2] in _LLADA_PARTS:
        return f"model.layers.{found[1]}.{_LLADA_PARTS[found[2]]}{found[3] or ''}"
    found = re.fullmatch(r"model\.transformer\.(\w+)(\..+)?", key)
    if found and found[1] in _LLADA_ENDS:
        return f"{_LLADA_ENDS[found[1]]}{found[2] or ''}"
    return None


def _llada_config(raw: dict[str, Any]) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=raw.get("embedding_size") or raw["vocab_size"],
        hidden_size=raw["d_model"],
        num_hidden_layers=raw["n_layers"],
        num_attention_heads=raw["n_heads"],
        num_key_value_heads=raw.get("n_kv_heads") or raw["n_heads"],
        intermediate_size=raw["mlp_hidden_size"],
        rms_norm_eps=raw.get("rms_norm_eps", 1e-5),
        max_position_embeddings=raw.get("max_sequence_length", 4096),
        rope_parameters={"rope_type": "default", "rope_theta": raw.get("rope_theta", 500000.0)},
        attention_bias=bool(raw.get("include_qkv_bias", False)),
        tie_word_embeddings=bool(raw.get("weight_tying", False)),
    )


# What a published configuration says about code that is not used here.
_FOREIGN = ("auto_map", "architectures", "model_type", "transformers_version", "torch_dtype", "dtype", "use_cache")


def _plain_config(kind: type[PretrainedConfig]) -> Callable[[dict[str, Any]], PretrainedConfig]:
    def build(raw: dict[str, Any]) -> PretrainedConfig:
        return kind(**{key: value for key, value in raw.items() if key not in _FOREIGN})

    return build


def _same(key: str) -> str:
    return key


LAYOUTS = {
    "llada": CheckpointFormat(
        "LLaDA", LlamaForCausalLM, _llada_config, llada_key, False, "bidirectional", None, 126336, (126081,)
    ),
    "dream": CheckpointFormat(
        "Dream", Qwen2ForCausalLM, _plain_config(Qwen2Config), _same, True, "bidirectional", None, 151666, (151643,)
    ),
    "sdar": CheckpointFormat(
        "SDAR", Qwen3ForCausalLM, _plain_config(Qwen3Config), _same, False, "blocks", 4, 151669, (151643, 151645)
    ),
    "fast_dllm_qwen": CheckpointFormat(
        "Fast-dLLM v2",
        Qwen2ForCausalLM,
        _plain_config(Qwen2Config),
        _same,
        True,
        "blocks",
        32,
        151665,
        (151643, 151645),
    ),
    "llada_moe": CheckpointFormat(
        "LLaDA-MoE",
        Qwen3MoeForCausalLM,
        llada_moe_config,
        _same,
        False,
        "bidirectional",
        None,
        156895,
        (156892,),
        divide=expert_parts,
    ),
    "llada2_moe": CheckpointFormat(
        "LLaDA2",
        Glm4MoeForCausalLM,
        llada2_config,
        llada2_key,
        False,
        "blocks",
        32,
        156895,
        (156892,),
        divide=llada2_parts,
    ),
    "sdar_moe": CheckpointFormat(
        "SDAR-MoE",
        Qwen3MoeForCausalLM,
        _plain_config(Qwen3MoeConfig),
        _same,
        False,
        "blocks",
        4,
        151669,
        (151643, 151645),
        divide=expert_parts,
    ),
    "qwen2": CheckpointFormat(
        "Qwen2", Qwen2ForCausalLM, _plain_config(Qwen2Config), _same, True, "bidirectional", None
    ),
    "qwen3": CheckpointFormat(
        "Qwen3", Qwen3ForCausalLM, _plain_config(Qwen3Config), _same, True, "bidirectional", None
    ),
    "llama": CheckpointFormat(
        "Llama", LlamaForCausalLM, _plain_config(LlamaConfig), _same, True, "bidirectional", None
    ),
}


def _autoregressive(name: str, model: type[PreTrainedModel], config: type[PretrainedConfig]) -> CheckpointFormat:
    return CheckpointFormat(name, model, _plain_config(config), _same, True, "causal", None, autoregressive=True)


# Plain autoregressive checkpoints. The first three become masked diffusion models when they are trained as such: then
# their configuration names a mask token.
AUTOREGRESSIVE = {
    "qwen2": _autoregressive("Qwen2", Qwen2ForCausalLM, Qwen2Config),
    "qwen3": _autoregressive("Qwen3", Qwen3ForCausalLM, Qwen3Config),
    "llama": _autoregressive("Llama", LlamaForCausalLM, LlamaConfig),
    "mistral": _autoregressive("Mistral", MistralForCausalLM, MistralConfig),
    "olmo2": _autoregressive("OLMo 2", Olmo2ForCausalLM, Olmo2Config),
    "smollm3": _autoregressive("SmolLM3", SmolLM3ForCausalLM, SmolLM3Config),
}


def checkpoint_format_of(raw: dict[str, Any], where: object) -> CheckpointFormat:
    """The layout that a ``config.json`` names.

    Raises:
        UserError: it names none that is known, or one with parts that are not computed here.
    """
    kind = _kind(raw)
    masked = any(raw.get(name) is not None for name in ("mask_token_id", "mask_id", "d2f"))
    layout = None if masked else AUTOREGRESSIVE.get(kind)
    layout = layout or LAYOUTS.get(kind)
    known = ", ".join(dict.fromkeys(layout.name for layout in (*LAYOUTS.values(), *AUTOREGRESSIVE.values())))
    experts = next((name for name in ("num_experts", "n_routed_experts", "num_local_experts") if raw.get(name)), None)
    if experts is not None and (layout is None or layout.divide is None):
        loaded = ", ".join(layout.name for layout in LAYOUTS.values() if layout.divide is not None)
        raise UserError(
            f"{where} is a mixture of experts ({experts} is {raw[experts]}) of a kind that is not known",
            f"supported are those of {loaded}, and dense models: {known}",
        )
    if layout is None:
        raise UserError(
            f"{where} has the model type {kind or 'unknown'!r}, which is not supported", f"supported: {known}"
        )
    windows = raw.get("sliding_window") and (kind == "mistral" or raw.get("use_sliding_window"))
    if windows:
        raise UserError(
            f"{where} has attention over a sliding window of {raw['sliding_window']}",
            "only models with full attention in every layer are supported",
        )
    return layout


def _kind(raw: dict[str, Any]) -> str:
    """The name of a configuration's layout; two families use another one's ``model_type``."""
    kind = str(raw.get("model_type", "")).lower()
    if kind in ("llada", "lladamoe", "llada_moe") and raw.get("num_experts"):
        return "llada_moe"
    return "llada2_moe" if kind == "llada21_moe" else kind
