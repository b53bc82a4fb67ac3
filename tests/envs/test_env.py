"""The environment as Gymnasium expects it: spaces, rewards, ends, ids, pictures, settings."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from lohovla.envs.env import BlocksEnv
from lohovla.envs.language import vocabulary
from lohovla.envs.oracle import Oracle
from lohovla.envs.tasks.names import TASKS, gym_name
from lohovla.errors import UserError

SMALL_CAMERAS = {
    "top": {"width": 64, "height": 32, "depth": True},
    "front": {"width": 64, "height": 48, "depth": True},
    "wrist": {"width": 32, "height": 32},
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("control", ["ee", "pick_place"])
@pytest.mark.parametrize("settings", [{}, {"drop_probability": 0.2, "noise": {"color": 2.0}}], ids=["plain", "noisy"])
def test_gymnasiums_checker_passes(control, settings):
    env = gym.make("lohovla/PutBlockIntoMatchingBowl-v1", control=control, cameras=SMALL_CAMERAS, **settings)
    check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_registered_and_starts(task):
    env = gym.make(f"lohovla/{gym_name(task)}", cameras={})
    observation, _ = env.reset(seed=501)
    assert env.unwrapped.task.name == task
    assert observation["instruction"] == env.unwrapped.problem.instruction
    assert observation in env.observation_space


@pytest.mark.parametrize("control", ["ee", "pick_place"])
@pytest.mark.parametrize("gripper", ["suction", "jaw"])
def test_spaces_hold_whatever_is_done(control, gripper):
    noise = {"color": 30.0, "depth": 0.05}
    env = BlocksEnv("F", control=control, gripper=gripper, cameras=SMALL_CAMERAS, noise=noise, drop_probability=0.1)
    env.action_space.seed(502)
    observation, _ = env.reset(seed=502)
    assert observation in env.observation_space
    for _ in range(7 if control == "pick_place" else 60):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert [key for key, value in observation.items() if value not in env.observation_space[key]] == []
        assert isinstance(reward, float)
        if terminated or truncated:
            break
    assert 0.0 <= info["score"] <= 1.0


def test_observations_have_the_contracts_keys_shapes_and_types():
    env = BlocksEnv()
    observation, _ = env.reset(seed=503)
    kinds = {key: (value.shape, value.dtype) for key, value in observation.items() if key != "instruction"}
    assert kinds == {
        "images.top": ((160, 320, 3), np.uint8),
        "depth.top": ((160, 320), np.float32),
        "images.wrist": ((128, 128, 3), np.uint8),
        "state": ((13,), np.float32),
    }
    assert isinstance(observation["instruction"], str)
    assert len(env.describe()["state_names"]) == 13


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("paraphrase", [False, True])
def test_every_wording_fits_the_instructions_space(task, paraphrase):
    env = BlocksEnv(task, cameras={}, paraphrase=paraphrase, colors="all")
    for seed in range(10):
        observation, _ = env.reset(seed=seed)
        assert observation in env.observation_space


def test_the_longest_sentence_there_could_be_fits_the_instructions_space():
    words = {"pick": "smaller yellow block", "place": "to the bottom of the smaller yellow block", "size": "smaller"}
    words |= {"area": "bottom right", "source": "bottom right", "target": "bottom right", "category": "secondary"}
    words |= {"relation": "bottom", "reference": "yellow block", "color": "yellow"}
    space = BlocksEnv(cameras={}).observation_space["instruction"]
    for templates in vocabulary()["goals"].values():
        assert all(template.format(**words) in space for template in templates)


# -- rewards and ends --------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_rewards_add_up_to_the_final_score_and_success_terminates(task, blind, solve):
    env = blind(task)
    env.reset(seed=505)
    rewards, info = solve(env)
    assert sum(rewards) == pytest.approx(info["score"])
    assert info["score"] == 1.0
    assert info["success"]
    assert info["reason"] == "success"
    assert info["actions"] == len(rewards) <= info["max_actions"]


def ee_success(env: BlocksEnv, seed: int) -> list[tuple]:
    """Every step of an episode that the oracle plays with continuous commands."""
    env.reset(seed=seed)
    oracle, steps = Oracle(env), []
    while not steps or not (steps[-1][2] or steps[-1][3]):
        steps.append(env.step(oracle.act()))
    return steps


def test_with_ee_success_comes_when_the_goal_has_stood_for_half_a_second_with_nothing_held(blind):
    steps = ee_success(blind("A", control="ee"), seed=507)
    assert steps[-1][2]
    standing = [step[4]["score"] > 0.99 and step[4]["held"] == "" for step in steps]
    assert all(standing[-10:])  # ten periods of 0.05 s
    assert not any(step[2] for step in steps[:-1])
    assert sum(step[1] for step in steps) == pytest.approx(1.0)


class Moving:
    """A task of moving blocks to an area: all lie there already, others beside; and a hand."""

    def __init__(self, env: BlocksEnv):
        env.reset(seed=509)
        self.env, self.blocks = env, env.problem.goal.blocks
        self.others = [name for name in env.scene().blocks if name not in self.blocks]
        x0, _, y0, _ = env.problem.goal.area.bounds
        inside = [(x0 + 0.06 + 0.09 * (i % 2), y0 + 0.08 + 0.09 * (i // 2)) for i in range(len(self.blocks))]
        beside = [(0.8 - x0 - 0.05 * i, -0.33 - y0 + 0.12 * i) for i in range(len(self.others))]
        self.places = dict(zip([*self.blocks, *self.others], [*inside, *beside], strict=True))
        env.simulation.arrange({name: (*place, 0.02, 0.0) for name, place in self.places.items()}, {})

    def velocity(self, block: str) -> np.ndarray:
        """The block's linear and angular velocity (6,), to be written to."""
        model = self.env.simulation.model
        start = model.jnt_dofadr[model.joint(block).id]
        return self.env.simulation.data.qvel[start : start + 6]

    def throw(self, block: str, x: float, y: float) -> None:
        """Let a block be elsewhere all at once."""
        self.env.simulation.data.joint(block).qpos[:2] = x, y
        self.velocity(block)[2] = -0.01  # what is asleep wakes by moving

    def hand(self, place: tuple[float, float], *path: tuple[float, float, float]) -> list[tuple]:
        """Be over a place, at each (height, suction) of ``path`` for so many seconds."""
        return [
            self.env.step(np.array([*place, height, 0, 0, 0, suction]))
            for height, suction, seconds in path
            for _ in range(round(seconds * 20))
        ]


