"""A recipe: the model that is made and the stages that it goes through, one after the other."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from lohovla.collect.stream import check_training, training_tasks
from lohovla.envs.tasks.registry import get_task
from lohovla.errors import UserError
from lohovla.model.backbones import pretrained
from lohovla.model.checkpoint import load, save, take_pictures
from lohovla.model.configuration import NANO_DECODER, LoHoVLAConfig
from lohovla.model.core import LoHoVLA
from lohovla.model.processor import Processor
from lohovla.model.tokenizer import make_tokenizer
from lohovla.train.loop import Trainer
from lohovla.train.painting import measure_pictures
from lohovla.train.sharding import check_sharding
from lohovla.train.source import Source
from lohovla.train.stages import STAGES, Stage
from lohovla.train.tracking import Tracking
from lohovla.train.validate import closed_loop
from lohovla.train.vocabulary import sentences, subtask_parts


def new_model(settings: Mapping[str, Any], seed: int) -> tuple[LoHoVLA, Processor]:
    """An untrained model of a configuration, with a tokenizer over the block world's words.

    Where the settings name a ``backbone``, its weights and its tokenizer are taken over.
    """
    torch.manual_seed(seed)
    settings = dict(settings)
    if name := settings.pop("backbone", None):
        model, processor = pretrained(name, settings)
        processor.statistics["subtasks"] = subtask_parts()
        return model, processor
    tokenizer = make_tokenizer(sentences())
    text = {**settings.pop("text_config", {"model_type": "qwen3", **NANO_DECODER}), "vocab_size": len(tokenizer)}
    config = LoHoVLAConfig(text_config=text, **settings)
    processor = Processor.of(config, tokenizer)
    processor.statistics["subtasks"] = subtask_parts()
    return LoHoVLA(config), processor


def train(config: Any, folder: Path) -> Path:
    """Go through the recipe's stages; each is taken up where it was stopped. Returns the checkpoint's folder.

    Args:
        config: of ``configs/train.yaml``.
        folder: of everything that is written.
    """
    tracking = Tracking(config["track"], config["track_project"], config) if config["track"] else None
    accelerator = _accelerator(config)
    if config["fsdp"]:
        check_sharding(accelerator)
    recipe = config["recipe"]
    chosen = _stages(recipe["stages"], config["stage"])
    source = Source(**{**config["data"], "tasks": _tasks(config["data"]["tasks"])})
    check_training(source.tasks, source.seed)
    checkpoint = folder / "checkpoint"
    if config["init"]:
        model, processor = load(config["init"])
    elif (checkpoint / "model.safetensors").exists():
        model, processor = load(checkpoint)
    else:
        model, processor = new_model(recipe["model"], config["seed"])
    if config["pictures"]:
        take_pictures(model, config["pictures"])
    if config["gradient_checkpointing"]:
        model.decoder.gradient_checkpointing_enable()
    if not config["fsdp"]:  # else each stage takes its share from the host's memory
        model.to(accelerator.device)
    for stage in chosen:
        if stage.name in ("code", "paint"):
            measure_pictures(model, source, stage)
        trainer = Trainer(
            accelerator, model, processor, stage, source, folder, config["save_seconds"], config["log_every"],
            config["norms_every"], _validation(config, stage, processor), config["validate_every"], tracking,
            config["fsdp"],
        )  # fmt: skip
        trainer.run()
        model.config.learned = sorted({*model.config.learned, stage.name})
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            _replace(checkpoint, lambda new: save(model, processor, new))
    if not chosen:
        _replace(checkpoint, lambda new: save(model, processor, new))
    return checkpoint


def _replace(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder in place of the one there; a kill leaves one of the two, whole."""
    new, old = folder.with_suffix(".new"), folder.with_suffix(".old")
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    write(new)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _validation(config: Any, stage: Stage, processor: Processor) -> Any:
    control = {"plan": "pick_place", "act": "ee"}.get(stage.name)
    episodes = config["validate_episodes"]
    if control is None or not episodes:
        return None
    return lambda model: closed_loop(model, processor, control, config["validate_tasks"], episodes)


def _accelerator(config: Any) -> Accelerator:
    device = config["device"]
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"device cannot be {device!r}", "choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda, but there is no CUDA device", "device=cpu trains here")
    return Accelerator(cpu=device == "cpu", mixed_precision=config["precision"])


def _stages(stages: Mapping[str, Any], chosen: str) -> list[Stage]:
    if chosen not in ("all", "none", *stages):
        raise UserError(f"the recipe has no stage {chosen!r}", f"choose all, none or one of {', '.join(stages)}")
    names = [name for name in STAGES if name in stages and chosen in ("all", name)]
    return [Stage(name=name, **stages[name]) for name in names]


def _tasks(names: Any) -> tuple[str, ...]:
    return training_tasks() if names is None else tuple(get_task(str(name)).name for name in names)
