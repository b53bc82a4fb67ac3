"""LeRobot's batches as the core reads them, and the plugin's set-up; nothing here needs LeRobot."""

import ast
import importlib.util
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from point_world import FPS, PointWorld, tiny_model, write_dataset

from lohovla.data.dataset_folder import DatasetChoice
from lohovla.data.dataset_source import open_source
from lohovla.data.frame_table import frame_table
from lohovla.data.training_set import TrainingSet

PLUGIN = Path(__file__).parents[2] / "plugins/lerobot_policy_lohovla"


@pytest.fixture(scope="module")
def conversion():
    """The module, without its package, whose import needs LeRobot."""
    spec = importlib.util.spec_from_file_location(
        "batch_conversion", PLUGIN / "lerobot_policy_lohovla/batch_conversion.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_lerobot(observations):
    pictures = np.stack([seen["images.top"] for seen in observations])
    return {
        "observation.images.top": torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255,
        "observation.state": torch.from_numpy(np.stack([seen["state"] for seen in observations])),
        "task": [seen["instruction"] for seen in observations],
    }


def test_observations_come_back_to_the_bit(conversion):
    seen = [PointWorld().reset(seed) for seed in (0, 2, 4)]
    seen[0]["images.top"] = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)  # every value
    for told, was in zip(conversion.observations_of(as_lerobot(seen)), seen, strict=True):
        assert told.keys() == was.keys()
        np.testing.assert_array_equal(told["images.top"], was["images.top"])
        assert told["state"].tobytes() == was["state"].tobytes()
        assert told["instruction"] == was["instruction"]


def test_an_environment_without_words_is_told_them(conversion):
    batch = as_lerobot([PointWorld().reset(0)])
    batch["task"] = [""]
    assert conversion.observations_of(batch, "Go.")[0]["instruction"] == "Go."
    with pytest.raises(ValueError, match=r"--policy\.instruction"):
        conversion.observations_of(batch)


def test_other_pictures_are_refused(conversion):
    with pytest.raises(ValueError, match="one observation each"):
        conversion.pictures_of(torch.zeros(2, 1, 3, 8, 8))


def test_a_batch_is_learned_from_as_lohovla_train_does(conversion, tmp_path):
    """Sub-tasks, keyframes and progress are not in LeRobot's batches: they are looked up by the frame's number."""
    root = write_dataset(tmp_path / "set", 3, subtasks=True)
    _, processor = tiny_model()
    source = open_source(DatasetChoice(str(root)), {})
    table = frame_table([source], np.ones(3, bool), None)
    own = TrainingSet.open(
        [DatasetChoice(str(root))],
        rename={},
        cameras=None,
        image_height=32,
        chunk_size=8,
        held_out=0.0,
        seed=0,
        cache=tmp_path / "cache",
        progress_bar=False,
    )
    frames = np.array([3, 16 + 15, 40])
    whole = [own.episode(number, held_out=False) for number in range(3)]
    pictures = np.concatenate([episode["images.top"] for episode in whole])[frames]
    numbers = own._table.numbers(frames, 8)
    batch = {
        "observation.images.top": torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255,
        "observation.state": numbers["state"],
        "action": numbers["action"],
        "action_is_pad": numbers["action_is_pad"],
        "task": numbers["instruction"],
        "index": torch.from_numpy(frames),
    }
    made = conversion.training_batch(batch, processor, table, {"top": "top"})
    assert set(made["subtask"]) <= {"Go to the red square.", "Go to the blue square."}
    assert made.keys() == {"images.top", *numbers}
    np.testing.assert_array_equal(made["images.top"].numpy(), pictures)
    for name, value in numbers.items():
        same = made[name] == value if isinstance(value, list) else torch.equal(made[name], value)
        assert same, name
    alone = conversion.training_batch({**batch}, processor, None, {"top": "top"})
    assert alone["subtask"] == [""] * 3
    assert alone["progress"].isnan().all()
    assert not alone["keyframe_valid"].any()
    assert source.info["fps"] == FPS


def test_lerobot_can_find_the_plugin():
    """By the distribution's name, which is the module's; and its classes by the names of files and classes."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())
    name = project["project"]["name"]
    assert name.startswith("lerobot_policy_")
    assert project["tool"]["setuptools"]["packages"] == [name]
    classes = {
        file.name: {node.name for node in ast.parse(file.read_text()).body if hasattr(node, "name")}
        for file in (PLUGIN / name).glob("*.py")
    }
    [config] = [each for each in classes["configuration_lohovla.py"] if each.endswith("Config")]
    assert config.removesuffix("Config") + "Policy" in classes["modeling_lohovla.py"]
    assert "make_lohovla_pre_post_processors" in classes["processor_lohovla.py"]