@pytest.fixture
def moving(blind) -> Moving:
    return Moving(blind("move-blocks-between-absolute-positions", control="ee", seconds_per_action=1000))


def across(place: tuple[float, float]) -> tuple[float, float]:
    """The same place in the quadrant diagonally opposite."""
    return 1.0 - place[0], -place[1]


def test_a_goal_whose_last_block_is_still_held_is_not_reached(moving):
    block = moving.blocks[0]
    there = moving.places[block]
    moving.throw(block, *across(there))
    moving.hand(across(there), (0.1, 0, 1.0), (0.037, 1, 0.5), (0.2, 1, 0.5))
    steps = moving.hand(there, (0.2, 1, 1.0), (0.06, 1, 2.0))
    assert steps[-1][4]["held"] == block
    assert steps[-1][4]["score"] < 1.0
    assert not any(step[2] for step in steps)
    final = next(step for _ in range(60) for step in moving.hand(there, (0.06, 0, 0.05)) if step[2])
    assert final[4]["reason"] == "success"


def test_a_goal_does_not_end_the_episode_while_another_block_is_held(moving):
    goal, other = moving.blocks[0], moving.places[moving.others[0]]
    moving.throw(goal, *across(moving.places[goal]))
    moving.hand(other, (0.1, 0, 1.0), (0.037, 1, 0.5), (0.2, 1, 0.5))
    moving.throw(goal, *moving.places[goal])
    steps = moving.hand(other, (0.2, 1, 6.0))
    assert steps[-1][4]["score"] == 1.0
    assert steps[-1][4]["held"] == moving.others[0]
    assert not any(step[2] for step in steps)
    assert next(step for _ in range(60) for step in moving.hand(other, (0.06, 0, 0.05)) if step[2])


def test_a_goal_does_not_end_the_episode_while_something_still_moves(moving):
    for _ in range(25):
        moving.velocity(moving.others[0])[2] = 0.245  # it hops for the length of a step
        step = moving.env.step(np.array([0.45, 0.1, 0.4, 0, 0, 0, 0]))
        assert step[4]["score"] == 1.0
        assert not step[2]
    ends = [moving.env.step(np.array([0.45, 0.1, 0.4, 0, 0, 0, 0]))[2] for _ in range(10)]
    assert not any(ends[:8])


@pytest.mark.parametrize(("control", "reason"), [("ee", "time limit"), ("pick_place", "action limit")])
def test_an_episode_without_success_is_truncated_for_a_reason(blind, control, reason):
    env = blind("C", control=control, seconds_per_action=0.3)
    env.reset(seed=511)
    ended = False
    while not ended:
        action = env.action_space.low if control == "ee" else np.array([[0.3, -0.45, 0.0, 0.0]] * 2)
        _, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
        assert info["reason"] == (reason if ended else "")
    assert (terminated, truncated) == (False, True)


def test_the_time_allowed_grows_with_seconds_per_action(blind):
    times = []
    for seconds in (0.2, 0.4):
        env = blind("A", control="ee", seconds_per_action=seconds)
        env.reset(seed=513)
        truncated = False
        while not truncated:
            _, _, _, truncated, info = env.step(np.array([0.45, 0.1, 0.3, 0, 0, 0, 0]))
        times.append(info["time"])
    assert times == pytest.approx([0.6, 1.2])


