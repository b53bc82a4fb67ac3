"""Reading a data set for training: any frame, its chunk of actions, its words, its sub-goal.

Reads the sets written here and those of lerobot 0.4 and later. Numbers are held in memory, pictures are
decoded where the sample is made, that is in the loader's workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch.utils.data import Dataset

from lohovla.data import dataset_layout
from lohovla.data.dataset_files import UNREADABLE, DamagedFile, read_json, unreadable
from lohovla.data.dataset_layout import plain
from lohovla.data.dataset_metadata import data_path, read_info, read_rows, video_path
from lohovla.data.parquet import decode_picture, read_index, values_of
from lohovla.data.samples import Sample, action_chunk
from lohovla.data.subtask_text import SubtaskTexts
from lohovla.data.video import VideoReader
from lohovla.errors import UserError

_OPEN_TABLES = 32


class LeRobotDatasetReader(Dataset):
    """Frames of a data set, by number.

    A sample maps the observation's keys (``images.top`` uint8 (H, W, 3), ``depth.top`` float32 (H, W) metres,
    ``state`` ...) and ``action`` (horizon, A) float32 with ``action.pad`` (horizon,) bool, true where the
    episode had ended; ``instruction``, ``subtask``, ``plan`` in words; ``progress`` of the sub-task; and, if
    asked for, ``subgoal.<camera>``, the picture at the sub-task's end. Sets without sub-tasks give samples without
    ``subtask``.

    Args:
        root: the data set's folder.
        horizon: actions in a chunk.
        cameras: which cameras to decode; all if None.
        subgoals: also decode the sub-goal pictures of these cameras.
        episodes: only these; all if None.

    Raises:
        UserError: the folder is no data set, or of another version; a file of it, or the words of its tasks or
            sub-tasks, are missing or damaged. So does reading a sample whose pictures are.
    """

    def __init__(
        self,
        root: Path | str,
        horizon: int = 16,
        cameras: Sequence[str] | None = None,
        subgoals: Sequence[str] = (),
        episodes: Sequence[int] | None = None,
    ):
        self.root, self.horizon, self.subgoals = Path(root), horizon, tuple(subgoals)
        self.info = read_info(self.root)
        self.features: dict[str, Any] = self.info["features"]
        self.fps: int = self.info["fps"]
        self._videos = {plain(name): name for name, f in self.features.items() if f["dtype"] == "video"}
        self.cameras = [name.removeprefix("images.") for name in self._videos] if cameras is None else list(cameras)
        for camera in (*self.cameras, *self.subgoals):
            if f"images.{camera}" not in self._videos:
                raise UserError(f"{root} has no camera {camera!r}", f"it has {', '.join(self._videos)}")
        if "action" not in self.features:
            raise UserError(f"{root} has no action", "only demonstrations can be learned from")
        if self.subgoals and "subgoal_index" not in self.features:
            raise UserError(f"{root} does not say where sub-tasks end: it has no subgoal_index", "leave out subgoals")
        self.rows = read_rows(self.root, self.info)
        chosen = list(range(len(self.rows))) if episodes is None else list(episodes)
        if unknown := [episode for episode in chosen if not 0 <= episode < len(self.rows)]:
            raise UserError(f"{root} has no episode {unknown[0]}", f"it has 0 to {len(self.rows) - 1}")
        self._tasks = {number: text for text, number in read_index(self.root / dataset_layout.TASKS, "task").items()}
        self._stills = dataset_layout.features_of_kind(self.features, "still")
        self._file_starts: dict[tuple[int, int], int] = {}
        for row in self.rows:
            place = row["data/chunk_index"], row["data/file_index"]
            self._file_starts.setdefault(place, row["dataset_from_index"])
        self._load(chosen)
        self._reader: VideoReader | None = None
        self._files: dict[Path, pq.ParquetFile] = {}
        self._groups: dict[tuple[Path, int], pa.Table] = {}  # encoded pictures of the row groups last used

    def _load(self, episodes: Sequence[int]) -> None:
        """Bring the small columns of the chosen episodes, and their words, into memory."""
        small = dataset_layout.features_of_kind(self.features, "number")
        parts: dict[str, list[np.ndarray]] = {name: [] for name in small}
        words = SubtaskTexts(self.root, self.features)
        opened: dict[Path, tuple[pq.ParquetFile, pa.Table]] = {}  # the one last read
        for episode in episodes:
            row = self.rows[episode]
            path = data_path(self.root, self.info, row)
            if path not in opened:
                opened = {path: self._open(path, small)}
            file, table = opened[path]
            try:
                numbers = values_of(table, "episode_index", (1,))
                first, end = np.searchsorted(numbers, (episode, episode + 1)).tolist()
                if end - first != row["length"]:
                    raise DamagedFile(
                        self.root, path, f"has {end - first} frames of episode {episode} instead of {row['length']}"
                    )
                part = table.slice(first, row["length"])
                for name in small:
                    parts[name].append(values_of(part, name, self.features[name]["shape"]))
                words.add(path, file, first, row, parts)
            except UNREADABLE as error:
                raise unreadable(self.root, path, error) from None
        self.columns = {name: np.concatenate(values) if values else np.empty(0) for name, values in parts.items()}
        self.lengths: list[int] = [self.rows[episode]["length"] for episode in episodes]
        self._ends = np.repeat(np.cumsum(self.lengths), self.lengths)  # one past the last frame of a frame's episode
        self._starts = self._ends - np.repeat(self.lengths, self.lengths)
        self._check(words)

    def _check(self, words: SubtaskTexts) -> None:
        """See that every number that stands for something does."""
        if unknown := set(np.unique(self.columns["task_index"]).tolist()) - self._tasks.keys():
            path = self.root / dataset_layout.TASKS
            raise DamagedFile(self.root, path, f"has no task {min(unknown)}, which frames have")
        self._subtasks = words.finish()
        if self.subgoals:
            goals = self.columns["subgoal_index"]
            if len(goals) and (goals.min() < 0 or (goals >= self._ends - self._starts).any()):
                raise DamagedFile(self.root, self.root / "data", "has a subgoal_index beyond its episode")

    def _open(self, path: Path, columns: list[str]) -> tuple[pq.ParquetFile, pa.Table]:
        try:
            file = pq.ParquetFile(path, page_checksum_verification=True)
            if lost := [name for name in columns if name not in file.schema_arrow.names]:
                raise DamagedFile(self.root, path, f"has no column {lost[0]}")
            return file, file.read(columns=columns)
        except UNREADABLE as error:
            raise unreadable(self.root, path, error) from None

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        return self.samples([index % len(self)])[0]

    def samples(self, frames: Sequence[int]) -> list[Sample]:
        """Samples of some frames of one episode, in rising order: cheaper together than one by one."""
        column, first = self.columns, self._starts[frames[0]]
        row = self.rows[int(column["episode_index"][first])]
        samples = [self._numbers(row, index) for index in frames]
        pictures = {f"images.{camera}": self._pictures(row, camera, frames) for camera in self.cameras}
        pictures.update(self._pictures_of_table(row, [int(index - first) for index in frames]))
        for camera in self.subgoals:
            goals = [int(first + column["subgoal_index"][index]) for index in frames]
            found = {goal: self._pictures(row, camera, [goal])[0] for goal in set(goals)}
            pictures[f"subgoal.{camera}"] = [found[goal] for goal in goals]
        for name, values in pictures.items():
            for sample, value in zip(samples, values, strict=True):
                sample[name] = value
        return samples

    def _numbers(self, row: Mapping[str, Any], index: int) -> Sample:
        """All of a sample but its pictures."""
        column = self.columns
        sample: Sample = {plain(n): column[n][index] for n in column if n.startswith("observation.")}
        sample.update(action_chunk(column["action"], index, self._ends[index], self.horizon))
        sample["instruction"] = self._tasks[int(column["task_index"][index])]
        for name in ("progress", "score", "perturbed"):
            if name in column:
                sample[name] = column[name][index]
        if self._subtasks is not None:
            sample["subtask"] = self._subtasks.at(index)
        if row.get("plan") is not None:
            sample["plan"] = list(row["plan"])
        return sample

    def _pictures(self, row: Mapping[str, Any], camera: str, frames: Sequence[int]) -> list[np.ndarray]:
        """A camera's pictures at some frames of an episode, in rising order."""
        if self._reader is None:
            self._reader = VideoReader()
        name = self._videos[f"images.{camera}"]
        path = video_path(self.root, self.info, row, name)
        height, width = self.features[name]["shape"][:2]
        begin = row[f"videos/{name}/from_timestamp"]
        times = [begin + float(self.columns["timestamp"][index]) for index in frames]
        try:
            pictures = self._reader.frames(path, times)
        except UNREADABLE as error:
            raise unreadable(self.root, path, error) from None
        return [picture[:height, :width] for picture in pictures]

    def _pictures_of_table(self, row: Mapping[str, Any], steps: Sequence[int]) -> dict[str, list[np.ndarray]]:
        """Pictures kept in the table, at some steps of an episode: depth in metres, others as they are."""
        found: dict[str, list[np.ndarray]] = {plain(name): [] for name in self._stills}
        if not found:
            return found
        path = data_path(self.root, self.info, row)
        place = row["data/chunk_index"], row["data/file_index"]
        before = row["dataset_from_index"] - self._file_starts[place]
        try:
            for step in steps:
                table, at = self._row_group(path, before + step)
                for name in self._stills:
                    picture = decode_picture(table[name][at].as_py())
                    unit = (self.features[name].get("info") or {}).get("unit")
                    found[plain(name)].append(
                        picture if unit is None else dataset_layout.dequantise_depth(picture, unit)
                    )
        except UNREADABLE as error:
            raise unreadable(self.root, path, error) from None
        return found

    def _row_group(self, path: Path, at: int) -> tuple[pa.Table, int]:
        """The encoded pictures of the row group that holds a table's row, and the row's place in it."""
        if path not in self._files:
            if len(self._files) >= _OPEN_TABLES:
                self._files.pop(next(iter(self._files)))
            self._files[path] = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
        file = self._files[path]
        group = 0
        while at >= (rows := file.metadata.row_group(group).num_rows):
            group, at = group + 1, at - rows
        if (path, group) not in self._groups:
            if len(self._groups) >= _OPEN_TABLES:
                self._groups.pop(next(iter(self._groups)))
            self._groups[path, group] = file.read_row_group(group, columns=self._stills, use_threads=False)
        return self._groups[path, group], at

    @cached_property
    def stats(self) -> dict[str, Any]:
        """Statistics of every feature, from ``meta/stats.json``."""
        return read_json(self.root, self.root / dataset_layout.STATS)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None, "_files": {}, "_groups": {}}  # open files stay with their process
