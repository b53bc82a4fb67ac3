"""``lohovla rollout`` and ``lohovla demo``: run a policy on a task and show what it did."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lohovla.errors import UserError
from lohovla.progress import progress
from lohovla.settings.hydra_config import results_folder


def run(config: DictConfig) -> int:
    """Run the episodes, write ``result.json``, ``video.mp4``, ``sheet.png`` and ``rollout.rrd``, print a timeline."""
    if config.realtime:
        from lohovla.commands import realtime

        return realtime.run(config)
    if config.deadman is not None:
        raise UserError("deadman is held while the control loop runs", "add realtime=true")
    from lohovla.envs.env import BlocksEnv
    from lohovla.evaluate.episode_runner import run_episode
    from lohovla.policies.registry import make_policy, split_settings
    from lohovla.rerun_recording import check_viewer

    check_viewer(config.viz)
    settings: Any = OmegaConf.to_container(config.env)
    env = BlocksEnv(task=config.task, **settings)
    chosen: Any = OmegaConf.to_container(config.policy)
    name, policy_settings = split_settings(chosen)
    policy = make_policy(name, env, **policy_settings)
    folder = results_folder(config, "rollout")
    results, began = [], time.perf_counter()
    seeds = [config.seed + 2 * k for k in range(config.episodes)]
    for seed in progress(seeds, unit="episode", quiet=len(seeds) == 1):
        with _recorded(config, env, policy, folder) if not results else nullcontext(policy) as played:
            if config.video and not results:
                result = _filmed(env, played, seed, folder, config.fps)
            else:
                result = run_episode(env, played, seed)
        results.append(result)
        _write(folder, config, results)
    if len(results) == 1:
        _print_timeline(results[0])
    _print_summary(results, folder, time.perf_counter() - began)
    return 0


@contextmanager
def _recorded(config: DictConfig, env: Any, policy: Any, folder: Path) -> Iterator[Any]:
    """The policy, which writes ``rollout.rrd`` as it decides where ``viz`` asks for it."""
    if config.viz is None:
        yield policy
        return
    from lohovla.evaluate.rerun_rollout import RecordedPolicy
    from lohovla.rerun_recording import RerunRecording

    recording = RerunRecording(folder / "rollout.rrd")
    yield RecordedPolicy(policy, recording, env)
    recording.close()


def _filmed(env: Any, policy: Any, seed: int, folder: Path, fps: int) -> Any:
    from lohovla.evaluate.episode_runner import run_episode
    from lohovla.evaluate.report.video import EpisodeVideo

    film = EpisodeVideo(folder / "video.mp4", env, fps)
    with progress(desc="filming", unit="frame", leave=False) as bar:
        film.on_frame = bar.update
        result = run_episode(env, policy, seed, on_start=film.start, on_subtask=film.turn)
        film.finish()
    film.contact_sheet(folder / "sheet.png")
    return result


def _write(folder: Path, config: DictConfig, results: list[Any]) -> None:
    record = {
        "policy": config.policy.name,
        "success_rate": sum(r.success for r in results) / len(results),
        "mean_score": sum(r.score for r in results) / len(results),
        "episodes": [dataclasses.asdict(r) for r in results],
    }
    (folder / "result.json").write_text(json.dumps(record, indent=2), encoding="utf-8")


def _print_timeline(result: Any) -> None:
    print(result.instruction)
    for span in result.subtasks:
        print(f"  {span.time:6.2f} s  score {span.score:4.2f}  {span.text}")
    print(f"  {result.simulated_seconds:6.2f} s  score {result.score:4.2f}  {result.reason}")


def _print_summary(results: list[Any], folder: Path, seconds: float) -> None:
    won = sum(r.success for r in results)
    simulated = sum(r.simulated_seconds for r in results)
    print(f"{won} of {len(results)} solved; {simulated:.1f} s simulated in {seconds:.1f} s; results in {folder}")
