"""Two evaluation runs episode by episode: who solved what, where their sub-tasks part, and films of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from lohovla.envs.tasks.names import TASKS
from lohovla.errors import UserError
from lohovla.evaluate.episode_log import Row, read_settings
from lohovla.evaluate.evaluation_worker import EpisodeGroup, film
from lohovla.evaluate.report import html
from lohovla.extensions import installed
from lohovla.output_folder import write_atomically
from lohovla.policies.registry import split_settings
from lohovla.progress import progress

_KINDS = ("only the first", "only the second", "neither", "both")  # who solved it; those that differ come first


@dataclass(frozen=True)
class EpisodePair:
    """An episode that two runs have, by task and seed.

    Attributes:
        task: its task.
        seed: its seed.
        first: the first run's record.
        second: the second one's.
    """

    task: str
    seed: int
    first: Row
    second: Row

    @property
    def solved_by(self) -> str:
        """``only the first``, ``only the second``, ``neither`` or ``both``."""
        solved = bool(self.first["success"]), bool(self.second["success"])
        return dict(zip([(True, False), (False, True), (False, False), (True, True)], _KINDS, strict=True))[solved]

    @property
    def parting(self) -> tuple[int, str, str] | None:
        """The number of the first sub-task that differs, from 1, and both in words; None where all are the same."""
        words = [[span["text"] for span in row.get("subtasks", [])] for row in (self.first, self.second)]
        for index in range(max(map(len, words))):
            texts = [texts[index] if index < len(texts) else "" for texts in words]
            if texts[0] != texts[1]:
                return index + 1, texts[0], texts[1]
        return None


def episode_pairs(first: Mapping[tuple[str, int], Row], second: Mapping[tuple[str, int], Row]) -> list[EpisodePair]:
    """The episodes that both have: those that only one solved come first, then those that neither did.

    Args:
        first: records by task and seed.
        second: the same of the other run.
    """
    shared = [EpisodePair(*key, first[key], second[key]) for key in first if key in second]
    return sorted(shared, key=lambda pair: _KINDS.index(pair.solved_by))


def pairs_as_table(names: Sequence[str], pairs: Sequence[EpisodePair]) -> tuple[list[str], list[list[str]]]:
    """Column names, and a row an episode."""
    header = ["solved by", "task", "seed", *(f"{name} score %" for name in names), *(f"{name} ended" for name in names)]
    rows = []
    for pair in pairs:
        who = {"only the first": f"only {names[0]}", "only the second": f"only {names[1]}"}
        scores = [f"{100 * row['score']:.0f}" for row in (pair.first, pair.second)]
        ends = [str(row["reason"]) for row in (pair.first, pair.second)]
        parting = pair.parting
        apart = f"{parting[0]}: “{parting[1] or 'none'}” / “{parting[2] or 'none'}”" if parting else "never"
        rows.append([who.get(pair.solved_by, pair.solved_by), pair.task, str(pair.seed), *scores, *ends, apart])
    return [*header, "sub-tasks part at"], rows


def film_path(folder: Path, pair: EpisodePair) -> Path:
    """Where a run keeps the film of an episode."""
    return folder / "videos" / f"{pair.task}-{pair.seed}.mp4"


def film_pairs(folders: Sequence[Path], pairs: Sequence[EpisodePair], count: int) -> None:
    """See to it that the first ``count`` episodes have a film of each run, playing again those that lack one.

    Raises:
        UserError: a run is of another project's environment, or does not say what it was made with.
    """
    missing = [(folder, pair) for pair in pairs[:count] for folder in folders if not film_path(folder, pair).exists()]
    for folder, pair in progress(missing, desc="filming", unit="film"):
        group = _group(folder, pair)
        film_path(folder, pair).parent.mkdir(exist_ok=True)
        write_atomically(film_path(folder, pair), film(group))


def _group(folder: Path, pair: EpisodePair) -> EpisodeGroup:
    settings: dict[str, Any] = read_settings(folder).get("settings", {})
    policy, env = settings.get("policy"), settings.get("env")
    if not isinstance(policy, Mapping) or not isinstance(env, Mapping):
        raise UserError(
            f"{folder / 'config.yaml'} does not say how to play its episodes again", "films=0 makes no films"
        )
    if pair.task not in (*TASKS, *installed("task")):
        raise UserError(
            f"{pair.task} is of another project's environment, whose films are made with the run", "films=0 makes none"
        )
    name, own = split_settings(policy)
    return EpisodeGroup(pair.task, (pair.seed,), name, env, own)


def pairs_section(names: Sequence[str], folders: Sequence[Path], pairs: Sequence[EpisodePair]) -> Iterator[str]:
    """The part of a page: episodes that differ with the films that there are, and the table of all."""
    yield "<h3>Episode by episode</h3>"
    counts = {kind: sum(pair.solved_by == kind for pair in pairs) for kind in _KINDS}
    said = f"{counts['only the first']} solved by {names[0]} alone, {counts['only the second']} by {names[1]} alone"
    yield f'<p class="soft">{escape(said)}, {counts["neither"]} by neither, {counts["both"]} by both.</p>'
    shown = [pair for pair in pairs if all(film_path(folder, pair).exists() for folder in folders)]
    yield '<div class="cards films">'
    for pair in shown:
        for name, folder, row in zip(names, folders, (pair.first, pair.second), strict=True):
            source = html.inline(film_path(folder, pair), "video/mp4")
            outcome = "solved" if row["success"] else escape(str(row.get("failure") or row["reason"]))
            yield (
                f'<figure><video controls muted preload="metadata" src="{source}"></video><figcaption>'
                f"<b>{escape(name)}</b> <small>{escape(pair.task)}, seed {pair.seed}</small><br>"
                f"“{escape(row['instruction'])}”<br><small>{outcome}</small></figcaption></figure>"
            )
    yield "</div>"
    yield f"<details{' open' if len(pairs) <= 60 else ''}><summary>All {len(pairs)} shared episodes</summary>"
    yield html.table(*pairs_as_table(names, pairs))
    yield "</details>"
