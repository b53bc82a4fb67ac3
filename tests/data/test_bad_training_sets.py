"""What cannot be trained on is said before training begins: one line of what and where, one of what to do."""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from lohovla.data import cache_filling, cache_room
from lohovla.data.training_set import DatasetChoice, TrainingSet
from lohovla.errors import UserError

from .lerobot_sets import change_info, change_table, make_set, write_video
from .test_training_set import opened

TABLE = "data/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.front/chunk-000/file-000.mp4"


def refused(root, tmp_path, **changes):
    """What is said of a data set that cannot be used; nothing may have been decoded by then."""
    with pytest.raises(UserError) as caught:
        opened(root, tmp_path, **changes)
    assert "\n" not in caught.value.cause + caught.value.remedy
    assert caught.value.remedy
    return caught.value


def test_no_set_and_an_empty_set(tmp_path):
    assert "no data set named" in refused([], tmp_path).cause
    root = make_set(tmp_path / "set", lengths=(3,), version="v2.1")
    (root / "meta/episodes.jsonl").write_text("")
    change_info(root, total_episodes=0, total_frames=0)
    assert "has no episodes to train on" in refused(root, tmp_path).cause


def test_what_is_no_set(tmp_path):
    (tmp_path / "plain").mkdir()
    assert "is not a data set: it has no meta/info.json" in refused(tmp_path / "plain", tmp_path).cause
    assert "there is no folder" in refused(tmp_path / "nowhere", tmp_path).cause
    for version in ("v1.6", "v4.0", "new"):
        root = make_set(tmp_path / version)
        change_info(root, codebase_version=version)
        assert f"has version {version}, not v3.x or v2.x" in refused(root, tmp_path).cause


def test_unknown_episodes_weights_and_names(tmp_path):
    root = make_set(tmp_path / "set")
    assert "has no episode 7" in refused([DatasetChoice(str(root), episodes=[1, 7])], tmp_path).cause
    assert "the weight 0" in refused([DatasetChoice(str(root), weight=0)], tmp_path).cause
    assert "has no camera side: it has front" in refused(root, tmp_path, cameras=["side"]).cause
    assert "has no 'top' to rename" in refused(root, tmp_path, rename={"top": "front"}).cause


def test_a_name_that_does_not_fit_prints_the_setting_to_write(tmp_path):
    root = make_set(tmp_path / "set")
    error = refused(root, tmp_path, cameras=["camera_front"])
    assert "'rename={front: camera_front}'" in error.remedy
    data = opened(root, tmp_path, cameras=["camera_front"], rename={"front": "camera_front"})
    assert data.features.cameras[0].name == "camera_front"
    assert "images.camera_front" in data.batch(0, 2)
    two = make_set(tmp_path / "two", cameras={"front": (32, 48), "hand": (32, 48)})
    error = refused(two, tmp_path, cameras=["top", "wrist"], rename={"front": "top"})
    assert "'rename={front: top, hand: wrist}'" in error.remedy


def test_features_of_other_names_are_refused_with_the_setting_that_reads_them(tmp_path):
    root = make_set(tmp_path / "set", images=True)
    names = {"observation.images.front": "wrist_image", "observation.state": "state", "action": "actions"}
    info = json.loads((root / "meta/info.json").read_text())
    change_info(root, features={names.get(name, name): entry for name, entry in info["features"].items()})
    table = pq.read_table(root / TABLE)
    pq.write_table(table.rename_columns([names.get(name, name) for name in table.column_names]), root / TABLE)
    error = refused(root, tmp_path)
    assert "actions, state, wrist_image" in error.cause
    assert "'rename={actions: action, state: observation.state, wrist_image: wrist_image}'" in error.remedy
    rename = {"actions": "action", "state": "observation.state", "wrist_image": "wrist"}
    data = opened(root, tmp_path, rename=rename)
    assert data.features.cameras[0].name == "wrist"
    assert data.features.action_names == ("dx", "dy", "gripper")
    assert data.batch(0, 2)["images.wrist"].shape == (2, 16, 24, 3)


def test_a_set_without_actions(tmp_path):
    root = make_set(tmp_path / "set")
    info = json.loads((root / "meta/info.json").read_text())
    del info["features"]["action"]
    change_info(root, features=info["features"])
    assert "has no action" in refused(root, tmp_path).cause


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fps": 15}, "15 frames a second, not 10"),
        ({"state_names": ("x", "y")}, "a state of 2 numbers, not 3"),
        ({"action_names": ("dy", "dx", "gripper")}, "the action in another order: number 0 is 'dy', not 'dx'"),
        ({"cameras": {"side": (32, 48)}}, "has no camera front: it has side"),
    ],
)
def test_sets_that_do_not_go_together(tmp_path, change, said):
    roots = [make_set(tmp_path / "one"), make_set(tmp_path / "other", **change)]
    error = refused([DatasetChoice(str(root)) for root in roots], tmp_path)
    assert said in error.cause
    assert str(roots[1]) in error.cause


