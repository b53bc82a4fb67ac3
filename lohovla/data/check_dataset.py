"""Looking a data set over: everything must be there, whole, and what the summary says it is.

A damaged file gets one line, and what follows from it none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import pyarrow as pa

from lohovla.data import dataset_layout, language_columns, statistics
from lohovla.data.check_statistics import COUNTERS, compare_episode, compare_set
from lohovla.data.dataset_files import UNREADABLE, DamagedFile, read_dataset_json, read_table, unreadable
from lohovla.data.dataset_metadata import data_path, read_info, rows_of_file, subtasks_lost, video_path
from lohovla.data.parquet import decode_stored_picture, read_index, values_of
from lohovla.data.statistics import Stats
from lohovla.data.writer import stats_of_row
from lohovla.errors import UserError


def check_dataset(root: Path) -> Iterator[str]:
    """Yield a line for everything that is wrong with a data set; nothing if all is well."""
    try:
        info = read_info(root)
    except UserError as error:
        yield _line(error)
        return
    yield from _Check(root, info).lines()


def _line(error: UserError) -> str:
    return error.line if isinstance(error, DamagedFile) else f"{error.cause}; {error.remedy}"


class _Check:
    """A data set being looked over.

    Args:
        root: its folder.
        info: its ``info.json``.
    """

    def __init__(self, root: Path, info: Mapping[str, Any]):
        self._root, self._info, self._features = root, info, info["features"]
        self._words: dict[str, dict[int, str]] = {}  # sentences of tasks and sub-tasks by number
        self._damaged: set[Path] = set()  # files that have had their line
        self._whole = True  # nothing is missing that sums are made of
        self._path, self._table = Path(), pa.table({})  # the table last read
        self._shown: dict[str, tuple[Path, list[float]]] = {}  # times of the pictures of the video last read
        self._sum: dict[str, Stats] | None = None

    def lines(self) -> Iterator[str]:
        yield from self._summaries()
        due = frames = 0
        for path in sorted((self._root / "meta" / "episodes").glob("*/*.parquet")):
            try:
                rows = rows_of_file(self._root, path, self._info, with_statistics=True)
            except UserError as error:
                self._whole = False
                yield _line(error)
                continue
            for row in rows:
                number = row["episode_index"]
                if number != due and self._whole:
                    yield f"{path.relative_to(self._root)} has episode {number} where {due} was due"
                    self._whole = False
                elif row["dataset_from_index"] != frames and self._whole:
                    yield f"episode {number}: its frames are numbered from {row['dataset_from_index']}, not {frames}"
                yield from self._episode(row)
                due, frames = number + 1, frames + row["length"]
        if self._whole and due < self._info["total_episodes"]:
            yield f"meta/episodes has {due} of {self._info['total_episodes']} episodes"
            return
        if not self._whole:
            return
        for name, found in (("total_episodes", due), ("total_frames", frames)):
            if self._info[name] != found:
                yield f"{dataset_layout.INFO}: {name} is {self._info[name]}, but there are {found}"
        if self._sum is not None and self._root / dataset_layout.STATS not in self._damaged:
            yield from compare_set(read_dataset_json(self._root, self._root / dataset_layout.STATS), self._sum)

    def _summaries(self) -> Iterator[str]:
        """The files of ``meta`` other than the episodes'."""
        for name in (dataset_layout.STATS, dataset_layout.ORIGIN):
            path = self._root / name
            try:
                if path.exists() or (name == dataset_layout.STATS and self._info["total_episodes"]):
                    read_dataset_json(self._root, path)
            except UserError as error:
                self._damaged.add(path)
                yield _line(error)
        for index, name in (("task", dataset_layout.TASKS), ("subtask", dataset_layout.SUBTASKS)):
            path = self._root / name
            wanted = f"{index}_index" in self._features and self._info["total_episodes"]
            if index == "subtask" and wanted and not path.exists():
                if language_columns.PERSISTENT not in self._features:
                    yield _line(subtasks_lost(self._root))
                continue
            try:
                if wanted:
                    self._words[index] = {number: text for text, number in read_index(path, index).items()}
            except UserError as error:
                yield _line(error)
        failures = self._root / dataset_layout.FAILURES
        try:
            for text in failures.read_text(encoding="utf-8").splitlines() if failures.exists() else ():
                json.loads(text)
        except (OSError, ValueError):
            yield f"{dataset_layout.FAILURES} cannot be read: not a JSON object a line"

    def _episode(self, row: Mapping[str, Any]) -> Iterator[str]:
        say = f"episode {row['episode_index']}"
        path = data_path(self._root, self._info, row)
        if path not in self._damaged:
            try:
                if path != self._path:
                    self._path, self._table = path, read_table(self._root, path)
                numbers = values_of(self._table, "episode_index", (1,))
                table = self._table.filter(pa.array(numbers == row["episode_index"]))
            except UNREADABLE as error:
                self._damaged.add(path)
                yield f"{say}: {_line(unreadable(self._root, path, error))}"
            else:
                yield from self._frames(row, table, say)
        self._whole &= path not in self._damaged
        for name in dataset_layout.features_of_kind(self._features, "video"):
            yield from self._video(row, name, say)
        if (self._root / "states").exists():  # only in sets as they were collected
            yield from self._states(row, say)

    def _states(self, row: Mapping[str, Any], say: str) -> Iterator[str]:
        path = dataset_layout.path_of(self._root, dataset_layout.STATES_PATH, row["episode_index"])
        try:
            with np.load(path) as file:
                frames = len(file["states"])
        except UNREADABLE as error:
            yield f"{say}: {_line(unreadable(self._root, path, error))}"
            return
        if frames != row["length"]:
            yield f"{say}: {path.relative_to(self._root)} has {frames} states for {row['length']} frames"

    def _frames(self, row: Mapping[str, Any], table: pa.Table, say: str) -> Iterator[str]:
        """An episode's rows of its table."""
        length = row["length"]
        if table.num_rows != length:
            self._whole = False
            yield f"{say}: {table.num_rows} frames instead of {length}"
            return
        found: dict[str, Stats] = {}
        recorded = stats_of_row(row)
        columns: dict[str, np.ndarray] = {}
        for name in dataset_layout.features_of_kind(self._features, "number"):
            try:
                columns[name] = values = values_of(table, name, self._features[name]["shape"])
            except UNREADABLE as error:
                self._whole = False
                yield f"{say}: {_column(name, error)}"
                continue
            if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                self._whole = False
                yield f"{say}: {name} holds NaN or infinite values, first at frame {_first_bad(values)}"
                continue
            found[name] = statistics.of_values(values)
            if name in recorded and name not in COUNTERS:
                yield from compare_episode(recorded[name], found[name], f"{say}: ", name)
        for name in dataset_layout.features_of_kind(self._features, "still"):
            yield from self._stills(table, name, say)
        found = {**{name: recorded[name] for name in recorded if name not in columns}, **found}
        self._sum = statistics.combine(self._sum, found)
        yield from self._counts(row, columns, say)
        yield from self._said(table, columns, say)

    def _counts(self, row: Mapping[str, Any], columns: Mapping[str, np.ndarray], say: str) -> Iterator[str]:
        steps = np.arange(row["length"])
        first = row["dataset_from_index"]
        if "timestamp" in columns and not np.allclose(columns["timestamp"], steps / self._info["fps"], atol=1e-4):
            yield f"{say}: timestamps are not frame / fps"
        if "frame_index" in columns and not np.array_equal(columns["frame_index"], steps):
            yield f"{say}: frame_index does not count from 0"
        if "index" in columns and not np.array_equal(columns["index"], first + steps):
            yield f"{say}: index does not count from {first}"

    def _stills(self, table: pa.Table, name: str, say: str) -> Iterator[str]:
        entry = self._features[name]
        height, width = dataset_layout.depth_size(entry) or entry["shape"][:2]
        try:
            for frame, value in enumerate(table[name].to_pylist()):
                try:
                    shape = decode_stored_picture(value).shape
                except ValueError as error:
                    yield f"{say}: {name} of frame {frame} cannot be decoded: {error}"
                    return
                if tuple(shape[:2]) != (height, width):
                    yield f"{say}: {name} of frame {frame} is {shape[0]} x {shape[1]}, not {height} x {width}"
                    return
        except UNREADABLE as error:
            yield f"{say}: {_column(name, error)}"

    def _said(self, table: pa.Table, columns: Mapping[str, np.ndarray], say: str) -> Iterator[str]:
        """Tasks and sub-tasks in words: each number has a sentence, and both forms of sub-tasks say the same."""
        looked_up = None
        for index, known in self._words.items():
            numbers = columns.get(f"{index}_index", np.empty(0)).tolist()
            if unknown := set(numbers) - known.keys():
                yield f"{say}: {index} {min(unknown)} is not in meta/{index}s.parquet"
            elif index == "subtask":
                looked_up = [known[number] for number in numbers]
        if language_columns.PERSISTENT not in self._features or "timestamp" not in columns:
            return
        try:
            rows = table[language_columns.PERSISTENT].to_pylist()
            said = language_columns.subtasks_at(rows[0] or [], columns["timestamp"]) if rows else None
        except UNREADABLE as error:
            yield f"{say}: {_column(language_columns.PERSISTENT, error)}"
            return
        if any(row != rows[0] for row in rows):
            yield f"{say}: {language_columns.PERSISTENT} is not the same in every frame"
        elif said is None and "subtask_index" in self._features and looked_up is None:
            yield f"{say}: {language_columns.PERSISTENT} has no sub-tasks, and {dataset_layout.SUBTASKS} is missing"
        elif said is not None and looked_up is not None and said != looked_up:
            frame = next(k for k, pair in enumerate(zip(said, looked_up, strict=True)) if pair[0] != pair[1])
            both = f"{language_columns.PERSISTENT} and {dataset_layout.SUBTASKS}"
            yield f"{say}: {both} say different sub-tasks at frame {frame}"

    def _video(self, row: Mapping[str, Any], name: str, say: str) -> Iterator[str]:
        path = video_path(self._root, self._info, row, name)
        if path in self._damaged:
            return
        if self._shown.get(name, (None,))[0] != path:
            try:
                self._shown[name] = path, _times_of(path, *self._features[name]["shape"][:2])
            except UNREADABLE as error:
                self._damaged.add(path)
                line = _line(unreadable(self._root, path, error))
                yield f"{say}: {line.replace('cannot be read', 'cannot be decoded')}"
                return
        half = 0.5 / self._info["fps"]
        begin, end = (row[f"videos/{name}/{edge}_timestamp"] for edge in ("from", "to"))
        frames = sum(begin - half < time < end - half for time in self._shown[name][1])
        if frames != row["length"]:
            yield f"{say}: {path.relative_to(self._root)} has {frames} pictures for {row['length']} frames"


def _times_of(path: Path, height: int, width: int) -> list[float]:
    """When each picture of a video is shown; every one is decoded and must be large enough."""
    times = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            times.append(frame.time or 0.0)
            if frame.height < height or frame.width < width:
                raise ValueError(f"its pictures are {frame.height} x {frame.width}, not {height} x {width}")
    return times


def _column(name: str, error: BaseException) -> str:
    return f"column {name} is missing" if isinstance(error, KeyError) else str(error)


def _first_bad(values: np.ndarray) -> int:
    return int(np.argwhere(~np.isfinite(values))[0][0])
