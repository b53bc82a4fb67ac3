"""One data set opened for training: its episodes, numbers and words in memory, and where its pictures will lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lohovla.data import dataset_layout
from lohovla.data.dataset_features import (
    ENVIRONMENT_STATE,
    DatasetFeatures,
    PictureFeature,
    depth_features,
    find_features,
)
from lohovla.data.dataset_files import read_dataset_json
from lohovla.data.dataset_folder import DatasetChoice, fetch, find_dataset
from lohovla.data.dataset_metadata import read_info
from lohovla.data.episode_columns import EpisodeColumns, read_columns
from lohovla.data.episode_files import VERSIONS, EpisodeFiles, read_episodes
from lohovla.data.features import CameraFeature, RobotFeatures, find_cameras, name_list
from lohovla.data.frame_cache import CachedCamera, plan_camera
from lohovla.data.frame_decoding import file_of
from lohovla.data.resize_images import width_for
from lohovla.data.training_statistics import compare_stated
from lohovla.errors import UserError

_SINGLY = 200  # files that are fetched from the hub one by one; of more, their folders are


@dataclass(frozen=True)
class DatasetSource:
    """A data set.

    Attributes:
        choice: how it was asked for.
        root: its folder.
        info: its ``info.json``.
        found: what of it is read.
        every: all of its episodes.
        wanted: places in ``every`` of those that are used.
        columns: their numbers and words.
        rename: names of its features to names read.
        on_hub: whether it is a name on the hub, whose pictures must be fetched.
        warnings: lines about what is not as it should be.
    """

    choice: DatasetChoice
    root: Path
    info: Mapping[str, Any]
    found: DatasetFeatures
    every: list[EpisodeFiles]
    wanted: list[int]
    columns: EpisodeColumns
    rename: Mapping[str, str] = field(default_factory=dict)
    on_hub: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.choice.path

    @property
    def episodes(self) -> list[EpisodeFiles]:
        """The episodes that are used."""
        return [self.every[at] for at in self.wanted]

    def features(self, cameras: Sequence[PictureFeature], sizes: Mapping[str, tuple[int, int]]) -> RobotFeatures:
        """What it offers, without statistics; cameras at the sizes that are read."""
        depth = {name.rpartition(".")[2] for name in depth_features(self.info["features"])}
        return RobotFeatures(
            tuple(CameraFeature(camera.name, *sizes[camera.name], camera.name in depth) for camera in cameras),
            self.found.state_names,
            self.found.action_names,
            float(self.info["fps"]),
        )

    def plan_camera(self, camera: PictureFeature, size: tuple[int, int], cache: Path) -> CachedCamera:
        """Where a camera's pictures will lie; fetches the files that they come from, where they are on the hub."""
        if self.on_hub:
            _fetch_files(self.choice, self.root, {file_of(episode, camera) for episode in self.episodes})
        first_rows = self.columns.first_rows.tolist()
        return plan_camera(self.root, self.info, camera, size, self.every, self.wanted, first_rows, cache)

    def choose_cameras(self, names: Sequence[str] | None) -> list[PictureFeature]:
        """Its cameras of some names, or all.

        Raises:
            UserError: it has no such camera.
        """
        by_name = {camera.name: camera for camera in self.found.cameras}
        wanted = list(by_name) if names is None else list(names)
        found = find_cameras(wanted, list(by_name), {}, self.name, self.rename)
        return [by_name[source] for source in found.values()]

    def lines(self, held_out: int) -> list[str]:
        """What the set has and lacks, and what follows for training."""
        columns, count, name = self.columns, len(self.wanted), self.name
        version = self.info["codebase_version"]
        lines = [
            f"{name}: {count} of {len(self.every)} episodes, {int(columns.lengths.sum())} frames at"
            f" {self.info['fps']:g} Hz, LeRobotDataset {version}; state of {len(self.found.state_names)},"
            f" action of {len(self.found.action_names)} numbers",
            f"{name}: held out: {held_out} episodes"
            + ("" if held_out else "; nothing will be measured on episodes that were not trained on"),
        ]
        firsts = np.cumsum(columns.lengths) - columns.lengths
        turns = np.maximum.reduceat(columns.turn, firsts)
        having = int((turns >= 0).sum())
        source = " and ".join(sorted(columns.sources))
        lines.append(
            f"{name}: sub-tasks: in {having} of {count} episodes, from {source}"
            if having
            else f"{name}: sub-tasks: none; the task's sentence alone is learned, and progress within the episode"
        )
        told = [reached for reached in columns.success if reached is not None]
        lines.append(
            f"{name}: success: {sum(told)} of {len(told)} episodes"
            if told
            else f"{name}: success: not recorded; every episode is taken for a success"
        )
        features = self.info["features"]
        if depth := depth_features(features):
            lines.append(f"{name}: depth: {name_list(depth)}; not read")
        if ENVIRONMENT_STATE in self.found.unread:
            lines.append(f"{name}: {ENVIRONMENT_STATE} is not read: no robot has it")
        if other := [each for each in self.found.unread if each != ENVIRONMENT_STATE and each not in depth]:
            lines.append(f"{name}: not read: {name_list(other)}")
        lines.append(f"{name}: calibration: {'in ' + dataset_layout.ORIGIN if self._calibrated() else 'none'}")
        return lines + self.warnings

    def _calibrated(self) -> bool:
        path = self.root / dataset_layout.ORIGIN
        return path.exists() and bool(read_dataset_json(self.root, path).get("calibration"))


