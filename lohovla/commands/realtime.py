"""``lohovla rollout realtime=true``: the same episodes, in a world that does not wait."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lohovla.errors import UserError
from lohovla.settings.hydra_config import results_folder


def run(config: DictConfig) -> int:
    """Play, and write ``result.json``, ``latency.html``, ``video.mp4``, ``sheet.png`` and ``rollout.rrd``."""
    from lohovla.envs.env import BlocksEnv
    from lohovla.envs.tasks.registry import get_task
    from lohovla.evaluate.realtime_episodes import RealtimeEpisodes, environment_rate
    from lohovla.policies.registry import split_settings
    from lohovla.rerun_recording import check_viewer

    if config.env.control != "ee":
        raise UserError("in real time there is only control=ee", "leave control=pick_place out")
    check_viewer(config.viz)
    settings: Any = OmegaConf.to_container(config.env)
    loop: Any = OmegaConf.to_container(config.loop)
    settings["control_hz"] = environment_rate(float(loop["command_hz"]))
    task = get_task(config.task).name
    env = BlocksEnv(task=task, **settings)
    chosen: Any = OmegaConf.to_container(config.policy)
    name, own = split_settings(chosen)
    hold = _hold(config, loop)
    try:
        realtime = RealtimeEpisodes(name, task, settings, loop, own)
    except BaseException:
        if hold is not None:
            hold.close()
        raise
    folder = results_folder(config, "rollout")
    began, records = time.perf_counter(), []
    try:
        for index in range(config.episodes):
            first = index == 0
            result, summary = _episode(config, env, realtime, config.seed + 2 * index, folder, first, hold)
            records.append({**dataclasses.asdict(result), "realtime": summary})
            _print(result, summary)
            record = {"policy": config.policy.name, "success_rate": sum(r["success"] for r in records) / len(records)}
            text = json.dumps({**record, "episodes": records}, indent=2)
            (folder / "result.json").write_text(text, encoding="utf-8")
    finally:
        realtime.close()
        if hold is not None:
            hold.close()
    won = sum(r["success"] for r in records)
    print(f"{won} of {len(records)} solved in {time.perf_counter() - began:.1f} s; results in {folder}")
    return 0


def _hold(config: DictConfig, loop: dict[str, Any]) -> Any:
    """What a person holds, if that is wanted; ``loop`` is told."""
    from lohovla.control.safety.deadman_input import KEYBOARD, DeadmanInput

    if config.deadman is None:
        if loop["safety"]["deadman"]:
            raise UserError("loop.safety.deadman=true, but nobody can hold it", "add deadman=keyboard")
        return None
    if loop["clock"] != "wall":
        raise UserError("nobody can hold a button in simulated time", "leave deadman or loop.clock=simulated out")
    loop["safety"]["deadman"] = True
    hold = DeadmanInput.from_source(str(config.deadman))
    if config.deadman == KEYBOARD:
        print("hold the space bar to let the arm move; any other key is an emergency stop", flush=True)
    else:
        print(f"the arm moves while something writes to {config.deadman}", flush=True)
    return hold


def _episode(
    config: DictConfig, env: Any, realtime: Any, seed: int, folder: Path, first: bool, hold: Any
) -> tuple[Any, dict[str, Any]]:
    from lohovla.control.viz import RerunLog
    from lohovla.evaluate.realtime_episodes import Recorder, read_operator
    from lohovla.evaluate.report.latency_report import write_latency

    recorder = Recorder(env, config.fps) if first and config.video else None
    viewer = RerunLog(folder / "rollout.rrd") if first and config.viz else None
    last: list[Any] = []

    def on_tick(loop: Any, play: Any) -> None:
        last[:] = loop, play
        if hold is not None:
            read_operator(loop, hold)
        if recorder is not None:
            recorder(loop, play)
        if viewer is not None:
            viewer(loop)

    result, loop = realtime.episode(env, seed, on_tick)
    if recorder is not None:
        recorder.finish(*last)
        _film(folder, env, recorder, result.instruction, config.fps)
    if viewer is not None:
        viewer.close()
    name = f"{result.task}, seed {seed}"
    return result, write_latency(folder / ("latency.html" if first else f"latency-{seed}.html"), name, loop)


def _film(folder: Path, env: Any, recorder: Any, instruction: str, fps: int) -> None:
    from lohovla.evaluate.report.video import EpisodeVideo
    from lohovla.progress import progress

    film = EpisodeVideo(folder / "video.mp4", env, fps)
    with progress(desc="filming", unit="frame", leave=False) as bar:
        film.on_frame = bar.update
        recorder.write_film(film, instruction)
        film.finish()
    film.contact_sheet(folder / "sheet.png")


def _print(result: Any, summary: dict[str, Any]) -> None:
    print(result.instruction)
    for span in result.subtasks:
        print(f"  {span.time:6.2f} s  score {span.score:4.2f}  {span.text}")
    print(f"  {result.simulated_seconds:6.2f} s  score {result.score:4.2f}  {result.reason}")
    commands, reply = summary["commands"], summary["stages_ms"].get("reply", {"p50": 0.0, "p99": 0.0})
    chunks, jitter = summary["chunks"]["count"], commands["jitter_ms"].get("p99", 0.0)
    print(f"  {commands['count']} commands, {commands['missed']} missed, jitter p99 {jitter:.2f} ms")
    print(f"  {chunks} chunks, {reply['p50']:.0f} ms median, {reply['p99']:.0f} ms p99")
    counts = summary["events"]["counts"]
    print("  events: " + (", ".join(f"{kind} {count}" for kind, count in counts.items()) or "none"))
