"""Scenes as tables: states that the oracle would reach, labelled as the simulator would label them."""

from collections import defaultdict
from itertools import islice

import numpy as np
import pytest

from lohovla.collect.privileged_labels import objects_of
from lohovla.collect.rendered_scenes import LabelledScenes, scene_env
from lohovla.collect.symbolic_scenes import TableScenes, apply_subtask_or_mistake, block_moved_to, states
from lohovla.collect.training_stream import FailureInjection
from lohovla.envs.tasks.entities import Pose
from lohovla.envs.tasks.grammar.meaning import canonical, parse_meaning
from lohovla.envs.tasks.grammar.word_noise import with_word_noise
from lohovla.envs.tasks.registry import get_task, initial_scene
from lohovla.errors import UserError

NO_MISTAKES = FailureInjection(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "task", ["put-block-into-matching-bowl", "stack-block-in-absolute-area", "put-even-blocks-in-same-color-zone"]
)
def test_following_the_oracle_ends_at_the_goal(task):
    problem = get_task(task).sample(np.random.default_rng(3))
    seen = list(states(problem, np.random.default_rng(0), NO_MISTAKES))
    assert seen[-1][1] is None
    assert problem.goal.score(seen[-1][0]) == pytest.approx(1.0)
    scores = [problem.goal.score(scene) for scene, _ in seen]
    assert scores == sorted(scores)
    assert len(seen) <= problem.max_steps + 1


def test_a_table_is_what_the_simulator_says_of_the_same_scene():
    env = scene_env("put-block-into-matching-bowl")
    env.reset(seed=2)
    drawn = objects_of(initial_scene(env.problem.layout))
    settled = objects_of(env.scene())
    np.testing.assert_allclose(drawn, settled, atol=2e-3)


def test_mistakes_leave_the_block_elsewhere_or_move_another():
    problem = get_task("put-block-into-matching-bowl").sample(np.random.default_rng(3))
    scene = initial_scene(problem.layout)
    subtask = problem.goal.next(scene)
    place = np.array([subtask.place.x, subtask.place.y])

    def changed(mistakes, seed=1):
        after = apply_subtask_or_mistake(scene, subtask, np.random.default_rng(seed), mistakes)
        at = [k for k in range(len(scene.blocks)) if not np.allclose(after.positions[k], scene.positions[k])]
        return [list(scene.blocks)[k] for k in at], after

    names, after = changed(NO_MISTAKES)
    assert names == [subtask.pick]
    assert np.linalg.norm(after.centre(subtask.pick)[:2] - place) < 0.01
    names, after = changed(FailureInjection(1.0, 0.0, 0.0))
    assert names == [subtask.pick]
    assert np.linalg.norm(after.centre(subtask.pick)[:2] - place) > 0.03
    others = [changed(FailureInjection(0.0, 0.0, 1.0), seed)[0] for seed in range(8)]
    assert {len(names) for names in others} == {1}
    assert len({names[0] for names in others}) > 2


def test_moving_a_block_leaves_the_rest():
    scene = initial_scene(get_task("stack-block-in-absolute-area").sample(np.random.default_rng(3)).layout)
    name = next(iter(scene.blocks))
    after = block_moved_to(scene, name, Pose(0.4, 0.1, 0.06, 0.3))
    assert after.centre(name) == pytest.approx((0.4, 0.1, 0.06 + scene.blocks[name].edge / 2))
    assert after.yaw(name) == pytest.approx(0.3)
    np.testing.assert_array_equal(after.positions[1:], scene.positions[1:])


def test_samples_are_as_those_with_pictures():
    tasks = ["put-block-into-matching-bowl", "stack-block-in-absolute-area"]
    tables = list(islice(TableScenes(tasks, 2, direct=0.0, pool=1), 20))
    pictured = next(iter(LabelledScenes(tasks, 2, pool=1, direct=0.0)))
    assert set(tables[0]) == {"instruction", "program", "subtask", "points", "objects", "roles", "state"}
    for key in ("objects", "points", "state"):
        assert tables[0][key].shape == pictured[key].shape
        assert tables[0][key].dtype == pictured[key].dtype
    np.testing.assert_allclose(tables[0]["state"], pictured["state"], atol=1e-3)
    again = list(islice(TableScenes(tasks, 2, direct=0.0, pool=1), 20))
    assert [s["subtask"] for s in again] == [s["subtask"] for s in tables]
    other = list(islice(TableScenes(tasks, 2, direct=0.0, pool=1, rank=1, world=2), 20))
    assert [s["subtask"] for s in other] != [s["subtask"] for s in tables]


