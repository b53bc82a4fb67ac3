"""The summaries of a data set: what it holds, its episodes, its words; looked over before anything relies on them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lohovla.data import dataset_layout
from lohovla.data.dataset_files import DamagedFile, read_dataset_json, read_table
from lohovla.errors import UserError

_COUNTS = ("episode_index", "length", "dataset_from_index", "dataset_to_index")
_SUBTASKS_LOST = (
    "copy {file} from the set it was made of, or do it again there: sets of `lohovla collect` also keep their"
    " sub-tasks in language_persistent, which lerobot's tools do not leave out"
)


def read_info(root: Path, versions: Sequence[int] = (3,)) -> dict[str, Any]:
    """``meta/info.json`` of a data set of a version that is understood.

    Args:
        root: the data set's folder.
        versions: major versions of the format that the caller reads.

    Raises:
        UserError: it is missing, damaged, or of another version.
    """
    path = root / dataset_layout.INFO
    if not path.exists():
        raise UserError(f"{root} is not a data set: it has no {dataset_layout.INFO}", "`lohovla collect` makes one")
    info = read_dataset_json(root, path)
    if "codebase_version" in info and major_version(info) not in versions:
        read = " or ".join(f"v{version}.x" for version in versions)
        raise UserError(
            f"{root} has version {info['codebase_version']}, not {read}", "convert it with lerobot's own converter"
        )
    if wrong := _wrong_with(info):
        raise DamagedFile(root, path, f"is damaged: {wrong}")
    return info


def major_version(info: Mapping[str, Any]) -> int:
    """3 of ``v3.0``; 0 of what is no version."""
    found = re.match(r"v(\d+)\.", str(info.get("codebase_version")))
    return int(found.group(1)) if found else 0


def _wrong_with(info: Mapping[str, Any]) -> str | None:
    """What is wrong with an info's content."""
    kinds = {"codebase_version": str, "fps": int | float, "total_episodes": int, "total_frames": int, "features": dict}
    for name, kind in kinds.items():
        if not isinstance(info.get(name), kind) or isinstance(info[name], bool):
            return f"{name} is {info[name]!r:.40}" if name in info else f"it has no {name}"
    if info["fps"] <= 0:
        return f"fps is {info['fps']}"
    if lost := dataset_layout.AUTOMATIC.keys() - info["features"].keys():
        return f"it has no feature {min(lost)}"
    for name, entry in info["features"].items():
        shape = entry.get("shape") if isinstance(entry, dict) else None
        if not isinstance(shape, list) or not all(isinstance(size, int) and size > 0 for size in shape):
            return f"feature {name} has no shape"
        if not isinstance(entry.get("dtype"), str) or not isinstance(entry.get("info") or {}, dict):
            return f"feature {name} has no dtype" if "dtype" not in entry else f"the info of feature {name}"
        if entry["dtype"] in ("video", "image") and len(shape) != 3:
            return f"feature {name} has pictures of shape {tuple(shape)}"
    patterns = ["data_path"] + ["video_path"] * any(f["dtype"] == "video" for f in info["features"].values())
    places = ("chunk_index", "file_index") if major_version(info) >= 3 else ("episode_chunk", "episode_index")
    for name in patterns:
        try:
            info[name].format(**dict.fromkeys(places, 0), video_key="")
        except (KeyError, IndexError, ValueError, AttributeError):
            return f"{name} is {info.get(name)!r:.60}"
    return None


def read_episode_rows(root: Path, info: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The rows of ``meta/episodes`` by episode, without statistics.

    Args:
        root: the data set's folder.
        info: its ``info.json``, read if None.

    Raises:
        UserError: one is missing or damaged.
    """
    info = read_info(root) if info is None else info
    folder = root / "meta" / "episodes"
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*/*.parquet")):
        rows += rows_of_file(root, path, info)
    rows.sort(key=lambda row: row["episode_index"])
    for number, row in enumerate(rows):
        if row["episode_index"] != number:
            twice = row["episode_index"] < number
            raise DamagedFile(root, folder, f"has episode {number - 1} twice" if twice else f"has no episode {number}")
    if len(rows) < info["total_episodes"]:
        raise DamagedFile(root, folder, f"has {len(rows)} of {info['total_episodes']} episodes")
    return rows


def rows_of_file(
    root: Path, path: Path, info: Mapping[str, Any], with_statistics: bool = False
) -> list[dict[str, Any]]:
    """The rows of one file of ``meta/episodes``.

    Raises:
        DamagedFile: it cannot be read, or lacks what a reader needs.
    """
    # A row has hundreds of statistics, which take most of the time that reading takes.
    leave_out = () if with_statistics else ("stats/", dataset_layout.SPREAD)
    rows = read_table(root, path, leave_out=leave_out).to_pylist()
    videos = dataset_layout.features_of_kind(info["features"], "video")
    places = ("data", *(f"videos/{name}" for name in videos))
    whole = [*_COUNTS, *(f"{place}/{key}" for place in places for key in ("chunk_index", "file_index"))]
    times = [f"videos/{name}/{key}" for name in videos for key in ("from_timestamp", "to_timestamp")]
    for row in rows:
        for name in whole:
            if not isinstance(row.get(name), int) or row[name] < 0:
                raise DamagedFile(root, path, f"has no whole number {name}")
        for name in times:
            if not isinstance(row.get(name), int | float):
                raise DamagedFile(root, path, f"has no number {name}")
        if not isinstance(row.get("tasks"), list):
            raise DamagedFile(root, path, "has no list tasks")
    return rows


def data_path(root: Path, info: Mapping[str, Any], row: Mapping[str, Any]) -> Path:
    """The table that holds an episode."""
    return root / info["data_path"].format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])


def video_path(root: Path, info: Mapping[str, Any], row: Mapping[str, Any], name: str) -> Path:
    """The video that holds an episode's pictures of a feature."""
    place = {key: row[f"videos/{name}/{key}"] for key in ("chunk_index", "file_index")}
    return root / info["video_path"].format(video_key=name, **place)


def subtasks_lost(root: Path) -> UserError:
    """What to raise, or say, where frames have numbers of sub-tasks and nothing says what they stand for."""
    return UserError(
        f"{root} has numbers of sub-tasks, but {dataset_layout.SUBTASKS} with their words is missing",
        _SUBTASKS_LOST.format(file=dataset_layout.SUBTASKS),
    )