@pytest.mark.parametrize("column", ["observation.state", "action"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none(tmp_path, column, value):
    def spoil(values):
        values[12 + 5, 1] = value
        return values

    root = make_set(tmp_path / "set")
    change_table(root / TABLE, **{column: spoil})
    cause = refused(root, tmp_path).cause
    name = {"observation.state": "y", "action": "dy"}[column]
    assert f"episode 1, frame 5: {column} holds {value} in dimension 1 ({name})" in cause


def test_times_that_are_off(tmp_path):
    def late(values):
        values[12 + 4] += 0.002
        return values

    root = make_set(tmp_path / "set")
    change_table(root / TABLE, timestamp=late)
    cause = refused(root, tmp_path).cause
    assert "episode 1, frame 4: its time stamp is 0.4020 s where 0.4000 s is due" in cause
    other = make_set(tmp_path / "other")
    change_info(other, fps=20)
    cause = refused(other, tmp_path).cause
    assert "its time stamps are those of 10 frames a second, info.json says 20" in cause


def test_float32_times_far_into_an_episode_are_right(tmp_path):
    root = make_set(tmp_path / "set", lengths=(30000,), cameras={}, fps=30)
    assert opened(root, tmp_path).frames == 30000


def spoil_video(root, how):
    path = root / VIDEO
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-600])
    elif how == "junk":
        path.write_bytes(b"no video at all" * 50)
    elif how == "short":
        write_video(path, [np.zeros((32, 48, 3), np.uint8)] * 25)
    elif how == "size":
        write_video(path, [np.zeros((64, 48, 3), np.uint8)] * 31)
    elif how == "rate":
        write_video(path, [np.zeros((32, 48, 3), np.uint8)] * 62, fps=20)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "is missing"),
        ("cut", "cannot be decoded"),
        ("junk", "cannot be decoded"),
        ("short", "has 25 pictures where 31 frames are due"),
        ("size", "its pictures are 64 x 48, not 32 x 48"),
        ("rate", "more pictures than frames"),
    ],
)
def test_videos_that_are_not_those_of_the_frames(tmp_path, how, said):
    root = make_set(tmp_path / "set")
    spoil_video(root, how)
    cause = refused(root, tmp_path).cause
    assert VIDEO in cause
    assert said in cause


def test_a_damaged_video_is_found_before_any_other_is_decoded(tmp_path, monkeypatch):
    root = make_set(tmp_path / "set", version="v2.1", lengths=(5,) * 6)
    (root / "videos/chunk-000/observation.images.front/episode_000004.mp4").unlink()
    monkeypatch.setattr(cache_filling, "decode_run", lambda *_: pytest.fail("decoding began"))
    assert "episode_000004.mp4 is missing" in refused(root, tmp_path).cause


def test_damage_in_the_middle_is_found_while_decoding(tmp_path):
    root = make_set(tmp_path / "set", lengths=(40, 40), cameras={"front": (64, 96)})
    path = root / VIDEO
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 3
    data[begin : begin + 400] = bytes(400)
    path.write_bytes(data)
    assert VIDEO in refused(root, tmp_path).cause


def test_pictures_in_tables_that_are_none(tmp_path):
    root = make_set(tmp_path / "set", images=True)
    table = pq.read_table(root / TABLE)
    rows = table["observation.images.front"].to_pylist()
    rows[14] = {"bytes": b"no picture", "path": None}
    at = table.column_names.index("observation.images.front")
    pq.write_table(table.set_column(at, "observation.images.front", [rows]), root / TABLE)
    cause = refused(root, tmp_path).cause
    assert TABLE in cause
    assert "no picture" in cause


def test_tables_that_are_damaged(tmp_path):
    for number, (name, spoil) in enumerate(
        {
            TABLE: lambda path: path.write_bytes(path.read_bytes()[:-40]),
            "meta/tasks.parquet": lambda path: path.unlink(),
            "meta/episodes/chunk-000/file-000.parquet": lambda path: path.write_bytes(b"PAR1"),
        }.items()
    ):
        root = make_set(tmp_path / f"set{number}")
        spoil(root / name)
        assert name in refused(root, tmp_path).cause
    old = make_set(tmp_path / "old", version="v2.1")
    (old / "meta/episodes.jsonl").write_text('{"episode_index": 0, "length"')
    assert "meta/episodes.jsonl cannot be read" in refused(old, tmp_path).cause
    fewer = make_set(tmp_path / "fewer")
    change_table(fewer / "meta/episodes/chunk-000/file-000.parquet", length=lambda lengths: lengths + 1)
    assert "has 12 frames of episode 0 instead of 13" in refused(fewer, tmp_path).cause


