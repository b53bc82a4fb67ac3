"""A recipe: the model that is made and the stages that it goes through, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch

from lohovla.collect.training_stream import check_training, training_tasks
from lohovla.envs.tasks.registry import get_task
from lohovla.errors import UserError
from lohovla.model.backbone import pretrained
from lohovla.model.checkpoint import check_model_settings, copy_subgoal_parts, load_checkpoint, save_checkpoint
from lohovla.model.configuration import NANO_DECODER, LoHoVLAConfig
from lohovla.model.language.tokenizer import make_tokenizer
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor
from lohovla.output_folder import disk_errors, lock_folder, replace_folder
from lohovla.train.batch_source import BatchSource
from lohovla.train.exchange_tokenizer import to_byte_level
from lohovla.train.loop import Trainer, make_accelerator
from lohovla.train.resume import refuse_other_origin
from lohovla.train.sharding import check_sharding
from lohovla.train.subgoal_statistics import measure_pictures
from lohovla.train.tracking import Tracking
from lohovla.train.training_stages import STAGES, Stage, check_stage_fits
from lohovla.train.training_state import facts_of, stage_folder
from lohovla.train.vocabulary import subtask_parts, vocabulary_sentences

ClosedLoop = Callable[[LoHoVLA, Processor, str, Sequence[str], int], dict[str, float]]


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
    tokenizer = make_tokenizer(vocabulary_sentences())
    text = {**settings.pop("text_config", {"model_type": "qwen3", **NANO_DECODER}), "vocab_size": len(tokenizer)}
    config = LoHoVLAConfig(text_config=text, **settings)
    processor = Processor.from_model_config(config, tokenizer)
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
        self._accelerator = make_accelerator(config["device"], config["precision"])
        if config["fsdp"]:
            check_sharding(self._accelerator)
        self._stages = _stages(config["recipe"]["stages"], config["stage"])
        self._source = BatchSource(**{**config["data"], "tasks": _tasks(config["data"]["tasks"])})
        check_training(self._source.tasks, self._source.seed)
        for name in config["validate_tasks"]:
            get_task(str(name))
        self._hold(folder)
        try:
            self._model, self._processor, self._origin = _begin(config, folder)
            for stage in self._stages:
                check_stage_fits(self._model.config, stage)
                if folder is not None:
                    place = stage_folder(folder, stage.name)
                    refuse_other_origin(facts_of(place), self._origin_of(stage), place)
        except BaseException:
            self.close()
            raise

    def train(self, folder: Path, closed_loop: ClosedLoop | None = None) -> Path:
        """Go through the stages; each is taken up where it was stopped. Returns the checkpoint's folder.

        Args:
            folder: of everything that is written; it exists.
            closed_loop: plays validation episodes while training runs, see
                :func:`lohovla.evaluate.validation.closed_loop`; None plays none.

        Raises:
            UserError: something cannot be written, or a state is damaged.
        """
        self._hold(folder)
        try:
            with disk_errors(folder, f"run again with output={folder} to go on"):
                return self._train(folder, closed_loop)
        finally:
            self.close()

    def close(self) -> None:
        """Let others train in the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _train(self, folder: Path, closed_loop: ClosedLoop | None) -> Path:
        config, accelerator, model = self._config, self._accelerator, self._model
        checkpoint = folder / "checkpoint"
        if not config["fsdp"]:  # else each stage takes its share from the host's memory
            model.to(accelerator.device)
        for stage in self._stages:
            if stage.name in ("autoencoder", "subgoal"):
                measure_pictures(model, self._source, stage)
            trainer = Trainer(
                accelerator,
                model,
                self._processor,
                stage,
                self._source,
                folder,
                config["save_seconds"],
                config["log_every"],
                config["norms_every"],
                _validation(config, stage, self._processor, closed_loop),
                config["validate_every"],
                self._tracking,
                self._origin_of(stage),
                config["fsdp"],
            )
            trainer.run()
            model.config.trained_stages = sorted({*model.config.trained_stages, stage.name})
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                replace_folder(checkpoint, lambda new: save_checkpoint(model, self._processor, new))
        if not self._stages and accelerator.is_main_process:
            replace_folder(checkpoint, lambda new: save_checkpoint(model, self._processor, new))
        return checkpoint

    def _hold(self, folder: Path | None) -> None:
        """Keep other trainings from a folder that exists, from now on; the main process does it for all."""
        if self._lock is None and folder is not None and folder.is_dir() and self._accelerator.is_main_process:
            self._lock = lock_folder(folder, "training")

    def _origin_of(self, stage: Stage) -> dict[str, Any]:
        """What decides the weights that a stage does not move; nothing, for one that the checkpoint there has."""
        there = self._config["init"] is None and stage.name in self._model.config.trained_stages
        return {} if there else self._origin


def _begin(config: Any, folder: Path | None) -> tuple[LoHoVLA, Processor, dict[str, Any]]:
    """The model to go on from, its processor, and which settings it came from."""
    settings, checkpoint = config["recipe"]["model"], folder / "checkpoint" if folder is not None else None
    origin: dict[str, Any] = {name: config[name] for name in ("init", "subgoal_checkpoint", "tokenizer")}
    if config["init"]:
        model, processor = load_checkpoint(config["init"])
        torch.manual_seed(config["seed"])
        check_model_settings(model, settings, config["init"], anew=True)
    elif checkpoint is not None and (checkpoint / "model.safetensors").exists():
        model, processor = load_checkpoint(checkpoint)
        check_model_settings(model, settings, checkpoint)
    else:
        model, processor = new_model(settings, config["seed"])
        origin |= {"seed": config["seed"], "recipe.model": settings}
    if config["tokenizer"] == "bytes":
        processor = to_byte_level(model, processor)
    if config["subgoal_checkpoint"]:
        copy_subgoal_parts(model, config["subgoal_checkpoint"])
    if config["gradient_checkpointing"]:
        model.decoder.gradient_checkpointing_enable()
    return model, processor, origin


def _validation(config: Any, stage: Stage, processor: Processor, closed_loop: ClosedLoop | None) -> Any:
    control = {"planning": "pick_place", "action": "ee"}.get(stage.name)
    episodes = config["validate_episodes"]
    if control is None or not episodes or closed_loop is None:
        return None
    return lambda model: closed_loop(model, processor, control, config["validate_tasks"], episodes)


def _stages(stages: Mapping[str, Any], chosen: str) -> list[Stage]:
    if chosen not in ("all", "none", *stages):
        raise UserError(f"the recipe has no stage {chosen!r}", f"choose all, none or one of {', '.join(stages)}")
    names = [name for name in STAGES if name in stages and chosen in ("all", name)]
    return [Stage(name=name, **stages[name]) for name in names]


def _tasks(names: Any) -> tuple[str, ...]:
    return training_tasks() if names is None else tuple(get_task(str(name)).name for name in names)
