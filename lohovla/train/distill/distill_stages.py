"""The two stages with their models and optimisers: a base model from nothing, and a student of any model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn, optim
from transformers import Qwen3Config, Qwen3ForCausalLM

from lohovla.d2f.adapters import in_peft
from lohovla.train.muon import BETAS, MuonAdamW


def small_model(vocabulary: int, mask_id: int, eos_id: int, seed: int, **sizes: Any) -> Qwen3ForCausalLM:
    """A small Qwen3 with random weights; ``sizes`` are fields of its configuration."""
    config = Qwen3Config(
        vocab_size=vocabulary,
        tie_word_embeddings=False,
        eos_token_id=eos_id,
        pad_token_id=eos_id,
        bos_token_id=None,
        **sizes,
    )
    config.mask_token_id = mask_id
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config)
    _start_as_copier(model)
    return model


@torch.no_grad()
def _start_as_copier(model: Qwen3ForCausalLM) -> None:
    """Start where looking things up is close by (after mimetic initialisation, Trockman and Kolter, 2305.09828).

    Words are as large as what layers write, so that deeper layers can still read them; the head reads them back;
    heads attend to equal words (query and key weights agree) and write what they see as it is (the output undoes the
    value). From the usual small random weights, a model this small spends most of its time finding that out.
    """
    words = model.model.embed_tokens.weight.normal_(0.0, 1.0)
    model.lm_head.weight.copy_(0.05 * words)
    config: Any = model.config
    groups = config.num_attention_heads // config.num_key_value_heads
    layers: Any = model.model.layers
    for layer in layers:
        attention = layer.self_attn
        shape = (config.num_key_value_heads, config.head_dim, config.hidden_size)
        for weight in (attention.k_proj.weight, attention.v_proj.weight):
            weight.copy_(_orthogonal_rows(*shape).flatten(0, 1))
        attention.q_proj.weight.copy_(attention.k_proj.weight.view(shape).repeat_interleave(groups, 0).flatten(0, 1))
        values = attention.v_proj.weight.view(shape).repeat_interleave(groups, 0)
        attention.o_proj.weight.copy_(0.3 * values.flatten(0, 1).T)
        layer.mlp.down_proj.weight.zero_()


def _orthogonal_rows(heads: int, size: int, width: int) -> torch.Tensor:
    return torch.stack([nn.init.orthogonal_(torch.empty(size, width)) for _ in range(heads)])


def base_optimizer(model: nn.Module, rate: float, matrix_rate: float, decay: float) -> optim.Optimizer:
    """Muon for the layers' matrices, AdamW for embeddings, head and norms.

    Muon's steps are orthogonal matrices, so ``decay`` bounds the weights: their largest singular value tends to
    ``0.2 sqrt(width) / decay``.
    """
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name and "lm_head" not in name]
    rest = [p for name, p in named if not any(p is m for m in matrices)]
    muon = {"lr": matrix_rate, "factor": 1.0, "weight_decay": decay, "adjust_lr_fn": "match_rms_adamw"}
    return MuonAdamW([{"params": matrices, **muon}, {"params": rest, "factor": None}], rate, 0.0)


def student_optimizer(model: nn.Module, rate: float, decay: float) -> optim.Optimizer:
    """AdamW as published, on what is trained."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return optim.AdamW(trained, lr=rate, betas=BETAS, weight_decay=decay)


def add_adapter(model: nn.Module, rank: int, alpha: int, dropout: float, targets: list[str]) -> nn.Module:
    """The model inside PEFT, with a LoRA adapter on the modules whose names end in ``targets``."""
    from peft import LoraConfig

    settings = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(targets), bias="none")
    return in_peft(model, settings)
