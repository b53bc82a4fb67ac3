"""The sub-task of each frame in words, from whichever of its two forms a data set has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from lohovla.data import dataset_layout, language_columns
from lohovla.data.dataset_files import DamagedFile
from lohovla.data.dataset_metadata import subtasks_lost
from lohovla.data.parquet import read_index
from lohovla.errors import UserError


class Subtasks:
    """The sub-task's sentence at each of some frames.

    Args:
        numbers: which sentence, of each frame, (N,).
        sentences: by number.
    """

    def __init__(self, numbers: np.ndarray, sentences: Sequence[str]):
        self._numbers, self._sentences = numbers, list(sentences)

    def at(self, frame: int) -> str:
        """The sentence at a frame."""
        return self._sentences[self._numbers[frame]]


class SubtaskTexts:
    """Gathers the sub-tasks of episodes as they are read, and refuses what cannot be told.

    ``language_persistent`` goes first: it is in the frames, while a number may stand for something else since two
    sets were merged. It is the same in every frame of an episode, so the first one's is read.

    Args:
        root: the data set's folder.
        features: of its ``info.json``.
    """

    def __init__(self, root: Path, features: Mapping[str, Any]):
        self._root = root
        self._said, self._numbered = language_columns.PERSISTENT in features, "subtask_index" in features
        self._known: dict[str, int] = {}  # sentences, as they come
        self._parts: list[np.ndarray] = []
        self._silent: list[int] = []  # episodes without a sub-task
        self._by_number: dict[int, str] | None = None

    def add(
        self,
        path: Path,
        file: pq.ParquetFile,
        first: int,
        row: dict[str, Any],
        numbers: Mapping[str, Sequence[np.ndarray]],
    ) -> None:
        """Take in an episode; adds its plan to ``row`` where the set's rows have none.

        Args:
            path: its table.
            file: the same, open.
            first: its first row there.
            row: its row of ``meta/episodes``.
            numbers: the small columns of the episodes so far, this one's last.
        """
        sentences = None
        if self._said:
            said = self._rows(path, file, first)
            sentences = language_columns.subtasks_at(said, numbers["timestamp"][-1])
            if row.get("plan") is None and (plan := language_columns.plan_of(said)):
                row["plan"] = plan
        if sentences is None and self._numbered:
            sentences = self._looked_up(numbers["subtask_index"][-1])
        if sentences is None:
            self._silent.append(row["episode_index"])
            sentences = [""] * row["length"]
        known = self._known
        self._parts.append(np.array([known.setdefault(text, len(known)) for text in sentences], np.int32))

    def _rows(self, path: Path, file: pq.ParquetFile, first: int) -> list[dict[str, Any]]:
        if language_columns.PERSISTENT not in file.schema_arrow.names:
            raise DamagedFile(self._root, path, f"has no column {language_columns.PERSISTENT}")
        group = 0
        while first >= (rows := file.metadata.row_group(group).num_rows):
            group, first = group + 1, first - rows
        return (
            file.read_row_group(group, columns=[language_columns.PERSISTENT])[language_columns.PERSISTENT][
                first
            ].as_py()
            or []
        )

    def _looked_up(self, numbers: np.ndarray) -> list[str]:
        path = self._root / dataset_layout.SUBTASKS
        if self._by_number is None:
            if not path.exists():
                raise subtasks_lost(self._root)
            self._by_number = {number: text for text, number in read_index(path, "subtask").items()}
        if unknown := set(np.unique(numbers).tolist()) - self._by_number.keys():
            raise DamagedFile(self._root, path, f"has no sub-task {min(unknown)}, which frames have")
        return [self._by_number[number] for number in numbers.tolist()]

    def finish(self) -> Subtasks | None:
        """What was gathered; None if no episode has sub-tasks.

        Raises:
            UserError: some have them, others not.
        """
        if len(self._silent) == len(self._parts):
            return None
        if self._silent:
            raise UserError(
                f"{self._root}: episode {self._silent[0]} has no sub-tasks in {language_columns.PERSISTENT}; "
                "others have",
                "annotate it, or read the others with episodes=[...]",
            )
        return Subtasks(np.concatenate(self._parts), list(self._known))
