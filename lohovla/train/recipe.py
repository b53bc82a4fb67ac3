"""A recipe: the model that is made and the stages that it goes through, one after the other."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from accelerate import Accelerator

from lohovla.collect.stream import check_training, training_tasks
from lohovla.disk import hold, writing
from lohovla.envs.tasks.registry import get_task
from lohovla.errors import UserError
from lohovla.model.backbones import pretrained
from lohovla.model.checkpoint import hold_to, load, save, take_pictures
from lohovla.model.configuration import NANO_DECODER, LoHoVLAConfig
from lohovla.model.core import LoHoVLA
from lohovla.model.processor import Processor
from lohovla.model.tokenizer import make_tokenizer
from lohovla.train.loop import Trainer
from lohovla.train.painting import measure_pictures
from lohovla.train.resume import refuse_other_origin
from lohovla.train.sharding import check_sharding
from lohovla.train.source import Source
from lohovla.train.stages import STAGES, Stage, check_taught
from lohovla.train.state import facts_of
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


class Run:
    """A recipe made ready: what cannot be was refused, and nothing was written.

    Args:
        config: of ``configs/train.yaml``.
        folder: of what is written, if it is known; a run that was begun there is taken up. It need not exist.

    Raises:
        UserError: a setting, the recipe or what is in the folder is wrong, or another training is writing there.
    """

    def __init__(self, config: Any, folder: Path | None = None):
        self._config = config
        self._lock: IO[str] | None = None
        self._tracking = Tracking(config["track"], config["track_project"], config) if config["track"] else None
        self._accelerator = _accelerator(config)
        if config["fsdp"]:
            check_sharding(self._accelerator)
        self._stages = _stages(config["recipe"]["stages"], config["stage"])
        self._source = Source(**{**config["data"], "tasks": _tasks(config["data"]["tasks"])})
        check_training(self._source.tasks, self._source.seed)
        for name in config["validate_tasks"]:
            get_task(str(name))
        self._hold(folder)
        try:
            self._model, self._processor, self._origin = _begin(config, folder)
            for stage in self._stages:
                check_taught(self._model.config, stage)
                if folder is not None:
                    place = folder / stage.name
                    refuse_other_origin(facts_of(place), self._origin_of(stage), place)
        except BaseException:
            self.close()
            raise

    def train(self, folder: Path) -> Path:
        """Go through the stages; each is taken up where it was stopped. Returns the checkpoint's folder.

        Args:
            folder: of everything that is written; it exists.

        Raises:
            UserError: something cannot be written, or a state is damaged.
        """
        self._hold(folder)
        try:
            with writing(folder, f"run again with output={folder} to go on"):
                return self._train(folder)
        finally:
            self.close()

    def close(self) -> None:
        """Let others train in the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _train(self, folder: Path) -> Path:
        config, accelerator, model = self._config, self._accelerator, self._model
        checkpoint = folder / "checkpoint"
        if not config["fsdp"]:  # else each stage takes its share from the host's memory
            model.to(accelerator.device)
        for stage in self._stages:
            if stage.name in ("code", "paint"):
                measure_pictures(model, self._source, stage)
            trainer = Trainer(
                accelerator, model, self._processor, stage, self._source, folder, config["save_seconds"],
                config["log_every"], config["norms_every"], _validation(config, stage, self._processor),
                config["validate_every"], self._tracking, self._origin_of(stage), config["fsdp"],
            )  # fmt: skip
            trainer.run()
            model.config.learned = sorted({*model.config.learned, stage.name})
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                _replace(checkpoint, lambda new: save(model, self._processor, new))
        if not self._stages and accelerator.is_main_process:
            _replace(checkpoint, lambda new: save(model, self._processor, new))
        return checkpoint

    def _hold(self, folder: Path | None) -> None:
        """Keep other trainings from a folder that exists, from now on; the main process does it for all."""
        if self._lock is None and folder is not None and folder.is_dir() and self._accelerator.is_main_process:
            self._lock = hold(folder, "training")

    def _origin_of(self, stage: Stage) -> dict[str, Any]:
        """What decides the weights that a stage does not move; nothing, for one that the checkpoint there has."""
        there = self._config["init"] is None and stage.name in self._model.config.learned
        return {} if there else self._origin


def _begin(config: Any, folder: Path | None) -> tuple[LoHoVLA, Processor, dict[str, Any]]:
    """The model to go on from, its processor, and which settings it came from."""
    settings, checkpoint = config["recipe"]["model"], folder / "checkpoint" if folder is not None else None
    origin: dict[str, Any] = {name: config[name] for name in ("init", "pictures")}
    if config["init"]:
        model, processor = load(config["init"])
        torch.manual_seed(config["seed"])
        hold_to(model, settings, config["init"], anew=True)
    elif checkpoint is not None and (checkpoint / "model.safetensors").exists():
        model, processor = load(checkpoint)
        hold_to(model, settings, checkpoint)
    else:
        model, processor = new_model(settings, config["seed"])
        origin |= {"seed": config["seed"], "recipe.model": settings}
    if config["pictures"]:
        take_pictures(model, config["pictures"])
    if config["gradient_checkpointing"]:
        model.decoder.gradient_checkpointing_enable()
    return model, processor, origin


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
