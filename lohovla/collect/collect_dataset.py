"""Collecting a data set: episodes recorded side by side, added in the order of their seeds."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lohovla.collect.action_noise import NoiseSettings
from lohovla.collect.environment_version import refuse_other_version
from lohovla.collect.episode_recorder import features_of, frames_per_second, record_episode
from lohovla.collect.world_episodes import attempt_task, record_attempt, world_features
from lohovla.data import dataset_layout
from lohovla.data.dataset_files import DamagedFile, read_dataset_json, read_table
from lohovla.data.episode_record import stage
from lohovla.data.writer import DatasetWriter
from lohovla.envs.env import BlocksEnv
from lohovla.envs.tasks.names import VERSION
from lohovla.envs.worlds.shared import shared_world
from lohovla.errors import UserError
from lohovla.parallel_jobs import run_jobs
from lohovla.policies.registry import make_policy

_PATIENCE = 20  # failed attempts in a row after which a policy is called hopeless, a worker


@dataclass(frozen=True)
class CollectConfig:
    """What to collect.

    Attributes:
        root: the data set's folder.
        tasks: names of tasks.
        episodes: how many to keep of each, in all: run again with more to append.
        first_seed: seeds are this, + 2, + 4, ...
        policy: the teacher.
        policy_settings: what else it takes.
        language: write sub-tasks into the frames too, as lerobot has them since 0.6.
        env: settings of the environment; of the world, where one is named.
        world: whether ``env`` is another project's environment, whose expert is the teacher.
        noise: on a world's expert, times what its task bears.
        disturb: settings of the disturbance.
        keep_failures: keep episodes that did not succeed, too.
        runner: ``local`` or ``ray``.
        workers: how many at once.
    """

    root: Path
    tasks: tuple[str, ...]
    episodes: int
    first_seed: int
    policy: str
    env: Mapping[str, Any]
    disturb: Mapping[str, float]
    keep_failures: bool
    runner: str
    workers: int | None
    policy_settings: Mapping[str, Any] = field(default_factory=dict)
    language: bool = True
    world: bool = False
    noise: float = 1.0


@dataclass(frozen=True)
class CollectJob:
    """One attempt."""

    task: str
    seed: int
    plan: CollectConfig

    @property
    def staged(self) -> Path:
        """Where its episode is put when it is complete."""
        return (self.plan.root / dataset_layout.STAGING / f"{self.task}-{self.seed}").absolute()


def collect(plan: CollectConfig, on_episode: Callable[[], object] = lambda: None) -> DatasetWriter:
    """Bring the data set to ``plan.episodes`` of every task; returns it, closed.

    Raises:
        UserError: the folder cannot be written to or holds something else; the policy keeps failing.
    """
    recorded = _recorded_world(plan) if plan.world else _recorded_blocks(plan)
    writer = None
    try:
        writer = DatasetWriter(plan.root, *recorded, language=plan.language)
        _clear_parts(plan.root)
        for task in plan.tasks:
            _collect_task(plan, task, writer, on_episode)
        shutil.rmtree(plan.root / dataset_layout.STAGING, ignore_errors=True)
        return writer
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "make room and" if full else "see that it may be written to, and"
        raise UserError(
            f"cannot write to {plan.root}: {error.strerror or error}",
            f"finished episodes are kept; {remedy} run the same command again",
        ) from None
    finally:
        if writer is not None:
            writer.abandon()


def _recorded_blocks(plan: CollectConfig) -> tuple[dict[str, Any], int, dict[str, Any], str]:
    """Features, frames a second, origin and robot of a set of the block world."""
    sample = BlocksEnv(task=plan.tasks[0], **plan.env)
    refuse_other_version(plan.root, "name another folder with dataset=FOLDER")
    origin = {
        "version": VERSION,
        "env": dict(plan.env),
        "policy": {"name": plan.policy, **plan.policy_settings} if plan.policy_settings else plan.policy,
        "disturb": dict(plan.disturb),
        "calibration": sample.sensors.calibration(),
    }
    return features_of(sample), frames_per_second(sample), origin, "ur5e"


def _recorded_world(plan: CollectConfig) -> tuple[dict[str, Any], int, dict[str, Any], str]:
    """The same of a set of another project's environment."""
    world = shared_world(plan.env)
    settings = {key: value for key, value in plan.env.items() if key != "python"}
    origin = {"world": settings, "policy": plan.policy, "noise": plan.noise, "made_with": world.made_with}
    return world_features(world.features), round(world.control_hz), origin, world.name


