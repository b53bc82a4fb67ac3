"""Reading a data set for training: any frame, its chunk of actions, its words, its sub-goal.

Reads the sets written here and those of lerobot 0.4 and later. Numbers are held in memory, pictures are
decoded where the sample is made, that is in the loader's workers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch.utils.data import Dataset

from lohovla.data import layout
from lohovla.data.samples import Sample, action_chunk
from lohovla.data.tables import decode_picture, read_index, values_of
from lohovla.data.video import VideoReader
from lohovla.errors import UserError

_OPEN_TABLES = 32


class Demonstrations(Dataset):
    """Frames of a data set, by number.

    A sample maps the observation's keys (``images.top`` uint8 (H, W, 3), ``depth.top`` float32 (H, W) metres,
    ``state`` ...) and ``action`` (horizon, A) float32 with ``action.pad`` (horizon,) bool, true where the
    episode had ended; ``instruction``, ``subtask``, ``plan`` in words; ``progress`` of the sub-task; and, if
    asked for, ``subgoal.<camera>``, the picture at the sub-task's end.

    Args:
        root: the data set's folder.
        horizon: actions in a chunk.
        cameras: which cameras to decode; all if None.
        subgoals: also decode the sub-goal pictures of these cameras.
        episodes: only these; all if None.

    Raises:
        UserError: the folder is no data set, or of another version, or a table of it is missing or damaged.
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
        self.rows = read_rows(self.root)
        chosen = list(range(len(self.rows))) if episodes is None else list(episodes)
        self._tasks = {number: text for text, number in read_index(self.root / layout.TASKS, "task").items()}
        subtasks = self.root / layout.SUBTASKS
        self._subtasks = {n: t for t, n in read_index(subtasks, "subtask").items()} if subtasks.exists() else {}
        self._images = layout.features_of_kind(self.features, "image")
        self._file_starts: dict[tuple[int, int], int] = {}
        for row in self.rows:
            place = row["data/chunk_index"], row["data/file_index"]
            self._file_starts.setdefault(place, row["dataset_from_index"])
        self._load(chosen)
        self._reader: VideoReader | None = None
        self._files: dict[Path, pq.ParquetFile] = {}
        self._groups: dict[tuple[Path, int], pa.Table] = {}  # encoded pictures of the row groups last used

    def _load(self, episodes: Sequence[int]) -> None:
        """Bring the small columns of the chosen episodes into memory."""
        small = layout.features_of_kind(self.features, "number")
        tables: dict[tuple[int, int], pa.Table] = {}
        parts: dict[str, list[np.ndarray]] = {name: [] for name in small}
        for episode in episodes:
            row = self.rows[episode]
            place = row["data/chunk_index"], row["data/file_index"]
            if place not in tables:
                tables = {place: self._read_table(row, small)}
            table = tables[place]
            first = table["episode_index"].to_numpy().searchsorted(episode)
            table = table.slice(int(first), row["length"])
            for name in small:
                parts[name].append(values_of(table, name, self.features[name]["shape"]))
        self.columns = {name: np.concatenate(values) if values else np.empty(0) for name, values in parts.items()}
        self.lengths: list[int] = [self.rows[episode]["length"] for episode in episodes]
        self._ends = np.repeat(np.cumsum(self.lengths), self.lengths)  # one past the last frame of a frame's episode
        self._starts = self._ends - np.repeat(self.lengths, self.lengths)

    def _read_table(self, row: Mapping[str, Any], columns: list[str]) -> pa.Table:
        path = self._data_path(row)
        try:
            return pq.read_table(path, columns=columns)
        except (OSError, pa.ArrowException):
            remedy = f"`lohovla data check {self.root}` says what else is wrong"
            raise UserError(f"{path} is missing or damaged", remedy) from None

    def _data_path(self, row: Mapping[str, Any]) -> Path:
        pattern = self.info["data_path"]
        return self.root / pattern.format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])

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
        pictures.update(self._stills(row, [int(index - first) for index in frames]))
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
        if "subtask_index" in column:
            sample["subtask"] = self._subtasks.get(int(column["subtask_index"][index]), "")
        if "plan" in row:
            sample["plan"] = list(row["plan"])
        return sample

    def _pictures(self, row: Mapping[str, Any], camera: str, frames: Sequence[int]) -> list[np.ndarray]:
        """A camera's pictures at some frames of an episode, in rising order."""
        if self._reader is None:
            self._reader = VideoReader()
        name = self._videos[f"images.{camera}"]
        path = self.root / self.info["video_path"].format(
            video_key=name,
            chunk_index=row[f"videos/{name}/chunk_index"],
            file_index=row[f"videos/{name}/file_index"],
        )
        height, width = self.features[name]["shape"][:2]
        begin = row[f"videos/{name}/from_timestamp"]
        times = [begin + float(self.columns["timestamp"][index]) for index in frames]
        return [picture[:height, :width] for picture in self._reader.frames(path, times)]

    def _stills(self, row: Mapping[str, Any], steps: Sequence[int]) -> dict[str, list[np.ndarray]]:
        """Pictures kept in the table, at some steps of an episode: depth in metres, others as they are."""
        found: dict[str, list[np.ndarray]] = {plain(name): [] for name in self._images}
        if not found:
            return found
        path = self._data_path(row)
        place = row["data/chunk_index"], row["data/file_index"]
        before = row["dataset_from_index"] - self._file_starts[place]
        for step in steps:
            table, at = self._row_group(path, before + step)
            for name in self._images:
                picture = decode_picture(table[name][at].as_py())
                unit = self.features[name].get("info", {}).get("unit")
                found[plain(name)].append(picture if unit is None else layout.from_steps(picture, unit))
        return found

    def _row_group(self, path: Path, at: int) -> tuple[pa.Table, int]:
        """The encoded pictures of the row group that holds a table's row, and the row's place in it."""
        if path not in self._files:
            if len(self._files) >= _OPEN_TABLES:
                self._files.pop(next(iter(self._files)))
            self._files[path] = pq.ParquetFile(path, memory_map=True)
        file = self._files[path]
        group = 0
        while at >= (rows := file.metadata.row_group(group).num_rows):
            group, at = group + 1, at - rows
        if (path, group) not in self._groups:
            if len(self._groups) >= _OPEN_TABLES:
                self._groups.pop(next(iter(self._groups)))
            self._groups[path, group] = file.read_row_group(group, columns=self._images, use_threads=False)
        return self._groups[path, group], at

    @cached_property
    def stats(self) -> dict[str, Any]:
        """Statistics of every feature, from ``meta/stats.json``."""
        return json.loads((self.root / layout.STATS).read_text(encoding="utf-8"))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None, "_files": {}, "_groups": {}}  # open files stay with their process


def plain(name: str) -> str:
    """A feature's name as the environment has it: without ``observation.``."""
    return name.removeprefix("observation.")


def read_info(root: Path) -> dict[str, Any]:
    """``meta/info.json`` of a data set of a version that is understood."""
    path = root / layout.INFO
    if not path.exists():
        raise UserError(f"{root} is not a data set: it has no {layout.INFO}", "`lohovla collect` makes one")
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is damaged: {error}", "`lohovla data check` looks at the rest") from None
    version = str(info.get("codebase_version"))
    if not version.startswith("v3."):
        raise UserError(f"{root} has version {version}, not v3.x", "convert it with lerobot's own converter")
    return info


def read_rows(root: Path) -> list[dict[str, Any]]:
    """The rows of ``meta/episodes``, without their statistics."""
    paths = sorted((root / "meta" / "episodes").glob("*/*.parquet"))
    rows: list[dict[str, Any]] = []
    for path in paths:
        schema = pq.read_schema(path)
        rows += pq.read_table(path, columns=[n for n in schema.names if not n.startswith("stats/")]).to_pylist()
    return sorted(rows, key=lambda row: row["episode_index"])
