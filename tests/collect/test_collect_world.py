"""Demonstrations in other projects' environments: what a recording lacks is left out, and a kill loses nothing."""

import json
import sys

import numpy as np
import pytest

from lohovla.collect.collect_dataset import CollectConfig, collect
from lohovla.collect.world_episodes import MotionNoise, attempt_task, record_attempt
from lohovla.data.check_dataset import check_dataset
from lohovla.data.dataset_metadata import read_episode_rows, read_info
from lohovla.data.video import write_video
from lohovla.envs.worlds.shared import shared_world
from lohovla.envs.worlds.world import World, WorldTask
from lohovla.errors import UserError

from .conftest import opened


def plan_of(root, settings, **changes):
    """Three episodes each of the tiny world's tasks."""
    given = {
        "root": root,
        "tasks": ("point", "again"),
        "episodes": 3,
        "first_seed": 0,
        "policy": "expert",
        "env": settings,
        "disturb": {},
        "keep_failures": False,
        "runner": "local",
        "workers": 1,
        "world": True,
    }
    return CollectConfig(**{**given, **changes})


@pytest.fixture(autouse=True)
def _closed():
    """Worlds of other tests are not taken up."""
    yield
    from lohovla.envs.worlds import shared

    shared._opened.cache_clear()


@pytest.mark.parametrize("python", [None, sys.executable])
def test_expert_is_recorded_and_read_back(tmp_path, tiny_world_settings, python):
    root = tmp_path / "set"
    collect(plan_of(root, {**tiny_world_settings, "python": python}))
    assert list(check_dataset(root)) == []
    info = read_info(root)
    assert info["fps"] == 10
    assert info["robot_type"] == "tiny"
    assert info["features"]["action"]["names"] == ["dx", "dy"]
    assert not {name for name in info["features"] if "subtask" in name or "language" in name}
    assert not (root / "states").exists()
    assert not (root / "meta" / "subtasks.parquet").exists()
    rows = read_episode_rows(root, info)
    assert [row["task_name"] for row in rows] == ["point"] * 3 + ["again"] * 3
    assert all(row["seed"] % 2 == 0 and row["success"] for row in rows)
    data = opened(root, tmp_path / "cache", image_height=16)
    assert data.episode(0, held_out=False)["instruction"] == "Move the point to the mark"
    batch = data.batch(0, 5)
    assert batch["action"].shape == (5, 4, 2)
    assert batch["images.top"].shape == (5, 16, 24, 3)


def test_only_successes_are_kept_and_failures_counted(tmp_path, tiny_world_settings):
    root = tmp_path / "set"
    collect(plan_of(root, tiny_world_settings, tasks=("point",), episodes=8, noise=0.0))
    rows = read_episode_rows(root, read_info(root))
    lost = [json.loads(line)["seed"] for line in (root / "meta" / "failures.jsonl").read_text().splitlines()]
    assert len(rows) == 8
    assert lost
    assert sorted([*lost, *(row["seed"] for row in rows)]) == list(range(0, 2 * (8 + len(lost)), 2))


def test_collection_goes_on_where_it_stopped(tmp_path, tiny_world_settings):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    collect(plan_of(whole, tiny_world_settings, episodes=4))
    stop = iter(range(3))

    def until_killed():
        if next(stop, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(plan_of(parts, tiny_world_settings, episodes=4), until_killed)
    collect(plan_of(parts, tiny_world_settings, episodes=4))
    data = sorted(path.relative_to(whole) for path in whole.glob("data/**/*.parquet"))
    assert len(data) == 8
    assert all((whole / path).read_bytes() == (parts / path).read_bytes() for path in data)


def test_set_of_another_world_is_refused(tmp_path, tiny_world_settings):
    root = tmp_path / "set"
    collect(plan_of(root, tiny_world_settings, episodes=1))
    with pytest.raises(UserError, match="was collected with another world"):
        collect(plan_of(root, {**tiny_world_settings, "max_steps": 39}, episodes=1))
    collect(plan_of(root, {**tiny_world_settings, "python": sys.executable}, episodes=1))  # where it runs is no matter


def test_label_is_what_the_expert_meant_not_what_was_carried_out(tiny_world_settings):
    world = World(tiny_world_settings)
    world.tasks["point"] = WorldTask("point", "Move the point to the mark", "", (0.8, 0.8))
    episode = world.episode()
    attempt = attempt_task(episode, "point", 4, 1.0)
    record = record_attempt(episode, "point", 4, attempt)
    labels, sent = record.columns["action"], record.columns["executed_action"]
    assert np.abs(labels).max() <= 1.0
    assert (labels[:, -1] == sent[:, -1]).all()  # the last number is the gripper's
    assert (labels[:, 0] != sent[:, 0]).any()
    positions = record.columns["observation.state"][:, :2]
    assert np.allclose(positions[1:], np.clip(positions[:-1] + 0.1 * sent[:-1], -1, 1), atol=1e-6)


def test_recording_ends_soon_after_success(tiny_world_settings):
    world = World({**tiny_world_settings, "max_steps": 200})
    episode = world.episode()
    record = record_attempt(episode, "point", 4, attempt_task(episode, "point", 4, 0.0))
    solved = record.columns["next.success"]
    assert solved.any()
    assert len(record) - int(np.argmax(solved)) == 10
    assert record.columns["next.done"].tolist() == [False] * (len(record) - 1) + [True]


def test_noise_is_of_the_task_and_comes_and_goes():
    task = WorldTask("t", "", "", (0.5, 0.1))
    low, high = -np.ones(4), np.ones(4)
    spread = {}
    for grip in (-1.0, 1.0):
        pushed = []
        for seed in range(200):
            noise = MotionNoise(task, 1.0, seed, 4)
            action = np.array([0.0, 0.0, 0.0, grip], np.float32)
            pushed.append([noise.apply(action, low, high) for _ in range(40)])
        assert (np.array(pushed)[..., 3] == grip).all()
        spread[grip] = np.array(pushed)[:, 20:, :3].std()
    # Strength is uniform between nothing and the task's: its root mean square is 1 / sqrt(3) of that.
    assert spread[-1.0] == pytest.approx(0.5 / np.sqrt(3), rel=0.1)
    assert spread[1.0] == pytest.approx(0.1 / np.sqrt(3), rel=0.1)
    still = MotionNoise(task, 0.0, 1, 4).apply(np.zeros(4, np.float32), low, high)
    assert not still.any()


def test_small_pictures_are_kept_fine(tmp_path, read_video):
    rng = np.random.default_rng(0)
    picture = np.full((96, 96, 3), (120, 90, 60), np.uint8)
    frames = []
    for _ in range(12):
        frame = picture.copy()
        y, x = rng.integers(4, 90, 2)
        frame[y : y + 3, x : x + 3] = (255, 0, 0)  # a red object of three pixels
        frames.append(frame)
    off = {}
    for fine in (False, True):
        path = tmp_path / f"{fine}.mp4"
        write_video(path, frames, 80, fine)
        off[fine] = float(np.abs(read_video(path).astype(int) - np.stack(frames)).max())
    assert off[True] < 60 < off[False] - 40


def test_worlds_are_opened_once(tiny_world_settings):
    assert shared_world(tiny_world_settings) is shared_world(dict(tiny_world_settings))
