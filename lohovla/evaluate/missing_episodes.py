"""Resuming an evaluation: of its groups of episodes, those that have missing ones are played, in many processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from lohovla.evaluate.episode_log import EpisodeLog
from lohovla.parallel_jobs import run_jobs
from lohovla.progress import progress


class SeededGroup(Protocol):
    """Episodes of one task that are played together."""

    @property
    def task(self) -> str:
        """Its name."""
        ...

    @property
    def seeds(self) -> Sequence[int]:
        """One for each episode."""
        ...


def play_missing(
    log: EpisodeLog,
    groups: Iterable[SeededGroup],
    play: Callable[[Any], Any],
    write: Callable[[Any], None],
    runner: str,
    workers: int | None,
) -> float:
    """Play the groups of which the log lacks an episode, and write each as it ends.

    Args:
        log: of the evaluation.
        groups: of the whole evaluation, so that an episode is played beside the same ones when a run is resumed.
        play: plays a group, in a worker; what it returns has ``seconds``.
        write: puts the episodes that were played into the log.
        runner: ``local`` or ``ray``.
        workers: how many processes; one a core if None.

    Returns:
        The seconds that the workers spent, added up.
    """
    groups = list(groups)
    jobs = [group for group in groups if any((group.task, seed) not in log.rows for seed in group.seeds)]
    total, seconds = sum(len(group.seeds) for group in groups), 0.0
    with progress(total=total, initial=len(log.rows), unit="episode") as bar:
        for played in run_jobs(play, jobs, runner, workers):
            write(played)
            seconds += played.seconds
            bar.update(len(log.rows) - bar.n)
    return seconds
