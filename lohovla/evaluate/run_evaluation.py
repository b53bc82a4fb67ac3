"""An evaluation from start to end: what is missing is played, in any number of processes, and written down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from lohovla.evaluate.episode_files import FAILURES, chosen_for_films, picture_path
from lohovla.evaluate.episode_log import EpisodeLog, Row
from lohovla.evaluate.evaluation_worker import EpisodeGroup, GroupResult, film, play_group
from lohovla.evaluate.missing_episodes import play_missing
from lohovla.evaluate.protocol import Protocol
from lohovla.output_folder import write_atomically
from lohovla.parallel_jobs import run_jobs
from lohovla.progress import progress

VIDEOS = "videos"
_T = TypeVar("_T")


def evaluate(
    protocol: Protocol, folder: Path, runner: str = "local", workers: int | None = None, batch: int = 1
) -> tuple[list[Row], float]:
    """Play the episodes that ``folder`` lacks and write each into ``episodes.jsonl`` as it ends.

    A picture of the last state of each failure goes to ``failures/<task>-<seed>.jpg``.

    Args:
        protocol: what to play.
        folder: an existing folder, empty or of an evaluation with the same settings.
        runner: ``local`` or ``ray``.
        workers: how many processes; one a core if None.
        batch: episodes that run at once in a process, feeding one policy.

    Returns:
        Every episode's record in the order of ``protocol.episodes``, and the seconds that the workers spent on
        those played now, added up.
    """
    log = EpisodeLog(folder, protocol.episodes)
    pictures = folder / FAILURES
    pictures.mkdir(exist_ok=True)
    groups = [_group(protocol, task, seeds) for task in protocol.tasks for seeds in in_groups(protocol.seeds, batch)]
    seconds = play_missing(log, groups, play_group, lambda played: _write(log, played, pictures), runner, workers)
    return log.close(), seconds


def _write(log: EpisodeLog, played: GroupResult, pictures: Path) -> None:
    for row in played.rows:
        if not row["success"]:  # before its line, so that a line never lacks its picture
            write_atomically(picture_path(pictures.parent, row), played.pictures[row["seed"]])
        log.append(row)


def film_some(
    protocol: Protocol,
    folder: Path,
    rows: Iterable[Row],
    count: int,
    runner: str,
    workers: int | None,
    per_task: int = 0,
) -> list[tuple[Row, Path]]:
    """Play the first failures again, and successes where failures are fewer, and film them.

    Films are ``videos/<task>-<seed>.mp4``; those that are there are kept. Each task's first comes before any task's
    second. Of every task there are ``per_task`` at least, if it has so many episodes.
    """
    rows = list(rows)
    chosen = chosen_for_films(rows, count, per_task)
    films = [(row, folder / VIDEOS / f"{row['task']}-{row['seed']}.mp4") for row in chosen]
    missing = [(row, path) for row, path in films if not path.exists()]
    if missing:
        (folder / VIDEOS).mkdir(exist_ok=True)
        jobs = [(_group(protocol, row["task"], (row["seed"],)), path) for row, path in missing]
        for path, data in progress(
            run_jobs(_film, jobs, runner, workers), total=len(jobs), desc="filming", unit="film"
        ):
            write_atomically(path, data)
    return films


def _film(job: tuple[EpisodeGroup, Path]) -> tuple[Path, bytes]:
    group, path = job
    return path, film(group)


def _group(protocol: Protocol, task: str, seeds: tuple[int, ...]) -> EpisodeGroup:
    return EpisodeGroup(task, seeds, protocol.policy, protocol.env, protocol.policy_settings, protocol.diagnose)


def in_groups(values: tuple[_T, ...], size: int) -> Iterator[tuple[_T, ...]]:
    """Values in groups of a size; the last may be smaller."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
