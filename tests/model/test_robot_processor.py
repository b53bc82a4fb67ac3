"""What a robot sends is checked, resized and normalised; a checkpoint keeps how."""

import numpy as np
import pytest
import torch
from point_world import tiny_model

from lohovla.data.resize_images import resize_pictures
from lohovla.errors import UserError
from lohovla.model.checkpoint import load_checkpoint, load_robot_checkpoint, reads_features, save_checkpoint
from lohovla.model.robot_processor import RobotProcessor


@pytest.fixture(scope="module")
def made():
    return tiny_model({"top": (32, 32)})


def observation(**changes):
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    return {"images.top": picture, "state": np.zeros(2), "instruction": "Go to the red square.", **changes}


def refused(processor, given) -> str:
    with pytest.raises(UserError) as caught:
        processor([given])
    assert str(caught.value).count("\n") == 1
    return caught.value.cause


def test_an_observation_becomes_numbers_of_about_one(made):
    _, processor = made
    inputs = processor([observation(state=np.array([0.6, 0.1]))])
    assert inputs.images["top"].shape == (1, 3, 32, 32)
    assert inputs.images["top"].amin() >= -1
    assert inputs.images["top"].amax() <= 1
    assert torch.allclose(inputs.state, torch.tensor([[1.0, 0.0]]))
    assert torch.equal(inputs.told, inputs.goal)


def test_pictures_of_another_size_are_resized_and_cameras_renamed(made):
    _, processor = made
    small = observation()["images.top"]
    large = np.repeat(np.repeat(small, 4, 0), 4, 1)
    given = observation()
    given["images.front"] = large
    del given["images.top"]
    inputs = processor([given], None, {"top": "front"})
    as_trained = resize_pictures(large[None], 32, 32)[0]
    assert torch.equal(inputs.images["top"], processor([observation(**{"images.top": as_trained})]).images["top"])


def test_a_sub_task_is_what_is_acted_on(made):
    _, processor = made
    given = [observation(instruction="Go on."), observation(instruction="Go on.")]
    inputs = processor(given, ["Go to the blue square.", ""])
    assert processor.sentence(inputs.told[0][inputs.told_valid[0]]) == "Go to the blue square."
    assert processor.sentence(inputs.told[1][inputs.told_valid[1]]) == "Go on."


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images.top": np.zeros((32, 32, 3))}, "images.top is float64 (32, 32, 3), not uint8 (H, W, 3)"),
        ({"state": np.zeros(3)}, "state has shape (3,), the checkpoint reads 2 numbers"),
        ({"state": np.array([np.nan, 0])}, "state has values that are not finite"),
        ({"instruction": ""}, "the goal is empty"),
    ],
)
def test_what_cannot_be_read(made, changes, says):
    assert refused(made[1], observation(**changes)) == says


def test_a_camera_that_is_missing(made):
    given = observation()
    del given["images.top"]
    assert refused(made[1], given) == "the observation has no images.top, which the checkpoint reads"


def test_a_checkpoint_keeps_features_and_statistics(made, tmp_path):
    model, processor = made
    save_checkpoint(model, processor, tmp_path / "robot")
    again, read = load_robot_checkpoint(tmp_path / "robot")
    assert reads_features(tmp_path / "robot")
    assert read.features == processor.features
    assert read.subtasks_known
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    (tmp_path / "robot" / "processor_config.json").write_text("{}")
    with pytest.raises(UserError, match="no readable processor of a robot's features"):
        RobotProcessor.from_pretrained(tmp_path / "robot")


def test_checkpoints_of_the_two_kinds_are_not_taken_for_each_other(made, tmp_path):
    save_checkpoint(*made, tmp_path / "robot")
    with pytest.raises(UserError, match="it has no detector"):
        load_checkpoint(tmp_path / "robot")
    with pytest.raises(UserError, match="has no features of a robot"):
        load_robot_checkpoint("nano")
    assert not reads_features("nano")
