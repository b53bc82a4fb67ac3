"""Problems of the grammar: fair scenes, goals that the oracle reaches, and nothing of what is held out."""

from __future__ import annotations

import numpy as np
import pytest

from lohovla.collect.symbolic_scenes import TableScenes
from lohovla.envs.language import palette, vocabulary
from lohovla.envs.oracle import Oracle
from lohovla.envs.tasks.grammar.cells import (
    PUBLISHED_TRAINED,
    PUBLISHED_UNSEEN,
    all_cells,
    cell_of,
    draw_meaning,
    held_out,
    is_published_unseen,
    reaches_unseen,
)
from lohovla.envs.tasks.grammar.handwritten import handwritten_goals
from lohovla.envs.tasks.grammar.meaning import parse_meaning, same_meaning
from lohovla.envs.tasks.grammar.resolve import end_states, goal_of
from lohovla.envs.tasks.grammar.scenes import MOST_MOVES, oracle_plan
from lohovla.envs.tasks.grammar.selection import ImpossibleGoal
from lohovla.envs.tasks.grammar.twins import twin_meanings
from lohovla.envs.tasks.grammar.wording import held_out_phrases
from lohovla.envs.tasks.names import COMPOSED, TASKS
from lohovla.envs.tasks.registry import get_task, initial_scene
from lohovla.envs.tasks.scene_sampler import SceneSampler
from lohovla.errors import UserError

HELD_OUT = "composed-goals-held-out-cells"


def problems(task: str, count: int, first: int = 0):
    return [get_task(task).sample(np.random.default_rng([seed, 1])) for seed in range(first, first + 2 * count, 2)]


@pytest.mark.parametrize("task", [name for name in COMPOSED if name not in ("impossible-goals", "reached-goals")])
def test_goals_are_open_at_first_and_the_oracle_reaches_them(task):
    for problem in problems(task, 40):
        scene = initial_scene(problem.layout)
        assert problem.goal.score(scene) == 0.0
        assert 1 <= problem.goal.moves <= MOST_MOVES
        steps = list(oracle_plan(problem.goal, scene, problem.max_steps))
        assert problem.goal.score(steps[-1][0]) == 1.0
        scores = [problem.goal.score(scene) for scene, _ in steps]
        assert all(0.0 <= score <= 1.0 for score in scores)
        assert len(problem.instruction) <= 160


def test_every_cell_has_fair_scenes():
    """A tenth of the cells, drawn by their place in the list: a goal of each is found in a few draws."""
    task = get_task("handwritten-goals")  # which asks whatever it is given
    for number, cell in enumerate(all_cells()[::10]):
        rng = np.random.default_rng(number)
        found = None
        for _ in range(40):
            layout = SceneSampler(rng)
            meaning = draw_meaning(cell, rng, layout.palette)
            assert cell_of(meaning) == cell
            found = found or task.problem(meaning, layout)
        assert found, cell


def test_a_problem_follows_from_its_seed():
    for one, other in zip(problems("composed-goals", 10), problems("composed-goals", 10), strict=True):
        assert (one.instruction, str(one.meaning), one.layout.poses) == (
            other.instruction,
            str(other.meaning),
            other.layout.poses,
        )


def test_what_the_goal_does_not_mean_is_there_too():
    chosen = [p for p in problems("composed-goals", 60) if p.meaning.who]
    for problem in chosen:
        scene = initial_scene(problem.layout)
        steps = [subtask for _, subtask in oracle_plan(problem.goal, scene, problem.max_steps) if subtask]
        assert {subtask.pick for subtask in steps} < set(scene.blocks)


def test_the_grammar_has_the_published_tasks():
    asked = set()
    for task in TASKS:
        for problem in problems(task, 8):
            assert problem.meaning is not None
            assert parse_meaning(str(problem.meaning)) == problem.meaning
            assert end_states(goal_of(problem.meaning, initial_scene(problem.layout))) == end_states(problem.goal)
            asked.add(cell_of(problem.meaning))
    listed = {cell_of(parse_meaning(text)) for text in (*PUBLISHED_TRAINED, *PUBLISHED_UNSEEN.values())}
    assert asked == listed | {"place|color|||side"}  # the untrained primitive
    for letter, text in PUBLISHED_UNSEEN.items():
        assert cell_of(problems(letter, 1)[0].meaning) == cell_of(parse_meaning(text))


def test_a_fixed_share_of_the_cells_is_held_out_by_rule():
    out = [cell for cell in all_cells() if held_out(cell)]
    assert 0.12 < len(out) / len(all_cells()) < 0.2
    assert {cell_of(parse_meaning(text)) for text in PUBLISHED_UNSEEN.values()} <= set(out)
    assert not {cell_of(parse_meaning(text)) for text in PUBLISHED_TRAINED} & set(out)
    assert len({cell.split("|")[0] for cell in out}) == 5
    assert held_out("tower|size|by color||here")  # does not move when cells are added


