"""The block tasks as LeRobot reads them: the same episodes as BlocksEnv's, success of the state at the end."""

import dataclasses
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from lohovla.envs.env import BlocksEnv
from lohovla.envs.oracle import pick_place_action
from lohovla.envs.tasks.names import TASKS

TASK = "pick-and-place-primitive"
PLUGIN = Path(__file__).parents[2] / "plugins/lerobot_env_lohovla"


@pytest.fixture(scope="module")
def block_task():
    """The class, without its package, whose import needs LeRobot."""
    spec = importlib.util.spec_from_file_location("block_task", PLUGIN / "lerobot_env_lohovla/block_task.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.BlockTask


def solving(env):
    scene = env.scene()
    return pick_place_action(scene, env.problem.goal.next(scene))


@pytest.mark.parametrize("solve", [True, False])
def test_an_episode_is_that_of_the_seed(block_task, solve):
    settings = {"control": "pick_place", "cameras": {"top": {"height": 16, "width": 32}}}
    told, own = block_task(TASK, **settings), BlocksEnv(TASK, **settings)
    seen, info = told.reset(seed=10001)
    wanted, _ = own.reset(seed=10001)
    assert told.task == TASK
    assert told.task_description == wanted["instruction"]
    assert not info["is_success"]
    total, ended = 0.0, False
    while not ended:
        assert told.observation_space.contains(seen)
        np.testing.assert_array_equal(seen["pixels"]["top"], wanted["images.top"])
        assert seen["agent_pos"].tobytes() == wanted["state"].tobytes()
        action = solving(own) if solve else np.array([[0.3, -0.45, 0, 0]] * 2, np.float32)
        seen, reward, terminated, truncated, info = told.step(action.ravel())
        wanted, same, *_ = own.step(action)
        assert reward == same
        total, ended = total + reward, terminated or truncated
    assert info["is_success"] is solve
    assert (total > 0.99) is solve


def test_a_batch_says_success_in_the_last_info_alone(block_task):
    """Where LeRobot looks for it: a success on the way must not count."""
    batch = SyncVectorEnv([lambda: block_task(TASK, control="ee", cameras={})], autoreset_mode=AutoresetMode.SAME_STEP)
    batch.reset(seed=[10001])
    task = batch.envs[0]
    action = task.action_space.low + 0.5 * (task.action_space.high - task.action_space.low)
    score = {"score": 1.0, "success": True}
    task._env._info = lambda reason, report=None: score  # it looks solved, and is not over
    _, _, terminated, truncated, info = batch.step(action[None])
    assert not (terminated | truncated).any()
    assert not info["is_success"].any()
    assert batch.call("_max_episode_steps")[0] > 0
    assert batch.call("task_description")[0]
    batch.close()


def test_every_task_is_an_environment_of_lerobot():
    lerobot_env = pytest.importorskip(
        "lerobot_env_lohovla", reason="Python 3.12: pip install -e . -e plugins/lerobot_env_lohovla (docs/lerobot.md)"
    )
    from lerobot.envs import make_env
    from lerobot.envs.utils import env_to_policy_features

    config = lerobot_env.LoHoVLAEnvConfig(task="all", control="pick_place", cameras={"top": [16, 32]})
    assert set(config.tasks) == set(TASKS)
    assert len(TASKS) == 24
    features = env_to_policy_features(config)
    assert features["observation.images.top"].shape == (3, 16, 32)
    assert features["observation.state"].shape == (13,)
    assert features["action"].shape == (8,)
    page = (PLUGIN.parents[1] / "docs/lerobot.md").read_text(encoding="utf-8")
    named = set(re.findall(r"--env\.(\w+)", page))
    assert named - {field.name for field in dataclasses.fields(config)} <= {"type"}
    config.task = "A,B"
    made = make_env(config, n_envs=2)
    assert list(made) == [TASK, "put-block-into-matching-bowl"]
    seen, _ = made[TASK][0].reset(seed=[1, 2])
    assert seen["pixels"]["top"].shape == (2, 16, 32, 3)
    for each in made.values():
        each[0].close()
