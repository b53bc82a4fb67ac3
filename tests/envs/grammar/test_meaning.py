"""Meanings: their notation, their canonical form, and the goals over states that they are in a scene."""

from __future__ import annotations

import pytest

from lohovla.envs.tasks.beside import Beside
from lohovla.envs.tasks.entities import Pose, block_moved_to
from lohovla.envs.tasks.grammar.meaning import canonical, parse_meaning, same_meaning
from lohovla.envs.tasks.grammar.resolve import end_states, goal_of
from lohovla.envs.tasks.grammar.selection import ImpossibleGoal, select_blocks, structures

NOTATIONS = [
    "what=tower who=all",
    "what=tower who=category:warm+size:bigger by=color order=smaller-first where=area:top-left",
    "what=place who=left-of:bowl-white where=zone:same",
    "what=each who=count:even where=bowl:other",
    "what=row who=area:bottom-right+free order=alternating".replace("+free", "+cover:free"),
    "what=place who=color:red where=block:block-bigger-blue",
    "what=tower who=in:pyramid+layer:bottom where=near:bowl-white",
    "what=uncover who=size:smaller",
]


@pytest.mark.parametrize("text", NOTATIONS)
def test_a_notation_is_read_and_written(text):
    assert str(parse_meaning(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("what=castle who=all", "what cannot be 'castle'"),
        ("tower", "'tower' is not one of"),
        ("what=tower who=color:mauve", "color cannot be 'mauve'"),
        ("what=tower who=shape:round", "no condition 'shape'"),
        ("what=place who=all where=bowl:mauve", "where=bowl cannot say 'mauve'"),
        ("what=place who=all where=near:bowl", "'bowl' names no thing"),
        ("what=place who=all where=block:bowl-red", "where=block names a block"),
        ("what=tower who=all what=row", "each at most once"),
    ],
)
def test_what_is_no_meaning_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_meaning(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("what=tower who=area:top-left", "what=tower who=area:top-left where=area:top-left"),
        ("what=tower who=color:red by=color", "what=tower who=color:red"),
        ("what=place who=color:red where=zone:same", "what=place who=color:red where=zone:red"),
        ("what=tower who=size:bigger order=bigger-first", "what=tower who=size:bigger"),
        ("what=tower who=all by=size order=smaller-first", "what=tower who=all by=size"),
        ("what=tower who=color:red where=block:block-blue", "what=place who=color:red where=block:block-blue"),
        ("what=place who=color:red+category:warm where=area:center", "what=place who=color:red where=area:center"),
        ("what=place who=count:2+count:even where=zone:same", "what=place who=count:2 where=zone:same"),
    ],
)
def test_different_notations_of_one_goal_have_one_canonical_form(one, other):
    assert same_meaning(parse_meaning(one), parse_meaning(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("what=tower who=all by=color", "what=tower who=all by=size"),
        ("what=tower who=all by=color order=bigger-first", "what=tower who=all by=color order=smaller-first"),
        ("what=place who=all where=bowl:other", "what=each who=all where=bowl:other"),
        ("what=tower who=color:red where=zone:same", "what=tower who=color:red where=zone:blue"),
        ("what=place who=color:red+category:cool where=area:center", "what=place who=color:red where=area:center"),
    ],
)
def test_different_goals_do_not(one, other):
    assert not same_meaning(parse_meaning(one), parse_meaning(other))


def test_a_canonical_form_is_its_own():
    for text in NOTATIONS:
        once = canonical(parse_meaning(text))
        assert canonical(once) == once


@pytest.fixture
def table(hand_scene):
    """Five blocks, two of them in a tower, a bowl and two zones."""
    blocks = {
        "red": ("red", 0.04, 0.35, -0.3, 0.0),
        "redder": ("red", 0.06, 0.35, 0.3, 0.0),
        "blue": ("blue", 0.06, 0.6, -0.3, 0.0),
        "top": ("yellow", 0.04, 0.6, -0.3, 0.06),
        "green": ("green", 0.04, 0.6, 0.3, 0.0),
    }
    return hand_scene(blocks, {"bowl0": ("white", 0.45, 0.0), "zone0": ("red", 0.15, 0.7, 0.1)})


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        ("all", "red redder blue top green"),
        ("color:red", "red redder"),
        ("size:bigger", "redder blue"),
        ("color:red+size:bigger", "redder"),
        ("category:cool", "blue green"),
        ("area:top-left", "red"),
        ("left-of:bowl-white", "red blue top"),
        ("right-of:block-smaller-red", "redder green"),
        ("cover:covered", "blue"),
        ("cover:free", "red redder top green"),
        ("in:two-layer-towers+layer:bottom", "blue"),
        ("count:even", "red redder"),
        ("count:odd", "blue top green"),
        ("count:2", "red redder"),
    ],
)
def test_conditions_choose_blocks(table, conditions, names):
    assert select_blocks(parse_meaning(f"what=tower who={conditions}").who, table) == names.split()


