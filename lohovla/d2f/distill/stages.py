"""The two stages with their models and optimizers: a base model from nothing, and a student of any model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn, optim
from transformers import Qwen3Config, Qwen3ForCausalLM

from lohovla.d2f.distill.muon import Muon


def small_model(vocabulary: int, mask_id: int, eos_id: int, seed: int, **sizes: Any) -> Qwen3ForCausalLM:
    """A small Qwen3 with random weights; ``sizes`` are fields of its configuration."""
    config = Qwen3Config(
        vocab_size=vocabulary,
        tie_word_embeddings=True,
        eos_token_id=eos_id,
        pad_token_id=eos_id,
        bos_token_id=None,
        **sizes,
    )
    config.mask_token_id = mask_id
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():  # residual branches start small, so that depth costs no warm-up
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.mul_((2 * config.num_hidden_layers) ** -0.5)
    return model


def base_optimizers(model: nn.Module, rate: float, matrix_rate: float, decay: float) -> list[optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embeddings and norms."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name and "lm_head" not in name]
    rest = [p for name, p in named if not any(p is m for m in matrices)]
    return [
        Muon(matrices, lr=matrix_rate, weight_decay=decay),
        optim.AdamW(rest, lr=rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def student_optimizers(model: nn.Module, rate: float, decay: float) -> list[optim.Optimizer]:
    """AdamW as published, on what is trained."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [optim.AdamW(trained, lr=rate, betas=(0.9, 0.95), weight_decay=decay)]


def add_adapter(model: nn.Module, rank: int, alpha: int, dropout: float, targets: list[str]) -> nn.Module:
    """The model inside PEFT, with a LoRA adapter on the modules whose names end in ``targets``."""
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(targets), bias="none")
    return get_peft_model(model, settings)
