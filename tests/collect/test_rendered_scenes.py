"""Labelled scenes and played motions agree with the simulator."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from lohovla.collect import ee_trajectories, rendered_scenes
from lohovla.collect.ee_trajectories import PlayedMotions, play_pick_place
from lohovla.collect.privileged_labels import COLORS, points_of
from lohovla.collect.rendered_scenes import (
    LabelledScenes,
    rollout_states,
    scene_env,
    teleport_block,
    to_single_step_goal,
)
from lohovla.collect.training_stream import FailureInjection
from lohovla.envs.control import motion
from lohovla.envs.env import BlocksEnv
from lohovla.envs.language import rgb, vocabulary
from lohovla.model.action.action_expert import APPROACH, TRANSIT
from lohovla.model.configuration import LoHoVLAConfig

NO_MISTAKES = FailureInjection(0.0, 0.0, 0.0)
TASK = "put-block-into-matching-bowl"


@pytest.fixture(scope="module")
def walked():
    """An episode without mistakes, with the scene at each of its states."""
    env = scene_env(TASK)
    seen = []
    reset = env.reset

    def spy(**settings):
        found = reset(**settings)
        seen.append(env.scene())
        return found

    env.reset = spy
    frames = []
    for frame in rollout_states(env, 2, np.random.default_rng(0), 2, NO_MISTAKES):
        frames.append(frame)
        seen.append(env.scene())
    return env, frames, seen


def pixel(picture, x, y):
    """The colour at a point of the table: rows run along x, columns along y."""
    return picture[int((x - 0.25) / 0.5 * 160), int((y + 0.5) * 320)].astype(float) / 255


def test_labels_are_the_goals_next_subtask(walked):
    env, frames, seen = walked
    assert len(frames) > 2
    for frame, scene in zip(frames, seen, strict=False):
        subtask = env.problem.goal.next(scene)
        assert frame["subtask"] == (subtask.text if subtask else vocabulary()["done"])
        np.testing.assert_array_equal(frame["points"], points_of(scene, subtask))
    assert frames[-1]["subtask"] == "Done."
    assert all(frame["next.reached"] == 1 for frame in frames)


def test_the_picture_after_is_the_next_ones_before(walked):
    _, frames, _ = walked
    for before, after in pairwise(frames):
        np.testing.assert_array_equal(before["next.images.top"], after["images.top"])
        assert not np.array_equal(before["images.top"], before["next.images.top"])


def test_pictures_show_the_objects_where_the_labels_say(walked):
    _, frames, _ = walked
    palette = np.array([rgb(color) for color in COLORS])
    checked = 0
    for frame in frames:
        for kind, color, _, x, y, z, *_ in frame["objects"]:
            if kind == 0:
                seen = pixel(frame["images.top"], x, y)
                nearest = np.abs(palette / palette.max(1, keepdims=True) - seen / seen.max()).sum(1).argmin()
                assert COLORS[nearest] == COLORS[int(color)]
                depth = frame["depth.top"][int((x - 0.25) / 0.5 * 160), int((y + 0.5) * 320)]
                assert depth == pytest.approx(z, abs=0.004)
                checked += 1
    assert checked > 5


@pytest.fixture
def frozen(monkeypatch):
    """A scene in which nothing is simulated: where a block is put can be read off at once."""
    env = scene_env(TASK)
    env.reset(seed=2)
    nothing = SimpleNamespace(mj_forward=lambda *_: None, mj_step=lambda *_: None)
    monkeypatch.setattr(rendered_scenes, "mujoco", nothing)
    return env


def test_mistakes_happen_as_often_as_asked(frozen):
    env = frozen
    scene = env.scene()
    subtask = env.problem.goal.next(scene)
    model, data = env.simulation.model, env.simulation.data
    at = {name: int(model.jnt_qposadr[model.body(name).jntadr[0]]) for name in scene.blocks}
    start = data.qpos.copy()
    rng = np.random.default_rng(0)
    rate = FailureInjection(astray=0.1, sloppy=0.2, other=0.15)
    count = {"astray": 0, "sloppy": 0, "other": 0}
    total = 2000
    for _ in range(total):
        data.qpos[:] = start
        teleport_block(env, scene, subtask, rng, rate)
        moved = [
            name
            for name, where in at.items()
            if not np.array_equal(data.qpos[where : where + 7], start[where : where + 7])
        ]
        (name,) = moved
        where = data.qpos[at[name] : at[name] + 3]
        off = np.hypot(where[0] - subtask.place.x, where[1] - subtask.place.y)
        if name != subtask.pick:
            count["other"] += 1
        elif where[2] - scene.blocks[name].edge / 2 == pytest.approx(0.1205, abs=1e-4):
            count["astray"] += 1
        elif off > 0.007:  # beyond what executing well may miss by
            count["sloppy"] += 1
    others = sum(1 for name in scene.blocks if name != subtask.target)
    assert count["astray"] / total == pytest.approx(0.1, abs=0.025)
    assert count["sloppy"] / total == pytest.approx(0.2, abs=0.04)
    assert count["other"] / total == pytest.approx(0.15 * (others - 1) / others, abs=0.03)


@pytest.mark.parametrize(("mistakes", "reached"), [(NO_MISTAKES, True), (FailureInjection(1.0, 0.0, 0.0), False)])
def test_whether_a_move_reached_its_place_is_known(mistakes, reached):
    env = scene_env(TASK)
    env.reset(seed=4)
    scene = env.scene()
    subtask = env.problem.goal.next(scene)
    assert teleport_block(env, scene, subtask, np.random.default_rng(1), mistakes) is reached
    score = env.problem.goal.score(env.scene())
    assert (score > env.problem.goal.score(scene)) is reached


def test_an_observation_becomes_a_primitives(walked):
    _, frames, _ = walked
    frame = {**frames[0], "other.subtasks": ["Done.", "Pick up the red block and place it in the blue bowl."]}
    made = to_single_step_goal(frame, np.random.default_rng(0))
    assert made["subtask"] == frame["other.subtasks"][1]
    assert "red block" in made["instruction"]
    assert "blue bowl" in made["instruction"]
    np.testing.assert_array_equal(made["points"], frame["other.points"][1])
    assert made["next.reached"] == 0
    np.testing.assert_array_equal(made["next.images.top"], frame["images.top"])
    relation = {**frame, "other.subtasks": ["Pick up the red block and place it to the left of the blue block."] * 2}
    assert to_single_step_goal(relation, np.random.default_rng(0)) is relation, "no training primitive names relations"


def test_streams_repeat_themselves_and_differ_between_ranks():
    def first(**settings):
        return next(iter(LabelledScenes((TASK,), 0, {"color": 4.0}, pool=1, **settings)))

    one, same, other, later = first(), first(), first(rank=1, world=2), first(skip=3)
    for key in ("images.top", "objects", "points"):
        np.testing.assert_array_equal(one[key], same[key])
        assert not np.array_equal(one[key], other[key])
        assert not np.array_equal(one[key], later[key])


def test_a_played_subtask_succeeds_and_comes_home():
    env = BlocksEnv("pick-and-place-primitive", control="ee", cameras={})
    observation, _ = env.reset(seed=2)
    home = observation["state"][:3].astype(float)
    scene = env.scene()
    points = points_of(scene, env.problem.goal.next(scene))
    states, actions = play_pick_place(env, points, home)
    assert env.problem.goal.score(env.scene()) == pytest.approx(1.0)
    assert len(states) == len(actions)
    assert np.linalg.norm(env.observe()["state"][:3] - home) < 0.02
    assert np.linalg.norm(states[0][:3] - home) < 1e-3
    assert np.linalg.norm(actions[-1][:3] - home) < 1e-3
    assert {0.0, 1.0} == set(actions[:, 6].tolist())
    assert actions[-1, 6] == 0


def test_pieces_are_cut_from_the_motion(monkeypatch):
    monkeypatch.setattr(ee_trajectories, "_SENSED", 0.0)
    states = np.arange(20 * 13, dtype=float).reshape(20, 13)
    actions = np.arange(20 * 7, dtype=np.float32).reshape(20, 7)
    stream = PlayedMotions(("pick-and-place-primitive",), pieces=200, horizon=6)
    found = stream._cut(states, actions, np.random.default_rng(0))
    assert found["piece.state"].shape == (200, 13)
    assert found["piece.action"].shape == (200, 6, 7)
    moments = (found["piece.state"][:, 0] / 13).astype(int)
    assert set(moments) == set(range(12))  # not from the eight periods at rest at the end
    assert (moments == 0).sum() > 200 / 12  # the beginning more often than others
    for moment, action, pad in zip(moments, found["piece.action"], found["piece.pad"], strict=True):
        steps = moment + np.arange(6)
        np.testing.assert_array_equal(action, actions[np.minimum(steps, 19)])
        np.testing.assert_array_equal(pad, steps >= 20)


def test_the_teacher_moves_where_the_model_thinks_that_it_does():
    """The model knows no simulator, so both say these lengths for themselves."""
    assert TRANSIT == ee_trajectories.TRANSIT
    assert APPROACH == motion.APPROACH
    home = scene_env(TASK, "ee").reset(seed=2)[0]["state"][:3]
    assert LoHoVLAConfig().observe_position == pytest.approx(home.tolist(), abs=1e-3)