# -- pictures ----------------------------------------------------------------------------------------


def test_rgb_array_shows_the_scene():
    env = BlocksEnv(cameras={}, render_mode="rgb_array")
    env.reset(seed=515)
    picture = env.render()
    assert (picture.shape, picture.dtype) == ((480, 640, 3), np.uint8)
    assert picture.std() > 20
    before = picture.copy()
    for _ in range(10):
        env.step(np.array([0.45, 0.1, 0.2, 0, 0, 0, 0]))
    assert (env.render() != before).mean() > 0.01


def test_human_without_a_display_only_warns(monkeypatch):
    for display in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(display, raising=False)
    env = BlocksEnv(cameras={}, render_mode="human")
    with pytest.warns(UserWarning, match="no display"):
        env.reset(seed=517)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        env.step(np.array([0.45, 0.1, 0.3, 0, 0, 0, 0]))
        assert env.render() is None
    env.close()


def test_render_without_a_mode_warns_and_gives_nothing():
    env = BlocksEnv(cameras={})
    env.reset(seed=519)
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None


def test_closing_twice_is_harmless(blind):
    env = blind()
    env.reset(seed=521)
    env.close()
    env.close()


# -- settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"task": "stack-blocks-of-same-colour"}, "stack-blocks-of-same-color"),
        ({"control": "joints"}, "ee, pick_place"),
        ({"robot": "panda"}, "ur5e, menagerie"),
        ({"gripper": "hand"}, "suction, jaw"),
        ({"colors": "trian"}, "train"),
        ({"render_mode": "ansi"}, "rgb_array"),
        ({"render_camera": "flim"}, "film"),
        ({"top_source": "stereo"}, "orthographic, fused"),
        ({"control_hz": 0.0}, "control_hz"),
        ({"control_hz": 1000.0}, "control_hz"),
        ({"drop_probability": 1.5}, "drop_probability"),
        ({"cameras": {"topp": {}}}, "top"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_is_refused_with_what_can(setting, says):
    with pytest.raises(UserError, match=says):
        BlocksEnv(**setting)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_time_limit_that_is_none_is_refused(seconds):
    with pytest.raises(UserError, match="seconds_per_action"):
        BlocksEnv(cameras={}, seconds_per_action=seconds)


@pytest.mark.parametrize("control_hz", [7.0, 30.0, 60.0])
def test_a_control_rate_that_cannot_be_had_is_refused(control_hz):
    with pytest.raises(UserError, match="control_hz"):
        BlocksEnv(cameras={}, control_hz=control_hz)


def run_python(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Another interpreter without a display and, unless given, without a choice of OpenGL."""
    hidden = {"MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | variables
    command = [sys.executable, "-W", "ignore", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_pictures_can_be_had_when_mujoco_was_imported_first():
    done = run_python("import mujoco; from lohovla.envs.env import BlocksEnv; BlocksEnv().reset(seed=1)")
    assert done.returncode == 0, done.stderr


def test_without_opengl_the_error_says_what_to_install():
    script = """
from lohovla.envs.env import BlocksEnv
from lohovla.errors import SetupError
try:
    BlocksEnv().reset(seed=1)
except SetupError as error:
    print(error.remedy)
"""
    done = run_python(script, MUJOCO_GL="glfw")
    assert "apt-get install" in done.stdout, done.stderr


def test_importing_the_environments_imports_no_learning_library():
    script = "import sys, lohovla.envs; print({'torch', 'ray', 'mujoco', 'scipy'} & set(sys.modules))"
    assert run_python(script).stdout.strip() == "set()"


@pytest.mark.parametrize(("yaw", "same"), [(4.0, 4.0 - 2 * np.pi), (-4.0, 2 * np.pi - 4.0), (1.0, 1.0)])
def test_a_yaw_is_wrapped_not_cut_off(yaw, same):
    states = []
    for value in (yaw, same):
        env = BlocksEnv("pick-and-place-primitive", control="pick_place", cameras={})
        env.reset(seed=7)
        scene = env.scene()
        block = next(iter(scene.blocks))
        x, y, _ = scene.centre(block)
        *_, info = env.step(np.array([[x, y, scene.top(block), scene.yaw(block)], [0.3, -0.4, 0.0, value]]))
        assert not info["clamped"]
        states.append(env.simulation.block_poses()[0])
    np.testing.assert_allclose(*states, atol=2e-3)


def test_a_limit_itself_is_not_called_clamped():
    env = BlocksEnv("pick-and-place-primitive", cameras={})
    env.reset(seed=7)
    *_, info = env.step(np.array([0.5, 0.0, 0.6, 0.0, 0.0, 0.0, 1.0]))
    assert not info["clamped"]