@pytest.mark.parametrize("count", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_nothing_held_out_is_among_what_is_trained(count):
    """Neither a cell, nor a goal that is one of F-K in its scene, nor their sentences, nor a held-out phrase."""
    published = {text for letter in PUBLISHED_UNSEEN for text in vocabulary()["goals"][get_task(letter).name]}
    words = {word for phrases in held_out_phrases().values() for word in phrases if word.isalpha()}
    by_hand = {sentence for sentence, _ in handwritten_goals()}
    for problem in problems("composed-goals", count):
        assert not held_out(cell_of(problem.meaning))
        assert not reaches_unseen(problem.goal, initial_scene(problem.layout))
        assert problem.instruction not in published | by_hand
        assert not words & set(problem.instruction.lower().strip(".?").split())


def test_a_goal_that_is_one_of_the_unseen_in_its_scene_is_known(hand_scene):
    flat = {"a": ("red", 0.04, 0.4, 0.1, 0.0), "b": ("red", 0.04, 0.4, 0.3, 0.0), "c": ("blue", 0.06, 0.6, 0.0, 0.0)}
    scene = hand_scene(flat)
    assert reaches_unseen(goal_of(parse_meaning("what=tower who=color:red"), scene), scene)  # K here
    assert not reaches_unseen(goal_of(parse_meaning("what=tower who=all"), scene), scene)
    assert reaches_unseen(goal_of(parse_meaning("what=place who=color:red where=area:bottom-left"), scene), scene)  # J


def test_held_out_cells_are_those_and_none_of_the_published_ones():
    asked = {cell_of(problem.meaning) for problem in problems(HELD_OUT, 60)}
    assert all(map(held_out, asked))
    assert not any(map(is_published_unseen, asked))
    assert len(asked) > 25


@pytest.mark.parametrize("task", [HELD_OUT, "composed-goals-held-out-words", "handwritten-goals"])
def test_what_is_held_out_is_refused_in_training(task):
    with pytest.raises(UserError, match="held out"):
        TableScenes([task])


def test_composed_goals_are_training_scenes_like_any_other():
    samples = iter(TableScenes(["composed-goals", "impossible-goals", "reached-goals"], 2, direct=0.0, pool=1))
    said = [next(samples) for _ in range(120)]
    endings = {sample["subtask"] for sample in said if not sample["subtask"].startswith("Pick up")}
    assert "Done." in endings
    assert any(ending.startswith("There is no ") for ending in endings)
    assert sum(sample["subtask"].startswith("Pick up") for sample in said) > 40


def test_twins_differ_in_one_slot_and_are_as_fair():
    task, rng, found = get_task("composed-goals"), np.random.default_rng(8), 0
    for problem in problems("composed-goals", 40):
        scene = initial_scene(problem.layout)
        for twin in task.twins(problem, rng, 3):
            assert twin.layout is problem.layout
            assert not held_out(cell_of(twin.meaning))
            assert not reaches_unseen(twin.goal, scene)
            assert twin.goal.score(scene) == 0.0
            assert not same_meaning(twin.meaning, problem.meaning)
            assert end_states(twin.goal) != end_states(problem.goal) or twin.meaning != problem.meaning
            found += 1
    assert found > 40


def test_twins_turn_an_order_round(hand_scene):
    scene = hand_scene({"a": ("red", 0.06, 0.4, 0.1, 0.0), "b": ("blue", 0.04, 0.4, 0.3, 0.0)})
    meaning = parse_meaning("what=tower who=all order=bigger-first")
    twins = set(map(str, twin_meanings(meaning, scene, np.random.default_rng(0))))
    assert "what=tower who=all order=smaller-first" in twins
    assert str(meaning) not in twins


# -- nothing to be done ------------------------------------------------------------------------------


def test_impossible_goals_name_what_is_not_there_and_want_nothing_moved():
    empty = 0
    for problem in problems("impossible-goals", 60):
        scene = initial_scene(problem.layout)
        with pytest.raises(ImpossibleGoal) as error:
            goal_of(problem.meaning, scene)
        assert problem.goal.ending == error.value.sentence
        assert problem.goal.ending.startswith("There is no ")
        assert problem.goal.next(scene) is None
        assert problem.goal.score(scene) == 1.0
        empty += not scene.blocks
    assert 4 <= empty <= 22


def test_moving_a_block_where_nothing_can_be_done_costs(hand_scene):
    problem = next(p for p in problems("impossible-goals", 20) if initial_scene(p.layout).blocks)
    scene = initial_scene(problem.layout)
    scene.positions[0] += 0.05
    again = type(scene)(scene.blocks, scene.fixtures, scene.fixture_poses, scene.positions, scene.quats)
    assert problem.goal.score(again) == pytest.approx(1.0 - 1 / len(scene.blocks))


def test_reached_goals_are_done_from_the_start():
    for problem in problems("reached-goals", 30):
        scene = initial_scene(problem.layout)
        assert problem.goal.score(scene) == 1.0
        assert problem.goal.next(scene) is None
        assert problem.goal.ending == "Done."


# -- in the simulator --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "count"), [("composed-goals", 6), (HELD_OUT, 4), ("impossible-goals", 3), ("reached-goals", 2)]
)
def test_the_oracle_reaches_goals_of_the_grammar_in_the_simulator(blind, task, count):
    env = blind(task)
    for seed in range(1, 1 + 2 * count, 2):
        _, info = env.reset(seed=seed)
        oracle, ended = Oracle(env), False
        while not ended:
            _, _, terminated, truncated, info = env.step(oracle.act())
            ended = terminated or truncated
        assert info["success"], (seed, env.problem.instruction)


def test_palettes_have_what_goals_speak_of():
    for colors in ("train", "eval", "all"):
        for seed in range(10):
            problem = get_task("composed-goals").sample(np.random.default_rng([seed, 1]), colors=colors)
            named = {noun.color for noun in problem.meaning.nouns} | {problem.meaning.said("color")} - {""}
            assert named <= set(palette(colors))