def test_pictures_that_take_too_much_room(tmp_path, monkeypatch):
    root = make_set(tmp_path / "set")
    error = refused(root, tmp_path, cache_limit_gb=1e-5)
    assert "more than the 1e-05 GB" in error.cause
    assert "a smaller image_height, fewer cameras=[...] or episodes=[...]" in error.remedy
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(cache_room.shutil, "disk_usage", lambda _: usage._replace(free=100))
    error = refused(root, tmp_path)
    assert "0.0 GB to spare" in error.cause
    assert "cache=FOLDER" in error.remedy
    assert not list((tmp_path / "cache").glob("*/*"))


def test_a_hub_name_without_a_network(tmp_path):
    """With the hub's own client, told that there is no network."""
    program = "from lohovla.data.dataset_folder import *; find_dataset(DatasetChoice('nobody/nothing'))"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "UserError: nobody/nothing is no folder here, and the hub cannot be reached: " in done.stderr


def test_what_the_hub_refuses(tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub import errors

    def refuse(name, **_):
        if name == "a/b":
            raise errors.RepositoryNotFoundError("404", response=SimpleNamespace(headers={}, request=None))
        raise OSError("no route to host")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    assert "is neither a folder nor a data set on the hub" in refused([DatasetChoice("a/b")], tmp_path).cause
    assert "cannot be reached: no route to host" in refused([DatasetChoice("a/c")], tmp_path).cause


def test_of_a_set_on_the_hub_only_what_is_read_is_fetched(tmp_path, monkeypatch):
    import huggingface_hub

    cameras = {"front": (32, 48), "side": (32, 48)}
    remote, here = make_set(tmp_path / "remote", version="v2.1", cameras=cameras), tmp_path / "here"
    asked = []

    def download(name, *, repo_type, revision, allow_patterns):
        asked.append((name, repo_type, revision))
        for pattern in allow_patterns:
            for path in remote.glob(f"{pattern}/*" if pattern.endswith("**") else pattern):
                if path.is_file():
                    target = here / path.relative_to(remote)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, target)
        return str(here)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    choice = DatasetChoice("user/pushing", revision="v3.0", episodes=[0, 2])
    data = opened([choice], tmp_path, cameras=["side"])
    assert data.frames == 22
    assert set(asked) == {("user/pushing", "dataset", "v3.0")}
    fetched = {path.relative_to(here).as_posix() for path in here.rglob("*") if path.suffix in (".mp4", ".parquet")}
    assert fetched == {
        *(f"data/chunk-000/episode_{k:06d}.parquet" for k in (0, 2)),
        *(f"videos/chunk-000/observation.images.side/episode_{k:06d}.mp4" for k in (0, 2)),
    }
    known = len(asked)
    opened([choice], tmp_path, cameras=["side"])
    assert len(asked) == known + 1  # what is here is not asked for again, but for meta, which may have changed


KILLED = """
import sys
from types import SimpleNamespace
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from lohovla.data import cache_filling, cache_room
from lohovla.data.training_set import DatasetChoice, TrainingSet
decode, seen = cache_filling.decode_run, []
def slow(root, run, fps):
    for made in decode(root, run, fps):
        seen.append(made)
        if len(seen) > 13:
            import os
            os.kill(os.getpid(), 9)
        yield made
cache_filling.decode_run = slow
TrainingSet.open([DatasetChoice(sys.argv[1])], rename={}, cameras=None, image_height=16, chunk_size=4, held_out=0,
                 seed=1, cache=Path(sys.argv[2]), progress_bar=False)
"""


def test_a_killed_process_loses_no_more_than_it_was_at(tmp_path):
    root = make_set(tmp_path / "set", version="v2.1")
    words = [sys.executable, "-c", KILLED, str(root), str(tmp_path / "cache"), os.path.dirname(__file__)]
    assert subprocess.run(words, capture_output=True, check=False).returncode == -9
    data = opened(root, tmp_path)
    whole = TrainingSet.open(
        [DatasetChoice(str(root))],
        rename={},
        cameras=None,
        image_height=16,
        chunk_size=4,
        held_out=0.0,
        seed=1,
        cache=tmp_path / "afresh",
        progress_bar=False,
    )
    for number in range(3):
        one, other = (own.episode(number, held_out=False)["images.front"] for own in (data, whole))
        np.testing.assert_array_equal(one, other)
