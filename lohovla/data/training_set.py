"""Data sets to train a policy on: any robot's, as LeRobot keeps them.

Everything is looked over when they are opened, and every picture decoded once, so that a batch is picked from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch

from lohovla.data.cache_filling import fill_cache
from lohovla.data.dataset_folder import DatasetChoice
from lohovla.data.dataset_source import DatasetSource, open_source, picture_sizes
from lohovla.data.features import STATISTICS, RobotFeatures, camera_name, match_features, name_list
from lohovla.data.frame_cache import cache_folder
from lohovla.data.frame_table import FrameTable, frame_table
from lohovla.data.held_out_episodes import held_out_split
from lohovla.data.learned_lines import learned_lines
from lohovla.data.mixture_sampler import MixtureSampler
from lohovla.data.prefetch import prefetch
from lohovla.data.statistics import combine, of_values
from lohovla.data.training_statistics import exact_statistics
from lohovla.errors import UserError

__all__ = ["DatasetChoice", "EpisodeName", "TrainingSet"]

CACHE_LIMIT_GB = 20.0
Batch = dict[str, Any]


@dataclass(frozen=True)
class EpisodeName:
    """An episode by its data set and number there."""

    dataset: str
    number: int

    def __str__(self) -> str:
        return f"{self.dataset}, episode {self.number}"


class TrainingSet:
    """Frames of one or several data sets, in batches. Made by :meth:`open`.

    A batch holds, for B frames:

    =================== ===================================================================================
    ``images.<camera>`` uint8 (B, h, w, 3)
    ``state``           float32 (B, n)
    ``action``          float32 (B, chunk, A), as recorded; past the episode's end its last one is repeated
    ``action_is_pad``   bool (B, chunk), true past the episode's end
    ``instruction``     the task's sentence, B of them
    ``subtask``         the sub-task's, "" without one
    ``progress``        float32 (B,) in [0, 1], of the sub-task or else the episode; NaN where unknown
    ``keyframe_state``  float32 (B, n), the state at the next change of the gripper's command, or stop, or the end
    ``keyframe_valid``  bool (B,), false in the last frame
    ``goal.<camera>``   uint8 (B, h, w, 3), if asked for: as the sub-task ends, or some seconds ahead
    =================== ===================================================================================

    Attributes:
        features: what a policy reads and says, with statistics over the frames that are trained on.
        lines: what the sets have and lack, what is learned from it, and what is odd about them.
        episodes: number of episodes that are trained on.
        frames: number of frames of these.
        held_out_episodes: the others.
    """

    def __init__(
        self,
        features: RobotFeatures,
        lines: list[str],
        table: FrameTable,
        names: Sequence[EpisodeName],
        trained: np.ndarray,
        order: MixtureSampler,
        pictures: Sequence[Mapping[str, np.ndarray]],
        held: Sequence[TextIO],
        chunk_size: int,
    ):
        self.features, self.lines = features, lines
        self._table, self._order, self._pictures, self._chunk = table, order, pictures, chunk_size
        self._held = held  # the files of the pictures are not removed while these are open
        self._firsts = np.unique(table.first)
        self._places = {True: np.flatnonzero(~trained), False: np.flatnonzero(trained)}
        own = np.repeat(trained, np.diff(np.append(self._firsts, len(table.first))))
        self._trained, self._held_out = np.flatnonzero(own), np.flatnonzero(~own)
        self._names = names
        self.episodes, self.frames = int(trained.sum()), len(self._trained)
        self.held_out_episodes = [names[at] for at in self._places[True].tolist()]

    @classmethod
    def open(
        cls,
        choices: Sequence[DatasetChoice],
        *,
        rename: Mapping[str, str],
        cameras: Sequence[str] | None,
        image_height: int,
        chunk_size: int,
        held_out: float,
        seed: int,
        cache: Path | None = None,
        goal_seconds: float | None = None,
        progress_bar: bool = True,
        cache_limit_gb: float = CACHE_LIMIT_GB,
    ) -> TrainingSet:
        """Open data sets, look them over, and decode what was not decoded before.

        Args:
            choices: the data sets; their features must match those of the first.
            rename: names of their features to names read: ``{front: top}``.
            cameras: the cameras to read, by the names read; all of the first set's if None.
            image_height: of the pictures, pixels; their width keeps the proportions, in steps of 8.
            chunk_size: actions from a frame on.
            held_out: share of each set's episodes that is not trained on, in [0, 1); at least one of two or more,
                if above 0.
            seed: of the order, and of which are held out.
            cache: folder for decoded pictures; the user's cache if None.
            goal_seconds: how far ahead the goal's pictures are in episodes without sub-tasks; None wants no goals.
            progress_bar: show how far it is while pictures are decoded.
            cache_limit_gb: what decoded pictures may take, 1e9 bytes.

        Raises:
            UserError: a set cannot be trained on, or does not match the first, or there is no room.
        """
        sources = _opened(choices, rename)
        first = sources[0]
        chosen = [first.choose_cameras(cameras)]
        sizes = picture_sizes(chosen[0], image_height)
        features = first.features(chosen[0], sizes)
        for source in sources[1:]:
            match_features(
                features, source.features(source.found.cameras, _any_size(source)), {}, source.name, renamed=rename
            )
            chosen.append(source.choose_cameras([camera.name for camera in chosen[0]]))
        trained = [
            held_out_split(len(source.wanted), held_out, [seed, number]) for number, source in enumerate(sources)
        ]
        table = frame_table(sources, np.concatenate(trained), goal_seconds)
        folder = cache_folder() if cache is None else cache
        planned = [
            {camera.name: source.plan_camera(camera, sizes[camera.name], folder) for camera in own}
            for source, own in zip(sources, chosen, strict=True)
        ]
        every = [camera for own in planned for camera in own.values()]
        held = fill_cache(every, cache_limit_gb * 1e9, progress_bar)
        own = [np.repeat(kept, source.columns.lengths) for source, kept in zip(sources, trained, strict=True)]
        statistics = {
            kind: exact_statistics(values[np.concatenate(own)])
            for kind, values in (("state", table.state), ("action", table.action))
            if values.shape[1]
        }
        features = replace(features, statistics=statistics)
        lines = [
            line for source, kept in zip(sources, trained, strict=True) for line in source.lines(int((~kept).sum()))
        ]
        order = MixtureSampler([int(kept.sum()) for kept in own], [choice.weight for choice in choices], seed)
        return cls(
            features,
            lines + learned_lines(features, table, goal_seconds),
            table,
            [EpisodeName(source.name, episode.number) for source in sources for episode in source.episodes],
            np.concatenate(trained),
            order,
            [{name: camera.pictures() for name, camera in own.items()} for own in planned],
            held,
            chunk_size,
        )

    @property
    def sentences(self) -> list[str]:
        """Every sentence of tasks and sub-tasks."""
        return list(self._table.texts)

    @property
    def has_subtasks(self) -> bool:
        """Whether any frame has a sub-task."""
        return bool((self._table.subtask >= 0).any())

    @property
    def grippers(self) -> list[int]:
        """Numbers of an action that command a gripper."""
        return list(self._table.grippers)

    def chunk_statistics(self, encode: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> dict[str, list[float]]:
        """Statistics of actions in other numbers, over the chunks from all frames that are trained on.

        Args:
            encode: those numbers (N, M) of actions (N, A) and the states (N, n) that their chunks begin at.

        Returns:
            As :func:`lohovla.data.training_statistics.exact_statistics`; quantiles to within a hundredth of the range.
        """
        table, parts = self._table, None
        for step in range(self._chunk):
            begins = self._trained[self._trained + step < table.end[self._trained]]
            if len(begins):
                own = {"action": of_values(encode(table.action[begins + step], table.state[begins]))}
                parts = combine(parts, own)
        assert parts is not None
        return {name: numbers.tolist() for name, numbers in parts["action"].items() if name in STATISTICS}

    def steps_per_epoch(self, batch_size: int) -> int:
        """Batches, over all ranks, in which as many frames are read as there are."""
        return max(1, -(-self.frames // batch_size))

    def batch(self, step: int, batch_size: int, rank: int = 0, world: int = 1) -> Batch:
        """The batch of a step: it follows from the seed, the step and the rank alone.

        Args:
            step: of the training, from 0 on.
            batch_size: of each rank.
            rank: this process.
            world: how many there are.
        """
        begin = (step * world + rank) * batch_size
        return self._picked(self._trained[self._order.frames(begin, begin + batch_size)])

    def prefetched(
        self, start: int, batch_size: int, rank: int = 0, world: int = 1, depth: int = 4
    ) -> Generator[Batch, None, None]:
        """Endless batches from step ``start`` on, up to ``depth`` of them picked ahead by a thread."""
        return prefetch(lambda step: self.batch(step, batch_size, rank, world), start, depth)

    def held_out_batches(self, batch_size: int, most: int) -> Iterator[Batch]:
        """At most ``most`` batches over the held-out episodes, evenly spread; the same each time."""
        count = min(len(self._held_out), batch_size * most)
        frames = self._held_out[np.linspace(0, len(self._held_out), count, endpoint=False).astype(int)]
        for begin in range(0, count, batch_size):
            yield self._picked(frames[begin : begin + batch_size])

    def episode(self, number: int, held_out: bool = True) -> Batch:
        """A whole episode of T frames.

        Args:
            number: among the held-out ones, or those trained on.
            held_out: which of the two.

        Returns:
            ``images.<camera>`` (T, h, w, 3), ``state`` (T, n), ``action`` (T, A), ``progress`` (T,) and ``time`` (T,)
            in seconds, all arrays; ``subtask``, T sentences; ``instruction``; and ``name``.

        Raises:
            IndexError: there is no such episode.
        """
        at = int(self._places[held_out][number])
        table, begin = self._table, int(self._firsts[at])
        frames = np.arange(begin, int(table.end[begin]))
        pictures = table.pictures(frames, self._pictures)
        return {
            **{f"images.{camera}": picked.numpy() for camera, picked in pictures.items()},
            "state": table.state[frames],
            "action": table.action[frames],
            "progress": table.progress[frames],
            "time": np.arange(len(frames)) / self.features.fps,
            "subtask": [table.texts[number] if number >= 0 else "" for number in table.subtask[frames].tolist()],
            "instruction": table.texts[table.instruction[begin]],
            "name": str(self._names[at]),
        }

    def _picked(self, frames: np.ndarray) -> Batch:
        table = self._table
        batch: dict[str, torch.Tensor | list[str]] = {}
        for camera, pictures in table.pictures(frames, self._pictures).items():
            batch[f"images.{camera}"] = pictures
        batch.update(table.numbers(frames, self._chunk))
        if table.goal is not None:
            for camera, pictures in table.pictures(table.goal[frames], self._pictures).items():
                batch[f"goal.{camera}"] = pictures
        return batch


def _opened(choices: Sequence[DatasetChoice], rename: Mapping[str, str]) -> list[DatasetSource]:
    if not choices:
        raise UserError("no data set named", "dataset=FOLDER, or dataset=USER/NAME on the hub")
    for choice in choices:
        if not choice.weight > 0:
            raise UserError(f"{choice.path} has the weight {choice.weight}", "weights are above 0; leave the set out")
    sources = [open_source(choice, rename) for choice in choices]
    known = {
        name for source in sources for feature in source.info["features"] for name in (feature, camera_name(feature))
    }
    if unknown := [name for name in rename if name not in known]:
        raise UserError(
            f"{name_list([choice.path for choice in choices])} has no {unknown[0]!r} to rename",
            f"it has {name_list(list(sources[0].info['features']))}",
        )
    return sources


def _any_size(source: DatasetSource) -> dict[str, tuple[int, int]]:
    return {camera.name: (camera.height, camera.width) for camera in source.found.cameras}
