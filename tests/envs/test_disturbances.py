"""Disturbances of an episode: what is moved, pushed or lost, when the settings say so and never otherwise."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from lohovla.envs.disturbances import PushSettings
from lohovla.envs.env import BlocksEnv
from lohovla.envs.oracle import Oracle
from lohovla.errors import UserError
from lohovla.evaluate.episode_runner import run_episode
from lohovla.policies.oracle import OraclePolicy

A, B = "pick-and-place-primitive", "put-block-into-matching-bowl"
SEED = 2  # of A: its target has room to move, and its goal is a zone with room to slide


def environment(task: str = A, **settings) -> BlocksEnv:
    return BlocksEnv(task, cameras={}, **settings)


def played(env: BlocksEnv, seed: int = SEED, follows: bool = True) -> list:
    """The scene, the tool's tip and suction after each command of the oracle, which may not follow what is moved."""
    env.reset(seed=seed)
    oracle = Oracle(env)
    seen = []
    while not env.episode.over:
        if not follows:
            oracle._moved = env.episode.slides
        env.step(oracle.act())
        on = env.simulation.gripper.opening(env.simulation.data)
        seen.append((env.scene(), env.simulation.tcp()[0], on))
    return seen


def test_nothing_happens_unless_asked_for():
    env = environment()
    played(env)
    assert env.episode.push_events == ()


def test_the_target_moves_while_the_arm_comes_down():
    env = environment(push={"object": 0.05})
    seen = played(env)
    (event,) = env.episode.push_events
    assert event.kind == "object"
    before, after = (seen[round(event.time * 20) + k] for k in (-1, 6))
    assert before[1][2] > before[0].top(event.what)  # before it was touched
    moved = np.subtract(after[0].centre(event.what), before[0].centre(event.what))
    assert np.hypot(*moved[:2]) == pytest.approx(0.05, abs=0.002)
    assert abs(moved[2]) < 0.002
    assert env.episode.score == 1.0


def test_an_arm_that_does_not_see_it_grips_nothing_first():
    searching = {}  # periods with suction on and nothing held, on the way to the block
    for name, push, follows in (
        ("still", {}, True),
        ("blind", {"object": 0.05}, False),
        ("sees", {"object": 0.05}, True),
    ):
        env = environment(push=push)
        searching[name] = sum(scene.held is None and on for scene, _, on in played(env, follows=follows))
        assert env.episode.score == 1.0  # the blind one at the second attempt
    assert searching["sees"] <= searching["still"] + 1 < searching["blind"] - 4


def test_the_goal_place_slides_while_the_arm_carries():
    for task, seed in ((A, SEED), (B, 2)):
        env = environment(task, push={"place": 0.05})
        seen = played(env, seed)
        (event,) = env.episode.push_events
        assert event.kind == "place"
        before, after = seen[round(event.time * 20) - 1][0], seen[-1][0]
        assert before.held is not None
        poses = before.fixture_poses[event.what], after.fixture_poses[event.what]
        assert np.hypot(poses[0].x - poses[1].x, poses[0].y - poses[1].y) == pytest.approx(0.05)
        body = env.simulation.data.body(event.what).xpos
        np.testing.assert_allclose(body[:2], [poses[1].x, poses[1].y], atol=1e-9)
        assert env.episode.score == 1.0  # judged where the place is now


def test_a_bowl_that_slid_is_solid_and_seen_where_it_is():
    env = BlocksEnv(B, cameras={"top": {"width": 80, "height": 40}})
    env.reset(seed=2)
    before = env.observe()["images.top"]
    bowl = next(iter(env.scene().fixtures))
    start = env.scene().fixture_poses[bowl]
    env.episode.slide_fixture(bowl, 0.05, 0.0)
    assert (env.observe()["images.top"] != before).any()
    model, data = env.simulation.model, env.simulation.data
    own = data.geom_xpos[model.geom_bodyid == model.body(bowl).id]
    np.testing.assert_allclose(own[:, :2].mean(0), [start.x + 0.05, start.y], atol=1e-3)