def test_roles_are_what_the_oracle_does_until_the_goal():
    for sample in islice(TableScenes(["stack-block-in-absolute-area"], 2, direct=0.0, pool=1), 30):
        real = sample["objects"][:, 0] >= 0
        moves, receives, following = sample["roles"][real].T > 0.5
        assert not sample["roles"][~real].any()
        if sample["subtask"] == "Done.":
            assert not moves.any()
            assert not receives.any()
            continue
        area = sample["instruction"].partition(" area")[0].split()[-2:]  # "bottom", "left"
        x, y = sample["objects"][real, 3:5].T
        inside = ((x > 0.5) == (area[0] == "bottom")) & ((y < 0) == (area[1] == "left"))
        astray = sample["subtask"].endswith("on the table.") or (moves & ~inside).any()
        if not astray:  # nothing has to be brought back or uncovered
            assert (moves <= inside).all()
            assert following.sum() == 1
            assert (following <= receives).all()
            assert moves.sum() >= receives.sum()


def test_a_primitives_roles_are_its_own():
    for sample in islice(TableScenes(["put-block-into-matching-bowl"], 2, direct=1.0, pool=1), 20):
        moves, receives, following = sample["roles"].T
        assert moves.sum() == (sample["subtask"] != "Done.")
        assert (receives == following).all()
        if " bowl." in sample["subtask"]:
            assert sample["objects"][receives > 0.5, 0].tolist() == [1.0]


def test_some_goals_are_primitives():
    samples = list(islice(TableScenes(["put-block-into-matching-bowl"], 2, direct=0.5, pool=1), 60))
    primitive = [s for s in samples if "bowls" not in s["instruction"] and "bowl of its own" not in s["instruction"]]
    assert 15 < len(primitive) < 45
    for sample in primitive:
        assert sample["subtask"].startswith("Pick up the ")


def test_held_out_tasks_are_refused():
    with pytest.raises(UserError, match="held out"):
        TableScenes(["stack-blocks-of-same-color"])


def test_composed_goals_have_their_share_of_the_samples_and_twins_of_their_scenes():
    tasks = ["put-block-into-matching-bowl", "stack-block-in-absolute-area"]
    said = list(islice(iter(TableScenes(tasks, 2, composed=0.6, direct=0.0, pool=1)), 400))
    assert len({sample["program"] for sample in said}) > 15
    known = [s for s in said if s["program"] == "what=place who=all where=bowl:same" or _is_tower_in_area(s["program"])]
    assert 0.5 < 1 - len(known) / len(said) < 0.7
    for sample in said:
        assert str(canonical(parse_meaning(sample["program"]))) == sample["program"]
    goals = defaultdict(set)
    for sample in said:
        goals[sample["objects"].tobytes()].add(sample["program"])
    assert sum(len(several) > 1 for several in goals.values()) > 3  # one scene, several goals


def _is_tower_in_area(program):
    kind, area = "what=tower who=area:", program.removeprefix("what=tower who=area:").partition(" where=area:")
    return program.startswith(kind) and area[0] == area[2]


def test_a_share_of_goals_has_a_slip_or_an_unknown_word():
    def goals(noise):
        stream = iter(TableScenes(["put-block-into-matching-bowl"], 2, direct=0.0, word_noise=noise, pool=1))
        return {next(stream)["instruction"] for _ in range(60)}

    assert len(goals(0.0)) <= 3  # its wordings
    assert len(goals(0.5)) > 12


def test_what_is_changed_in_a_sentence_is_one_word():
    rng, sentence = np.random.default_rng(0), "Stack the red bricks that lie in the top left area."
    for _ in range(40):
        said = with_word_noise(sentence, rng)
        changed = [(a, b) for a, b in zip(sentence.split(), said.split(), strict=True) if a != b]
        assert len(changed) <= 1
        for word, other in changed:
            known = word.strip(".") in ("red", "top", "left", "that", "lie", "the", "in")
            assert not known or sorted(set(word)) == sorted(set(other)) or abs(len(word) - len(other)) == 1
    assert with_word_noise("Go.", rng) == "Go."
