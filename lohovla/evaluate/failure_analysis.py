"""Where a policy goes wrong: its plans against the oracle's, its points in millimetres, its grasps, its progress."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lohovla.policies.base import Decision

_GAIN = 1e-6  # of the score, above which something was gained


@dataclass
class Diagnosis:
    """What an episode shows of a policy; sums and lists that can be put together over episodes.

    Attributes:
        plans: sub-tasks planned.
        as_oracle: of them, those that say what the oracle would have said.
        right: those that say it, or led to a gain: several answers can be right.
        said: each plan: its sub-task, the oracle's at that moment ("" where it had none), and whether it was right.
        pick_mm: how far each pick was from the middle of the nearest block (``pick_place``).
        place_mm: how far each place was from the oracle's, where the sub-task is the oracle's and names a block or a
            bowl, which have one middle.
        missed: picks that gripped nothing.
        progress_right: judgements of the sub-task before, against whether the score had risen.
        progress_wrong: those that were wrong.
    """

    plans: int = 0
    as_oracle: int = 0
    right: int = 0
    said: list[tuple[str, str, bool]] = field(default_factory=list)
    pick_mm: list[float] = field(default_factory=list)
    place_mm: list[float] = field(default_factory=list)
    missed: int = 0
    progress_right: int = 0
    progress_wrong: int = 0


class FailureAnalyzer:
    """Watches one episode.

    Args:
        world: its :class:`lohovla.envs.env.BlocksEnv`.
        judges: whether the policy says how far its sub-tasks are.
    """

    def __init__(self, world: Any, judges: bool):
        self._world, self._judges = world, judges
        self.diagnosis = Diagnosis()
        self._score, self._begun = 0.0, False
        self._said = self._oracle = ""
        self._agrees, self._plan_score = False, 0.0

    def decided(self, decision: Decision, score: float) -> None:
        """Look at a decision before it is carried out."""
        look_again = decision.planned or self._world.control == "pick_place"
        if look_again and self._begun and self._judges:
            self._judge(decision, score)
        if decision.planned:
            self._close_plan(score)
            self._open_plan(decision, score)
        if self._world.control == "pick_place":
            self._measure(decision)
        if look_again:
            self._score, self._begun = score, True

    def _judge(self, decision: Decision, score: float) -> None:
        """The policy's opinion of what it just did, against what came of it."""
        gained = score > self._score + _GAIN
        agreed = (decision.progress > 0.5) == gained
        self.diagnosis.progress_right += agreed
        self.diagnosis.progress_wrong += not agreed

    def _open_plan(self, decision: Decision, score: float) -> None:
        subtask = self._world.problem.goal.next(self._world.scene())
        self._said, self._plan_score = decision.subtask, score
        self._oracle = subtask.text if subtask is not None else ""
        self._agrees = subtask is not None and decision.subtask == subtask.text
        self.diagnosis.plans += bool(self._said)  # a policy without sub-tasks plans none
        self.diagnosis.as_oracle += self._agrees

    def _close_plan(self, score: float) -> None:
        if self._said:
            right = bool(self._agrees or score > self._plan_score + _GAIN)
            self.diagnosis.right += right
            self.diagnosis.said.append((self._said, self._oracle, right))

    def _measure(self, decision: Decision) -> None:
        scene = self._world.scene()
        pick, place = np.asarray(decision.actions[0], float)
        away = [np.hypot(*np.subtract(scene.centre(name)[:2], pick[:2])) for name in scene.blocks]
        self.diagnosis.pick_mm.append(round(1e3 * float(min(away)), 2))
        subtask = self._world.problem.goal.next(scene)
        one_middle = subtask is not None and (subtask.target in scene.blocks or subtask.target.startswith("bowl"))
        if subtask is not None and one_middle and decision.subtask == subtask.text:
            off = np.hypot(place[0] - subtask.place.x, place[1] - subtask.place.y)
            self.diagnosis.place_mm.append(round(1e3 * float(off), 2))

    def finish(self, score: float, outcomes: Mapping[str, int]) -> Diagnosis:
        """The episode is over."""
        self._close_plan(score)
        self.diagnosis.missed = outcomes.get("nothing was gripped", 0)
        return self.diagnosis


def summarize_diagnoses(rows: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Figures over episodes' diagnoses: shares in [0, 1], medians and 95th percentiles in mm.

    A share of nothing, of plans where none was made, say, is None.
    """
    found = [row for row in rows if row]
    if not found:
        return {}
    total = {name: sum(row[name] for row in found) for name in ("plans", "as_oracle", "right", "missed")}
    judged = sum(row["progress_right"] + row["progress_wrong"] for row in found)
    figures: dict[str, float | None] = {
        "plans": total["plans"],
        "as_oracle": _share(total["as_oracle"], total["plans"]),
        "right": _share(total["right"], total["plans"]),
        "missed": _share(total["missed"], sum(len(row["pick_mm"]) for row in found)),
        "progress": _share(sum(row["progress_right"] for row in found), judged),
    }
    for name in ("pick_mm", "place_mm"):
        values = [value for row in found for value in row[name]]
        if values:
            figures[name] = float(np.median(values))
            figures[f"{name}_95"] = float(np.percentile(values, 95))
    return figures


def _share(some: int, all_: int) -> float | None:
    return some / all_ if all_ else None


_COLUMNS = {
    "plans": ("plans", "{:.0f}"),
    "right": ("right %", "{:.1%}"),
    "as_oracle": ("as the oracle %", "{:.1%}"),
    "pick_mm": ("pick mm", "{:.1f}"),
    "pick_mm_95": ("95th", "{:.1f}"),
    "place_mm": ("place mm", "{:.1f}"),
    "place_mm_95": ("95th", "{:.1f}"),
    "missed": ("missed %", "{:.1%}"),
    "progress": ("progress right %", "{:.1%}"),
}


def summary_by_task(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """:func:`summarize_diagnoses` of each task's episodes."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["task"], []).append(row.get("diagnosis"))  # type: ignore[arg-type]
    return {task: summarize_diagnoses(group) for task, group in groups.items()}


def as_table(found: Mapping[str, Mapping[str, float | None]]) -> tuple[list[str], list[list[str]]]:
    """Column names and a row of texts a task; a dash where there is no figure."""
    header = ["task", *(title for title, _ in _COLUMNS.values())]
    rows = [
        [task, *(_text(form, figures.get(name)) for name, (_, form) in _COLUMNS.items())]
        for task, figures in found.items()
    ]
    return header, rows


def _text(form: str, value: float | None) -> str:
    return "-" if value is None else form.format(value)
