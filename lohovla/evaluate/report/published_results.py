"""The published results, which stand beside ours."""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Sequence
from dataclasses import dataclass

import yaml


@dataclass(frozen=True)
class PublishedResult:
    """A system's published result on a task, or its mean over tasks, in %; ``success`` is None if not given."""

    score: float
    success: float | None

    def __str__(self) -> str:
        return f"{self.score:.1f}" if self.success is None else f"{self.score:.1f} / {self.success:.1f}"


@functools.cache
def _table() -> dict:
    path = importlib.resources.files("lohovla.configs") / "results" / "published.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def systems() -> dict[str, str]:
    """The published systems: names to show by key."""
    return _table()["systems"]


def published_figures(task: str, system: str) -> PublishedResult | None:
    """What ``system`` reached on ``task``, if it was published."""
    row = _table()["tasks"].get(task)
    return PublishedResult(*row[system]) if row else None


def mean_figures(tasks: Sequence[str], system: str) -> PublishedResult | None:
    """The mean over ``tasks``; None unless every one of them was published."""
    found = [published_figures(task, system) for task in tasks]
    known = [entry for entry in found if entry is not None]
    if not known or len(known) < len(found):
        return None
    successes = [entry.success for entry in known if entry.success is not None]
    success = sum(successes) / len(successes) if len(successes) == len(known) else None
    return PublishedResult(sum(entry.score for entry in known) / len(known), success)
