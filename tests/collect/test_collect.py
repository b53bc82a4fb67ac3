"""What is collected is all there, in the layout of LeRobotDataset v3, and is never lost or rewritten."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lohovla.collect.collect_dataset import collect
from lohovla.collect.replay import Replayer
from lohovla.data import dataset_layout
from lohovla.data.check_dataset import check_dataset
from lohovla.data.dataset_metadata import read_episode_rows, read_info
from lohovla.data.parquet import decode_stored_picture, read_index, values_of
from lohovla.data.writer import DatasetWriter
from lohovla.errors import UserError

from .conftest import CAMERAS, plan_of


def files_of(root: Path):
    """Name and bytes of every file but the lock."""
    return {
        str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file() and p.name != ".lock"
    }


def test_it_checks_and_replays_in_every_byte(collected):
    assert list(check_dataset(collected)) == []
    for episode in range(6):
        report = Replayer(collected).replay(episode)
        assert report.physics is None
        assert report.observation is None
        assert report.success


def test_the_layout_is_the_formats(collected):
    info = read_info(collected)
    assert info["codebase_version"] == "v3.0"
    assert info["total_episodes"] == 6
    assert info["splits"] == {"train": "0:6"}
    rows = read_episode_rows(collected)
    assert [row["dataset_from_index"] for row in rows[1:]] == [row["dataset_to_index"] for row in rows[:-1]]
    assert info["total_frames"] == rows[-1]["dataset_to_index"]
    tasks = read_index(collected / dataset_layout.TASKS, "task")
    table = pq.read_table(dataset_layout.path_of(collected, dataset_layout.DATA_PATH, 5))
    assert set(table["task_index"].to_pylist()) == {tasks["Stack blocks in alternate colors."]}
    assert set(table.column_names) >= {"timestamp", "frame_index", "episode_index", "index", "task_index"}
    np.testing.assert_allclose(table["timestamp"].to_numpy(), np.arange(rows[5]["length"]) / info["fps"], atol=1e-4)
    stats = json.loads((collected / dataset_layout.STATS).read_text())
    assert set(stats["action"]) == {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"}
    assert np.shape(stats["observation.images.top"]["mean"]) == (3, 1, 1)


def test_words_plans_and_subgoals_belong_together(collected):
    subtasks = {number: text for text, number in read_index(collected / dataset_layout.SUBTASKS, "subtask").items()}
    for row in read_episode_rows(collected):
        table = pq.read_table(
            dataset_layout.path_of(collected, dataset_layout.DATA_PATH, row["episode_index"])
        ).to_pydict()
        said = [subtasks[number] for number in table["subtask_index"]]
        assert said[-1] == "Done."
        numbers = table["subtask_number"]
        assert row["plan"] == [said[numbers.index(number)] for number in range(numbers[-1])]
        for frame, goal in enumerate(table["subgoal_index"][:-1]):
            assert goal > frame
            assert table["subtask_number"][goal - 1] == table["subtask_number"][frame]
            assert goal == row["length"] - 1 or table["subtask_number"][goal] == table["subtask_number"][frame] + 1
        assert table["progress"][-1] == 1.0
        assert min(table["progress"]) >= 0.0
        assert table["next.success"][-1]
        assert sum(table["next.reward"]) == pytest.approx(1.0, abs=1e-5)


def test_pictures_are_close_to_what_was_seen_and_depth_is_exact(collected, read_video):
    from lohovla.envs.env import BlocksEnv

    row = read_episode_rows(collected)[4]
    origin = json.loads((collected / dataset_layout.ORIGIN).read_text())
    env = BlocksEnv(task=row["task_name"], **origin["env"])
    observation, _ = env.reset(seed=row["seed"])
    table = pq.read_table(dataset_layout.path_of(collected, dataset_layout.DATA_PATH, 4))
    unit = read_info(collected)["features"]["depth.top"]["info"]["unit"]
    metres = dataset_layout.dequantise_depth(decode_stored_picture(table["depth.top"][0].as_py()), unit)
    assert metres.tobytes() == observation["depth.top"].tobytes()
    assert np.float32(table["observation.state"][0].as_py()).tobytes() == observation["state"].tobytes()
    for name in ("images.top", "images.wrist"):
        key = f"observation.{name}"
        frames = read_video(dataset_layout.path_of(collected, dataset_layout.VIDEO_PATH, 4, video_key=key))
        height, width = observation[name].shape[:2]  # an odd one is padded
        error = np.abs(frames[0][:height, :width].astype(int) - observation[name].astype(int)).mean()
        assert error < 6.0, name  # of 255; chroma is halved in yuv420p
    assert row["tasks"] == [observation["instruction"]]


def test_disturbances_are_recorded_and_replay(tmp_path):
    env = {"control": "ee", "cameras": CAMERAS, "push": {"object": 0.05, "place": 0.05}}
    collect(plan_of(tmp_path / "d", episodes=2, env=env))
    rows = read_episode_rows(tmp_path / "d")
    kinds = [[event["kind"] for event in row["pushes"]] for row in rows]
    assert "object" in kinds[0] + kinds[1]
    assert list(check_dataset(tmp_path / "d")) == []
    for episode in range(2):
        report = Replayer(tmp_path / "d").replay(episode)
        assert (report.physics, report.observation, report.success) == (None, None, True)


def test_every_seed_is_even_and_known(collected):
    seeds = [(row["task_name"], row["seed"]) for row in read_episode_rows(collected)]
    assert [seed for _, seed in seeds] == [0, 2, 4] * 2
    assert len({name for name, _ in seeds}) == 2


def test_appending_never_rewrites(tmp_path):
    collect(plan_of(tmp_path / "d", episodes=2))
    before = {n: b for n, b in files_of(tmp_path / "d").items() if not n.startswith("meta/") or "episodes" in n}
    collect(plan_of(tmp_path / "d", episodes=4))
    after = files_of(tmp_path / "d")
    assert all(after[name] == content for name, content in before.items())
    assert read_info(tmp_path / "d")["total_episodes"] == 4
    assert list(check_dataset(tmp_path / "d")) == []


@pytest.mark.parametrize("runner", ["local", "ray"])
def test_workers_and_runners_make_the_same_set(tmp_path, runner):
    if runner == "ray":
        pytest.importorskip("ray")
    collect(plan_of(tmp_path / "one"))
    collect(plan_of(tmp_path / "many", runner=runner, workers=2))
    one, many = files_of(tmp_path / "one"), files_of(tmp_path / "many")
    assert one.keys() == many.keys()
    assert [name for name in one if one[name] != many[name] and not name.endswith(".npz")] == []


def test_failures_are_left_out_unless_told(tmp_path):
    plan = plan_of(tmp_path / "d", policy="random", episodes=1)
    with pytest.raises(UserError, match="failed 20 times in a row"):
        collect(plan)
    assert read_info(tmp_path / "d")["total_episodes"] == 0
    tried = (tmp_path / "d" / dataset_layout.FAILURES).read_text().splitlines()
    assert len(tried) == 20
    shutil.rmtree(tmp_path / "d")
    collect(plan_of(tmp_path / "d", policy="random", episodes=2, keep_failures=True))
    assert [row["success"] for row in read_episode_rows(tmp_path / "d")] == [False, False]


@pytest.mark.parametrize("control", ["ee", "pick_place"])
def test_deliberate_mistakes_are_marked_and_recovered_from(tmp_path, control):
    env = {"control": control, "cameras": {}}
    often = {"probability": 0.5, "start": 1.0, "size": 0.03}
    collect(plan_of(tmp_path / "d", env=env, disturb=often, tasks=("put-block-into-matching-bowl",), episodes=2))
    marked = 0
    for row in read_episode_rows(tmp_path / "d"):
        table = pq.read_table(
            dataset_layout.path_of(tmp_path / "d", dataset_layout.DATA_PATH, row["episode_index"])
        ).to_pydict()
        for action, sent, perturbed in zip(table["action"], table["executed_action"], table["perturbed"], strict=True):
            assert (action != sent) == perturbed
            marked += perturbed
        assert table["perturbed"][0]
        assert row["success"]
        report = Replayer(tmp_path / "d").replay(row["episode_index"])
        assert report.physics is None
    assert marked >= 4


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"env": {"control": "pick_place", "cameras": {}}}, "other features"),
        ({"policy": "random"}, "another policy"),
        ({"disturb": {"probability": 0.5}}, "another disturb"),
    ],
)
def test_a_set_of_another_making_is_not_mixed_in(tmp_path, change, cause):
    collect(plan_of(tmp_path / "d", episodes=1))
    with pytest.raises(UserError, match=cause):
        collect(plan_of(tmp_path / "d", episodes=2, **change))


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not a data set, and not empty"):
        collect(plan_of(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


COMMAND = (
    "import sys; sys.path.insert(0, {tests!r}); from pathlib import Path; from conftest import plan_of; "
    "from lohovla.collect.collect_dataset import collect; collect(plan_of(Path({root!r}), episodes={episodes}))"
)


def start(root: Path, episodes: int, limit: int | None = None):
    code = COMMAND.format(tests=str(Path(__file__).parent), root=str(root), episodes=episodes)

    def small_files():
        if limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, preexec_fn=small_files)


def survive_kills(root: Path, kills: int, episodes: int):
    """Kill a collection at random moments; each time, what was finished must still be there."""
    rng = random.Random(7)
    finished = 0
    for _ in range(kills):
        process = start(root, episodes)
        wanted = finished + rng.choice([0, 1, 1, 2])
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None and committed(root) < wanted:
            pass
        for _ in range(rng.randrange(200000)):
            pass  # somewhere within the next episode
        process.kill()
        process.wait()
        assert committed(root) >= finished
        finished = committed(root)
    process = start(root, episodes)
    assert process.wait() == 0, process.stderr.read()
    assert list(check_dataset(root)) == []
    assert [row["seed"] for row in read_episode_rows(root)] == [2 * k for k in range(episodes)]
    assert not (root / dataset_layout.STAGING).exists()


def committed(root: Path) -> int:
    return len(list(root.glob("meta/episodes/*/*.parquet")))


def test_two_kills_lose_nothing(tmp_path):
    survive_kills(tmp_path / "d", kills=2, episodes=4)


@pytest.mark.slow
def test_twenty_kills_lose_nothing(tmp_path):
    survive_kills(tmp_path / "d", kills=20, episodes=24)


def test_a_full_disk_loses_no_finished_episode(tmp_path):
    root = tmp_path / "d"
    collect(plan_of(root, episodes=2))
    process = start(root, 6, limit=3000)  # no file may grow beyond 3 kB
    _, error = process.communicate()
    assert process.returncode == 1
    assert "cannot write to" in error
    assert committed(root) == 2
    collect(plan_of(root, episodes=3))
    assert list(check_dataset(root)) == []


def test_another_writer_is_kept_out(tmp_path):
    collect(plan_of(tmp_path / "d", episodes=1))
    import fcntl

    with (tmp_path / "d" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is writing"):
            collect(plan_of(tmp_path / "d", episodes=2))


def test_the_video_is_what_players_open(collected, read_video):
    path = dataset_layout.path_of(collected, dataset_layout.VIDEO_PATH, 0, video_key="observation.images.wrist")
    frames = read_video(path)
    assert len(frames) == read_episode_rows(collected)[0]["length"]
    assert frames.shape[1:] == (34, 34, 3)  # 33 padded to even
    assert os.path.getsize(path) > 500


def test_the_quantiles_of_a_set_are_those_of_its_frames(collected):
    stats = json.loads((collected / dataset_layout.STATS).read_text())
    paths = sorted((collected / "data").glob("*/*.parquet"))
    table = pa.concat_tables([pq.read_table(path, columns=["action", "observation.state"]) for path in paths])
    for name in ("action", "observation.state"):
        values = values_of(table, name, np.shape(stats[name]["mean"]))
        for key, share in (("q01", 0.01), ("q10", 0.1), ("q50", 0.5), ("q90", 0.9), ("q99", 0.99)):
            low, high = (np.quantile(values, share, axis=0, method=method) for method in ("lower", "higher"))
            allowed = 0.01 * np.ptp(values, axis=0)
            assert (stats[name][key] >= low - allowed).all(), (name, key)
            assert (stats[name][key] <= high + allowed).all(), (name, key)


@pytest.mark.parametrize(
    "changes", [{"policy": "nobody"}, {"policy_settings": {"courage": 3}}, {"disturb": {"nonsense": 1.0}}]
)
def test_a_refused_collect_leaves_nothing(tmp_path, changes):
    root = tmp_path / "d"
    with pytest.raises((UserError, TypeError, ValueError)):
        collect(plan_of(root, **changes))
    assert not root.exists()


def test_a_set_without_episodes_is_bound_to_nothing(tmp_path):
    root = tmp_path / "d"
    with pytest.raises(UserError, match="failed 20 times"):
        collect(plan_of(root, policy="random", episodes=1))
    collect(plan_of(root, episodes=1))
    assert read_info(root)["total_episodes"] == 1
    assert not (root / dataset_layout.FAILURES).exists()  # they were another policy's
    with pytest.raises(UserError, match="was collected with another policy"):
        collect(plan_of(root, policy="random", episodes=2))


def test_a_set_of_lerobots_is_said_to_be_one(small, tmp_path):
    root = tmp_path / "theirs"
    shutil.copytree(small, root)
    (root / dataset_layout.ORIGIN).unlink()
    (root / ".lock").unlink()
    before = files_of(root)
    with pytest.raises(UserError, match="is a LeRobot data set of another program") as caught:
        collect(plan_of(root))
    assert "a folder of its own" in caught.value.remedy
    assert files_of(root) == before
    assert not (root / ".lock").exists()


def test_a_staged_episode_that_is_damaged_is_recorded_again(tmp_path):
    whole, root = tmp_path / "whole", tmp_path / "d"
    collect(plan_of(whole, episodes=1))
    staged = root / dataset_layout.STAGING / "pick-and-place-primitive-0"
    DatasetWriter(root, *_like(whole)).close()
    staged.mkdir(parents=True)
    (staged / "episode.json").write_text("{")
    collect(plan_of(root, episodes=1))
    assert files_of(root) == files_of(whole)


def _like(root):
    """What a writer of a set like the one at ``root`` is given."""
    features = {k: v for k, v in read_info(root)["features"].items() if k not in dataset_layout.AUTOMATIC}
    del features["subtask_index"], features["language_persistent"]
    return features, 1, json.loads((root / dataset_layout.ORIGIN).read_text()), "ur5e"
