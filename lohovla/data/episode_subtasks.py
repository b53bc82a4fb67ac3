"""The sub-tasks of an episode in words, from whichever of its two forms a data set has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from lohovla.data import dataset_layout, language_columns
from lohovla.data.dataset_files import DamagedFile
from lohovla.data.dataset_metadata import subtasks_lost
from lohovla.data.parquet import read_index

SUBTASK_INDEX = "subtask_index"


class EpisodeSubtasks:
    """Tells the sub-tasks of episodes, and refuses what cannot be told.

    ``language_persistent`` goes first: it is in the frames, while a number may stand for something else since two
    sets were merged. It is the same in every frame of an episode, so the first one's is read.

    Args:
        root: the data set's folder.
        features: of its ``info.json``.

    Attributes:
        sources: the columns that sub-tasks were found in so far.
    """

    def __init__(self, root: Path, features: Mapping[str, Any]):
        self._root = root
        self._said = language_columns.PERSISTENT in features
        self._by_number: dict[int, str] | None = None
        self.sources: set[str] = set()

    def of_episode(
        self, path: Path, file: pq.ParquetFile, first: int, times: np.ndarray, numbers: np.ndarray | None
    ) -> tuple[list[str], np.ndarray] | None:
        """The sentence at each frame of an episode, and which of its sub-tasks it is, counted from 0, (T,) int.

        Args:
            path: its table.
            file: the same, open.
            first: its first row there.
            times: of its frames, seconds from its start, (T,).
            numbers: the episode's ``subtask_index``, (T,), where it has that.

        Returns:
            None if the episode has no sub-tasks. A frame outside of all of them has "" and -1.

        Raises:
            UserError: there are numbers of sub-tasks, but not their words; or the table is damaged.
        """
        turns = None
        if self._said:
            turns = language_columns.subtask_turns(self._rows(path, file, first), times)
            self.sources |= {language_columns.PERSISTENT} if turns is not None else set()
        if turns is None and numbers is not None:
            turns = self._looked_up(path, numbers)
            self.sources |= {SUBTASK_INDEX} if turns is not None else set()
        return turns

    def _rows(self, path: Path, file: pq.ParquetFile, first: int) -> list[dict[str, Any]]:
        name = language_columns.PERSISTENT
        if name not in file.schema_arrow.names:
            raise DamagedFile(self._root, path, f"has no column {name}")
        group = 0
        while first >= (rows := file.metadata.row_group(group).num_rows):
            group, first = group + 1, first - rows
        return file.read_row_group(group, columns=[name])[name][first].as_py() or []

    def _looked_up(self, path: Path, numbers: np.ndarray) -> tuple[list[str], np.ndarray] | None:
        if self._by_number is None:
            words = self._root / dataset_layout.SUBTASKS
            if not words.exists():
                raise subtasks_lost(self._root)
            self._by_number = {number: text for text, number in read_index(words, "subtask").items()}
        known = self._by_number
        if unknown := set(np.unique(numbers[numbers >= 0]).tolist()) - known.keys():
            where = self._root / dataset_layout.SUBTASKS
            raise DamagedFile(self._root, where, f"has no sub-task {min(unknown)}, which frames of {path.name} have")
        if (numbers < 0).all():
            return None
        turns = np.cumsum(np.diff(numbers, prepend=numbers[:1]) != 0)
        return [known.get(number, "") for number in numbers.tolist()], np.where(numbers >= 0, turns, -1)
