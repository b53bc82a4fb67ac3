"""Adding episodes to a data set, so that a kill at any moment loses nothing that was finished.

An episode is first staged (:mod:`lohovla.data.episode_record`), then numbered and moved into place; its row in
``meta/episodes`` is written last and is what makes it part of the set. Files without a row are leftovers of a
kill and are cleared when the set is opened for writing. No file of an earlier episode is ever touched.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lohovla.data import dataset_layout, statistics
from lohovla.data.dataset_files import DamagedFile, read_dataset_json, read_table
from lohovla.data.dataset_metadata import read_info, rows_of_file
from lohovla.data.language_columns import FEATURE, PERSISTENT, language_rows
from lohovla.data.language_columns import language_column as said_in_each
from lohovla.data.parquet import read_index, write_index, write_json, write_table
from lohovla.errors import UserError

_ELSEWHERE = "collect with the settings it was begun with, or name another folder with dataset=FOLDER"


class DatasetWriter:
    """A data set open for appending; one at a time may be.

    A set without episodes is bound to nothing: it takes on the features and origin given.

    Args:
        root: its folder; made if it does not exist.
        features: entries of ``info.json`` by name, without the automatic ones; with ``subtask_number`` among them,
            episodes have sub-tasks.
        fps: frames a second.
        origin: how episodes are made (settings, calibration); a set has one origin.
        robot_type: name of the robot.
        language: write the sub-tasks into the frames too (``language_columns``); lerobot before 0.6 cannot
            open a set that has them there.

    Raises:
        UserError: the folder is no data set or another's, has other features or another origin, is damaged, or is
            being written to.
    """

    def __init__(
        self,
        root: Path,
        features: Mapping[str, Any],
        fps: int,
        origin: Mapping[str, Any],
        robot_type: str,
        language: bool = True,
    ):
        self.root, self.fps = root, fps
        automatic = {name: dataset_layout.feature(dtype, (1,)) for name, dtype in dataset_layout.AUTOMATIC.items()}
        self._planned = "subtask_number" in features
        told = {"subtask_index": dataset_layout.feature("int64", (1,))} if self._planned else {}
        self.features = {**features, **told, **automatic}
        if language and self._planned:
            self.features[PERSISTENT] = FEATURE
        self._origin, self._robot = dict(origin), robot_type
        self._made = _refuse_others(root)
        root.mkdir(parents=True, exist_ok=True)
        self._lock = (root / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process is writing to {root}", "wait for it, or name another folder") from None
        self._stats: dict[str, statistics.Stats] | None = None
        self._tasks: dict[str, int] = {}
        self._subtasks: dict[str, int] = {}
        self.seeds: set[tuple[str, int]] = set()  # (task name, seed) of every episode that has them
        self.episodes = self.frames = 0
        try:
            if (root / dataset_layout.INFO).exists():
                self._resume()
            self._write_summary()
        except BaseException:
            self.abandon()
            raise

    def _resume(self) -> None:
        info = read_info(self.root)
        origin = read_dataset_json(self.root, self.root / dataset_layout.ORIGIN)
        bound = (
            info["total_episodes"] > 0 or dataset_layout.path_of(self.root, dataset_layout.EPISODES_PATH, 0).exists()
        )
        same_features = info["fps"] == self.fps and info["features"] == self.features
        if not bound and not (same_features and origin == self._origin):
            shutil.rmtree(self.root / dataset_layout.STAGING, ignore_errors=True)
            (self.root / dataset_layout.FAILURES).unlink(missing_ok=True)
            return
        if not same_features:
            raise UserError(f"{self.root} has {self._other(info)}", _ELSEWHERE)
        if origin != self._origin:
            changed = [key for key in {**origin, **self._origin} if origin.get(key) != self._origin.get(key)]
            raise UserError(f"{self.root} was collected with another {changed[0]}", _ELSEWHERE)
        if bound or (self.root / dataset_layout.TASKS).exists():
            self._tasks = read_index(self.root / dataset_layout.TASKS, "task")
            if self._planned:
                self._subtasks = read_index(self.root / dataset_layout.SUBTASKS, "subtask")
        while (row_path := dataset_layout.path_of(self.root, dataset_layout.EPISODES_PATH, self.episodes)).exists():
            self._take_in(row_path, info)
        if self.episodes < info["total_episodes"]:
            raise DamagedFile(self.root, row_path, "is missing")
        for pattern in (dataset_layout.DATA_PATH, dataset_layout.STATES_PATH, *self._video_patterns()):
            dataset_layout.path_of(self.root, pattern, self.episodes).unlink(missing_ok=True)

    def _other(self, info: Mapping[str, Any]) -> str:
        """In what a set differs from what is to be written."""
        if info["fps"] != self.fps:
            return f"{info['fps']} frames a second, not {self.fps}"
        if lost := sorted(info["features"].keys() ^ self.features.keys()):
            return f"other features: {lost[0]} is {'only there' if lost[0] in info['features'] else 'missing there'}"
        changed = [name for name, entry in self.features.items() if info["features"][name] != entry]
        return f"another {changed[0]}"

    def _take_in(self, path: Path, info: Mapping[str, Any]) -> None:
        """Count an episode that is there."""
        row = rows_of_file(self.root, path, info, with_statistics=True)[0]
        stats = stats_of_row(row)
        if any(entry.spread is None for entry in stats.values()):
            raise DamagedFile(self.root, path, "was not written by `lohovla collect`, or by an earlier version")
        self._count(row)
        self._stats = statistics.combine(self._stats, stats)
        self.episodes, self.frames = self.episodes + 1, self.frames + row["length"]

    def _count(self, about: Mapping[str, Any]) -> None:
        """Note which episode is there, where it says so."""
        if about.get("seed") is not None and about.get("task_name") is not None:
            self.seeds.add((about["task_name"], about["seed"]))

    def _video_patterns(self) -> list[str]:
        names = [name for name, entry in self.features.items() if entry["dtype"] == "video"]
        return [dataset_layout.VIDEO_PATH.replace("{video_key}", name) for name in names]

    def commit(self, staged: Path) -> int:
        """Make a staged episode the next of the set; returns its number."""
        about = read_dataset_json(self.root, staged / "episode.json")
        number, length = self.episodes, about["length"]
        table = read_table(self.root, staged / "columns.parquet")
        sentences = table["subtask"].to_pylist() if self._planned else []
        self._register(about["task"], sentences)
        steps = np.arange(length)
        own = {"subtask_index": np.array([self._subtasks[sentence] for sentence in sentences])} if self._planned else {}
        own |= {
            "timestamp": (steps / self.fps).astype(np.float32),
            "frame_index": steps,
            "episode_index": np.full(length, number),
            "index": self.frames + steps,
            "task_index": np.full(length, self._tasks[about["task"]]),
        }
        if self._planned:
            table = table.drop_columns(["subtask"])
        for name, values in own.items():
            table = table.append_column(name, pa.array(values))
        if PERSISTENT in self.features:
            said = language_rows(sentences, _begins(table, sentences), about["plan"], self.fps)
            table = table.append_column(PERSISTENT, said_in_each(said, length))
        write_table(table, dataset_layout.path_of(self.root, dataset_layout.DATA_PATH, number))
        row = self._row(number, about)
        stats = statistics.as_arrays(about["stats"], about[dataset_layout.SPREAD])
        stats.update({name: statistics.of_values(values) for name, values in own.items()})
        for name, entry in self.features.items():
            if entry["dtype"] == "video":
                target = dataset_layout.path_of(self.root, dataset_layout.VIDEO_PATH, number, video_key=name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(staged / f"{name}.mp4", target)
        if (staged / "states.npz").exists():
            target = dataset_layout.path_of(self.root, dataset_layout.STATES_PATH, number)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(staged / "states.npz", target)
        for name, entry in statistics.statistics_lists(stats).items():
            row.update({f"stats/{name}/{key}": value for key, value in entry.items()})
        row[dataset_layout.SPREAD] = json.dumps(statistics.spreads_as_lists(stats), separators=(",", ":"))
        write_table(
            pa.Table.from_pylist([row]), dataset_layout.path_of(self.root, dataset_layout.EPISODES_PATH, number)
        )
        self._stats = statistics.combine(self._stats, stats)
        self._count(about)
        self.episodes, self.frames = number + 1, self.frames + length
        self._write_summary()
        shutil.rmtree(staged)
        return number

    def _register(self, task: str, sentences: list[str]) -> None:
        """Give new sentences their numbers, before a row speaks of them."""
        known = len(self._tasks), len(self._subtasks)
        self._tasks.setdefault(task, len(self._tasks))
        for sentence in sentences:
            self._subtasks.setdefault(sentence, len(self._subtasks))
        if (len(self._tasks), len(self._subtasks)) != known:
            write_index(self.root / dataset_layout.TASKS, "task", self._tasks)
            if self._planned:
                write_index(self.root / dataset_layout.SUBTASKS, "subtask", self._subtasks)

    def _row(self, number: int, about: Mapping[str, Any]) -> dict[str, Any]:
        place = dataset_layout.place_of(number)
        row = {
            "episode_index": number,
            "tasks": [about["task"]],
            "length": about["length"],
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + about["length"],
        }
        row.update({f"data/{key}": value for key, value in place.items()})
        row.update({f"meta/episodes/{key}": value for key, value in place.items()})
        for name, entry in self.features.items():
            if entry["dtype"] == "video":
                row.update({f"videos/{name}/{key}": value for key, value in place.items()})
                row[f"videos/{name}/from_timestamp"] = 0.0
                row[f"videos/{name}/to_timestamp"] = about["length"] / self.fps
        kept = {
            key: value for key, value in about.items() if key not in ("task", "length", "stats", dataset_layout.SPREAD)
        }
        return {**row, **kept}

    def _write_summary(self) -> None:
        info = {
            "codebase_version": dataset_layout.CODEBASE_VERSION,
            "robot_type": self._robot,
            "total_episodes": self.episodes,
            "total_frames": self.frames,
            "total_tasks": len(self._tasks),
            "chunks_size": dataset_layout.FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self.fps,
            "splits": {"train": f"0:{self.episodes}"},
            "data_path": dataset_layout.DATA_PATH,
            "video_path": dataset_layout.VIDEO_PATH,
            "features": self.features,
        }
        write_json(self._origin, self.root / dataset_layout.ORIGIN)
        write_json(info, self.root / dataset_layout.INFO)
        if self._stats is not None:
            write_json(statistics.statistics_lists(self._stats), self.root / dataset_layout.STATS)

    def close(self) -> None:
        """Let others write."""
        self._lock.close()

    def abandon(self) -> None:
        """Let others write, and leave no trace of a set that this writer began and that nothing was put into."""
        kept = (
            self.episodes
            or (self.root / dataset_layout.FAILURES).exists()
            or any(self.root.glob(f"{dataset_layout.STAGING}/*"))
        )
        if self._made and not kept:
            shutil.rmtree(self.root, ignore_errors=True)
        self.close()


def _refuse_others(root: Path) -> bool:
    """Refuse a folder that holds something else; returns whether there is nothing in it."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return True
    if not root.is_dir():
        raise UserError(f"{root} is a file", "name a folder with dataset=FOLDER")
    if not (root / dataset_layout.INFO).exists():
        raise UserError(f"{root} is not a data set, and not empty", "name another folder with dataset=FOLDER")
    if not (root / dataset_layout.ORIGIN).exists():
        raise UserError(
            f"{root} is a LeRobot data set of another program: it has no {dataset_layout.ORIGIN}",
            "collect into a folder of its own with dataset=FOLDER; lerobot-edit-dataset merges sets",
        )
    return False


def _begins(table: pa.Table, sentences: list[str]) -> list[int]:
    """Frames at which a sub-task begins."""
    numbers = table["subtask_number"].to_pylist()
    said = list(zip(numbers, sentences, strict=True))
    return [frame for frame in range(len(said)) if frame == 0 or said[frame] != said[frame - 1]]


def stats_of_row(row: Mapping[str, Any]) -> dict[str, statistics.Stats]:
    """The statistics that a row of ``meta/episodes`` holds, with histograms where it has them."""
    stats: dict[str, dict[str, Any]] = {}
    for key, value in row.items():
        if key.startswith("stats/") and value is not None:
            name, _, statistic = key.removeprefix("stats/").rpartition("/")
            stats.setdefault(name, {})[statistic] = np.asarray(value)
    try:
        spreads = json.loads(row.get(dataset_layout.SPREAD) or "{}")
    except ValueError:
        spreads = {}
    whole = {name: entry for name, entry in stats.items() if {"min", "max", "mean", "std", "count"} <= entry.keys()}
    return statistics.as_arrays(whole, spreads)
