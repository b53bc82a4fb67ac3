"""Curves in Weights & Biases or Trackio beside TensorBoard's, for those who ask for them."""

from __future__ import annotations

import importlib
import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lohovla.errors import SetupError, UserError

TRACKERS = ("wandb", "trackio")
_NOTE = "track.json"


@dataclass(frozen=True)
class Tracking:
    """Where curves are sent: a run for each stage, in one project.

    Attributes:
        tracker: one of :data:`TRACKERS`.
        project: of the tracker.
        config: what the run is told of itself.

    Raises:
        SetupError: the tracker's package is not installed.
        UserError: there is no such tracker.
    """

    tracker: str
    project: str
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.tracker not in TRACKERS:
            raise UserError(f"track cannot be {self.tracker!r}", f"choose null or one of {', '.join(TRACKERS)}")
        self._package()

    def _package(self) -> Any:
        try:
            return importlib.import_module(self.tracker)
        except ModuleNotFoundError as error:
            needed = f"track={self.tracker} needs the package {error.name}"
            raise SetupError(needed, f"pip install 'lohovla[{self.tracker}]'") from None

    def begin(self, folder: Path, rows: Sequence[Mapping[str, Any]], start: int) -> Curves:
        """Begin a stage's run, or go on with the one that was begun for this folder.

        Args:
            folder: of the stage; its name and its parent's name the run.
            rows: lines that the journal wrote of the stage: ``stage``, ``step`` and figures.
            start: the step that training goes on from. A new run is told the lines up to it; one that goes on has
                been told them all, those of the steps that are done once more included.

        Raises:
            UserError: the tracker refuses, for want of an account, say.
        """
        number, new = self._number(folder)
        stage, whole = folder.name, folder.parent.name
        about: dict[str, Any] = {
            "project": self.project,
            "name": f"{whole}-{stage}-{number}",
            "group": whole,
            "resume": "allow",
            "config": {**self.config, "stage": stage},
        }
        if self.tracker == "wandb":  # Trackio knows a run by its name, and keeps the files of all in one place
            about |= {"id": number, "job_type": stage, "dir": str(folder)}
        try:
            curves = Curves(self._package().init(**about), self._package().Image)
        except Exception as error:  # of many kinds, and all are about the tracker's own settings
            cause = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{self.tracker} did not start a run: {cause}", "track=null trains without it") from None
        for row in rows:
            if not new:
                curves.skip_row(row)
            elif row["step"] <= start:
                curves.log_row(row)
        return curves

    def _number(self, folder: Path) -> tuple[str, bool]:
        """What tells the run from all others, kept in the folder."""
        path = folder / _NOTE
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            if (known["tracker"], known["project"]) == (self.tracker, self.project):
                return str(known["run"]), False
        except (OSError, ValueError, KeyError):
            pass  # none yet, or torn by a kill: a new run
        folder.mkdir(parents=True, exist_ok=True)
        number, part = uuid.uuid4().hex[:8], path.with_suffix(".part")
        part.write_text(json.dumps({"tracker": self.tracker, "project": self.project, "run": number}), encoding="utf-8")
        os.replace(part, path)
        return number, True


class Curves:
    """A tracker's run, which is told each figure of a step once.

    Args:
        run: has ``log(values, step=)`` and ``finish()``.
        picture: makes what ``log`` takes of an image file.
    """

    def __init__(self, run: Any, picture: Callable[[str], Any]):
        self._run, self._picture = run, picture
        self._known: dict[str, int] = {}  # the last step of each figure

    def skip_row(self, row: Mapping[str, Any]) -> None:
        """Take a line of the journal for one that was told."""
        self._known.update(dict.fromkeys(_figures(row), int(row["step"])))

    def log_row(self, row: Mapping[str, Any]) -> None:
        """Tell what is new in a line of the journal."""
        new = {name: value for name, value in _figures(row).items() if row["step"] > self._known.get(name, -1)}
        if new:
            self._run.log(new, step=row["step"])
            self.skip_row(row)

    def log_image(self, step: int, name: str, path: Path) -> None:
        """Show an image file as it is now."""
        self._run.log({name: self._picture(str(path))}, step=step)

    def close(self) -> None:
        """Wait until all is told."""
        self._run.finish()


def _figures(row: Mapping[str, Any]) -> dict[str, float]:
    """A line's figures by the names that TensorBoard has them under."""
    return {f"{row['stage']}/{name}": value for name, value in row.items() if name not in ("stage", "step")}
