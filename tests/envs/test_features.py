"""What the environment offers is what a recording of it has: a checkpoint that was trained on one plays the other."""

import pytest

from lohovla.collect.episode_recorder import features_of, frames_per_second
from lohovla.data.features import match_features
from lohovla.envs.env import BlocksEnv


@pytest.mark.parametrize("control", ["ee", "pick_place"])
def test_an_environment_offers_what_its_recordings_have(control):
    env = BlocksEnv(control=control)
    offered = env.features
    assert [camera.name for camera in offered.cameras] == ["top", "wrist"]
    assert (offered.cameras[0].height, offered.cameras[0].width, offered.cameras[0].depth) == (160, 320, True)
    assert len(offered.state_names) == env.observation_space["state"].shape[0]
    assert offered.fps == frames_per_second(env)
    recorded = features_of(env)
    assert tuple(recorded["observation.state"]["names"]) == offered.state_names
    assert tuple(recorded["action"]["names"]) == offered.action_names
    assert match_features(offered, offered, {}, "the environment") == {"top": "top", "wrist": "wrist"}
