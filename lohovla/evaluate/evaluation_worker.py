"""What a worker does, in whatever process it lives: play a group of episodes, or film one."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lohovla.policies.base import Policy

_FPS = 5  # of films, in simulated time
_PICTURE = (480, 360)


@dataclass(frozen=True)
class EpisodeGroup:
    """Episodes of one task that run at once, and what plays them; ``diagnose`` also looks where it goes wrong."""

    task: str
    seeds: tuple[int, ...]
    policy: str
    env: Mapping[str, Any]
    policy_settings: Mapping[str, Any] = field(default_factory=dict)
    diagnose: bool = False


@dataclass(frozen=True)
class GroupResult:
    """What came of a group.

    Attributes:
        rows: a record an episode; the same wherever and in whatever company it ran.
        pictures: JPEG bytes of the last state of each that failed, by seed.
        seconds: of wall-clock time, for the group.
    """

    rows: list[dict[str, Any]]
    pictures: dict[int, bytes]
    seconds: float


def play_group(group: EpisodeGroup) -> GroupResult:
    """Play the group's episodes, all at once, with one policy."""
    began = time.perf_counter()
    from lohovla.evaluate.episode_runner import EpisodeRunner, run_batch
    from lohovla.evaluate.failure_analysis import FailureAnalyzer

    policy, cameras = _policy(*_recipe(group))
    envs = [_make_env(group, cameras) for _ in group.seeds]
    each = map if len(envs) == 1 else _threads().map
    judges = "progress" in policy.spec.emits
    examiners = [FailureAnalyzer(env, judges) if group.diagnose else None for env in envs]
    plays = list(each(EpisodeRunner, envs, group.seeds, range(len(envs)), [None] * len(envs), examiners))
    for play in plays:
        policy.reset(play.seed, play.slot)
    run_batch(plays, policy, each)
    results = [play.result() for play in plays]
    pictures = {
        play.seed: _picture(play.env) for play, result in zip(plays, results, strict=True) if not result.success
    }
    rows = [{**dataclasses.asdict(result), "failure": result.failure} for result in results]
    return GroupResult(rows, pictures, time.perf_counter() - began)


def film(group: EpisodeGroup) -> bytes:
    """Play the group's only episode again and film it; returns an mp4."""
    from lohovla.evaluate.episode_runner import run_episode
    from lohovla.evaluate.report.video import EpisodeVideo

    policy, cameras = _policy(*_recipe(group))
    env = _make_env(group, cameras)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        reel = EpisodeVideo(path, env, _FPS)
        run_episode(env, policy, group.seeds[0], on_start=reel.start, on_subtask=reel.turn)
        reel.finish()
        return path.read_bytes()


def _recipe(group: EpisodeGroup) -> tuple[str, str, str]:
    return group.policy, json.dumps(dict(group.policy_settings)), json.dumps(dict(group.env))


@functools.lru_cache(maxsize=1)
def _policy(name: str, policy_settings: str, env: str) -> tuple[Policy, dict[str, Any]]:
    """The policy, made once a process, and the cameras that it looks through: others are not rendered."""
    from lohovla.envs.env import BlocksEnv
    from lohovla.policies.registry import make_policy

    settings = json.loads(env)
    policy = make_policy(name, BlocksEnv(**settings), **json.loads(policy_settings))
    if "torch" in sys.modules:
        # Sums come out differently, in the last bits, with the number of threads, and episodes differ with them;
        # and there is a process a core already.
        sys.modules["torch"].set_num_threads(1)
    cameras = {}
    for camera, options in (settings.get("cameras") or {}).items():
        depth = f"depth.{camera}" in policy.spec.observation_keys
        if options and (depth or f"images.{camera}" in policy.spec.observation_keys):
            cameras[camera] = {**options, "depth": depth}
    return policy, cameras


def _make_env(group: EpisodeGroup, cameras: dict[str, Any]) -> Any:
    from lohovla.envs.env import BlocksEnv

    return BlocksEnv(group.task, **{**group.env, "cameras": cameras})


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Threads that last as long as the process: each keeps an OpenGL context."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="lohovla-evaluate")


def _picture(env: Any) -> bytes:
    from PIL import Image

    picture = Image.fromarray(env.unwrapped.picture("film")).resize(_PICTURE, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return file.getvalue()
