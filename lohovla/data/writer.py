"""Adding episodes to a data set, so that a kill at any moment loses nothing that was finished.

An episode is first staged (:mod:`lohovla.data.episode`), then numbered and moved into place; its row in
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
import pyarrow.parquet as pq

from lohovla.data import layout, statistics
from lohovla.data.tables import read_index, write_index, write_json, write_table
from lohovla.errors import UserError


class DatasetWriter:
    """A data set open for appending; one at a time may be.

    Args:
        root: its folder; made if it does not exist.
        features: entries of ``info.json`` by name, without the automatic ones.
        fps: frames a second.
        origin: how episodes are made (settings, calibration); a set has one origin.
        robot_type: name of the robot.

    Raises:
        UserError: the folder is no data set, has other features or another origin, or is being written to.
    """

    def __init__(self, root: Path, features: Mapping[str, Any], fps: int, origin: Mapping[str, Any], robot_type: str):
        self.root, self.fps = root, fps
        automatic = {name: layout.feature(dtype, (1,)) for name, dtype in layout.AUTOMATIC.items()}
        self.features = {**features, "subtask_index": layout.feature("int64", (1,)), **automatic}
        self._origin, self._robot = dict(origin), robot_type
        if root.exists() and any(root.iterdir()) and not (root / layout.INFO).exists():
            raise UserError(f"{root} is not a data set, and not empty", "name another folder with dataset=FOLDER")
        root.mkdir(parents=True, exist_ok=True)
        self._lock = (root / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process is writing to {root}", "wait for it, or name another folder") from None
        self._stats: dict[str, statistics.Stats] | None = None
        self._tasks: dict[str, int] = {}
        self._subtasks: dict[str, int] = {}
        self.seeds: set[tuple[str, int]] = set()  # (task name, seed) of every episode
        self.episodes = self.frames = 0
        if (root / layout.INFO).exists():
            self._resume()
        self._write_summary()

    def _resume(self) -> None:
        info = json.loads((self.root / layout.INFO).read_text(encoding="utf-8"))
        origin = json.loads((self.root / layout.ORIGIN).read_text(encoding="utf-8"))
        if info["fps"] != self.fps or info["features"] != self.features:
            raise UserError(
                f"{self.root} has other features", "collect with the same cameras and control, or elsewhere"
            )
        if origin != self._origin:
            changed = [key for key in {**origin, **self._origin} if origin.get(key) != self._origin.get(key)]
            raise UserError(
                f"{self.root} was collected with another {changed[0]}", "name another folder with dataset=FOLDER"
            )
        if (self.root / layout.TASKS).exists():
            self._tasks = read_index(self.root / layout.TASKS, "task")
            self._subtasks = read_index(self.root / layout.SUBTASKS, "subtask")
        while (row_path := layout.path_of(self.root, layout.EPISODES_PATH, self.episodes)).exists():
            row = pq.read_table(row_path).to_pylist()[0]
            self.seeds.add((row["task_name"], row["seed"]))
            self._stats = statistics.combine(self._stats, stats_of_row(row))
            self.episodes, self.frames = self.episodes + 1, self.frames + row["length"]
        for pattern in (layout.DATA_PATH, layout.STATES_PATH, *self._video_patterns()):
            layout.path_of(self.root, pattern, self.episodes).unlink(missing_ok=True)

    def _video_patterns(self) -> list[str]:
        names = [name for name, entry in self.features.items() if entry["dtype"] == "video"]
        return [layout.VIDEO_PATH.replace("{video_key}", name) for name in names]

    def commit(self, staged: Path) -> int:
        """Make a staged episode the next of the set; returns its number."""
        about = json.loads((staged / "episode.json").read_text(encoding="utf-8"))
        number, length = self.episodes, about["length"]
        table = pq.read_table(staged / "columns.parquet")
        sentences = table["subtask"].to_pylist()
        self._register(about["task"], sentences)
        steps = np.arange(length)
        own = {
            "subtask_index": np.array([self._subtasks[sentence] for sentence in sentences]),
            "timestamp": (steps / self.fps).astype(np.float32),
            "frame_index": steps,
            "episode_index": np.full(length, number),
            "index": self.frames + steps,
            "task_index": np.full(length, self._tasks[about["task"]]),
        }
        table = table.drop_columns(["subtask"])
        for name, values in own.items():
            table = table.append_column(name, pa.array(values))
        write_table(table, layout.path_of(self.root, layout.DATA_PATH, number))
        row = self._row(number, about)
        stats = statistics.as_arrays(about["stats"])
        stats.update({name: statistics.of_values(values) for name, values in own.items()})
        for name, entry in self.features.items():
            if entry["dtype"] == "video":
                target = layout.path_of(self.root, layout.VIDEO_PATH, number, video_key=name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(staged / f"{name}.mp4", target)
        target = layout.path_of(self.root, layout.STATES_PATH, number)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(staged / "states.npz", target)
        for name, entry in statistics.as_lists(stats).items():
            row.update({f"stats/{name}/{key}": value for key, value in entry.items()})
        write_table(pa.Table.from_pylist([row]), layout.path_of(self.root, layout.EPISODES_PATH, number))
        self._stats = statistics.combine(self._stats, stats)
        self.seeds.add((about["task_name"], about["seed"]))
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
            write_index(self.root / layout.TASKS, "task", self._tasks)
            write_index(self.root / layout.SUBTASKS, "subtask", self._subtasks)

    def _row(self, number: int, about: Mapping[str, Any]) -> dict[str, Any]:
        place = layout.place_of(number)
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
        kept = {key: value for key, value in about.items() if key not in ("task", "length", "stats")}
        return {**row, **kept}

    def _write_summary(self) -> None:
        info = {
            "codebase_version": layout.CODEBASE_VERSION,
            "robot_type": self._robot,
            "total_episodes": self.episodes,
            "total_frames": self.frames,
            "total_tasks": len(self._tasks),
            "chunks_size": layout.FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self.fps,
            "splits": {"train": f"0:{self.episodes}"},
            "data_path": layout.DATA_PATH,
            "video_path": layout.VIDEO_PATH,
            "features": self.features,
        }
        write_json(self._origin, self.root / layout.ORIGIN)
        write_json(info, self.root / layout.INFO)
        if self._stats is not None:
            write_json(statistics.as_lists(self._stats), self.root / layout.STATS)

    def close(self) -> None:
        """Let others write."""
        self._lock.close()


def stats_of_row(row: Mapping[str, Any]) -> dict[str, statistics.Stats]:
    """The statistics that a row of ``meta/episodes`` holds."""
    stats: dict[str, statistics.Stats] = {}
    for key, value in row.items():
        if key.startswith("stats/"):
            name, _, statistic = key.removeprefix("stats/").rpartition("/")
            stats.setdefault(name, {})[statistic] = np.asarray(value)
    return stats
