"""Each kind of damage gets its line."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lohovla.cli import main
from lohovla.data import dataset_layout
from lohovla.data.check_dataset import check_dataset


def table_path(root, episode):
    return dataset_layout.path_of(root, dataset_layout.DATA_PATH, episode)


def replace(root, episode, name, values):
    table = pq.read_table(table_path(root, episode))
    at = table.column_names.index(name)
    pq.write_table(table.set_column(at, name, pa.array(values)), table_path(root, episode))


def remove_video(root):
    dataset_layout.path_of(root, dataset_layout.VIDEO_PATH, 2, video_key="observation.images.top").unlink()


def cut_video(root):
    path = dataset_layout.path_of(root, dataset_layout.VIDEO_PATH, 2, video_key="observation.images.top")
    path.write_bytes(path.read_bytes()[:300])


def shorten_table(root):
    path = table_path(root, 1)
    pq.write_table(pq.read_table(path).slice(0, 1), path)


def damage_table(root):
    table_path(root, 1).write_bytes(b"PAR1 nonsense")


def put_nan(root):
    score = pq.read_table(table_path(root, 0))["score"].to_numpy().copy()
    score[1] = np.nan
    replace(root, 0, "score", score)


def shift_time(root):
    replace(root, 0, "timestamp", pq.read_table(table_path(root, 0))["timestamp"].to_numpy() + np.float32(0.3))


def change_values(root):
    replace(root, 0, "progress", pq.read_table(table_path(root, 0))["progress"].to_numpy() * 0)


def change_stats(root):
    stats = json.loads((root / dataset_layout.STATS).read_text())
    stats["action"]["mean"][0] += 1
    (root / dataset_layout.STATS).write_text(json.dumps(stats))


def change_quantile(root):
    stats = json.loads((root / dataset_layout.STATS).read_text())
    stats["action"]["q99"] = [100 * value for value in stats["action"]["q99"]]
    stats["action"]["q01"] = [-9.0 for _ in stats["action"]["q01"]]
    stats["observation.images.top"]["q50"] = [[[0.99]]] * 3
    del stats["progress"]["q10"]
    (root / dataset_layout.STATS).write_text(json.dumps(stats))


def change_quantile_of_an_episode(root):
    path = dataset_layout.path_of(root, dataset_layout.EPISODES_PATH, 1)
    table = pq.read_table(path)
    for key in ("q10", "q50", "q90"):
        name = f"stats/action/{key}"
        wrong = pa.array([[value + 9.0 for value in table[name][0].as_py()]])
        table = table.set_column(table.column_names.index(name), name, wrong)
    pq.write_table(table, path)


def change_total(root):
    info = json.loads((root / dataset_layout.INFO).read_text())
    (root / dataset_layout.INFO).write_text(json.dumps({**info, "total_frames": 7}))


def spoil_depth(root):
    values = pq.read_table(table_path(root, 0))["depth.top"].to_pylist()
    replace(root, 0, "depth.top", ["no picture", *values[1:]])


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (remove_video, "episode 2: videos/observation.images.top/chunk-000/file-002.mp4 is missing"),
        (cut_video, "episode 2: videos/observation.images.top/chunk-000/file-002.mp4 cannot be decoded"),
        (shorten_table, "episode 1: 1 frames instead of"),
        (damage_table, "episode 1: data/chunk-000/file-001.parquet cannot be read"),
        (put_nan, "episode 0: score holds NaN or infinite values, first at frame 1"),
        (shift_time, "episode 0: timestamps are not frame / fps"),
        (change_values, "progress is not what its statistics say"),
        (change_stats, "meta/stats.json: the mean of action does not match the episodes"),
        (change_quantile, "meta/stats.json: the q99 of action does not match the episodes"),
        (change_quantile, "meta/stats.json: the q01 of action does not match the episodes"),
        (change_quantile, "meta/stats.json: the q50 of observation.images.top does not match the episodes"),
        (change_quantile, "meta/stats.json: progress has no q10"),
        (change_quantile_of_an_episode, "episode 1: the q10 of action is not what its statistics say"),
        (change_quantile_of_an_episode, "episode 1: the q50 of action is not what its statistics say"),
        (change_quantile_of_an_episode, "episode 1: the q90 of action is not what its statistics say"),
        (change_total, "meta/info.json: total_frames is 7, but there are"),
        (spoil_depth, "episode 0: depth.top of frame 0 cannot be decoded"),
    ],
)
def test_damage_is_named(collected, tmp_path, damage, line, capsys):
    root = tmp_path / "damaged"
    shutil.copytree(collected, root)
    damage(root)
    lines = list(check_dataset(root))
    assert any(line in found for found in lines), lines
    assert main(["data", "check", str(root)]) == 1
    assert line in capsys.readouterr().out


def test_a_sound_set_passes(collected, capsys):
    assert main(["data", "check", str(collected)]) == 0
    assert capsys.readouterr().out.endswith("all is well\n")


def test_a_replay_of_other_actions_says_where_it_differs(collected, tmp_path, capsys):
    root = tmp_path / "changed"
    shutil.copytree(collected, root)
    table = pq.read_table(table_path(root, 0))
    actions = np.array(table["executed_action"].to_pylist(), np.float32)
    actions[0, 0] += 0.05
    at = table.column_names.index("executed_action")
    pq.write_table(
        table.set_column(at, "executed_action", pa.array(actions.tolist(), pa.list_(pa.float32()))), table_path(root, 0)
    )
    assert main(["replay", str(root), "episode=0"]) == 1
    assert "the simulation differs from frame 1 on" in capsys.readouterr().out
    assert main(["replay", str(root), "episode=1"]) == 0