def _collect_task(plan: CollectConfig, task: str, writer: DatasetWriter, on_episode: Callable[[], object]) -> None:
    kept = sum(name == task for name, _ in writer.seeds)
    tried = {seed for name, seed in writer.seeds if name == task} | _failed(plan.root, task)
    for _ in range(min(kept, plan.episodes)):
        on_episode()
    seed, lost = plan.first_seed, 0
    while kept < plan.episodes:
        jobs = []
        while len(jobs) < plan.episodes - kept:
            if seed not in tried:
                jobs.append(CollectJob(task, seed, plan))
            seed += 2
        results = _in_order(jobs, plan)
        for job, success in results:
            if success or plan.keep_failures:
                writer.commit(job.staged)
                kept, lost = kept + 1, 0
                on_episode()
                continue
            lost += 1
            with (plan.root / dataset_layout.FAILURES).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"task": task, "seed": job.seed}) + "\n")
            if lost >= _PATIENCE:
                raise UserError(
                    f"{plan.policy} failed {lost} times in a row on {task}",
                    "keep_failures=true records failures too; what was collected is kept",
                )


def _in_order(jobs: list[CollectJob], plan: CollectConfig) -> Any:
    """Yield (job, success) in the order of ``jobs``, while they are done in whatever order."""
    finished = {job.seed: success for job in jobs if (success := _staged_success(job)) is not None}
    todo = [job for job in jobs if job.seed not in finished]
    running = run_jobs(attempt, todo, plan.runner, plan.workers)
    for job in jobs:
        while job.seed not in finished:
            seed, success = next(running)
            finished[seed] = success
        yield job, finished[job.seed]


def attempt(job: CollectJob) -> tuple[int, bool]:
    """Record one episode and stage it if it is to be kept; returns its seed and success."""
    plan = job.plan
    if plan.world:
        return _attempt_world(job)
    env = BlocksEnv(task=job.task, **plan.env)
    record = record_episode(
        env, make_policy(plan.policy, env, **plan.policy_settings), job.seed, NoiseSettings(**plan.disturb)
    )
    success = bool(record.attributes["success"])
    if success or plan.keep_failures:
        stage(record, frames_per_second(env), job.staged)
    return job.seed, success


def _attempt_world(job: CollectJob) -> tuple[int, bool]:
    """The same in another project's environment; only a success is played again, with pictures."""
    plan = job.plan
    world = shared_world(plan.env)
    tried = attempt_task(world.episode(), job.task, job.seed, plan.noise)
    if tried.solved or plan.keep_failures:
        record = record_attempt(world.episode(), job.task, job.seed, tried)
        stage(record, round(world.control_hz), job.staged, fine=True)
    return job.seed, tried.solved


def _staged_success(job: CollectJob) -> bool | None:
    """Whether an episode that is staged already succeeded; None if there is none, or none that can be read."""
    if not job.staged.exists():
        return None
    try:
        read_table(job.plan.root, job.staged / "columns.parquet")
        return bool(read_dataset_json(job.plan.root, job.staged / "episode.json")["success"])
    except (DamagedFile, KeyError):
        shutil.rmtree(job.staged)
        return None


def _failed(root: Path, task: str) -> set[int]:
    """Seeds of attempts that were not kept; a line that cannot be read is tried again."""
    path = root / dataset_layout.FAILURES
    seeds = set()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            seeds |= {row["seed"]} if row["task"] == task else set()
    return seeds


def _clear_parts(root: Path) -> None:
    for part in (root / dataset_layout.STAGING).glob("*.part"):
        shutil.rmtree(part, ignore_errors=True)