def test_structures_are_told_apart_by_their_layers_and_feet(hand_scene):
    blocks = {
        "a": ("red", 0.04, 0.3, 0.0, 0.0),
        "b": ("red", 0.04, 0.3, 0.05, 0.0),
        "c": ("red", 0.04, 0.3, 0.025, 0.04),
        "d": ("red", 0.04, 0.6, 0.0, 0.0),
        "e": ("red", 0.04, 0.6, 0.0, 0.04),
        "f": ("red", 0.04, 0.6, 0.0, 0.08),
        "g": ("red", 0.04, 0.6, 0.3, 0.0),
    }
    found = structures(hand_scene(blocks))
    assert {found[name] for name in "abc"} == {"pyramid"}
    assert {found[name] for name in "def"} == {"three-layer-towers"}
    assert "g" not in found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("what=tower who=color:purple", "There is no purple block."),
        ("what=tower who=size:bigger+color:green", "There is no bigger green block."),
        ("what=place who=color:red+size:smaller where=bowl:purple", "There is no purple bowl."),
        ("what=place who=color:green where=bowl:same", "There is no green bowl."),
        ("what=place who=category:cool where=bowl:same", "There is no bowl of the same color."),
        ("what=tower who=left-of:block-red", "There is more than one red block."),
        ("what=each who=all where=bowl:other", "Nothing can be done."),
        ("what=tower who=all order=alternating", "Nothing can be done."),
        ("what=place who=all where=zone:blue", "There is no blue zone."),
        ("what=tower who=cover:covered+color:red", "There is no covered red block."),
    ],
)
def test_what_a_scene_cannot_meet_says_why(table, text, sentence):
    with pytest.raises(ImpossibleGoal) as error:
        goal_of(parse_meaning(text), table)
    assert error.value.sentence == sentence


def test_on_an_empty_table_nothing_can_be_done(hand_scene):
    with pytest.raises(ImpossibleGoal, match="There is no block"):
        goal_of(parse_meaning("what=tower who=all"), hand_scene({}))


def test_goals_that_the_same_states_reach_are_equal_in_their_scene(table):
    def ends(text):
        return end_states(goal_of(parse_meaning(text), table))

    assert ends("what=tower who=all by=color") == ends("what=tower who=count:2") == ends("what=tower who=color:red")
    assert ends("what=tower who=color:red") != ends("what=tower who=color:red order=bigger-first")
    assert ends("what=place who=color:green where=zone:red") != ends("what=place who=color:yellow where=zone:red")


def test_alternating_towers_of_as_many_of_each_may_begin_with_either(hand_scene):
    colors = ("red", "blue", "red", "blue")
    flat = {str(i): (color, 0.04, 0.4, i * 0.1, 0.0) for i, color in enumerate(colors)}
    goal = goal_of(parse_meaning("what=tower who=all order=alternating"), hand_scene(flat))
    assert goal.moves == 3
    for order in ((0, 1, 2, 3), (1, 0, 3, 2)):
        tower = {str(i): (colors[i], 0.04, 0.4, 0.0, 0.04 * k) for k, i in enumerate(order)}
        assert goal.score(hand_scene(tower)) == 1.0
    wrong = {str(i): (colors[i], 0.04, 0.4, 0.0, 0.04 * k) for k, i in enumerate((0, 2, 1, 3))}
    assert goal.score(hand_scene(wrong)) < 1.0


@pytest.mark.parametrize(
    ("relation", "at", "holds"),
    [
        ("near", (0.45, 0.15), True),
        ("near", (0.45, 0.25), False),
        ("left", (0.45, -0.15), True),
        ("left", (0.45, 0.15), False),
        ("left", (0.6, -0.05), False),
        ("bottom", (0.6, -0.05), True),
    ],
)
def test_beside_is_within_21_cm_and_in_the_quarter_of_its_side(hand_scene, relation, at, holds):
    scene = hand_scene({"a": ("red", 0.04, *at, 0.0)}, {"bowl0": ("white", 0.45, 0.0)})
    assert Beside("bowl0", relation).holds(scene, "a") is holds


def test_what_lies_in_the_bowl_or_on_the_zone_is_not_beside_it(hand_scene):
    fixtures = {"bowl0": ("white", 0.45, 0.0), "zone0": ("red", 0.15, 0.7, 0.1)}
    scene = hand_scene({"a": ("red", 0.04, 0.45, 0.01, 0.008), "b": ("red", 0.04, 0.7, 0.15, 0.0)}, fixtures)
    assert not Beside("bowl0").holds(scene, "a")
    assert not Beside("zone0").holds(scene, "b")


def test_a_row_counts_from_its_left_end(hand_scene):
    at = [(0.5, -0.2, 0.0), (0.5, -0.04, 0.0), (0.5, 0.3, 0.0)]
    scene = hand_scene({str(i): ("red", 0.04, *place) for i, place in enumerate(at)})
    goal = goal_of(parse_meaning("what=row who=color:red"), scene)
    assert goal.score(scene) == 0.5
    subtask = goal.next(scene)
    assert (subtask.pick, subtask.text) == ("2", "Pick up the red block and place it to the right of the red block.")
    assert subtask.place == Pose(0.5, pytest.approx(0.12), 0.0, subtask.place.yaw)
    at[2] = (0.52, 0.1, 0.0)
    assert goal.score(hand_scene({str(i): ("red", 0.04, *place) for i, place in enumerate(at)})) == 1.0


@pytest.mark.parametrize(
    ("text", "moves"),
    [
        ("what=tower who=color:red where=area:top-left", 1),  # one of them lies there
        ("what=tower who=color:red where=area:bottom-left", 2),
        ("what=tower who=color:red where=zone:red", 2),
        ("what=tower who=color:red where=near:bowl-white", 2),
        ("what=tower who=color:red where=block:block-green", 2),
    ],
)
def test_a_foot_that_has_to_be_carried_is_a_move(table, text, moves):
    goal = goal_of(parse_meaning(text), table)
    assert goal.moves == moves
    assert goal.score(table) == 0.0
    subtask = goal.next(table)
    assert goal.score(block_moved_to(table, subtask.pick, subtask.place)) == pytest.approx(1 / moves)
