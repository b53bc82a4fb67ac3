"""Going on with a stage by other settings than it was begun with: what that changes is told, or it is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lohovla.errors import UserError
from lohovla.settings.renamed_settings import MODEL_SETTINGS, new_setting
from lohovla.train.learning_rate_schedule import schedule
from lohovla.train.learning_rates import LearningRates
from lohovla.train.training_stages import Stage


class Batches(Protocol):
    """Where a stage's batches come from."""

    @property
    def seed(self) -> int:
        """Of everything that is drawn."""
        ...

    def batches(self, stage: Stage, start: int, rank: int, world: int) -> Iterator[dict[str, Any]]:
        """Endless batches; ``start`` is the number of the first one."""
        ...

    def settings(self) -> dict[str, Any]:
        """By the names that people type: what they are drawn from, which may change between two runs."""
        ...


@dataclass(frozen=True)
class TrainingInputs:
    """What a stage is trained with.

    Attributes:
        settings: settings by the names that people type, which may change on the way.
        origin: settings that decide the weights which the stage does not move, so that they may not.
    """

    settings: Mapping[str, Any]
    origin: Mapping[str, Any]

    @classmethod
    def from_stage(
        cls, stage: Stage, source: Batches, processes: int, precision: str, origin: Mapping[str, Any]
    ) -> TrainingInputs:
        """Of a stage and what it learns from."""
        own = f"recipe.stages.{stage.name}."
        parts = ("batch", "new_sample_fraction", "symbolic_batch", "accumulate", "freeze", "muon_lr")
        told: dict[str, Any] = {own + name: getattr(stage, name) for name in parts}
        told |= {f"{own}weights.{name}": weight for name, weight in stage.weights.items()}
        told |= source.settings()
        told |= {"precision": precision, "processes": processes}
        return cls(*(json.loads(json.dumps(dict(part))) for part in (told, origin)))

    def as_facts(self) -> dict[str, Any]:
        """What is kept with a state, in JSON."""
        return {"settings": self.settings, "origin": self.origin}


def refuse_other_origin(found: Mapping[str, Any], origin: Mapping[str, Any], folder: Path) -> None:
    """Refuse to go on on other weights than a stage was begun on.

    Args:
        found: facts of its state; empty if there is none. One of an older version does not tell its origin.
        origin: what it is to go on with.
        folder: of the stage, for the message.

    Raises:
        UserError: with the setting that differs.
    """
    before = _renamed(found.get("origin", {}))
    if isinstance(model := before.get("recipe.model"), Mapping):
        before["recipe.model"] = {MODEL_SETTINGS.get(name, name): value for name, value in model.items()}
    for name in sorted(before.keys() & origin.keys()):
        if before[name] != origin[name]:
            raise UserError(
                f"{folder} was begun with {name}={_shown(before[name])}, not {_shown(origin[name])}",
                f"give {name}={_shown(before[name])} again, or another output=FOLDER",
            )


def resumed(stage: Stage, found: Mapping[str, Any], made: TrainingInputs) -> tuple[LearningRates, list[str]]:
    """The rates to go on with, and lines about what is other than before; none for a stage that begins.

    Args:
        stage: as it is asked for now.
        found: facts of its state: ``step``, ``steps``, those of ``LearningRates`` and ``Made``; empty at first.
        made: what it is to go on with.
    """
    if not found:
        return LearningRates(stage.steps, stage.lr, schedule), []
    done, before = int(found["step"]), LearningRates.from_facts(found, stage.lr, schedule)
    now = before.changed(done, stage.steps, stage.lr)
    if done >= stage.steps:
        return now, [_nothing_left(stage, done, before)]
    lines = []
    if now is not before:
        asked = f"{stage.steps} steps" if stage.steps == before.steps else f"{before.steps} -> {stage.steps} steps"
        asked += "" if stage.lr == before.highest else f", lr {before.highest:.2g} -> {stage.lr:.2g}"
        lines.append(f"{stage.name}: {asked}, of which {done} are done; {now.description(done)}")
    told = _renamed(found.get("settings", made.settings))
    other = [
        f"{name} {_shown(told.get(name))} -> {_shown(made.settings.get(name))}"
        for name in [*made.settings, *(name for name in told if name not in made.settings)]
        if told.get(name) != made.settings.get(name)
    ]
    if other:
        changes = ", ".join(other)
        lines.append(f"{stage.name}: from step {done + 1} on {changes}; that leaves the learning rate as it is")
    return now, lines


def _renamed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a state was saved with, by the names that they have now."""
    return {new_setting("train", name) or name: value for name, value in settings.items()}


def _nothing_left(stage: Stage, done: int, before: LearningRates) -> str:
    """A stage of which as much is done as is asked for, or more."""
    if done == stage.steps == before.steps:
        return f"{stage.name}: all {done} steps are done"
    more = f"recipe.stages.{stage.name}.steps={max(done + 1, before.steps)} goes on"
    planned = f" of {before.steps}" if before.steps > done else ""
    return f"{stage.name}: {done} steps{planned} are done and {stage.steps} are asked for, so none is trained; {more}"


def _shown(value: Any) -> str:
    """A setting as it is typed."""
    return "null" if value is None else json.dumps(value).replace('"', "").replace(" ", "")
