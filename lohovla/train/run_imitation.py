"""``lohovla train dataset=...``: a core from data sets of demonstrations, ready to train or refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import torch

from lohovla.data.dataset_folder import dataset_choices
from lohovla.data.features import RobotFeatures, match_features
from lohovla.data.rerun_frames import record_samples
from lohovla.data.training_set import TrainingSet
from lohovla.errors import UserError
from lohovla.model.action.action_representation import ActionRepresentation, relative_numbers
from lohovla.model.backbone import pretrained_parts
from lohovla.model.checkpoint import load_robot_checkpoint, save_checkpoint
from lohovla.model.configuration import NANO_DECODER, LoHoVLAConfig
from lohovla.model.language.tokenizer import make_tokenizer
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.robot_processor import RobotProcessor
from lohovla.output_folder import disk_errors, lock_folder, replace_folder, write_atomically
from lohovla.train.dataset_batches import DatasetBatches
from lohovla.train.imitation.demonstration_batch import ImitationSettings
from lohovla.train.imitation.held_out import HeldOut
from lohovla.train.loop import Trainer, make_accelerator
from lohovla.train.resume import Batches, refuse_other_origin
from lohovla.train.sharding import check_sharding
from lohovla.train.statistics_drift import drift_lines
from lohovla.train.tracking import Tracking
from lohovla.train.trainable_parameters import FREEZABLE_PARTS
from lohovla.train.training_stages import Stage
from lohovla.train.training_state import facts_of

_STAGE = "imitation"
_BYTES = 16  # a trained weight: itself, its gradient, its average, and two of AdamW's, less what is shared


class ImitationRun:
    """A training from demonstrations made ready: what cannot be was refused, and nothing was written.

    Args:
        config: of ``configs/train-dataset.yaml``.
        folder: of what is written, if it is known; a run that was begun there is taken up. It need not exist.
        say: is given lines about the data and the model.

    Raises:
        UserError: a setting, a data set, or what is in the folder is wrong, or another training is writing there.
    """

    def __init__(self, config: Any, folder: Path | None = None, say: Callable[[str], None] | None = None):
        self._config, self._lock = config, None
        self._say = say or (lambda line: print(line, file=sys.stderr))
        self._tracking = Tracking(config["track"], config["track_project"], config) if config["track"] else None
        self._accelerator = make_accelerator(config["device"], config["precision"])
        if config["fsdp"]:
            check_sharding(self._accelerator)
        self._stage = stage_of(config)
        self._settings = ImitationSettings(**config["recipe"]["imitation"])
        self._hold(folder)
        try:
            source = self._source(folder)
            self._begun = load_robot_checkpoint(source) if source else None
            self._set = self._open()
            self._model, self._processor = self._begin(source)
            if folder is not None:
                place = folder / _STAGE
                refuse_other_origin(facts_of(place), self._origin(), place)
        except BaseException:
            self.close()
            raise
        self._tell()

    def _source(self, folder: Path | None) -> Path | str | None:
        """The checkpoint to go on from: what is in the folder, else ``init``; None begins a new one."""
        there = folder / "checkpoint" if folder is not None else None
        return there if there is not None and (there / "model.safetensors").exists() else self._config["init"]

    def _open(self) -> TrainingSet:
        config, cameras, height = self._config, self._config["cameras"], self._config["image_height"]
        chunk_size = config["recipe"]["model"].get("chunk_size", LoHoVLAConfig().chunk_size)
        if self._begun is not None:
            model, processor = self._begun
            cameras, chunk_size = list(model.config.cameras), model.config.chunk_size
            height = processor.features.cameras[0].height if cameras else height
        found = TrainingSet.open(
            dataset_choices(config["dataset"], config["dataset_weights"], config["episodes"]),
            rename=config["rename"] or {},
            cameras=cameras,
            image_height=height,
            chunk_size=chunk_size,
            held_out=config["held_out"],
            seed=config["seed"],
            cache=Path(config["cache"]) if config["cache"] else None,
            cache_limit_gb=config["cache_gb"],
        )
        for line in found.lines:
            self._say(line)
        return found

    def _begin(self, source: Path | str | None) -> tuple[LoHoVLA, RobotProcessor]:
        """The model to go on from, or a new one, and its processor."""
        config = self._config
        if self._begun is not None:
            model, processor = self._begun
            match_features(
                processor.features, self._set.features, {}, str(config["dataset"]), renamed=config["rename"] or {}
            )
            if source == config["init"]:
                for line in drift_lines(processor.features, self._set.features):
                    self._say(line)
        else:
            settings, found = config["recipe"]["model"], self._set
            settings, features = with_representation(settings, found)
            model, processor = new_robot_model(settings, features, found.sentences, config["seed"], found.has_subtasks)
        if config["gradient_checkpointing"]:
            model.decoder.gradient_checkpointing_enable()
        return model, processor

    def _origin(self) -> dict[str, Any]:
        model = self._config["recipe"]["model"]
        return {"init": self._config["init"], "dataset": self._config["dataset"], "recipe.model": dict(model)}

    def _tell(self) -> None:
        """What is trained, and about how much memory it takes."""
        moved = [p for name, p in self._model.named_parameters() if self._stage.trains(name, self._lora)]
        weights, still = sum(p.numel() for p in moved), sum(p.numel() for p in self._model.parameters())
        if not weights:
            raise UserError("nothing is trained: every part of the model is frozen", "leave out parts of freeze")
        memory = (weights * _BYTES + (still - weights) * 4) / 2**30
        pictures = sum(camera.height * camera.width * 3 * 4 for camera in self._processor.features.cameras)
        batch = pictures * self._stage.batch / 2**30
        self._say(
            f"training {weights / 1e6:.1f} of {still / 1e6:.1f} million weights: {memory:.2f} GB with gradients and "
            f"the optimiser's state, {batch:.2f} GB for a batch's pictures, and what layers keep for the backward pass"
        )

    @property
    def _lora(self) -> bool:
        return bool(self._model.config.lora_rank)

    def record_samples(self, path: Path) -> None:
        """Write the first batch, as it is picked from the data, for the Rerun viewer; the main process does it."""
        if self._accelerator.is_main_process:
            record_samples(self._set, self._stage.batch, path)

    def train(self, folder: Path) -> Path:
        """Train to the end, from where it was stopped; returns the checkpoint's folder.

        Raises:
            UserError: something cannot be written, or a state is damaged.
        """
        self._hold(folder)
        try:
            with disk_errors(folder, f"run again with output={folder} to go on"):
                return self._train(folder)
        finally:
            self.close()

    def trainer(self, folder: Path, wrap: Callable[[Batches], Batches] = lambda batches: batches) -> Trainer:
        """What trains into a folder.

        Args:
            folder: of the run.
            wrap: is given the batches and returns those to train on.
        """
        config, model = self._config, self._model
        if not config["fsdp"]:
            model.to(self._accelerator.device)
        return Trainer(
            self._accelerator,
            model,
            self._processor,
            self._stage,
            wrap(DatasetBatches(self._set, config["seed"], self._about())),
            folder,
            config["save_seconds"],
            config["log_every"],
            config["norms_every"],
            lambda averaged: self._look(averaged, folder),
            config["validate_every"],
            self._tracking,
            self._origin(),
            config["fsdp"],
            self._settings,
        )

    def _train(self, folder: Path) -> Path:
        model = self._model
        trainer = self.trainer(folder)
        model.config.trained_stages = sorted({*model.config.trained_stages, _STAGE})
        trainer.run()
        self._accelerator.wait_for_everyone()
        if self._accelerator.is_main_process:
            model.eval()
            self._look(model, folder)
        return folder / "checkpoint"

    def _look(self, model: LoHoVLA, folder: Path) -> dict[str, float | Path]:
        """Save a checkpoint, and measure it on the held-out episodes: ``held_out.json`` is of the last one."""
        replace_folder(folder / "checkpoint", lambda new: save_checkpoint(model, self._processor, new))
        held_out = HeldOut(self._set, self._processor)
        figures = held_out.figures(model)
        if figures:
            text = json.dumps({name: round(value, 6) for name, value in figures.items()}, indent=2)
            write_atomically(folder / "held_out.json", text.encode())
        plot = held_out.plot(model, folder / "open_loop.png")
        return {**figures, **({"open_loop": plot} if plot else {})}

    def _about(self) -> dict[str, Any]:
        names = ("dataset", "dataset_weights", "episodes", "cameras", "image_height", "held_out", "seed")
        imitation = {f"recipe.imitation.{name}": value for name, value in vars(self._settings).items()}
        return {**{name: self._config[name] for name in names}, **imitation}

    def _hold(self, folder: Path | None) -> None:
        """Keep other trainings from a folder that exists, from now on; the main process does it for all."""
        if self._lock is None and folder is not None and folder.is_dir() and self._accelerator.is_main_process:
            self._lock: IO[str] | None = lock_folder(folder, "training")

    def close(self) -> None:
        """Let others train in the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def stage_of(config: Mapping[str, Any]) -> Stage:
    """The stage of a configuration: the recipe's, with what the command says beside it.

    Raises:
        UserError: the recipe has no such stage, or a part to freeze does not exist.
    """
    stages = config["recipe"]["stages"]
    if _STAGE not in stages or "imitation" not in config["recipe"]:
        raise UserError("the recipe does not learn from data sets", "recipe=robot does")
    freeze = tuple(config["freeze"])
    if config["train_expert_only"]:
        freeze = tuple(part for part in FREEZABLE_PARTS if part != "action")
    given = {"steps": config["steps"], "batch": config["batch_size"], "lr": config["lr"]}
    chosen = {name: value for name, value in given.items() if value is not None}
    if config["recipe"]["model"].get("backbone") or config["fsdp"]:
        chosen["muon_lr"] = None  # weights pretrained by AdamW go on by it; parts of a matrix have no orthogonal step
    return Stage(name=_STAGE, **{**stages[_STAGE], **chosen}, accumulate=config["accumulate"], freeze=freeze)


