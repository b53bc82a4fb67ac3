"""What LeRobot makes of a set collected here: its trainers take the right features, its tools lose no words.

What the format asks for is tested always, LeRobot itself where ``LOHOVLA_TEST_LEROBOT`` names a Python that has it
(0.6 or later; it needs versions of torch and transformers of its own).
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lohovla.data import dataset_layout
from lohovla.data.dataset_metadata import read_info
from lohovla.data.parquet import decode_stored_picture

from .conftest import opened

PROGRAM = Path(__file__).parent.parent / "data" / "with_lerobot.py"


def tables_of(root):
    return [pq.read_table(path) for path in sorted((Path(root) / "data").glob("*/*.parquet"))]


def test_trainers_find_only_what_a_network_reads_and_says(small):
    """LeRobot: pictures are inputs whatever their name, and so is ``observation*``; ``action*`` is an output."""
    features = read_info(small)["features"]
    pictures = {name for name, entry in features.items() if entry["dtype"] in ("image", "video")}
    others = features.keys() - pictures
    assert pictures == {"observation.images.top"}
    assert {name for name in others if name.startswith("observation")} == {"observation.state"}
    assert {name for name in others if name.startswith("action")} == {"action"}
    depth = features["depth.top"]["info"]
    assert (depth["is_depth_map"], depth["depth_unit"]) == (True, "m")
    assert (depth["height"], depth["width"]) == (16, 32)
    assert features["observation.images.top"]["info"]["is_depth_map"] is False
    assert features["language_persistent"] == {"dtype": "language", "shape": [1], "names": None}
    stats = json.loads((small / dataset_layout.STATS).read_text())
    texts = [text for table in tables_of(small) for text in table["depth.top"].to_pylist()]
    metres = [decode_stored_picture(text)[::2, ::2] * depth["unit"] for text in texts]
    assert stats["depth.top"]["mean"] == pytest.approx([np.mean(metres)], rel=1e-5)


def with_lerobot(*words):
    python = os.environ.get("LOHOVLA_TEST_LEROBOT")
    if not python:
        pytest.skip("LOHOVLA_TEST_LEROBOT names no Python with lerobot")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(Path(words[-1]).parent / "hf")}
    done = subprocess.run(
        [python, str(PROGRAM), *map(str, words)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_what_its_own_writer_made_is_read_as_it_reads_it(tmp_path):
    frames = with_lerobot("write", tmp_path / "set", tmp_path / "seen")
    data, seen = opened(tmp_path / "set", tmp_path / "cache", image_height=64), np.load(tmp_path / "seen.npz")
    assert (data.frames, data.episodes, data.features.fps) == (frames, 3, 15)
    assert data.features.action_names == ("shoulder.pos", "elbow.pos", "gripper.pos")
    wrong = [line for line in data.lines if "stats.json" in line]  # its quantiles are means of the episodes'
    assert wrong
    assert all("the q01 of" in line or "the q99 of" in line for line in wrong)
    for number in range(3):
        own, episode = seen["episode_index"] == number, data.episode(number, held_out=False)
        np.testing.assert_array_equal(episode["state"], seen["observation.state"][own])
        np.testing.assert_array_equal(episode["action"], seen["action"][own])
        assert episode["instruction"] == seen["task"][own][0]
        pictures = 255 * seen["observation.images.front"][own].transpose(0, 2, 3, 1)
        assert np.abs(episode["images.front"] - pictures).max() < 3  # of two decoders


def test_act_trains_on_it(small):
    seen = with_lerobot("train", small)
    assert seen["inputs"] == {"observation.images.top": [3, 16, 32], "observation.state": [13]}
    assert seen["outputs"] == {"action": [8]}
    assert seen["ranges"].keys() == seen["inputs"].keys() | seen["outputs"].keys()
    assert all(-6.0 < low < high < 6.0 for low, high in seen["ranges"].values()), seen["ranges"]


def test_its_tools_keep_subtasks_plans_and_depth(small, tmp_path):
    def told(root):
        """What must come through of each frame, by the fingerprint of the simulator's state."""
        data, rows = opened(root, tmp_path / "cache"), {}
        numbers = [row for table in tables_of(root) for row in table.to_pylist()]
        said = [text for number in range(data.episodes) for text in data.episode(number, held_out=False)["subtask"]]
        for row, subtask in zip(numbers, said, strict=True):
            plans = [each["content"] for each in row["language_persistent"] if each["style"] == "plan"]
            rows[row["hash.physics"]] = (subtask, plans, row["depth.top"])
        return rows

    known = told(small)
    assert all(all(row) for row in list(known.values())[:-1])
    sets = with_lerobot("edit", small, tmp_path / "out")
    assert len(sets) == 4
    for folder in sets:
        assert not Path(folder, dataset_layout.SUBTASKS).exists()  # what lerobot leaves out
        for state, row in told(folder).items():
            assert row == known[state]
