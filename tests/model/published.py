"""Tiny checkpoints in the layouts that are published on the hub, and a batch to train on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GemmaConfig,
    GemmaTokenizer,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    SiglipVisionConfig,
)

from lohovla.envs.language import subtask_sentence
from lohovla.train.vocabulary import vocabulary_sentences

SMALL = {
    "picture_size": (64, 128),
    "num_object_tokens": 8,
    "stem_width": 16,
    "stem_dim": 32,
    "stem_blocks": (1, 1),
    "key_dim": 16,
    "expert_dim": 32,
    "expert_layers": 2,
    "expert_heads": 4,
    "max_goal": 60,
    "max_subtask": 40,
    "image_head_dim": 32,
    "image_head_blocks": 1,
}
SUBTASKS = [subtask_sentence("red block", "in the green zone"), subtask_sentence("blue block", "in the red bowl")]


def paligemma(folder: Path) -> Path:
    """As ``google/paligemma-3b-mix-224``: its key names, a Gemma tokenizer with unused tokens, no language head."""
    tokenizer = _gemma_tokenizer(300)
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=24,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
            vision_use_head=False,
        ),
        text_config=GemmaConfig(
            vocab_size=len(tokenizer) + 8,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=16,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=2,
        ),
        projection_dim=32,
        hidden_size=32,
        image_token_index=len(tokenizer) + 1,
        vocab_size=len(tokenizer) + 8,
    )
    torch.manual_seed(0)
    model = PaliGemmaForConditionalGeneration(config)
    published = (
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower.vision_model."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
    )
    tensors = {}
    for name, tensor in model.state_dict().items():
        for own, other in published:
            if name.startswith(own):
                tensors[other + name.removeprefix(own)] = torch.randn_like(tensor) * 0.1
    return _write(folder, tensors, config, tokenizer)


def qwen3(folder: Path) -> Path:
    """As ``Qwen/Qwen3-0.6B``: a tied head, keys and values shared by heads, embeddings longer than the vocabulary."""
    tokenizer = _qwen_tokenizer(400)
    config = Qwen3Config(
        vocab_size=len(tokenizer) + 8,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(config)
    tensors = {n: torch.randn_like(t) * 0.1 for n, t in model.state_dict().items() if n != "lm_head.weight"}
    return _write(folder, tensors, config, tokenizer)


def batch(rows: int = 2) -> dict[str, Any]:
    """A labelled batch for the stage ``plan``, of random pictures."""
    generator = torch.Generator().manual_seed(1)
    height, width = SMALL["picture_size"]
    points = torch.tensor([[0.45, -0.1, 0.05, 0.1, 0.04], [0.6, 0.2, 0.01, 0.0, 0.05]])
    objects = torch.zeros(rows, 3, 10)
    objects[:, :, 0] = torch.tensor([0.0, 1.0, 2.0])
    objects[..., 3:6] = torch.tensor([0.5, 0.1, 0.04])
    return {
        "images.top": torch.randint(0, 255, (rows, height, width, 3), generator=generator, dtype=torch.uint8),
        "depth.top": torch.rand(rows, height, width, generator=generator) * 0.1,
        "state": torch.randn(rows, 13, generator=generator),
        "instruction": ["Put all red blocks in the green zone."] * rows,
        "subtask": [SUBTASKS[0]] * rows,
        "other.subtasks": [[SUBTASKS[1]]] * rows,
        "points": points.expand(rows, 2, 5),
        "other.points": points.expand(rows, 1, 2, 5),
        "objects": objects,
    }


def _write(folder: Path, tensors: dict[str, torch.Tensor], config: Any, tokenizer: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config.to_diff_dict()), encoding="utf-8")
    tokenizer.save_pretrained(str(folder))
    return folder


def _corpus() -> list[str]:
    return [*vocabulary_sentences(), *SUBTASKS, "Put all red blocks in the green zone.", "Done."]


def _gemma_tokenizer(size: int) -> GemmaTokenizer:
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.normalizer = normalizers.Replace(" ", "▁")
    core.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<2mass>", "<unused0>", "<unused1>"]
    core.train_from_iterator(_corpus(), trainers.BpeTrainer(vocab_size=size, special_tokens=special))
    core.decoder = decoders.Replace("▁", " ")
    found = json.loads(core.to_str())["model"]
    return GemmaTokenizer(vocab=found["vocab"], merges=[tuple(pair) for pair in found["merges"]])


def _qwen_tokenizer(size: int) -> Qwen2Tokenizer:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(_corpus(), trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet))
    found = json.loads(core.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=found["vocab"],
        merges=[tuple(pair) for pair in found["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    return tokenizer
