"""Any LeRobot data set becomes the batches that its files say."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
import torch

from lohovla.data import cache_filling
from lohovla.data.dataset_features import depth_features
from lohovla.data.training_set import DatasetChoice, TrainingSet

from .lerobot_sets import FPS, STEP, change_info, grey, make_set, write_video


def opened(root, tmp_path, **changes):
    """A training set of one or several folders."""
    choices = root if isinstance(root, list) else [DatasetChoice(str(root))]
    settings = {
        "rename": {},
        "cameras": None,
        "image_height": 16,
        "chunk_size": 4,
        "held_out": 0.0,
        "seed": 1,
        "cache": tmp_path / "cache",
        "progress_bar": False,
    }
    return TrainingSet.open(choices, **{**settings, **changes})


def shades(pictures):
    """The level of grey of each picture."""
    return np.asarray(pictures, np.float64).mean(axis=(1, 2, 3))


CODECS = ["libx264", "libx265", "libsvtav1", "libvpx-vp9"]


def test_only_pictures_are_depth_by_their_unit(tmp_path):
    """The age of a picture, in seconds, is none; depth of lerobot before 0.6 says no more than its unit."""
    age = {"picture.age": {"dtype": "float32", "shape": [1], "names": None, "info": {"unit": "s"}}}
    ages = {"picture.age": lambda e, n: np.zeros(n, np.float32)}
    said = "\n".join(opened(make_set(tmp_path / "set", columns=ages, extra=age), tmp_path).lines)
    assert "depth:" not in said
    assert depth_features({"depth.top": {"dtype": "video", "info": {"unit": "mm"}}}) == ["depth.top"]


@pytest.mark.parametrize(
    ("version", "changes"),
    [
        *(("v3.0", {"codec": codec}) for codec in CODECS),
        ("v2.1", {"codec": "libx264"}),
        ("v2.1", {"codec": "libsvtav1"}),
        ("v2.0", {}),
        ("v3.0", {"codec": "libx264", "gop": 250}),
        ("v3.0", {"images": True}),
        ("v2.1", {"images": True}),
    ],
)
def test_every_frame_has_its_own_picture_numbers_and_words(tmp_path, version, changes):
    size = (64, 96) if changes.get("codec") in ("libsvtav1", "libx265") else (32, 48)  # these take nothing smaller
    root = make_set(tmp_path / "set", version=version, cameras={"front": size, "wrist": size}, **changes)
    data = opened(root, tmp_path)
    assert data.features.fps == FPS
    assert [(c.name, c.height, c.width) for c in data.features.cameras] == [("front", 16, 24), ("wrist", 16, 24)]
    for number, length in enumerate((12, 9, 10)):
        episode = data.episode(number, held_out=False)
        assert episode["state"].shape == (length, 3)
        expected = [grey(number, frame) for frame in range(length)]
        for camera in ("front", "wrist"):
            assert episode[f"images.{camera}"].shape == (length, 16, 24, 3)
            assert np.abs(shades(episode[f"images.{camera}"]) - expected).max() < STEP / 2
        assert episode["instruction"] == ("Push the block.", "Open the drawer.")[number % 2]


def test_a_batch_is_what_the_contract_says(tmp_path):
    data = opened(make_set(tmp_path / "set"), tmp_path, goal_seconds=0.5)
    batch = data.batch(0, 6)
    shapes = {key: tuple(value.shape) for key, value in batch.items() if isinstance(value, torch.Tensor)}
    assert shapes == {
        "images.front": (6, 16, 24, 3),
        "state": (6, 3),
        "action": (6, 4, 3),
        "action_is_pad": (6, 4),
        "progress": (6,),
        "keyframe_state": (6, 3),
        "keyframe_valid": (6,),
        "goal.front": (6, 16, 24, 3),
    }
    kinds = {key: value.dtype for key, value in batch.items() if isinstance(value, torch.Tensor)}
    assert kinds["images.front"] == kinds["goal.front"] == torch.uint8
    assert kinds["action_is_pad"] == kinds["keyframe_valid"] == torch.bool
    assert {kinds[key] for key in ("state", "action", "progress", "keyframe_state")} == {torch.float32}
    assert len(batch["instruction"]) == len(batch["subtask"]) == 6
    assert set(batch["subtask"]) == {""}


def frames_of(batch, data, episodes):
    """Episode and frame of each sample of a batch, found by its state."""
    states = [data.episode(number, held_out=False)["state"] for number in range(episodes)]
    found = []
    for state in batch["state"].numpy():
        matches = [(k, int(i)) for k, own in enumerate(states) for i in np.flatnonzero((own == state).all(axis=1))]
        assert len(matches) == 1
        found += matches
    return found


def test_samples_belong_together(tmp_path):
    data = opened(make_set(tmp_path / "set"), tmp_path, goal_seconds=0.5)
    batch = data.batch(0, data.frames)
    episodes = [data.episode(number, held_out=False) for number in range(3)]
    places = frames_of(batch, data, 3)
    assert sorted(places) == [(k, i) for k, n in enumerate((12, 9, 10)) for i in range(n)]
    for row, (number, frame) in enumerate(places):
        episode, length = episodes[number], len(episodes[number]["state"])
        assert abs(shades(batch["images.front"][row : row + 1])[0] - grey(number, frame)) < STEP / 2
        ahead = min(frame + 5, length - 1)
        assert abs(shades(batch["goal.front"][row : row + 1])[0] - grey(number, ahead)) < STEP / 2
        steps = np.arange(frame, frame + 4)
        np.testing.assert_array_equal(batch["action"][row], episode["action"][np.minimum(steps, length - 1)])
        np.testing.assert_array_equal(batch["action_is_pad"][row], steps >= length)
        assert batch["progress"][row] == pytest.approx(frame / (length - 1))
        # The gripper closes in the middle; after that the last frame is the keyframe.
        keyframe = length // 2 if frame < length // 2 else length - 1
        np.testing.assert_array_equal(batch["keyframe_state"][row], episode["state"][keyframe])
        assert batch["keyframe_valid"][row] == (frame < length - 1)
        assert batch["instruction"][row] == episode["instruction"]


def test_batches_follow_from_seed_step_and_rank(tmp_path):
    root = make_set(tmp_path / "set")
    data, again, other = (opened(root, tmp_path, seed=seed) for seed in (1, 1, 2))

    def states(own, *where):
        return own.batch(*where)["state"]

    assert torch.equal(states(data, 7, 4), states(again, 7, 4))
    assert not torch.equal(states(data, 7, 4), states(other, 7, 4))
    whole = states(data, 3, 8)
    parts = [states(data, 3, 4, rank, 2) for rank in (0, 1)]
    assert torch.equal(whole, torch.cat(parts))
    ahead = data.prefetched(5, 4)
    for step in range(5, 25):
        assert torch.equal(next(ahead)["state"], states(data, step, 4))
    ahead.close()


def test_an_epoch_is_each_frame_once(tmp_path):
    data = opened(make_set(tmp_path / "set"), tmp_path)
    assert (data.frames, data.episodes, data.steps_per_epoch(4)) == (31, 3, 8)
    for epoch in (0, 1):
        seen = torch.cat([data.batch(31 * epoch + step, 1)["state"] for step in range(31)])
        assert len(torch.unique(seen, dim=0)) == 31


def test_held_out_episodes_are_whole_and_stay_out(tmp_path):
    root = make_set(tmp_path / "set", lengths=(6, 5, 7, 8, 6, 5))
    data = opened(root, tmp_path, held_out=0.34)
    assert len(data.held_out_episodes) == 2
    assert data.episodes == 4
    assert data.held_out_episodes == opened(root, tmp_path, held_out=0.34).held_out_episodes
    inside = {tuple(row) for row in data.batch(0, data.frames)["state"].tolist()}
    outside = {tuple(row) for k in range(2) for row in data.episode(k)["state"].tolist()}
    assert not inside & outside
    assert len(inside | outside) == 37
    assert str(data.held_out_episodes[0]) == data.episode(0)["name"]
    seen = [tuple(row) for batch in data.held_out_batches(4, 100) for row in batch["state"].tolist()]
    assert len(seen) == len(set(seen))
    assert set(seen) == outside
    assert len(list(data.held_out_batches(4, 2))) == 2
    # At least one of two, however small the share, and none of one.
    assert len(opened(root, tmp_path, held_out=0.01).held_out_episodes) == 1
    one = opened([DatasetChoice(str(root), episodes=[2])], tmp_path, held_out=0.5)
    assert (one.episodes, one.frames, one.held_out_episodes) == (1, 7, [])
    assert any("nothing will be measured" in line for line in one.lines)
    assert list(one.held_out_batches(4, 2)) == []


def test_statistics_are_exact_over_what_is_trained_on(tmp_path):
    data = opened(make_set(tmp_path / "set", lengths=(30, 40, 20)), tmp_path, held_out=0.3)
    batch = data.batch(0, data.frames)
    for kind, values in (("state", batch["state"]), ("action", batch["action"][:, 0])):
        values, found = values.double().numpy(), data.features.statistics[kind]
        assert found["count"] == [len(values)]
        expected = {"mean": values.mean(0), "std": values.std(0), "min": values.min(0), "max": values.max(0)}
        expected |= {"q01": np.quantile(values, 0.01, axis=0), "q99": np.quantile(values, 0.99, axis=0)}
        for name, numbers in expected.items():
            np.testing.assert_allclose(found[name], numbers, rtol=1e-6, atol=1e-9, err_msg=f"{kind} {name}")


def test_statistics_of_chunks_are_over_every_action_that_follows_a_frame(tmp_path):
    data = opened(make_set(tmp_path / "set", lengths=(30, 40, 20)), tmp_path, held_out=0.3, chunk_size=5)
    batch = data.batch(0, data.frames)
    ahead = batch["action"] - batch["state"][:, None, : batch["action"].shape[2]]
    values = ahead[~batch["action_is_pad"]].double().numpy()
    found = data.chunk_statistics(lambda action, state: action - state[:, : action.shape[1]])
    assert found["count"] == [len(values)]
    for name, numbers in {"mean": values.mean(0), "std": values.std(0), "max": values.max(0)}.items():
        np.testing.assert_allclose(found[name], numbers, rtol=1e-5, atol=1e-6, err_msg=name)
    span = np.ptp(values, axis=0)
    assert (np.abs(np.array(found["q01"]) - np.quantile(values, 0.01, axis=0)) < 0.02 * span).all()


def test_quantiles_of_two_tasks_taken_together_are_those_of_all_frames(tmp_path):
    """Means of the episodes' quantiles, which LeRobot's tools write, lie well inside."""

    def action(episode, length):
        return np.random.default_rng(episode).normal(2 * (episode % 2) - 1, 0.001, (length, 3))

    root = make_set(tmp_path / "set", lengths=(200, 200), columns={"action": action}, cameras={})
    stated = {"mean": [0.0] * 3, "min": [-1.01] * 3, "q01": [-0.001] * 3, "q99": [0.001, 0.001, 0.999]}
    (root / "meta/stats.json").write_text(json.dumps({"action": stated}))
    data = opened(root, tmp_path)
    found = data.features.statistics["action"]
    assert np.abs(np.array(found["q01"]) + 1).max() < 0.02
    assert np.abs(np.array(found["q99"]) - 1).max() < 0.02
    said = [line for line in data.lines if "stats.json" in line]
    assert any("the q01 of action is -0.001 in dimension" in line and "(d" in line for line in said)
    assert any("the q99 of action is 0.001" in line for line in said)
    assert not any("mean of action" in line for line in said)
    assert any("says nothing of observation.state" in line for line in said)


def test_weights_share_the_samples_out(tmp_path):
    first = make_set(tmp_path / "first", lengths=(40,), tasks=("First.",))
    second = make_set(tmp_path / "second", lengths=(10, 10), tasks=("Second.",), version="v2.1")
    choices = [DatasetChoice(str(first), 1.0), DatasetChoice(str(second), 3.0)]
    data = opened(choices, tmp_path)
    assert (data.frames, data.episodes) == (60, 3)
    said = data.batch(0, 60)["instruction"]
    assert (said.count("First."), said.count("Second.")) == (15, 45)
    batch = data.batch(0, 60)
    levels = shades(batch["images.front"])
    known = {"First.": [grey(0, k) for k in range(40)], "Second.": [grey(e, k) for e in (0, 1) for k in range(10)]}
    for level, text in zip(levels, said, strict=True):
        assert min(abs(level - each) for each in known[text]) < STEP / 2
    own = opened(first, tmp_path).features.statistics["state"]["count"]
    assert data.features.statistics["state"]["count"] == [own[0] + 20]


def said_in(rows):
    """``language_persistent`` of an episode of LeRobot 0.6."""
    common = {"role": "assistant", "camera": None, "tool_calls": None}
    return [{**common, "style": style, "content": text, "timestamp": at} for style, text, at in rows]


LANGUAGE = {"language_persistent": {"dtype": "language", "shape": [1], "names": None}}


def test_subtasks_come_from_what_is_said(tmp_path):
    rows = [("plan", "1. Reach.\n2. Grasp.", 0.0), ("subtask", "Grasp.", 0.6), ("subtask", "Reach.", 0.2)]
    root = make_set(
        tmp_path / "set",
        lengths=(10, 8),
        extra=LANGUAGE,
        columns={"language_persistent": lambda e, n: [said_in(rows if e == 0 else [])] * n},
    )
    data = opened(root, tmp_path, goal_seconds=0.3)
    first, second = (data.episode(k, held_out=False) for k in (0, 1))
    assert first["subtask"] == ["", "", "Reach.", "Reach.", "Reach.", "Reach.", *["Grasp."] * 4]
    assert second["subtask"] == [""] * 8
    expected = [np.nan, np.nan, 0, 1 / 3, 2 / 3, 1, 0, 1 / 3, 2 / 3, 1]
    np.testing.assert_allclose(first["progress"], expected, rtol=1e-6)
    np.testing.assert_allclose(second["progress"], np.arange(8) / 7, rtol=1e-6)
    assert any("in 1 of 2 episodes, from language_persistent" in line for line in data.lines)
    batch = data.batch(0, 18)
    ends = {}
    for row, (number, frame) in enumerate(frames_of(batch, data, 2)):
        ends[number, frame] = shades(batch["goal.front"][row : row + 1])[0]
    # A sub-task's goal is the first frame after it; elsewhere 0.3 s ahead.
    for (number, frame), goal in {(0, 2): 6, (0, 5): 6, (0, 6): 9, (0, 0): 3, (1, 0): 3, (1, 7): 7}.items():
        assert abs(ends[number, frame] - grey(number, goal)) < STEP / 2


def test_subtasks_come_from_numbers_and_their_file(tmp_path):
    entry = {"subtask_index": {"dtype": "int64", "shape": [1], "names": None}}
    numbers = {"subtask_index": lambda e, n: np.array([1, 1, 1, 0, 0, 0, 1, 1])}
    root = make_set(tmp_path / "set", lengths=(8, 8), extra=entry, columns=numbers)
    table = pa.table({"subtask_index": [0, 1], "subtask": ["Grasp.", "Reach."]})
    pa.parquet.write_table(table, root / "meta/subtasks.parquet")
    data = opened(root, tmp_path)
    assert data.episode(0, False)["subtask"] == ["Reach."] * 3 + ["Grasp."] * 3 + ["Reach."] * 2
    np.testing.assert_allclose(data.episode(0, False)["progress"], [0, 0.5, 1, 0, 0.5, 1, 0, 1])
    assert any("in 2 of 2 episodes, from subtask_index" in line for line in data.lines)


def test_what_failed_episodes_ended_with_was_not_done(tmp_path):
    entry = {"next.success": {"dtype": "bool", "shape": [1], "names": None}}
    reached = {"next.success": lambda e, n: np.arange(n) == (n - 1 if e == 0 else n)}
    data = opened(make_set(tmp_path / "set", lengths=(5, 5), extra=entry, columns=reached), tmp_path)
    np.testing.assert_allclose(data.episode(0, False)["progress"], np.arange(5) / 4)
    assert np.isnan(data.episode(1, False)["progress"]).all()
    assert any("success: 1 of 2 episodes" in line for line in data.lines)


def test_the_lines_say_what_is_lacking(tmp_path):
    flat = {"action": lambda e, n: np.column_stack([np.linspace(0, 1, n), np.full(n, 0.25), np.zeros(n)])}
    entry = {"observation.environment_state": {"dtype": "float32", "shape": [2], "names": None}}
    more = {"observation.environment_state": lambda e, n: np.zeros((n, 2), np.float32)}
    root = make_set(tmp_path / "set", columns={**flat, **more}, extra=entry)
    said = "\n".join(opened(root, tmp_path).lines)
    for part in (
        "sub-tasks: none",
        "success: not recorded",
        "calibration: none",
        "goal pictures: not asked for",
        "observation.environment_state is not read",
        "action: dy, gripper never changes",
        "3 of 3 episodes, 31 frames at 10 Hz, LeRobotDataset v3.0",
        "keyframes: changes of the command of gripper",
    ):
        assert part in said, part


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, ("state_0", "state_1", "state_2")),
        (["a", "b"], ("state_0", "state_1", "state_2")),
        ({"motors": ["p", "q", "r"]}, ("p", "q", "r")),
        ({"axes": ["p", "q"], "hand": ["r"]}, ("p", "q", "r")),
        ({"r": 2, "p": 0, "q": 1}, ("p", "q", "r")),
        ([["p", "q"], ["r"]], ("p", "q", "r")),
    ],
)
def test_names_of_numbers_come_in_many_forms(tmp_path, names, expected):
    root = make_set(tmp_path / "set", cameras={})
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.state"]["names"] = names
    change_info(root, features=info["features"])
    assert opened(root, tmp_path).features.state_names == expected


def test_numbers_of_any_type_are_read(tmp_path):
    entry = {
        "observation.state": {"dtype": "float64", "shape": [2], "names": None},
        "action": {"dtype": "int64", "shape": [1], "names": None},
    }
    columns = {
        "observation.state": lambda e, n: np.arange(2.0 * n).reshape(n, 2),
        "action": lambda e, n: np.arange(n) % 2 == 0,
    }
    data = opened(make_set(tmp_path / "set", cameras={}, extra=entry, columns=columns), tmp_path)
    assert data.episode(0, False)["state"].dtype == np.float32
    np.testing.assert_array_equal(data.episode(0, False)["action"][:4, 0], [1, 0, 1, 0])
    assert data.batch(0, 2)["action"].shape == (2, 4, 1)


def test_a_single_camera_and_channels_first(tmp_path):
    """Sets of one camera call it ``observation.image``; some give shapes with the channels first."""
    root = make_set(tmp_path / "set", cameras={"x": (32, 48)}, images=True)
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.image"] = {
        "dtype": "image",
        "shape": [3, 32, 48],
        "names": ["channel", "height", "width"],
    }
    del info["features"]["observation.images.x"]
    change_info(root, features=info["features"])
    path = root / "data/chunk-000/file-000.parquet"
    table = pa.parquet.read_table(path)
    names = ["observation.image" if name == "observation.images.x" else name for name in table.column_names]
    pa.parquet.write_table(table.rename_columns(names), path)
    data = opened(root, tmp_path)
    assert [(c.name, c.height, c.width) for c in data.features.cameras] == [("image", 16, 24)]
    assert data.batch(0, 3)["images.image"].shape == (3, 16, 24, 3)


def test_decoding_is_done_once(tmp_path, monkeypatch):
    root = make_set(tmp_path / "set")
    first = opened(root, tmp_path).batch(0, 8)

    def again(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(cache_filling, "decode_run", again)
    second = opened(root, tmp_path).batch(0, 8)
    assert torch.equal(first["images.front"], second["images.front"])
    with pytest.raises(AssertionError, match="decoded again"):
        opened(root, tmp_path, image_height=24)
    shutil.copytree(root, tmp_path / "other")
    with pytest.raises(AssertionError, match="decoded again"):
        opened(tmp_path / "other", tmp_path)


def test_decoding_goes_on_after_a_kill_and_other_episodes_add_to_it(tmp_path, monkeypatch):
    root = make_set(tmp_path / "set", version="v2.1", lengths=(12, 9, 10))
    decoded, decode = [], cache_filling.decode_run

    def killed(folder, run, fps):
        if run.episodes[0].number == 1 and len(decoded) < 4:
            raise KeyboardInterrupt
        decoded.append([episode.number for episode in run.episodes])
        yield from decode(folder, run, fps)

    monkeypatch.setattr(cache_filling, "decode_run", killed)
    monkeypatch.setattr(cache_filling.os, "cpu_count", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        opened(root, tmp_path)
    assert [0] in decoded
    assert [1] not in decoded
    decoded[:] = [[]] * 4
    opened([DatasetChoice(str(root), episodes=[1])], tmp_path)
    assert decoded[4:] == [[1]]
    data = opened(root, tmp_path)
    # The third may have been decoded to its end before the kill was noticed, or halfway, or not at all.
    assert decoded[4:] in ([[1]], [[1], [2]])
    for number, length in enumerate((12, 9, 10)):
        expected = [grey(number, frame) for frame in range(length)]
        assert np.abs(shades(data.episode(number, False)["images.front"]) - expected).max() < STEP / 2


def test_what_was_last_used_longest_ago_makes_room(tmp_path):
    roots = [make_set(tmp_path / f"set{k}") for k in range(4)]
    cache, size = tmp_path / "cache", 31 * 16 * 24 * 3
    opened(roots[0], tmp_path)
    opened(roots[1], tmp_path)
    opened(roots[0], tmp_path)
    (second, first) = sorted(cache.iterdir(), key=lambda folder: (folder / ".in-use").stat().st_mtime)
    taken = sum(path.stat().st_blocks * 512 for path in first.iterdir())
    limit = (2 * taken + size) / 1e9
    opened(roots[2], tmp_path, cache_limit_gb=(taken + 2 * size) / 1e9)
    assert first.exists()
    assert not second.exists()
    kept = opened(roots[2], tmp_path)  # in use: it is not removed
    before = kept.batch(0, 4)["images.front"]
    opened(roots[3], tmp_path, cache_limit_gb=limit / 3)
    assert not first.exists()
    assert len(list(cache.iterdir())) == 2
    assert torch.equal(kept.batch(0, 4)["images.front"], before)


def test_of_two_that_open_a_set_at_once_one_decodes(tmp_path, monkeypatch):
    root = make_set(tmp_path / "set", version="v2.1", cameras={"front": (32, 48), "wrist": (32, 48)})
    decoded, decode = [], cache_filling.decode_run

    def counted(folder, run, fps):
        decoded.append((run.camera.name, run.episodes[0].number))
        yield from decode(folder, run, fps)

    monkeypatch.setattr(cache_filling, "decode_run", counted)
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(lambda _: opened(root, tmp_path), range(2))
    assert sorted(decoded) == [(camera, number) for camera in ("front", "wrist") for number in range(3)]
    assert torch.equal(one.batch(0, 8)["images.wrist"], other.batch(0, 8)["images.wrist"])


def test_a_video_that_was_made_anew_is_decoded_anew(tmp_path):
    root = make_set(tmp_path / "set", lengths=(6,))
    assert opened(root, tmp_path).episode(0, False)["images.front"].mean() < 100
    path = root / "videos/observation.images.front/chunk-000/file-000.mp4"
    write_video(path, [np.full((32, 48, 3), 200, np.uint8)] * 6)
    assert opened(root, tmp_path).episode(0, False)["images.front"].mean() > 190
