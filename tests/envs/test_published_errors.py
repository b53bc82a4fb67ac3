"""The ten errors of the published code that users report, each with a test that it is not repeated."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from lohovla.envs.errors import EpisodeOver
from lohovla.envs.language import palette
from lohovla.envs.oracle import Oracle
from lohovla.envs.tasks.registry import get_task
from lohovla.envs.tasks.sort import Sort
from lohovla.envs.tasks.stack import Column, Stack

SMALL, BIG = 0.04, 0.06


def tower(*layers: tuple[str, float], x: float = 0.5, y: float = 0.0) -> dict[str, tuple]:
    """Blocks that stand on each other, as ``hand_scene`` takes them; names by height: low, middle, ..."""
    blocks, foot = {}, 0.0
    for name, (color, edge) in zip(("low", "middle", "high", "top"), layers, strict=False):
        blocks[name] = (color, edge, x, y, foot)
        foot += edge
    return blocks


def moved(blocks: dict[str, tuple], name: str, dx: float = 0.0, dz: float = 0.0) -> dict[str, tuple]:
    color, edge, x, y, foot = blocks[name]
    return {**blocks, name: (color, edge, x + dx, y, foot + dz)}


# -- 1: stack targets at wrong heights ---------------------------------------------------------------

SMALL_OVER_BIG = Stack((Column((frozenset({"low"}), frozenset({"middle"}))),))
PAIR = (("red", BIG), ("red", SMALL))


def test_1_a_right_tower_scores_1(hand_scene):
    assert SMALL_OVER_BIG.score(hand_scene(tower(*PAIR))) == 1.0
    three = Stack((Column((frozenset({"low", "middle", "high"}),) * 3),))
    assert three.score(hand_scene(tower(("red", BIG), ("red", SMALL), ("red", SMALL)))) == 1.0


@pytest.mark.parametrize(
    ("dx", "dz"),
    [(0.06, -BIG), (0.012, 0.0), (0.0, 0.02), (0.0, -0.02), (0.0, 0.009)],
    ids=["beside it on the table", "too far off its middle", "hovering", "sunk in", "just too high"],
)
def test_1_a_block_that_does_not_stand_on_the_other_scores_0(hand_scene, dx, dz):
    assert SMALL_OVER_BIG.score(hand_scene(moved(tower(*PAIR), "middle", dx, dz))) == 0.0


def test_1_the_block_below_must_be_the_right_one(hand_scene):
    upside_down = tower(("red", SMALL), ("red", BIG))
    swapped = {"middle": upside_down["low"], "low": upside_down["middle"]}
    assert SMALL_OVER_BIG.score(hand_scene(swapped)) == 0.0


def test_1_a_block_still_in_the_gripper_does_not_count(hand_scene):
    assert SMALL_OVER_BIG.score(hand_scene(tower(*PAIR), held="middle")) == 0.0


@pytest.mark.parametrize("task", ["C", "G", "H", "I", "K", "stack-all-blocks-on-a-zone"])
def test_1_towers_that_are_really_built_score_1(blind, solve, task):
    env = blind(task)
    for seed in (301, 303):
        env.reset(seed=seed)
        _, info = solve(env)
        assert info["score"] == 1.0


# -- 2: zone reward divided by objects x zones -------------------------------------------------------


def test_2_several_zones_can_reach_1(hand_scene):
    goal = Sort({"block0": ("zone0",), "block1": ("zone1",), "block2": ("zone1",)})
    zones = {"zone0": ("red", 0.15, 0.4, -0.3), "zone1": ("blue", 0.15, 0.6, 0.3)}
    inside = {
        "block0": ("red", SMALL, 0.4, -0.3, 0.0),
        "block1": ("blue", SMALL, 0.57, 0.28, 0.0),
        "block2": ("blue", SMALL, 0.63, 0.32, 0.0),
    }
    assert goal.score(hand_scene(inside, zones)) == 1.0
    assert goal.score(hand_scene(moved(inside, "block2", dx=0.1), zones)) == pytest.approx(2 / 3)
    assert goal.score(hand_scene({**inside, "block0": inside["block1"]}, zones)) == pytest.approx(2 / 3)


def test_2_a_zone_without_blocks_is_no_zero_divided_by_zero(hand_scene):
    goal = Sort({"block0": ("zone0",)})
    zones = {"zone0": ("red", 0.15, 0.4, -0.3), "zone1": ("blue", 0.15, 0.6, 0.3)}
    assert goal.score(hand_scene({"block0": ("red", SMALL, 0.4, -0.3, 0.0)}, zones)) == 1.0


def test_2_no_task_has_nothing_to_do():
    for seed in range(200):
        problem = get_task("E").sample(np.random.default_rng(seed))
        assert problem.goal.allowed


@pytest.mark.parametrize("task", ["E", "I", "put-block-into-mismatching-zone"])
def test_2_tasks_with_several_zones_reach_1(blind, solve, task):
    env = blind(task)
    env.reset(seed=305)
    assert solve(env)[1]["score"] == 1.0


# -- 3: reward is not taken back ---------------------------------------------------------------------


def test_3_a_toppled_tower_takes_its_reward_back(blind):
    env = blind("stack-all-blocks-on-a-zone", control="ee", seconds_per_action=1000)
    env.reset(seed=307)
    (column,) = env.problem.goal.columns
    zone, names = env.problem.layout.poses[column.zone], sorted(column.blocks)
    env.simulation.arrange(
        {name: (zone.x, zone.y, 0.02 + 0.04 * layer, zone.yaw) for layer, name in enumerate(names)}, {}
    )
    still = np.array([*env.simulation.tcp()[0], 0.0, 0.0, 0.0, 0.0])
    _, reward, _, _, info = env.step(still)
    assert (reward, info["score"]) == (1.0, 1.0)
    model, highest = env.simulation.model, names[-1]
    start = model.jnt_dofadr[model.body(highest).jntadr[0]]
    env.simulation.data.qvel[start : start + 3] = [0.8, 0.0, 0.0]  # a knock
    rewards = [env.step(still)[1] for _ in range(20)]
    assert env.scene().centre(highest)[2] < 0.1
    assert sum(rewards) < 0
    assert env.step(still)[4]["score"] == pytest.approx(1.0 + sum(rewards))


def test_3_the_score_is_of_the_state_not_of_its_history(hand_scene):
    goal = Stack((Column((frozenset({"low", "middle", "high"}),) * 3),))
    standing = tower(*(("red", SMALL),) * 3)
    fallen = {**standing, "high": ("red", SMALL, 0.6, 0.1, 0.0)}
    assert [goal.score(hand_scene(blocks)) for blocks in (standing, fallen, standing)] == [1.0, 0.5, 1.0]


@pytest.mark.parametrize("task", ["B", "J", "K"])
def test_3_what_is_undone_costs_the_reward_it_brought(blind, oracle_action, task):
    env = blind(task)
    env.reset(seed=309)
    block = env.problem.goal.next(env.scene()).pick
    start = env.problem.layout.poses[block]
    _, gained, _, _, info = env.step(oracle_action(env))
    assert gained == info["score"] > 0
    x, y, _ = env.scene().centre(block)
    back = [(x, y, env.scene().top(block), env.scene().yaw(block)), (start.x, start.y, 0.0, 0.0)]
    _, lost, _, _, info = env.step(np.array(back, np.float32))
    assert lost == -gained
    assert info["score"] == 0.0


# -- 4: mismatching bowls ----------------------------------------------------------------------------


@pytest.fixture
def mismatching(hand_scene):
    """Scores where blocks of red, green and blue lie, each in one of four bowls (red, green, blue, white)."""
    colors = ("red", "green", "blue", "white")
    bowls = {f"bowl{i}": (color, 0.4, -0.3 + 0.2 * i) for i, color in enumerate(colors)}
    allowed = {f"block{i}": tuple(f"bowl{k}" for k in range(4) if colors[k] != colors[i]) for i in range(3)}
    goal = Sort(allowed, exclusive=True)

    def score(*where: int) -> float:
        height = {bowl: 0 for bowl in where}
        blocks = {}
        for i, bowl in enumerate(where):
            blocks[f"block{i}"] = (colors[i], SMALL, 0.4, -0.3 + 0.2 * bowl + 0.01 * height[bowl], 0.005)
            height[bowl] += 1
        return goal.score(hand_scene(blocks, bowls))

    return score


def test_4_every_bowl_of_another_color_is_legal(mismatching):
    assert mismatching(1, 2, 0) == 1.0
    assert mismatching(2, 0, 1) == 1.0
    assert mismatching(3, 0, 1) == 1.0
    assert mismatching(1, 3, 0) == 1.0
    assert mismatching(1, 0, 3) == 1.0


def test_4_a_bowl_of_its_own_color_is_not(mismatching):
    assert mismatching(0, 1, 2) == 0.0
    assert mismatching(0, 2, 1) == pytest.approx(2 / 3)


def test_4_two_blocks_in_one_bowl_count_once(mismatching):
    assert mismatching(3, 3, 0) == pytest.approx(2 / 3)
    assert mismatching(3, 3, 3) == pytest.approx(1 / 3)


def test_4_the_task_itself_allows_every_other_colored_bowl():
    for seed in range(30):
        problem = get_task("F").sample(np.random.default_rng(seed))
        entities = problem.layout.entities
        bowls = {name: entity.color for name, entity in entities.items() if name.startswith("bowl")}
        assert problem.goal.exclusive
        for block, allowed in problem.goal.allowed.items():
            own = entities[block].color
            assert set(allowed) == {name for name, color in bowls.items() if color != own}
            assert own in palette("train")


# -- 5: wall-clock timeouts --------------------------------------------------------------------------


@pytest.mark.parametrize(("control", "actions"), [("pick_place", 4), ("ee", 120)])
def test_5_no_result_depends_on_the_wall_clock(blind, monkeypatch, control, actions):
    env = blind("B", control=control, drop_probability=0.2)

    def play() -> list:
        env.reset(seed=311)
        oracle, log = Oracle(env), []
        for _ in range(actions):
            observation, *rest = env.step(oracle.act())
            log.append([observation["state"].tobytes(), *rest])
        return log

    def read(*_):
        raise AssertionError("the wall clock was read")

    expected = play()
    with monkeypatch.context() as patch:
        for clock in ("time", "perf_counter", "monotonic", "process_time", "time_ns", "perf_counter_ns", "sleep"):
            patch.setattr(time, clock, read)
        found = play()
    assert found == expected


def test_5_the_time_limit_is_simulated_time(blind):
    env = blind("B", control="ee", seconds_per_action=0.5)
    env.reset(seed=313)
    limit = env.problem.max_steps * 0.5
    still = np.array([0.45, 0.1, 0.3, 0, 0, 0, 0])
    steps, truncated = 0, False
    while not truncated:
        _, _, _, truncated, info = env.step(still)
        steps += 1
    assert info["time"] == pytest.approx(limit)
    assert steps == round(limit * 20)


# -- 6: part of the randomness is not reset ----------------------------------------------------------


def test_6_reseeding_reproduces_everything_whatever_came_before(oracle_action, blind):
    noise = {"color": 3.0, "depth": 0.002, "camera_position": 0.01, "camera_rotation": 0.01, "light": 0.1}
    cameras = {"top": {"width": 80, "height": 40, "depth": True}, "wrist": {"width": 32, "height": 32}}
    env = blind("F", cameras=cameras, noise=noise, drop_probability=0.3)

    def episode() -> list[list]:
        steps = [env.reset(seed=315), *(env.step(oracle_action(env)) for _ in range(3))]
        return [[np.asarray(value).tobytes() for value in observation.values()] + rest for observation, *rest in steps]

    first = episode()
    env.reset()  # an episode of its own, cut short
    env.step(env.action_space.sample())
    np.random.seed(99)  # noqa: NPY002  the global generator must not matter
    assert episode() == first


def test_6_episodes_without_a_seed_go_on_from_the_last_seed_and_differ(blind):
    def three(env):
        env.reset(seed=317)
        return [str(env.problem.layout.poses), *(str(env.reset() and env.problem.layout.poses) for _ in range(2))]

    first, second = three(blind("K")), three(blind("K"))
    assert first == second
    assert len(set(first)) == 3


# -- 7: actions after the end ------------------------------------------------------------------------


@pytest.mark.parametrize(("control", "reason"), [("pick_place", "action limit"), ("ee", "time limit")])
def test_7_late_actions_are_refused_and_truncation_carries_its_reason(blind, control, reason):
    env = blind("A", control=control, seconds_per_action=0.2)
    env.reset(seed=319)
    idle = np.array([0.45, 0.1, 0.3, 0, 0, 0, 0]) if control == "ee" else np.array([[0.3, -0.45, 0.0, 0.0]] * 2)
    terminated = truncated = False
    while not (terminated or truncated):
        _, _, terminated, truncated, info = env.step(idle)
    assert (terminated, truncated, info["reason"]) == (False, True, reason)
    ended = env.simulation.time
    with pytest.raises(EpisodeOver):
        env.step(idle)
    assert env.simulation.time == ended


def test_7_exactly_the_published_number_of_actions_is_allowed(blind):
    env = blind("H")
    env.reset(seed=321)
    idle = np.array([[0.3, -0.45, 0.0, 0.0]] * 2)
    ends = [env.step(idle)[3] for _ in range(7)]
    assert ends == [False] * 6 + [True]


def test_7_an_episode_solved_by_its_last_action_is_terminated_not_truncated(blind, oracle_action):
    env = blind("A")
    env.reset(seed=323)
    idle = np.array([[0.3, -0.45, 0.0, 0.0]] * 2)
    for _ in range(2):
        env.step(idle)
    _, _, terminated, truncated, info = env.step(oracle_action(env))
    assert (terminated, truncated, info["reason"]) == (True, False, "success")


# -- 8: no drop probability --------------------------------------------------------------------------


def test_8_drop_probability_is_defined_a_held_second(set_table):
    """Twice the time held is the square of the chance, whatever the control rate."""
    survived = {}
    for seconds in (0.5, 1.0):
        for rate in (10.0, 40.0):
            simulation = set_table(blocks=((0.5, 0.0, 0.02, 0.0, 0.04),), drop_probability=0.6, control_hz=rate)
            gripper, rng, kept = simulation.gripper, np.random.default_rng(325), 0
            for _ in range(2000):
                gripper.held = "block0"
                for _ in range(round(seconds * rate)):
                    gripper.update(simulation.model, simulation.data, 1.0, simulation.period, rng)
                kept += gripper.held is not None
                gripper.update(simulation.model, simulation.data, 0.0, simulation.period, rng)
            survived[seconds, rate] = kept / 2000
    for (seconds, _), share in survived.items():
        assert share == pytest.approx(0.4**seconds, abs=4 * math.sqrt(0.25 / 2000))


def test_8_drops_happen_in_episodes_and_are_counted(blind, oracle_action):
    env = blind("B", drop_probability=0.6)
    env.reset(seed=327)
    outcomes, drops, ended = [], 0, False
    while not ended:
        _, _, terminated, truncated, info = env.step(oracle_action(env))
        outcomes.append(info["outcome"])
        drops, ended = info["drops"], terminated or truncated
    assert drops >= 1
    assert any("lost" in outcome for outcome in outcomes)


# -- 9: camera noise ---------------------------------------------------------------------------------


@pytest.mark.parametrize("camera", ["top", "front", "left", "right", "wrist"])
@pytest.mark.parametrize("setting", ["camera_position", "camera_rotation"])
def test_9_camera_noise_moves_every_camera(blind, camera, setting):
    pictures = []
    for noise in ({}, {setting: 0.03}):
        env = blind("B", cameras={camera: {"width": 96, "height": 72}}, noise=noise)
        pictures.append(env.reset(seed=329)[0][f"images.{camera}"])
    assert (pictures[0] != pictures[1]).mean() > 0.02


def test_9_camera_noise_differs_from_episode_to_episode(blind):
    env = blind("B", noise={"camera_position": 0.02})
    offsets = []
    for seed in range(40):
        env.reset(seed=seed)
        offsets.append(env.simulation.model.camera("wrist").pos - (0.0, -0.075, 0.0))
    assert np.std(offsets) == pytest.approx(0.02, rel=0.25)  # 120 draws: 4 standard errors
    assert len({offset.tobytes() for offset in np.array(offsets)}) == 40


# -- 10: bowls were movable and pickable -------------------------------------------------------------


def test_10_bowls_have_no_joints(set_table):
    simulation = set_table(bowls=((0.5, 0.0), (0.6, 0.3)))
    for bowl in ("bowl0", "bowl1"):
        assert simulation.model.body(bowl).dofnum[0] == 0


def bowl_geoms(env) -> np.ndarray:
    names = [name for name in env.problem.layout.entities if name.startswith("bowl")]
    ids = [env.simulation.model.body(name).id for name in names]
    return env.simulation.data.geom_xpos[np.isin(env.simulation.model.geom_bodyid, ids)].copy()


@pytest.mark.parametrize("where", ["rim", "middle"])
def test_10_a_bowl_cannot_be_picked_up(blind, where):
    env = blind("B")
    env.reset(seed=331)
    before = bowl_geoms(env)
    pose = env.problem.layout.poses["bowl0"]
    offset, height = (0.055, 0.035) if where == "rim" else (0.0, 0.004)
    pick = (pose.x + offset, pose.y, height, 0.0)
    info = env.step(np.array([pick, (0.5, 0.0, 0.0, 0.0)], np.float32))[4]
    assert "gripped" in info["outcome"]
    np.testing.assert_array_equal(bowl_geoms(env), before)


def test_10_a_bowl_cannot_be_pushed(blind):
    env = blind("B", control="ee", seconds_per_action=1000)
    env.reset(seed=333)
    before = bowl_geoms(env)
    pose = env.problem.layout.poses["bowl0"]
    for dy in np.linspace(-0.09, 0.09, 40):
        env.step(np.array([pose.x, pose.y + dy, 0.02, 0, 0, 0, 1]))
    np.testing.assert_array_equal(bowl_geoms(env), before)
    assert env.scene().fixture_poses["bowl0"] == pose
