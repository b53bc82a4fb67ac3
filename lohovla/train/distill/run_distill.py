"""The stages of ``lohovla distill``, from a configuration to files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

from lohovla.errors import UserError
from lohovla.train.distill import distill_stages
from lohovla.train.distill.distill_loop import Schedule, train_stage
from lohovla.train.distill.objectives import BaseObjective, MaskSchedule, StudentObjective
from lohovla.train.distill.text_batches import Mixture


def base(config: DictConfig) -> Callable[[Path], bool]:
    """A small model that decodes both autoregressively and as a masked diffusion model, ready to be trained.

    What is returned trains it in a folder, whether to the end, and writes ``config.json``, ``model.safetensors``
    (bfloat16) and the tokenizer to ``folder/model``.

    Raises:
        UserError: a setting is wrong; nothing was written.
    """
    from lohovla.collect.text_tasks.tokenizer import build_tokenizer

    settings: dict[str, Any] = OmegaConf.to_container(config.base)  # type: ignore[assignment]
    rates = {name: settings.pop(name) for name in ("rate", "matrix_rate", "weight_decay", "causal")}
    tokenizer: Any = build_tokenizer()
    model: Any = distill_stages.small_model(
        len(tokenizer), tokenizer.mask_token_id, tokenizer.eos_token_id, config.seed, **settings
    )
    optimizer = distill_stages.base_optimizer(model, rates["rate"], rates["matrix_rate"], rates["weight_decay"])
    objective = BaseObjective(tokenizer.mask_token_id, shift=True, causal=rates["causal"])

    def save(folder: Path) -> None:
        model.config.d2f = {"shift": True, "prompt": "bidirectional", "block": config.block}
        model.to(torch.bfloat16).save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")

    return _training(config, model, optimizer, objective, tokenizer, save)


def student(config: DictConfig) -> Callable[[Path], bool]:
    """A model with a D2F adapter, ready to be distilled.

    What is returned trains it in a folder, whether to the end, and writes the adapter in PEFT's layout, with how it
    decodes, to ``folder/adapter``.

    Raises:
        UserError: the model cannot be had, or a setting is wrong; nothing was written.
    """
    from lohovla.d2f.load_checkpoint import denoiser_of, find, load_model
    from lohovla.d2f.load_text_model import load_tokenizer

    settings = config.student
    where = find(config.model)
    bare, layout, raw = load_model(where, getattr(torch, config.dtype))
    if layout.prompt == "blocks":
        raise UserError(
            f"{layout.name} models decode by blocks without distillation", "distil LLaDA, Dream, Qwen or Llama models"
        )
    denoiser = denoiser_of(bare, layout, raw)
    tokenizer = load_tokenizer(where)
    if tokenizer.eos_token_id != denoiser.eos_ids[0]:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(denoiser.eos_ids[0])
    torch.manual_seed(config.seed)
    model = distill_stages.add_adapter(bare, settings.rank, settings.alpha, settings.dropout, list(settings.targets))
    objective = StudentObjective(
        denoiser.mask_id,
        denoiser.shift,
        MaskSchedule(settings.schedule, settings.low, settings.high),
        settings.divergence,
        settings.prompt,
        settings.train_padding,
        settings.truth,
    )
    optimizer = distill_stages.student_optimizer(model, settings.rate, settings.weight_decay)

    def save(folder: Path) -> None:
        # A folder's name means nothing on another machine.
        named = config.model is not None and not Path(config.model).exists()
        save_adapter(model, folder / "adapter", config.model if named else None)
        own = {"prompt": settings.prompt, "block": config.block}
        (folder / "adapter" / "d2f.json").write_text(json.dumps(own, indent=2) + "\n", encoding="utf-8")

    return _training(config, model, optimizer, objective, tokenizer, save)


def _training(
    config: DictConfig,
    model: Any,
    optimizer: Any,
    objective: BaseObjective | StudentObjective,
    tokenizer: Any,
    save: Callable[[Path], None],
) -> Callable[[Path], bool]:
    """What trains a model in a folder and saves it there; it returns whether training came to its end."""
    mixture, schedule = _mixture(config), _schedule(config)

    def train_in(folder: Path) -> bool:
        complete = train_stage(
            model,
            optimizer,
            objective,
            tokenizer,
            mixture,
            schedule,
            folder,
            config.seed,
            config.resume,
            config.device,
        )
        save(folder)
        return complete

    return train_in


def save_adapter(model: Any, folder: Path, base_name: str | None) -> None:
    """Write a PEFT model's adapter: settings as JSON, with the base's name on the hub, and matrices in bfloat16."""
    from peft import get_peft_model_state_dict

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.to(torch.bfloat16).contiguous() for key, value in get_peft_model_state_dict(model).items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    peft = model.peft_config["default"]
    text = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base_name,
        "r": peft.r,
        "lora_alpha": peft.lora_alpha,
        "lora_dropout": peft.lora_dropout,
        "target_modules": sorted(peft.target_modules),
        "use_rslora": False,
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(text, indent=2), encoding="utf-8")


def _mixture(config: DictConfig) -> Mixture:
    tasks: dict[str, float] = OmegaConf.to_container(config.tasks)  # type: ignore[assignment]
    examples = None
    if config.data is not None:
        examples = read_examples(Path(config.data))
    return Mixture(tasks, config.batch, config.block, config.padding, config.room, examples)


def read_examples(file: Path) -> tuple[tuple[str, str], ...]:
    """Pairs of prompt and answer from a JSON Lines file.

    Raises:
        UserError: it cannot be read, or a line has no such pair.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}", "data=FILE.jsonl") from None
    pairs = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            pairs.append((str(record["prompt"]), str(record["answer"])))
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{file}, line {number}: no example", 'each line is {"prompt": ..., "answer": ...}'
            ) from None
    if not pairs:
        raise UserError(f"{file} is empty", 'each line is {"prompt": ..., "answer": ...}')
    return tuple(pairs)


def _schedule(config: DictConfig) -> Schedule:
    return Schedule(config.steps, config.warmup, config.decay, config.save_every, config.seconds)
