"""Where a data set keeps what: the LeRobotDataset v3 layout, with one file an episode.

A file an episode means that appending never rewrites and that a kill loses nothing that was finished; readers
of the format, which find each episode's files through its row, do not mind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

CODEBASE_VERSION = "v3.0"
FILES_PER_CHUNK = 1000
INFO, STATS, TASKS, SUBTASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet", "meta/subtasks.parquet"
ORIGIN = "meta/lohovla.json"  # how the episodes were made: environment settings, calibration, version
SPREAD = "histograms"  # column of meta/episodes: of every feature, for the quantiles of the set (JSON)
FAILURES = "meta/failures.jsonl"  # attempts that were not kept
STAGING = "staging"  # episodes finished but not yet in their place
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
STATES_PATH = "states/chunk-{chunk_index:03d}/file-{file_index:03d}.npz"

EXECUTED, EXECUTED_BEFORE = "executed_action", "action.executed"  # what was sent; the second in sets of before

EE_NAMES = ("x", "y", "z", "rx", "ry", "rz", "gripper")  # of an `ee` action: m, rad, 0 open to 1 closed

# Columns that the format asks for; each frame has one value of each.
AUTOMATIC = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


def place_of(episode: int) -> dict[str, int]:
    """Chunk and file of an episode."""
    return {"chunk_index": episode // FILES_PER_CHUNK, "file_index": episode % FILES_PER_CHUNK}


def path_of(root: Path, pattern: str, episode: int, **names: str) -> Path:
    """A file of an episode, from one of the patterns above."""
    return root / pattern.format(**place_of(episode), **names)


def feature(dtype: str, shape: tuple[int, ...], names: list[str] | None = None, **info: Any) -> dict[str, Any]:
    """A feature's entry in ``info.json``."""
    entry: dict[str, Any] = {"dtype": dtype, "shape": list(shape), "names": names}
    return {**entry, "info": info} if info else entry


def frame_features(state: Sequence[str], action: Sequence[str]) -> dict[str, Any]:
    """The entries of what every frame holds beside pictures, by whomever it was recorded.

    Args:
        state: names of the state's numbers.
        action: names of an action's.

    What begins with ``action`` or ``observation`` LeRobot's trainers make an output or an input of the network.
    """
    return {
        "observation.state": feature("float32", (len(state),), list(state)),
        "action": feature("float32", (len(action),), list(action)),
        EXECUTED: feature("float32", (len(action),), list(action)),
        "perturbed": feature("bool", (1,)),
        "subtask_number": feature("int64", (1,)),
        "subgoal_index": feature("int64", (1,)),
        "progress": feature("float32", (1,)),
        "score": feature("float32", (1,)),
        "next.reward": feature("float32", (1,)),
        "next.done": feature("bool", (1,)),
        "next.success": feature("bool", (1,)),
    }


def video_feature(height: int, width: int, fps: int, pixels: str = "yuv420p") -> dict[str, Any]:
    """The entry of a camera whose pictures are a video; ``pixels`` is its pixel format."""
    info = {
        "video.height": height,
        "video.width": width,
        "video.codec": "h264",
        "video.pix_fmt": pixels,
        "is_depth_map": False,
        "video.fps": fps,
        "video.channels": 3,
        "has_audio": False,
    }
    return feature("video", (height, width, 3), ["height", "width", "channels"], **info)


def depth_feature(height: int, width: int, unit: float) -> dict[str, Any]:
    """The entry of a camera whose depth is kept as 16-bit PNG pictures of steps of ``unit`` metres: no loss.

    They are text (base64): LeRobot's trainers feed every feature of the type ``image``, whatever its name, to
    networks that are made for three colours, and the format has no type for bytes. Text they leave alone.
    """
    info = {"is_depth_map": True, "depth_unit": "m", "unit": unit, "encoding": "png base64"}
    return feature("string", (1,), None, **info, height=height, width=width)


def depth_size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width of a feature of :func:`depth_feature`, None for any other."""
    info = entry.get("info") or {}
    return (info["height"], info["width"]) if info.get("encoding") == "png base64" else None


def feature_name(key: str) -> str:
    """The feature that holds what an observation has under ``key``: depth is no ``observation.`` (see above)."""
    return key if key.startswith("depth.") else f"observation.{key}"


def strip_observation_prefix(name: str) -> str:
    """A feature's name as the environment has it: without ``observation.``."""
    return name.removeprefix("observation.")


def features_of_kind(features: Mapping[str, Mapping[str, Any]], kind: str) -> list[str]:
    """Names of the features of a kind.

    Args:
        features: of ``info.json``.
        kind: ``video``; ``still``, pictures kept in the tables; ``text``; or ``number``, anything else there.
    """
    return [name for name, entry in features.items() if _kind(entry) == kind]


def _kind(entry: Mapping[str, Any]) -> str:
    if entry["dtype"] == "image" or depth_size(entry):
        return "still"
    return {"video": "video", "string": "text", "language": "text"}.get(entry["dtype"], "number")


def quantise_depth(depth: np.ndarray, unit: float) -> np.ndarray:
    """Depth in metres as whole steps of ``unit``; exact for depth that comes in such steps."""
    return np.rint(depth / np.float32(unit)).astype(np.uint16)


def dequantise_depth(steps: np.ndarray, unit: float) -> np.ndarray:
    """Depth in metres, float32, of whole steps."""
    return np.multiply(steps, np.float32(unit), dtype=np.float32)
