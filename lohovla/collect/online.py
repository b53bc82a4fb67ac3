"""Training samples drawn from the simulator while training runs: they never run out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from lohovla.collect.action_noise import NoiseSettings
from lohovla.collect.episode_recorder import record_episode
from lohovla.data.dataset_layout import dequantise_depth, plain
from lohovla.data.episode_record import EpisodeRecord
from lohovla.data.samples import Sample, action_chunk
from lohovla.envs.env import BlocksEnv
from lohovla.policies.registry import make_policy


class OnlineDemonstrations(IterableDataset):
    """Samples like those of :class:`lohovla.data.reader.LeRobotDatasetReader`, from episodes played on the spot.

    Every worker of every rank plays its own seeds (even ones: training seeds), task after task in turn, and
    gives frames of its last few episodes in random order. The stream follows from the seed and from how many
    workers there are.

    Args:
        tasks: names of tasks, played in turn.
        env: settings of the environment.
        horizon: actions in a chunk.
        subgoals: cameras whose picture at the sub-task's end is wanted.
        policy: the teacher.
        disturb: settings of deliberate mistakes.
        seed: the first seed, even.
        rank: this training process.
        world: how many there are.
        pool: episodes kept to draw from; more shuffles better and takes more memory.
        reuse: how often, on average, a frame is given before its episode is replaced.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        env: Mapping[str, Any],
        horizon: int = 16,
        subgoals: Sequence[str] = (),
        policy: str = "oracle",
        disturb: Mapping[str, float] | None = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        pool: int = 4,
        reuse: float = 1.0,
    ):
        if seed % 2:
            raise ValueError(f"seed {seed} is odd: training seeds are even")
        self._tasks, self._env, self._horizon, self._subgoals = tuple(tasks), dict(env), horizon, tuple(subgoals)
        self._policy, self._disturbance = policy, NoiseSettings(**(disturb or {}))
        self._seed, self._rank, self._world = seed, rank, world
        self._pool, self._reuse = pool, reuse

    def __iter__(self) -> Iterator[Sample]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        mine, all_of_them = self._rank * workers + worker, self._world * workers
        rng = np.random.default_rng([self._seed, mine])
        episodes = self._play(mine, all_of_them)
        pool = [next(episodes) for _ in range(self._pool)]
        while True:
            at = int(rng.integers(len(pool)))
            for _ in range(max(1, round(self._reuse * len(pool[at])))):
                record = pool[int(rng.integers(len(pool)))]
                yield self._sample(record, int(rng.integers(len(record))))
            pool[at] = next(episodes)

    def _play(self, mine: int, all_of_them: int) -> Iterator[EpisodeRecord]:
        """Episodes of one worker; a failed one is left out."""
        environments: dict[str, BlocksEnv] = {}
        number = mine
        while True:
            task = self._tasks[(number // all_of_them) % len(self._tasks)]
            env = environments.setdefault(task, BlocksEnv(task=task, **self._env))
            seed = self._seed + 2 * number
            record = record_episode(env, make_policy(self._policy, env), seed, self._disturbance)
            number += all_of_them
            if record.attributes["success"]:
                yield record

    def _sample(self, record: EpisodeRecord, frame: int) -> Sample:
        column = record.columns
        sample: Sample = {plain(name): frames[frame] for name, frames in record.pictures.items()}
        for name, unit in record.depth_units.items():
            sample[plain(name)] = dequantise_depth(column[name][frame], unit)
        sample["state"] = column["observation.state"][frame]
        sample.update(action_chunk(column["action"], frame, len(record), self._horizon))
        sample["instruction"] = record.attributes["task"]
        if record.subtasks is not None:
            sample["subtask"], sample["plan"] = record.subtasks[frame], record.attributes["plan"]
        for name in ("progress", "score", "perturbed"):
            sample[name] = column[name][frame]
        for camera in self._subgoals:
            sample[f"subgoal.{camera}"] = record.pictures[f"observation.images.{camera}"][
                column["subgoal_index"][frame]
            ]
        return sample
