"""From demonstrations in the block world to a policy of ``ee`` commands: each join of the way, by the commands."""

import json

import pytest

from lohovla.cli import main
from lohovla.data.dataset_metadata import read_episode_rows

_TOP = "{width: 64, height: 32, depth: false}"
_WRIST = "{width: 32, height: 32, depth: false}"
_SMALL = [
    "recipe.model.text_config.hidden_size=32",
    "recipe.model.text_config.intermediate_size=32",
    "recipe.model.text_config.num_hidden_layers=1",
    "recipe.model.text_config.num_attention_heads=2",
    "recipe.model.text_config.num_key_value_heads=2",
    "recipe.model.text_config.head_dim=16",
    "recipe.model.camera_width=8",
    "recipe.model.expert_dim=32",
    "recipe.model.expert_layers=1",
    "recipe.model.expert_heads=2",
]


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A folder with the set ``set`` and the run ``run`` that was trained on it for two steps."""
    root = tmp_path_factory.mktemp("walk")
    world = [f"env.cameras.top={_TOP}", f"env.cameras.wrist={_WRIST}", "env.push.object=0.05"]
    collect = ["collect", "task=A", "episodes=3", "workers=1", f"dataset={root / 'set'}", "disturb.start=1"]
    assert main([*collect, *world]) == 0
    train = ["train", f"dataset={root / 'set'}", f"cache={root / 'cache'}", f"output={root / 'run'}"]
    sizes = ["steps=2", "batch_size=4", "image_height=32", "device=cpu", "threads=1"]
    actions = ["recipe.model.relative_actions=all", "recipe.model.rotation_actions=[rx,ry,rz]"]
    assert main([*train, *sizes, *actions, *_SMALL]) == 0
    return root


def test_disturbances_are_in_the_set(walked):
    rows = read_episode_rows(walked / "set")
    assert any(event["kind"] == "object" for row in rows for event in row["pushes"])


def test_poses_are_learned_relative_to_the_tool(walked):
    config = json.loads((walked / "run" / "checkpoint" / "config.json").read_text())
    assert config["relative_actions"] == {name: f"ee.{name}" for name in ("x", "y", "z", "rx", "ry", "rz")}


def test_the_checkpoint_is_evaluated(walked):
    policy = ["policy=lohovla", f"policy.checkpoint={walked / 'run' / 'checkpoint'}"]
    settings = [
        "tasks=[A]",
        "episodes=1",
        "workers=1",
        "videos=0",
        "env.seconds_per_action=0.5",
        "env.push.object=0.05",
    ]
    assert main(["evaluate", *settings, *policy, f"output={walked / 'evaluation'}"]) == 0
    (line,) = (walked / "evaluation" / "episodes.jsonl").read_text().splitlines()
    assert json.loads(line)["steps"] > 0


def test_the_checkpoint_plays_in_the_real_time_loop(walked):
    """Its chunks are of 20 Hz, and the simulated arm takes commands at 100."""
    policy = ["policy=lohovla", f"policy.checkpoint={walked / 'run' / 'checkpoint'}"]
    loop = ["realtime=true", "loop.clock=simulated", "video=false", "env.seconds_per_action=0.5"]
    assert main(["rollout", "task=A", "seed=10001", *loop, *policy, f"output={walked / 'rollout'}"]) == 0
    (episode,) = json.loads((walked / "rollout" / "result.json").read_text())["episodes"]
    assert episode["realtime"]["chunks"]["count"] > 0
