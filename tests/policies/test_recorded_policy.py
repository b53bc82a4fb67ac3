"""A checkpoint that learned from a robot's recordings plays on that robot, and is refused on another."""

import numpy as np
import pytest
from point_world import TINY

from lohovla.cli import main
from lohovla.data.dataset_layout import EE_NAMES
from lohovla.data.features import CameraFeature, RobotFeatures
from lohovla.errors import UserError
from lohovla.geometry.workspace import STATE_NAMES
from lohovla.model.checkpoint import save_checkpoint
from lohovla.policies.base import Context
from lohovla.policies.recorded_policy import make_recorded_policy
from lohovla.policies.registry import judging_for_itself
from lohovla.train.run_imitation import new_robot_model


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A checkpoint of sets that ``lohovla ros`` records with a view from above and a wrist camera, at 10 Hz."""
    kinds = {"mean": 0.1, "std": 0.5, "min": -1.0, "max": 1.0, "q01": -0.9, "q99": 0.9}
    statistics = {
        key: {kind: [value] * size for kind, value in kinds.items()}
        for key, size in (("state", len(STATE_NAMES)), ("action", len(EE_NAMES)))
    }
    cameras = CameraFeature("top", 16, 32), CameraFeature("wrist", 16, 16)
    features = RobotFeatures(cameras, tuple(STATE_NAMES), tuple(EE_NAMES), 10.0, statistics)
    folder = tmp_path_factory.mktemp("recorded") / "checkpoint"
    save_checkpoint(*new_robot_model(TINY, features, ["Put it there."], 0, False), folder)
    return folder


def test_it_reads_pictures_of_any_size_and_says_ee_actions(recorded):
    policy = make_recorded_policy({"checkpoint": str(recorded)}, "arm", ["top", "wrist", "side"])
    assert (policy.spec.control, policy.spec.control_hz, policy.spec.action_shape) == ("ee", 10.0, (7,))
    assert set(policy.spec.observation_keys) == {"images.top", "images.wrist", "state", "instruction"}
    policy.reset(1)
    seen = {
        "images.top": np.zeros((120, 240, 3), np.uint8),
        "images.wrist": np.zeros((48, 64, 3), np.uint8),
        "state": np.zeros(len(STATE_NAMES), np.float32),
        "instruction": "Put it there.",
    }
    assert policy.act(seen, Context()).actions.shape[1:] == (7,)


def test_a_robot_without_one_of_its_cameras_is_told_which(recorded):
    with pytest.raises(UserError, match="the environment robot=arm has no camera wrist: it has top"):
        make_recorded_policy({"checkpoint": str(recorded)}, "arm", ["top"])


def test_the_bridge_refuses_it_by_its_own_cameras(recorded, tmp_path, capsys):
    """Not by those of the simulator's environment, which has a wrist camera that this robot lacks."""
    words = ["robot=sim", "transport=sim", "page.serve=false", "policy=lohovla", "loop.worker=thread"]
    assert main(["ros", *words, f"policy.checkpoint={recorded}", f"output={tmp_path / 'out'}"]) == 2
    assert "robot=sim has no camera wrist: it has top" in capsys.readouterr().err


def test_only_the_block_worlds_checkpoints_judge_by_a_setting(recorded):
    given = {"checkpoint": str(recorded), "n_action_steps": 4}
    assert judging_for_itself(given, True, generate_subgoals=True) == {**given, "allow_done": True}
    shipped = judging_for_itself({}, False, generate_subgoals=True)
    assert shipped == {"progress": "model", "allow_done": False, "generate_subgoals": True}
