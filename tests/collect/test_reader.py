"""Any frame can be read, in any order, also from data sets that others wrote."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from lohovla.collect.online import OnlineDemonstrations
from lohovla.data import dataset_layout
from lohovla.data.dataset_metadata import read_rows
from lohovla.data.loader import make_loader
from lohovla.data.reader import LeRobotDatasetReader
from lohovla.data.shuffle import Shuffle
from lohovla.data.video import read_video
from lohovla.errors import UserError


def test_each_frame_is_the_videos(collected):
    data = LeRobotDatasetReader(collected, cameras=["top"])
    row = read_rows(collected)[3]
    frames = read_video(
        dataset_layout.path_of(collected, dataset_layout.VIDEO_PATH, 3, video_key="observation.images.top")
    )
    for frame in np.random.default_rng(0).permutation(row["length"])[:12]:
        sample = data[row["dataset_from_index"] + int(frame)]
        np.testing.assert_array_equal(sample["images.top"], frames[frame])


def test_chunks_stop_at_the_episodes_end(collected):
    data = LeRobotDatasetReader(collected, horizon=4, cameras=[])
    row = read_rows(collected)[1]
    last = data[row["dataset_to_index"] - 1]
    np.testing.assert_array_equal(last["action.pad"], [False, True, True, True])
    assert (last["action"] == last["action"][0]).all()
    first = data[row["dataset_from_index"]]
    assert not first["action.pad"][0]
    np.testing.assert_array_equal(first["action"][1], data[row["dataset_from_index"] + 1]["action"][0])


def test_the_subgoal_is_the_picture_at_the_subtasks_end(collected):
    data = LeRobotDatasetReader(collected, cameras=["top"], subgoals=["top"])
    row = read_rows(collected)[0]
    table = pq.read_table(dataset_layout.path_of(collected, dataset_layout.DATA_PATH, 0))
    goal = table["subgoal_index"][0].as_py()
    np.testing.assert_array_equal(data[0]["subgoal.top"], data[goal]["images.top"])
    assert row["length"] > goal > 0


def test_frames_read_together_are_those_read_one_by_one(collected):
    data = LeRobotDatasetReader(collected, subgoals=["wrist"])
    row = read_rows(collected)[4]
    frames = [row["dataset_from_index"] + step for step in (0, 1, 3, row["length"] - 1)]
    for index, together in zip(frames, data.samples(frames), strict=True):
        alone = data[index]
        assert together.keys() == alone.keys()
        for key, value in alone.items():
            np.testing.assert_array_equal(together[key], value, err_msg=key)


@pytest.mark.filterwarnings("error")  # a worker that dies at its end says so in a warning
def test_a_loader_gives_the_same_batches_with_any_number_of_workers(collected):
    data = LeRobotDatasetReader(collected)
    batches = []
    for workers in (0, 2):
        loader = iter(make_loader(data, batch=4, workers=workers, seed=5))
        batches.append([next(loader) for _ in range(len(data) // 4 + 2)])  # into the next epoch
    for alone, shared in zip(*batches, strict=True):
        assert alone.keys() == shared.keys()
        for key, value in alone.items():
            same = torch.equal(shared[key], value) if isinstance(value, torch.Tensor) else shared[key] == value
            assert same, key


def test_a_loader_follows_the_order_and_goes_on_where_it_was_stopped(collected):
    data = LeRobotDatasetReader(collected, cameras=[])
    order = Shuffle(data.lengths, window=20, seed=4, rank=1, world=2)
    frames = np.concatenate([order.epoch(0).frames, order.epoch(1).frames])
    expected = torch.from_numpy(data.columns["observation.state"][frames])
    begin = order.share // 3 - 1  # in batches of three: the first crosses into the second epoch soon
    for start in (0, 2, begin):
        loader = iter(make_loader(data, batch=3, workers=0, seed=4, rank=1, world=2, start=start, window=20))
        for at in range(start, start + 3):
            assert torch.equal(next(loader)["state"], expected[3 * at : 3 * at + 3])


def test_some_episodes_only(collected):
    rows = read_rows(collected)
    data = LeRobotDatasetReader(collected, cameras=[], episodes=[1, 4])
    assert len(data) == rows[1]["length"] + rows[4]["length"]
    assert data[len(data) - 1]["instruction"] == "Stack blocks in alternate colors."
    with pytest.raises(IndexError):
        data[len(data)]


def test_episodes_in_shared_files_as_lerobot_writes_them(collected, tmp_path):
    """lerobot puts many episodes into one table and one video; the same frames must come out."""
    root = tmp_path / "merged"
    shutil.copytree(collected, root)
    rows = read_rows(root)[:2]
    tables = [pq.read_table(dataset_layout.path_of(root, dataset_layout.DATA_PATH, k)) for k in (0, 1)]
    shutil.rmtree(root / "data")
    target = root / "data/chunk-000/file-000.parquet"
    target.parent.mkdir(parents=True)
    pq.write_table(pa.concat_tables(tables), target)
    info = json.loads((root / dataset_layout.INFO).read_text())
    fps = info["fps"]
    (root / dataset_layout.INFO).write_text(json.dumps({**info, "total_episodes": 2}))
    for row in rows:
        row["data/file_index"] = 0
    shutil.rmtree(root / "meta/episodes")
    episodes = root / "meta/episodes/chunk-000/file-000.parquet"
    episodes.parent.mkdir(parents=True)
    from lohovla.data.video import write_video

    for name in ("observation.images.top", "observation.images.wrist"):
        paths = [dataset_layout.path_of(root, dataset_layout.VIDEO_PATH, k, video_key=name) for k in (0, 1)]
        frames = [frame for path in paths for frame in read_video(path)]
        write_video(paths[0], frames, fps)
        rows[1][f"videos/{name}/file_index"] = 0
        rows[1][f"videos/{name}/from_timestamp"] = rows[0]["length"] / fps
        rows[1][f"videos/{name}/to_timestamp"] = (rows[0]["length"] + rows[1]["length"]) / fps
    pq.write_table(pa.Table.from_pylist(rows), episodes)
    ours, theirs = LeRobotDatasetReader(collected), LeRobotDatasetReader(root)
    for frame in range(rows[0]["length"] - 1, rows[0]["length"] + 2):
        one, other = ours[frame], theirs[frame]
        assert one["state"].tobytes() == other["state"].tobytes()
        assert one["depth.top"].tobytes() == other["depth.top"].tobytes()
        difference = np.abs(one["images.top"].astype(int) - other["images.top"].astype(int)).mean()
        assert difference < 4.0  # encoded twice
        np.testing.assert_array_equal(one["action.pad"], other["action.pad"])


def test_online_samples_are_like_those_on_disk(collected):
    control = "ee" if "ee" in collected.name else "pick_place"
    cameras = {"top": {"width": 64, "height": 32, "depth": True}, "wrist": {"width": 33, "height": 33}}
    online = OnlineDemonstrations(
        ["pick-and-place-primitive"], {"control": control, "cameras": cameras}, subgoals=["top"], pool=1
    )
    drawn = next(iter(online))
    stored = LeRobotDatasetReader(collected, subgoals=["top"])[0]
    assert drawn.keys() == stored.keys()
    for key, value in stored.items():
        if isinstance(value, np.ndarray):
            assert (drawn[key].shape, drawn[key].dtype) == (value.shape, value.dtype), key


def test_online_workers_play_seeds_of_their_own():
    settings = {"control": "pick_place", "cameras": {}}
    seen = []
    for rank in (0, 1):
        stream = OnlineDemonstrations(["pick-and-place-primitive"], settings, rank=rank, world=2, pool=1)
        episodes = stream._play(rank, 2)
        seen.append([next(episodes).attributes["seed"] for _ in range(3)])
    assert seen == [[0, 4, 8], [2, 6, 10]]


def test_odd_seeds_are_not_for_training():
    with pytest.raises(ValueError, match="odd"):
        OnlineDemonstrations(["pick-and-place-primitive"], {}, seed=1)


def test_bad_folders_get_one_clear_line(tmp_path, collected):
    with pytest.raises(UserError, match="is not a data set"):
        LeRobotDatasetReader(tmp_path)
    with pytest.raises(UserError, match="no camera 'side'"):
        LeRobotDatasetReader(collected, cameras=["side"])
    old = tmp_path / "old"
    shutil.copytree(collected, old)
    info = json.loads((old / dataset_layout.INFO).read_text())
    (old / dataset_layout.INFO).write_text(json.dumps({**info, "codebase_version": "v2.1"}))
    with pytest.raises(UserError, match=r"version v2\.1"):
        LeRobotDatasetReader(old)
    broken = tmp_path / "broken"
    shutil.copytree(collected, broken)
    dataset_layout.path_of(broken, dataset_layout.DATA_PATH, 2).write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"file-002\.parquet cannot be read"):
        LeRobotDatasetReader(broken)