def with_representation(settings: Mapping[str, Any], found: TrainingSet) -> tuple[dict[str, Any], RobotFeatures]:
    """The model's settings with ``relative_actions`` by name, and the features with what is learned of actions.

    Raises:
        UserError: they name what the action or the state has not.
    """
    features = found.features
    relative = relative_numbers(
        settings.get("relative_actions"), features.action_names, features.state_names, found.grippers
    )
    names = list(settings.get("rotation_actions") or ())
    rotations = [names[first : first + 3] for first in range(0, len(names), 3)]
    representation = ActionRepresentation(features.action_names, features.state_names, relative, rotations)
    if not representation.changes_nothing:
        learned = found.chunk_statistics(representation.encode)
        features = replace(features, statistics={**features.statistics, "learned_action": learned})
    return {**settings, "relative_actions": relative, "rotation_actions": representation.rotations}, features


def new_robot_model(
    settings: Mapping[str, Any], features: RobotFeatures, sentences: Sequence[str], seed: int, subtasks: bool
) -> tuple[LoHoVLA, RobotProcessor]:
    """An untrained core for the features of a data set, with a tokenizer over its words.

    Where the settings name a ``backbone``, its weights and its tokenizer are taken over.
    """
    torch.manual_seed(seed)
    given = {**settings, "features": features.to_dict()}
    if not features.state_names:
        given["keyframes"] = False  # they are states
    if name := given.pop("backbone", None):
        model, tokenizer = pretrained_parts(name, given)
        return model, RobotProcessor.from_model_config(model.config, tokenizer, subtasks)
    tokenizer = make_tokenizer(sentences)
    text = {"model_type": "qwen3", **NANO_DECODER, **(given.pop("text_config", None) or {})}
    config = LoHoVLAConfig(text_config={**text, "vocab_size": len(tokenizer)}, **given)
    return LoHoVLA(config), RobotProcessor.from_model_config(config, tokenizer, subtasks)
