"""The numbers and words of a data set's episodes, looked over before anything is learned from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lohovla.data.dataset_features import DatasetFeatures
from lohovla.data.dataset_files import UNREADABLE, DamagedFile, unreadable
from lohovla.data.episode_files import EpisodeFiles, read_tasks
from lohovla.data.episode_subtasks import SUBTASK_INDEX, EpisodeSubtasks
from lohovla.data.parquet import values_of
from lohovla.errors import UserError

TIME_TOLERANCE = 1e-4  # seconds that a frame may be off its time, as LeRobot has it
_SUCCESS = "next.success"
_ALWAYS = ("timestamp", "episode_index", "task_index")


@dataclass(frozen=True)
class EpisodeColumns:
    """N frames of E episodes, one after the other.

    Attributes:
        lengths: frames of each episode, (E,).
        first_rows: where each episode begins in its table, (E,).
        state: float32 (N, n); n is 0 where there is none.
        action: float32 (N, A).
        texts: every sentence that is said.
        instruction: number of the task's sentence at each frame, (N,).
        subtask: number of the sub-task's, -1 without one, (N,).
        turn: which of the episode's sub-tasks it is, -1 without one, (N,).
        success: whether each episode reached its goal; None where nothing says so.
        sources: the columns that sub-tasks come from.
    """

    lengths: np.ndarray
    first_rows: np.ndarray
    state: np.ndarray
    action: np.ndarray
    texts: list[str]
    instruction: np.ndarray
    subtask: np.ndarray
    turn: np.ndarray
    success: list[bool | None]
    sources: frozenset[str]


def read_columns(
    root: Path, info: Mapping[str, Any], found: DatasetFeatures, episodes: Sequence[EpisodeFiles], where: str
) -> EpisodeColumns:
    """Read all of some episodes but their pictures.

    Args:
        root: the data set's folder.
        info: its ``info.json``.
        found: what is read of it.
        episodes: which episodes, in the order of their tables.
        where: the data set's name, for messages.

    Raises:
        UserError: a table is missing or damaged; a number is NaN or infinite; times are not those of the rate.
    """
    return _Reader(root, info, found, where).read(episodes)


class _Reader:
    def __init__(self, root: Path, info: Mapping[str, Any], found: DatasetFeatures, where: str):
        self._root, self._features, self._fps, self._found, self._where = (
            root,
            info["features"],
            info["fps"],
            found,
            where,
        )
        self._wanted = [found.action, *_ALWAYS]
        self._wanted += [name for name in (found.state, _SUCCESS, SUBTASK_INDEX) if name in self._features]
        self._tasks = read_tasks(root, info)
        self._subtasks = EpisodeSubtasks(root, self._features)
        self._texts: dict[str, int] = {}
        self._parts: dict[str, list[np.ndarray]] = {}

    def read(self, episodes: Sequence[EpisodeFiles]) -> EpisodeColumns:
        opened: dict[Path, tuple[pq.ParquetFile, pa.Table, np.ndarray]] = {}  # the table last read
        first_rows, success = [], []
        for episode in episodes:
            if episode.table not in opened:
                opened = {episode.table: self._open(episode.table)}
            file, table, numbers = opened[episode.table]
            try:
                first = self._first_row(episode, numbers)
                reached = self._take(episode, file, table.slice(first, episode.length), first)
            except UNREADABLE as error:
                raise unreadable(self._root, episode.table, error) from None
            first_rows.append(first)
            success.append(episode.success if reached is None else reached)
        whole = {name: np.concatenate(parts) for name, parts in self._parts.items()}
        lengths = np.array([episode.length for episode in episodes], np.int64)
        return EpisodeColumns(
            lengths,
            np.array(first_rows, np.int64),
            **whole,
            texts=list(self._texts),
            success=success,
            sources=frozenset(self._subtasks.sources),
        )

    def _open(self, path: Path) -> tuple[pq.ParquetFile, pa.Table, np.ndarray]:
        try:
            file = pq.ParquetFile(path, page_checksum_verification=True)
            if lost := [name for name in self._wanted if name not in file.schema_arrow.names]:
                raise DamagedFile(self._root, path, f"has no column {lost[0]}")
            table = file.read(columns=self._wanted)
            numbers = values_of(table, "episode_index", (1,))
        except UNREADABLE as error:
            raise unreadable(self._root, path, error) from None
        if (np.diff(numbers) < 0).any():
            raise DamagedFile(self._root, path, "has episodes that are not in their order")
        return file, table, numbers

    def _first_row(self, episode: EpisodeFiles, numbers: np.ndarray) -> int:
        first, end = np.searchsorted(numbers, (episode.number, episode.number + 1)).tolist()
        if end - first != episode.length:
            raise DamagedFile(
                self._root,
                episode.table,
                f"has {end - first} frames of episode {episode.number} instead of {episode.length}",
            )
        return first

    def _take(self, episode: EpisodeFiles, file: pq.ParquetFile, table: pa.Table, first: int) -> bool | None:
        """Take in an episode; returns whether it reached its goal, if its frames say so."""
        times = values_of(table, "timestamp", (1,)).astype(np.float64)
        self._check_times(episode, times)
        tasks = values_of(table, "task_index", (1,))
        if unknown := set(np.unique(tasks).tolist()) - self._tasks.keys():
            raise DamagedFile(
                self._root, episode.table, f"has frames of task {min(unknown)}, which the list of tasks has not"
            )
        numbers = values_of(table, SUBTASK_INDEX, (1,)) if SUBTASK_INDEX in self._wanted else None
        turns = self._subtasks.of_episode(episode.table, file, first, times - times[:1], numbers)
        said, turn = turns or ([""] * episode.length, np.full(episode.length, -1))
        found = self._found
        parts = {
            "state": self._numbers(episode, table, found.state, found.state_names),
            "action": self._numbers(episode, table, found.action, found.action_names),
            "instruction": np.array([self._text(self._tasks[number]) for number in tasks.tolist()], np.int32),
            "subtask": np.array([self._text(sentence) if sentence else -1 for sentence in said], np.int32),
            "turn": np.where([bool(sentence) for sentence in said], turn, -1).astype(np.int32),
        }
        for name, values in parts.items():
            self._parts.setdefault(name, []).append(values)
        return bool(values_of(table, _SUCCESS, (1,))[-1]) if _SUCCESS in self._wanted else None

    def _text(self, sentence: str) -> int:
        return self._texts.setdefault(sentence, len(self._texts))

    def _numbers(self, episode: EpisodeFiles, table: pa.Table, feature: str | None, names: Sequence[str]) -> np.ndarray:
        if feature is None:
            return np.zeros((episode.length, 0), np.float32)
        shape = self._features[feature]["shape"]
        with np.errstate(over="ignore"):
            values = values_of(table, feature, shape).reshape(episode.length, math.prod(shape)).astype(np.float32)
        if not (fine := np.isfinite(values)).all():
            frame, dimension = np.argwhere(~fine)[0].tolist()
            raise UserError(
                f"{self._where}, episode {episode.number}, frame {frame}: {feature} holds"
                f" {values[frame, dimension]} in dimension {dimension} ({names[dimension]})",
                "mend the data, or leave the episode out with episodes=[...]",
            )
        return values

    def _check_times(self, episode: EpisodeFiles, times: np.ndarray) -> None:
        """See that frames follow one another at the rate of ``info.json``."""
        due = np.arange(len(times)) / self._fps
        # Times are often float32, which far into an episode is coarser than the tolerance.
        coarse = np.spacing(np.abs(times).astype(np.float32)).astype(np.float64)
        off = np.abs(times - times[:1] - due)
        late = ~(off <= TIME_TOLERANCE + 2 * coarse)  # a NaN is late
        if not late.any():
            return
        frame = int(np.argmax(late))
        step = float(np.median(np.diff(times)))
        even = step > 0 and np.abs(times - times[:1] - np.arange(len(times)) * step).max() < 0.1 * step
        at = f"{self._where}, episode {episode.number}"
        if even and abs(step * self._fps - 1) > 0.01:
            raise UserError(
                f"{at}: its time stamps are those of {1 / step:.4g} frames a second, info.json says {self._fps:g}",
                "correct fps in meta/info.json, or the time stamps",
            )
        raise UserError(
            f"{at}, frame {frame}: its time stamp is {times[frame]:.4f} s where {times[0] + due[frame]:.4f} s is due"
            f" at {self._fps:g} frames a second",
            f"stamp frames with frame / fps, to {TIME_TOLERANCE} s, or leave the episode out with episodes=[...]",
        )