def test_the_arm_is_pushed_off_its_way_and_comes_back():
    still, pushed = played(environment(), 6), played(env := environment(push={"arm": 100.0}), 6)
    (event,) = env.episode.push_events
    begin = round(event.time * 20)
    off = [float(np.linalg.norm(a[1] - b[1])) for a, b in zip(still, pushed, strict=False)]
    assert max(off[:begin]) < 1e-6
    assert 0.005 < max(off[begin : begin + 8]) < 0.03
    assert env.episode.score == 1.0


def test_a_carried_block_slips():
    env = environment(push={"slip": 1.0})
    seen = played(env)
    (event,) = env.episode.push_events
    held = [scene.held for scene, _, _ in seen]
    at = round(event.time * 20)
    assert held[at - 1] == event.what
    assert held[at] is None
    assert env.simulation.gripper.drops == 1
    assert env.episode.score == 1.0  # picked up again


def test_times_says_how_often():
    for times in (1, 3):
        env = environment(B, push={"object": 0.04, "times": times})
        played(env, 2)
        assert len(env.episode.push_events) == times


def test_the_seed_decides_and_a_snapshot_goes_on():
    push = {"object": 0.05, "place": 0.04, "arm": 80.0, "slip": 0.5, "times": 2}
    first, second = environment(push=push), environment(push=push)
    played(first)
    played(second)
    assert first.episode.push_events == second.episode.push_events
    assert first.simulation.vector().tobytes() == second.simulation.vector().tobytes()
    actions, states = _recorded(environment(push=push))
    for begin in (0, 10, 30):  # before the target moves, while it does, and while the place slides
        other = environment(push=push)
        other.set_state(pickle.loads(pickle.dumps(states[begin])))
        for action in actions[begin:]:
            other.step(action)
        assert other.simulation.vector().tobytes() == first.simulation.vector().tobytes()
        assert other.episode.push_events == first.episode.push_events
        assert other.episode.fixture_poses == first.episode.fixture_poses


def _recorded(env: BlocksEnv) -> tuple[list, list]:
    env.reset(seed=SEED)
    oracle = Oracle(env)
    actions, states = [], []
    while not env.episode.over:
        states.append(env.get_state())
        actions.append(oracle.act())
        env.step(actions[-1])
    return actions, states


def test_the_scene_of_a_seed_is_the_same_with_and_without():
    one, other = environment(), environment(push={"object": 0.05})
    one.reset(seed=SEED)
    other.reset(seed=SEED)
    assert one.simulation.vector().tobytes() == other.simulation.vector().tobytes()


def test_sizes_may_be_drawn_for_each_episode():
    env = environment(push={"object": 0.06, "random": True})
    sizes = []
    for seed in range(0, 24, 2):
        played(env, seed)
        sizes += [event.size for event in env.episode.push_events]
    assert 1 < len(sizes) < 12  # half of the time there is none
    assert len(set(sizes)) == len(sizes)
    assert max(sizes) <= 0.06


def test_primitives_are_disturbed_too():
    env = environment(control="pick_place", push={"object": 0.05})
    result = run_episode(env, OraclePolicy("pick_place", (2, 4), 20.0), SEED)
    assert [event.kind for event in result.pushes] == ["object"]
    assert result.outcomes["nothing was gripped"] == 1
    assert result.success


@pytest.mark.parametrize(
    ("push", "message"),
    [
        ({"object": 0.2}, "push.object cannot be 0.2"),
        ({"object": float("nan")}, "push.object cannot be nan"),
        ({"place": -0.01}, "push.place cannot be -0.01"),
        ({"arm": 1000}, "push.arm cannot be 1000"),
        ({"slip": 1.5}, "push.slip cannot be 1.5"),
        ({"times": 0}, "push.times cannot be 0"),
        ({"objekt": 0.05}, "there is no push.objekt"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(push, message):
    with pytest.raises(UserError, match=message):
        PushSettings.from_settings(push)


def test_a_jaw_does_not_slip_on_demand():
    with pytest.raises(UserError, match=r"push\.slip is of suction"):
        environment(gripper="jaw", push={"slip": 1.0})
