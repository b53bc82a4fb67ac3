"""Pictures decoded once, at the size that training reads: a file of plain bytes for each camera of a data set.

Training then picks frames at random at the speed of memory. A file has room for every frame of its data set (without
taking it: it is sparse) and a list of the episodes that are in it, so that a decoding that was killed goes on and
other episodes of the same set add to it. What is in it follows from the set's files: when these change it is another.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lohovla.data.dataset_features import PictureFeature
from lohovla.data.episode_files import EpisodeFiles
from lohovla.data.frame_decoding import file_of

_FRAMES, _DONE, _ABOUT = "frames.u8", "episodes.txt", "about.json"


def cache_folder() -> Path:
    """Where decoded pictures are kept unless a folder is named: in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lohovla" / "frames"


@dataclass(frozen=True)
class CachedCamera:
    """The decoded pictures of a camera of a data set.

    Attributes:
        root: the data set's folder.
        camera: the camera.
        height: of the pictures kept, pixels.
        width: of the pictures kept.
        fps: frames a second.
        episodes: those that are wanted.
        first_rows: where each begins in its table.
        places: the place of each one's first frame among all frames of the set.
        total: frames of the set.
        folder: where they are kept.
    """

    root: Path
    camera: PictureFeature
    height: int
    width: int
    fps: float
    episodes: Sequence[EpisodeFiles]
    first_rows: Sequence[int]
    places: Sequence[int]
    total: int
    folder: Path

    @property
    def frame_bytes(self) -> int:
        """Bytes of a picture."""
        return self.height * self.width * 3

    def done(self) -> set[int]:
        """Numbers of the episodes that are there."""
        path = self.folder / _DONE
        return set(map(int, path.read_text().split())) if path.exists() else set()

    def add_done(self, episodes: Sequence[EpisodeFiles]) -> None:
        """Say that episodes are there; whole or not at all."""
        done = sorted(self.done() | {episode.number for episode in episodes})
        part = self.folder / f"{_DONE}.part"
        part.write_text("".join(f"{number}\n" for number in done))
        os.replace(part, self.folder / _DONE)

    def missing(self) -> list[int]:
        """Which of the wanted episodes are not there yet."""
        done = self.done()
        return [at for at, episode in enumerate(self.episodes) if episode.number not in done]

    def open_frames(self) -> int:
        """Open the file of all frames for writing, and say whose they are; returns its descriptor."""
        about = {"dataset": str(self.root), "camera": self.camera.feature, "size": [self.height, self.width]}
        (self.folder / _ABOUT).write_text(json.dumps({**about, "time": time.strftime("%Y-%m-%d %H:%M")}))
        descriptor = os.open(self.folder / _FRAMES, os.O_RDWR | os.O_CREAT, 0o644)
        os.truncate(descriptor, self.total * self.frame_bytes)
        return descriptor

    def pictures(self) -> np.ndarray:
        """All frames of the set, uint8 (total, height, width, 3), of which those of the wanted episodes are there."""
        shape = (self.total, self.height, self.width, 3)
        return np.asarray(np.memmap(self.folder / _FRAMES, np.uint8, "r", shape=shape))


def plan_camera(
    root: Path,
    info: Mapping[str, Any],
    camera: PictureFeature,
    size: tuple[int, int],
    every: Sequence[EpisodeFiles],
    wanted: Sequence[int],
    first_rows: Sequence[int],
    cache: Path,
) -> CachedCamera:
    """Say where a camera's pictures are kept.

    Args:
        root: the data set's folder.
        info: its ``info.json``.
        camera: the camera.
        size: height and width to keep.
        every: all episodes of the set.
        wanted: places in ``every`` of those that are trained on.
        first_rows: where each of these begins in its table.
        cache: the folder of all caches.
    """
    starts = np.cumsum([0, *(episode.length for episode in every)])
    told = [str(root.resolve()), json.dumps(info, sort_keys=True), camera.feature, list(size)]
    for episode in every:
        begin = episode.videos[camera.feature].begin if camera.video else None
        told.append([episode.number, episode.length, begin])
    for path in sorted({file_of(episode, camera) for episode in every}):
        state = path.stat() if path.exists() else None
        told.append([path.name, state and state.st_size, state and state.st_mtime_ns])
    key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:20]
    return CachedCamera(
        root,
        camera,
        *size,
        info["fps"],
        [every[at] for at in wanted],
        first_rows,
        [int(starts[at]) for at in wanted],
        int(starts[-1]),
        cache / key,
    )
