"""Where each episode of a data set lies: one description for LeRobotDataset v3 (files shared) and v2 (a file each)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lohovla.data import dataset_layout
from lohovla.data.dataset_files import UNREADABLE, DamagedFile, unreadable
from lohovla.data.dataset_metadata import data_path, major_version, read_episode_rows, video_path
from lohovla.data.parquet import read_index

VERSIONS = (3, 2)
_EPISODES, _TASKS = "meta/episodes.jsonl", "meta/tasks.jsonl"  # of version 2


@dataclass(frozen=True)
class VideoSpan:
    """An episode's part of a video.

    Attributes:
        path: the video.
        begin: when the first picture is shown, seconds.
    """

    path: Path
    begin: float


@dataclass(frozen=True)
class EpisodeFiles:
    """An episode.

    Attributes:
        number: its ``episode_index``.
        length: frames.
        table: the table that holds it, alone or among others.
        videos: its pictures by the feature's name, of features that are videos.
        success: whether it reached its goal, where its row says so.
    """

    number: int
    length: int
    table: Path
    videos: Mapping[str, VideoSpan]
    success: bool | None = None


def read_episodes(root: Path, info: Mapping[str, Any]) -> list[EpisodeFiles]:
    """The episodes of a data set by number.

    Raises:
        UserError: their description is missing or damaged.
    """
    return _of_version_3(root, info) if major_version(info) >= 3 else _of_version_2(root, info)


def read_tasks(root: Path, info: Mapping[str, Any]) -> dict[int, str]:
    """The sentence of each ``task_index``.

    Raises:
        DamagedFile: they are missing or damaged.
    """
    if major_version(info) >= 3:
        return {number: text for text, number in read_index(root / dataset_layout.TASKS, "task").items()}
    path, tasks = root / _TASKS, {}
    for row in _read_lines(root, path):
        if not isinstance(row.get("task_index"), int) or not isinstance(row.get("task"), str):
            raise DamagedFile(root, path, "has rows that are no sentence with a task_index")
        tasks[row["task_index"]] = row["task"]
    return tasks


def _of_version_3(root: Path, info: Mapping[str, Any]) -> list[EpisodeFiles]:
    names = dataset_layout.features_of_kind(info["features"], "video")
    return [
        EpisodeFiles(
            row["episode_index"],
            row["length"],
            data_path(root, info, row),
            {
                name: VideoSpan(video_path(root, info, row, name), float(row[f"videos/{name}/from_timestamp"]))
                for name in names
            },
            row["success"] if isinstance(row.get("success"), bool) else None,
        )
        for row in read_episode_rows(root, info)
    ]


def _of_version_2(root: Path, info: Mapping[str, Any]) -> list[EpisodeFiles]:
    names = dataset_layout.features_of_kind(info["features"], "video")
    path, episodes = root / _EPISODES, []
    per_chunk = info.get("chunks_size", dataset_layout.FILES_PER_CHUNK)
    for row in _read_lines(root, path):
        number, length = row.get("episode_index"), row.get("length")
        if not isinstance(number, int) or not isinstance(length, int) or number < 0 or length < 0:
            raise DamagedFile(root, path, "has rows without an episode_index and a length")
        place = {"episode_chunk": number // per_chunk, "episode_index": number}
        videos = {name: VideoSpan(root / info["video_path"].format(**place, video_key=name), 0.0) for name in names}
        episodes.append(EpisodeFiles(number, length, root / info["data_path"].format(**place), videos))
    if len({episode.number for episode in episodes}) < len(episodes):
        raise DamagedFile(root, path, "has an episode twice")
    if len(episodes) < info["total_episodes"]:
        raise DamagedFile(root, path, f"has {len(episodes)} of {info['total_episodes']} episodes")
    return sorted(episodes, key=lambda episode: episode.number)


def _read_lines(root: Path, path: Path) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UNREADABLE as error:
        raise unreadable(root, path, error) from None
    if not all(isinstance(row, dict) for row in rows):
        raise DamagedFile(root, path, "is no JSON object a line")
    return rows
