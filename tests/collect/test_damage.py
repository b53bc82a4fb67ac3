"""Whatever happens to a file of a data set, every command says in one line which file it is; none crashes."""

import functools
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lohovla.cli import main
from lohovla.collect.replay import Replayer
from lohovla.data import dataset_layout
from lohovla.data.check_dataset import check_dataset
from lohovla.data.dataset_metadata import read_info
from lohovla.data.writer import DatasetWriter
from lohovla.errors import UserError

from .conftest import opened

FILES = [
    dataset_layout.INFO,
    dataset_layout.STATS,
    dataset_layout.TASKS,
    dataset_layout.SUBTASKS,
    dataset_layout.ORIGIN,
    "meta/episodes/chunk-000/file-000.parquet",
    "meta/episodes/chunk-000/file-001.parquet",
    "data/chunk-000/file-000.parquet",
    "videos/observation.images.top/chunk-000/file-000.mp4",
    "states/chunk-000/file-001.npz",
]


def flip(data):
    return data[: len(data) // 3] + bytes([data[len(data) // 3] ^ 0xFF]) + data[len(data) // 3 + 1 :]


DAMAGES = {
    "cut": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "zeroed": lambda data: bytes(len(data)),
    "junk": lambda data: np.random.default_rng(0).bytes(len(data)),
    "no object": lambda data: b"[]",
    "empty object": lambda data: b"{}",
    "flipped": flip,
    "deleted": None,
}


def damage(root, name, how):
    if DAMAGES[how] is None:
        (root / name).unlink()
    else:
        (root / name).write_bytes(DAMAGES[how]((root / name).read_bytes()))


def read_everything(root):
    opened(root, root.parent / "cache", image_height=16, goal_seconds=1.0)


def replay(root):
    player = Replayer(root)
    for row in player._rows:
        player._recorded(row)


def append(root, features, origin):
    own = {
        k: v
        for k, v in features.items()
        if k not in (*dataset_layout.AUTOMATIC, "subtask_index", "language_persistent")
    }
    DatasetWriter(root, own, 1, origin, "ur5e").close()


def refusal(use, root):
    try:
        use(root)
    except UserError as error:
        return error
    return None


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_damage_is_one_line_everywhere(small, tmp_path, name, how, capsys):
    root = tmp_path / "set"
    shutil.copytree(small, root)
    features, origin = read_info(root)["features"], json.loads((root / dataset_layout.ORIGIN).read_text())
    damage(root, name, how)
    lines = list(check_dataset(root))
    # A bit may hit what nobody reads; only sets as they were collected say how; sub-tasks are in the frames as well.
    spared = {
        ("deleted", dataset_layout.ORIGIN),
        ("empty object", dataset_layout.ORIGIN),
        ("deleted", dataset_layout.SUBTASKS),
    }
    told = (how, name) not in spared and (how != "flipped" or name.startswith("data"))
    assert told <= len(lines) <= 2, lines
    assert all("\n" not in line for line in lines)
    assert main(["data", "check", str(root)]) == bool(lines)
    assert main(["data", "info", str(root)]) in (0, 2)
    uses = (read_everything, replay, functools.partial(append, features=features, origin=origin))
    refused = [error for use in uses if (error := refusal(use, root))]
    assert all("\n" not in error.cause and str(root) in error.cause and error.remedy for error in refused)
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err


def test_a_damaged_set_ends_commands_with_two_lines(small, tmp_path, capsys):
    root = tmp_path / "set"
    shutil.copytree(small, root)
    damage(root, "data/chunk-000/file-000.parquet", "cut")
    for words in (["replay", str(root)], ["replay", str(root), "episode=all"]):
        assert main(words) == 2
        cause, remedy = capsys.readouterr().err.splitlines()[-2:]
        assert "data/chunk-000/file-000.parquet cannot be read" in cause
        assert f"`lohovla data check {root}`" in remedy
    damage(root, "meta/episodes/chunk-000/file-001.parquet", "junk")
    for words in (["replay", str(root)], ["data", "info", str(root)]):
        assert main(words) == 2
        assert "meta/episodes/chunk-000/file-001.parquet cannot be read" in capsys.readouterr().err


def test_columns_of_another_kind_are_refused(small, tmp_path):
    for name, values in (("action", ["a"]), ("episode_index", ["a"]), ("timestamp", [None]), ("action", [[1.0]])):
        root = tmp_path / f"{name}-{values[0]}"
        shutil.copytree(small, root)
        path = dataset_layout.path_of(root, dataset_layout.DATA_PATH, 0)
        table = pq.read_table(path)
        changed = table.set_column(table.column_names.index(name), name, pa.array(values * len(table)))
        pq.write_table(changed, path)
        with pytest.raises(UserError, match=name):
            opened(root, tmp_path / "cache")
        assert any(name in line for line in check_dataset(root))


def drop_words(root):
    """What lerobot 0.6's tools did to sets that had their sub-tasks in a file beside the frames only."""
    (root / dataset_layout.SUBTASKS).unlink()
    info = json.loads((root / dataset_layout.INFO).read_text())
    del info["features"]["language_persistent"]
    (root / dataset_layout.INFO).write_text(json.dumps(info))


def test_lost_subtasks_are_refused(small, tmp_path, capsys):
    root = tmp_path / "set"
    shutil.copytree(small, root)
    drop_words(root)
    with pytest.raises(UserError, match=r"meta/subtasks\.parquet with their words is missing") as caught:
        opened(root, tmp_path / "cache")
    assert "copy meta/subtasks.parquet" in caught.value.remedy
    assert main(["data", "check", str(root)]) == 1
    said = capsys.readouterr().out
    assert "meta/subtasks.parquet with their words is missing; copy meta/subtasks.parquet from" in said
    assert said.splitlines()[-1].endswith(" 1 problems")


def subtasks_of(root, cache):
    data = opened(root, cache, cameras=[])
    return [data.episode(number, held_out=False)["subtask"] for number in range(data.episodes)]


def test_subtasks_come_from_the_frames_where_their_file_is_gone(small, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(small, root)
    (root / dataset_layout.SUBTASKS).unlink()
    assert subtasks_of(root, tmp_path) == subtasks_of(small, tmp_path)
    assert all(sentence for said in subtasks_of(root, tmp_path) for sentence in said)
    assert list(check_dataset(root)) == []


def test_sets_without_the_column_are_read_by_number(small, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(small, root)
    info = json.loads((root / dataset_layout.INFO).read_text())
    del info["features"]["language_persistent"]
    (root / dataset_layout.INFO).write_text(json.dumps(info))
    assert subtasks_of(root, tmp_path) == subtasks_of(small, tmp_path)


def test_words_that_disagree_are_found(small, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(small, root)
    path = dataset_layout.path_of(root, dataset_layout.DATA_PATH, 0)
    table = pq.read_table(path)
    at = table.column_names.index("subtask_index")
    pq.write_table(table.set_column(at, "subtask_index", table["subtask_index"].combine_chunks()[::-1]), path)
    assert any("say different sub-tasks at frame 0" in line for line in check_dataset(root))


def test_sets_of_before_are_read(small, tmp_path):
    """Depth was pictures of their own type under ``observation.``, and what was sent ``action.executed``."""
    import base64

    root = tmp_path / "set"
    shutil.copytree(small, root)
    info = json.loads((root / dataset_layout.INFO).read_text())
    old = info["features"]
    old["action.executed"] = old.pop("executed_action")
    unit = old.pop("depth.top")["info"]["unit"]
    old["observation.depth.top"] = {"dtype": "image", "shape": [16, 32, 1], "names": None, "info": {"unit": unit}}
    del old["language_persistent"]
    (root / dataset_layout.INFO).write_text(json.dumps(info))
    for episode in (0, 1):
        path = dataset_layout.path_of(root, dataset_layout.DATA_PATH, episode)
        table = pq.read_table(path).drop_columns(["language_persistent"])
        pictures = [{"bytes": base64.b64decode(text), "path": None} for text in table["depth.top"].to_pylist()]
        table = table.append_column("observation.depth.top", pa.array(pictures)).drop_columns(["depth.top"])
        names = ["action.executed" if name == "executed_action" else name for name in table.column_names]
        pq.write_table(table.rename_columns(names), path)
    replay(root)
    before, now = (opened(each, tmp_path / "cache") for each in (root, small))
    assert [camera.name for camera in before.features.cameras] == ["top"]
    assert any("depth: observation.depth.top; not read" in line for line in before.lines)
    for number in (0, 1):
        was, own = (data.episode(number, held_out=False) for data in (before, now))
        assert was["subtask"] == own["subtask"]
        np.testing.assert_array_equal(was["action"], own["action"])