def open_source(choice: DatasetChoice, rename: Mapping[str, str]) -> DatasetSource:
    """Open a data set and look it over, but for its pictures.

    Args:
        choice: which one.
        rename: names of its features to names read.

    Raises:
        UserError: it cannot be trained on: what is wrong, and where.
    """
    root, on_hub = find_dataset(choice)
    info = read_info(root, VERSIONS)
    found = find_features(info["features"], rename, choice.path)
    every = read_episodes(root, info)
    wanted = _wanted(choice, every)
    if on_hub:
        _fetch_files(choice, root, {every[at].table for at in wanted})
    columns = read_columns(root, info, found, [every[at] for at in wanted], choice.path)
    warnings: list[str] = []
    if len(wanted) == len(every):
        for feature, names, values in (
            (found.state, found.state_names, columns.state),
            (found.action, found.action_names, columns.action),
        ):
            if feature is not None:
                warnings += [f"{choice.path}: {line}" for line in compare_stated(root, feature, names, values)]
    return DatasetSource(choice, root, info, found, every, wanted, columns, rename, on_hub, warnings)


def _fetch_files(choice: DatasetChoice, root: Path, files: set[Path]) -> None:
    lost = {path.relative_to(root) for path in files if not path.exists()}
    whole = len(lost) > _SINGLY  # the hub's client compares each file with each pattern
    patterns = {(path.parent / "*" if whole else path).as_posix() for path in lost}
    if patterns:
        fetch(choice, sorted(patterns))


def _wanted(choice: DatasetChoice, every: Sequence[EpisodeFiles]) -> list[int]:
    numbers = {episode.number: at for at, episode in enumerate(every)}
    asked = set(numbers if choice.episodes is None else choice.episodes)
    if unknown := sorted(asked - numbers.keys()):
        have = f"{min(numbers)} to {max(numbers)}" if numbers else "none"
        raise UserError(f"{choice.path} has no episode {unknown[0]}", f"it has {have}")
    wanted = [at for number, at in numbers.items() if number in asked and every[at].length]
    if not wanted:
        raise UserError(f"{choice.path} has no episodes to train on", "record some, or name another data set")
    return wanted


def picture_sizes(cameras: Sequence[PictureFeature], image_height: int) -> dict[str, tuple[int, int]]:
    """Height and width that each camera's pictures are read at."""
    return {c.name: (image_height, width_for(c.height, c.width, image_height)) for c in cameras}
