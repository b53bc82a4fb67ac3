"""All tasks: what they put on the table, what they say, what counts, and the sub-tasks they ask for."""

from __future__ import annotations

import itertools
import math
import re
import string
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from lohovla.envs.language import palette, vocabulary
from lohovla.envs.tasks.entities import Area, Block, Bowl, Pose, Scene, Zone
from lohovla.envs.tasks.goals import Goal, Subtask, put_in_zone
from lohovla.envs.tasks.names import TASKS, gym_name
from lohovla.envs.tasks.put_one import PutBeside, PutOne
from lohovla.envs.tasks.registry import Split, TaskInstance, get_task, initial_scene
from lohovla.envs.tasks.scene_sampler import SceneSampler
from lohovla.envs.tasks.sort import MoveToArea, Sort
from lohovla.envs.tasks.stack import Stack
from lohovla.errors import UserError
from lohovla.geometry.workspace import WORKSPACE


class Content(NamedTuple):
    """The reference's row: inclusive ranges of what lies on the table, and actions beyond those needed."""

    small: tuple[int, int]
    big: tuple[int, int] = (0, 0)
    bowls: tuple[int, int] = (0, 0)
    zones: tuple[int, int] = (0, 0)
    moves: tuple[int, int] = (1, 1)
    spare: int = 2
    zone_edge: float = 0.10


CONTENT = {
    "pick-and-place-primitive": Content((2, 3), bowls=(2, 3), zones=(1, 2)),
    "pick-and-place-primitive-with-size": Content((2, 3), (2, 3), bowls=(2, 3)),
    "pick-and-place-primitive-with-absolute-position": Content((2, 3), bowls=(2, 3), zones=(1, 2)),
    "pick-and-place-primitive-with-relative-position": Content((2, 3), bowls=(2, 3), zones=(1, 2)),
    "put-block-into-matching-bowl": Content((5, 13), bowls=(5, 13), moves=(5, 7)),
    "put-block-into-mismatching-bowl": Content((5, 7), bowls=(5, 13), moves=(5, 7)),
    "stack-smaller-over-bigger-with-same-color": Content((5, 9), (5, 9), moves=(5, 7)),
    "stack-block-in-absolute-area": Content((5, 7), (5, 7), moves=(2, 5)),
    "put-even-blocks-in-same-color-zone": Content((3, 9), zones=(2, 3), moves=(2, 6), zone_edge=0.15),
    "stack-blocks-of-same-size": Content((1, 4), (1, 4), moves=(1, 6)),
    "stack-blocks-with-alternate-color": Content((5, 5), moves=(4, 4), spare=3),
    "stack-smaller-over-bigger-with-same-color-in-same-color-zone": Content(
        (3, 5), (3, 5), zones=(3, 5), moves=(6, 10), spare=3, zone_edge=0.15
    ),
    "move-blocks-between-absolute-positions": Content((3, 9), moves=(3, 5), spare=7),
    "stack-blocks-of-same-color": Content((2, 11), moves=(1, 6)),
    "put-block-into-mismatching-zone": Content((3, 5), zones=(3, 5), moves=(3, 5)),
    "put-hidden-blocks-in-two-layer-towers-into-matching-bowls": Content(
        (2, 6), (2, 3), bowls=(4, 7), moves=(4, 6), spare=4
    ),
    "put-hidden-blocks-in-two-layer-towers-into-mismatching-bowls": Content(
        (2, 6), (2, 3), bowls=(4, 7), moves=(4, 6), spare=4
    ),
    "put-hidden-blocks-in-three-layer-towers-into-matching-bowls": Content(
        (4, 5), (2, 2), bowls=(4, 6), moves=(6, 6), spare=6
    ),
    "put-hidden-blocks-in-pyramid-into-matching-bowls": Content((0, 7), (0, 7), bowls=(3, 5), moves=(6, 6), spare=6),
    "stack-bigger-over-smaller-with-same-color-in-same-color-zone": Content(
        (3, 5), (3, 5), zones=(3, 5), moves=(6, 10), spare=3, zone_edge=0.15
    ),
    "stack-all-blocks-on-a-zone": Content((3, 5), zones=(1, 1), moves=(3, 5)),
    "stack-blocks-by-relative-position": Content((4, 7), zones=(1, 1), moves=(2, 5)),
    "move-blocks-between-absolute-positions-by-size": Content((1, 9), (1, 9), moves=(3, 5), spare=7),
    "move-blocks-between-absolute-positions-by-color": Content((3, 9), moves=(2, 4), spare=7),
}
# Ends of ranges that further rules exclude, or that only a table with much room has.
SELDOM = {
    ("put-block-into-matching-bowl", "small"),
    ("put-block-into-matching-bowl", "bowls"),
    ("put-block-into-mismatching-bowl", "bowls"),
    ("put-even-blocks-in-same-color-zone", "small"),
    ("stack-smaller-over-bigger-with-same-color", "small"),
    ("stack-smaller-over-bigger-with-same-color", "big"),
    ("move-blocks-between-absolute-positions-by-size", "small"),
    ("stack-blocks-of-same-color", "small"),
    ("move-blocks-between-absolute-positions-by-size", "big"),
    ("move-blocks-between-absolute-positions", "small"),
    ("move-blocks-between-absolute-positions-by-color", "small"),
}

COLOR = "(?:" + "|".join(vocabulary()["colors"]) + ")"
BLOCK = f"(?:(?:smaller|bigger) )?{COLOR} block"
AREA = "(?:top left|top right|bottom left|bottom right|center)"
SIDE = "(?:left|right|top|bottom)"
SENTENCES = {
    "pick-and-place-primitive": rf"Put the {COLOR} block (on the {COLOR} block|in the {COLOR} (bowl|zone))\.",
    "pick-and-place-primitive-with-size": (
        rf"Put the (smaller|bigger) {COLOR} block (on the bigger {COLOR} block|in the {COLOR} bowl)\."
    ),
    "pick-and-place-primitive-with-absolute-position": rf"Put the {COLOR} block in the {AREA} area\.",
    "pick-and-place-primitive-with-relative-position": (rf"Put the {COLOR} block to the {SIDE} of the {COLOR} block\."),
    "put-block-into-matching-bowl": r"Put the blocks in the bowls with matching colors\.",
    "put-block-into-mismatching-bowl": r"Put the blocks in the bowls with mismatching colors\.",
    "stack-smaller-over-bigger-with-same-color": r"Stack smaller blocks over bigger blocks of the same color\.",
    "stack-block-in-absolute-area": rf"Stack all the blocks in the {AREA} area\.",
    "put-even-blocks-in-same-color-zone": (
        r"Move all blocks of a color that occur in even numbers to the same colored zone\."
    ),
    "stack-blocks-of-same-size": r"Stack blocks of the same size\.",
    "stack-blocks-with-alternate-color": r"Stack blocks in alternate colors\.",
    "stack-smaller-over-bigger-with-same-color-in-same-color-zone": (
        r"Stack blocks of the same color in the zone with same color, with the bigger blocks underneath\."
    ),
    "move-blocks-between-absolute-positions": rf"Move all the blocks in the {AREA} area to the {AREA} area\.",
    "stack-blocks-of-same-color": r"Stack blocks of the same color\.",
    "put-block-into-mismatching-zone": r"Put the blocks in the zones with mismatching colors\.",
    "put-hidden-blocks-in-two-layer-towers-into-matching-bowls": (
        r"Put all the hidden blocks in the two-layer towers into the bowls with matching colors\."
    ),
    "put-hidden-blocks-in-two-layer-towers-into-mismatching-bowls": (
        r"Put all the hidden blocks in the two-layer towers into the bowls with mismatching colors\."
    ),
    "put-hidden-blocks-in-three-layer-towers-into-matching-bowls": (
        r"Put all the hidden blocks in the three-layer towers into the bowls with matching colors\."
    ),
    "put-hidden-blocks-in-pyramid-into-matching-bowls": (
        r"Put all the hidden blocks in the pyramid into the bowls with matching colors\."
    ),
    "stack-bigger-over-smaller-with-same-color-in-same-color-zone": (
        r"Stack blocks of the same color in the zone with same color, with the smaller blocks underneath\."
    ),
    "stack-all-blocks-on-a-zone": rf"Stack all the blocks in the {COLOR} zone\.",
    "stack-blocks-by-relative-position": (
        rf"Stack all the blocks on the {SIDE} of the {COLOR} block in the {COLOR} zone\."
    ),
    "move-blocks-between-absolute-positions-by-size": (
        rf"Move all the (smaller|bigger) blocks in the {AREA} area to the {AREA} area\."
    ),
    "move-blocks-between-absolute-positions-by-color": (
        rf"Move all the blocks of (cool|warm|primary|secondary) colors in the {AREA} area to the {AREA} area\."
    ),
}
LETTERS = {
    "A": "pick-and-place-primitive",
    "B": "put-block-into-matching-bowl",
    "C": "stack-smaller-over-bigger-with-same-color",
    "D": "stack-block-in-absolute-area",
    "E": "put-even-blocks-in-same-color-zone",
    "F": "put-block-into-mismatching-bowl",
    "G": "stack-blocks-of-same-size",
    "H": "stack-blocks-with-alternate-color",
    "I": "stack-smaller-over-bigger-with-same-color-in-same-color-zone",
    "J": "move-blocks-between-absolute-positions",
    "K": "stack-blocks-of-same-color",
}

every_task = pytest.mark.parametrize("task", TASKS)


def problems(task: str, n: int, seed: int = 71, **options) -> list[TaskInstance]:
    return [get_task(task).sample(np.random.default_rng([seed, k]), **options) for k in range(n)]


def of_kind(layout: SceneSampler, kind: type) -> dict:
    return {name: entity for name, entity in layout.entities.items() if isinstance(entity, kind)}


def wanted(goal: Goal) -> set[str]:
    """Every block, bowl and zone that a goal speaks of."""
    if isinstance(goal, Sort):
        return set(goal.allowed) | {name for containers in goal.allowed.values() for name in containers}
    if isinstance(goal, Stack):
        zones = {column.zone for column in goal.columns if column.zone}
        return zones.union(*(column.blocks for column in goal.columns))
    if isinstance(goal, MoveToArea):
        return set(goal.blocks)
    assert isinstance(goal, PutOne | PutBeside)
    return {goal.pick, goal.target if isinstance(goal, PutOne) else goal.reference}


def teleport(scene: Scene, subtask: Subtask) -> Scene:
    """The scene after a sub-task was carried out perfectly."""
    place, index = subtask.place, list(scene.blocks).index(subtask.pick)
    positions, quats = scene.positions.copy(), scene.quats.copy()
    positions[index] = place.x, place.y, place.z + scene.blocks[subtask.pick].edge / 2
    quats[index] = math.cos(place.yaw / 2), 0.0, 0.0, math.sin(place.yaw / 2)
    return replace(scene, positions=positions, quats=quats)


def plan(problem: TaskInstance) -> tuple[list[tuple[Scene, Subtask]], Scene]:
    """The sub-tasks that solve a problem, each with the scene before it, and the scene at the end."""
    scene, steps = initial_scene(problem.layout), []
    while (subtask := problem.goal.next(scene)) is not None:
        steps.append((scene, subtask))
        scene = teleport(scene, subtask)
        assert len(steps) <= 30, "the plan does not end"
    return steps, scene


def as_pattern(template: str) -> str:
    """A template as a regular expression whose groups are its fields."""
    fields = {"pick": BLOCK, "reference": BLOCK, "color": COLOR, "size": "(?:(?:smaller|bigger) ?)?"}
    return re.sub(r"\\\{(\w+)\\\}", lambda field: f"(?P<{field[1]}>{fields.get(field[1], '.+')})", re.escape(template))


# -- the list ----------------------------------------------------------------------------------------


def test_there_are_the_24_tasks_of_the_reference():
    assert set(TASKS) == set(CONTENT) == set(SENTENCES)
    published = [split for split in Split if split not in (Split.COMPOSED, Split.OTHER)]
    splits = {split: [task for task in TASKS if get_task(task).split is split] for split in published}
    assert {split.value: len(tasks) for split, tasks in splits.items()} == {
        "primitive": 4,
        "seen": 4,
        "unseen": 6,
        "additional": 10,
    }
    assert {LETTERS[letter] for letter in "BCDE"} == set(splits[Split.SEEN])
    assert {LETTERS[letter] for letter in "FGHIJK"} == set(splits[Split.UNSEEN])


@pytest.mark.parametrize(("letter", "task"), LETTERS.items())
def test_letters_of_the_published_table_name_tasks(letter, task):
    assert get_task(letter).name == task
    assert get_task(letter.lower()).name == task
    assert get_task(task).letter == letter


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("stack-blocks-of-same-colour", "stack-blocks-of-same-color"),
        ("put-block-in-matching-bowl", "put-block-into-matching-bowl"),
        ("pick_and_place_primitive", "pick-and-place-primitive"),
    ],
)
def test_an_unknown_task_names_the_nearest(wrong, nearest):
    with pytest.raises(UserError, match=wrong) as error:
        get_task(wrong)
    assert nearest in error.value.remedy


@pytest.mark.parametrize("name", ["L", "", "zzz", "../names"])
def test_what_is_like_no_task_points_at_the_list(name):
    with pytest.raises(UserError, match="no task"):
        get_task(name)


def test_gymnasium_names_are_the_tasks_in_camel_case():
    assert gym_name("stack-blocks-of-same-color") == "StackBlocksOfSameColor-v1"
    assert len({gym_name(task) for task in TASKS}) == 24


# -- the initial state -------------------------------------------------------------------------------


@every_task
def test_counts_sizes_and_limits_are_the_references(task):
    content, seen = CONTENT[task], {field: set() for field in ("small", "big", "bowls", "zones", "moves")}
    for problem in problems(task, 300):
        blocks, zones = of_kind(problem.layout, Block), of_kind(problem.layout, Zone)
        assert {block.edge for block in blocks.values()} <= {0.04, 0.06}
        assert {zone.edge for zone in zones.values()} <= {content.zone_edge}
        counts = {
            "small": sum(block.edge == 0.04 for block in blocks.values()),
            "big": sum(block.edge == 0.06 for block in blocks.values()),
            "bowls": len(of_kind(problem.layout, Bowl)),
            "zones": len(zones),
            "moves": problem.goal.moves,
        }
        assert problem.max_steps == problem.goal.moves + content.spare
        for field, count in counts.items():
            low, high = getattr(content, field)
            assert low <= count <= high
            seen[field].add(count)
    for field, counts in seen.items():
        low, high = getattr(content, field)
        assert min(counts) == low
        if (task, field) not in SELDOM:
            assert max(counts) == high


@every_task
def test_nothing_overlaps_and_everything_is_in_the_workspace(task):
    for problem in problems(task, 30):
        layout = problem.layout
        on_table = {
            name: (layout.poses[name], entity.radius)
            for name, entity in layout.entities.items()
            if not isinstance(entity, Block) or layout.poses[name].z == entity.edge / 2
        }
        for name, (pose, radius) in on_table.items():
            assert layout.on_table(pose.x, pose.y, radius - 1e-9), name
        foot_of_pyramid = set(problem.goal.allowed) if "pyramid" in task else set()
        for (a, (p, r)), (b, (q, s)) in itertools.combinations(on_table.items(), 2):
            if not {a, b} <= foot_of_pyramid:
                assert math.dist((p.x, p.y), (q.x, q.y)) > r + s, (a, b)


@every_task
def test_physics_leaves_the_initial_state_as_it_was_drawn(task, blind):
    env = blind(task)
    for seed in (73, 75, 77):
        env.reset(seed=seed)
        drawn = [env.problem.layout.poses[name] for name in env.scene().blocks]
        np.testing.assert_allclose(env.scene().positions, [(p.x, p.y, p.z) for p in drawn], atol=2e-3)
        assert env.simulation.at_rest()


@every_task
def test_no_problem_is_solved_from_the_start(task, blind):
    for problem in problems(task, 30):
        assert problem.goal.score(initial_scene(problem.layout)) == 0.0
    env = blind(task)
    for seed in (73, 75, 77):
        _, info = env.reset(seed=seed)
        assert info["score"] == 0.0
        assert not info["success"]
        assert info["max_actions"] == env.problem.max_steps


@every_task
@pytest.mark.parametrize("colors", ["train", "eval", "all"])
def test_what_the_goal_speaks_of_has_colors_of_the_palette(task, colors):
    used = set()
    for problem in problems(task, 30, colors=colors):
        names = wanted(problem.goal)
        if task == "put-block-into-mismatching-bowl":  # where the bowls of distractors, of any color, are legal
            names = set(problem.goal.allowed)
        used |= {problem.layout.entities[name].color for name in names}
    assert used <= set(palette(colors))
    assert len(used) >= 6  # and not of a corner of it


@every_task
def test_the_tasks_own_palette_is_the_published_one(task):
    own = "all" if get_task(task).split is Split.PRIMITIVE else "train"
    for seed in range(5):
        default, asked = (get_task(task).sample(np.random.default_rng(seed), colors=colors) for colors in (None, own))
        assert default.layout.entities == asked.layout.entities


def test_an_unknown_palette_names_the_known_ones():
    with pytest.raises(ValueError, match=r"(?s)'trian'.*train"):
        get_task("B").sample(np.random.default_rng(0), colors="trian")


@every_task
def test_layouts_differ_from_seed_to_seed(task):
    layouts = {str(problem.layout.poses) for problem in problems(task, 20)}
    assert len(layouts) == 20


def test_areas_split_at_the_middle_with_top_at_the_robots_side_and_left_at_negative_y():
    assert Area("top left").bounds == (0.25, 0.5, -0.5, 0.0)
    assert Area("bottom right").bounds == (0.5, 0.75, 0.0, 0.5)
    np.testing.assert_allclose(Area("center").bounds, (0.46, 0.54, -0.04, 0.04))
    np.testing.assert_array_equal(WORKSPACE, [[0.25, 0.75], [-0.5, 0.5], [0.0, 0.28]])


# -- particular tasks --------------------------------------------------------------------------------


def test_even_zones_takes_exactly_the_colors_that_occur_in_even_numbers():
    for problem in problems("put-even-blocks-in-same-color-zone", 60):
        blocks, zones = of_kind(problem.layout, Block), of_kind(problem.layout, Zone)
        assert {block.color for block in blocks.values()} == {zone.color for zone in zones.values()}
        tally: dict[str, list[str]] = {}
        for name, block in blocks.items():
            tally.setdefault(block.color, []).append(name)
        even = {name for names in tally.values() if len(names) % 2 == 0 for name in names}
        assert set(problem.goal.allowed) == even
        assert even
        for name, containers in problem.goal.allowed.items():
            assert [zones[zone].color for zone in containers] == [blocks[name].color]


def test_stack_in_area_wants_the_three_to_six_blocks_that_lie_there():
    for problem in problems("stack-block-in-absolute-area", 60):
        (column,) = problem.goal.columns
        poses = problem.layout.poses
        assert column.blocks == {
            b for b in of_kind(problem.layout, Block) if column.area.contains(poses[b].x, poses[b].y)
        }
        assert 3 <= len(column.blocks) <= 6
        assert column.area.name in problem.instruction


def test_stack_of_same_color_makes_a_tower_of_each_color():
    totals = {1: (2, 3), 2: (4, 6), 3: (6, 9)}
    for problem in problems("stack-blocks-of-same-color", 60):
        blocks, columns = of_kind(problem.layout, Block), problem.goal.columns
        colors = [{blocks[name].color for name in column.blocks} for column in columns]
        assert all(len(color) == 1 for color in colors)
        low, high = totals[len(columns)]
        assert low <= sum(len(column.blocks) for column in columns) <= high
        distractors = set(blocks) - wanted(problem.goal)
        assert len(distractors) <= 2
        assert not {blocks[name].color for name in distractors} & set().union(*colors)


def test_alternate_colors_has_three_of_one_and_two_of_another():
    for problem in problems("stack-blocks-with-alternate-color", 20):
        blocks = of_kind(problem.layout, Block)
        (column,) = problem.goal.columns
        colors = [{blocks[name].color for name in layer} for layer in column.layers]
        assert colors[0] == colors[2] == colors[4] != colors[1] == colors[3]
        assert problem.max_steps == 7


@pytest.mark.parametrize("relation", ["left", "right", "top", "bottom"])
def test_blocks_by_relative_position_are_those_more_than_5_cm_to_that_side(relation):
    along = {"left": (0, -1), "right": (0, 1), "top": (-1, 0), "bottom": (1, 0)}[relation]
    found = 0
    for problem in problems("stack-blocks-by-relative-position", 80):
        match = re.match(rf"Stack all the blocks on the {relation} of the ({COLOR}) block", problem.instruction)
        if match is None:
            continue
        found += 1
        blocks, poses = of_kind(problem.layout, Block), problem.layout.poses
        (reference,) = [name for name, block in blocks.items() if block.color == match[1]]
        origin = poses[reference]
        ahead = {n: along[0] * (poses[n].x - origin.x) + along[1] * (poses[n].y - origin.y) for n in blocks}
        (column,) = problem.goal.columns
        assert column.blocks == {name for name, distance in ahead.items() if distance > 0.05}
    assert found > 8


@pytest.mark.parametrize("matching", [True, False])
def test_hidden_blocks_are_the_covered_ones_and_their_bowls_exist(matching):
    kind = "matching" if matching else "mismatching"
    for problem in problems(f"put-hidden-blocks-in-two-layer-towers-into-{kind}-bowls", 30):
        entities, poses = problem.layout.entities, problem.layout.poses
        covers = {(poses[n].x, poses[n].y) for n in of_kind(problem.layout, Block) if poses[n].z > 0.05}
        covered = {
            n for n in of_kind(problem.layout, Block) if poses[n].z < 0.05 and (poses[n].x, poses[n].y) in covers
        }
        assert set(problem.goal.allowed) == covered
        for block, bowls in problem.goal.allowed.items():
            assert bowls
            for bowl in bowls:
                assert (entities[bowl].color == entities[block].color) is matching


# -- language ----------------------------------------------------------------------------------------


@every_task
def test_the_goal_sentence_is_the_published_one(task):
    for problem in problems(task, 20):
        assert re.fullmatch(SENTENCES[task], problem.instruction)


@every_task
def test_every_wording_of_a_goal_has_the_same_fields(task):
    templates = vocabulary()["goals"][task]
    fields = [{field for _, field, _, _ in string.Formatter().parse(template) if field} for template in templates]
    assert len(templates) >= 3
    assert len(set(templates)) == len(templates)
    assert all(other == fields[0] for other in fields)


@every_task
def test_paraphrases_are_other_wordings_that_speak_of_the_same_things(task):
    published, *others = map(as_pattern, vocabulary()["goals"][task])
    said = set()
    for problem in problems(task, 30, paraphrase=True):
        assert not re.fullmatch(published, problem.instruction)
        (match,) = [match for other in others if (match := re.fullmatch(other, problem.instruction))]
        said.add(match.re.pattern)
        if isinstance(problem.goal, MoveToArea) and "target" in match.groupdict():
            assert match["target"] == problem.goal.area.name
        if isinstance(problem.goal, PutOne | PutBeside):
            assert match["pick"].endswith(f"{problem.layout.entities[problem.goal.pick].color} block")
            assert (
                problem.layout.entities[wanted(problem.goal).difference({problem.goal.pick}).pop()].color
                in match["place"]
            )
    assert said == set(others)


def test_a_paraphrased_problem_is_the_same_problem():
    for plain, other in zip(problems("J", 10), problems("J", 10, paraphrase=True), strict=True):
        assert plain.layout.entities == other.layout.entities
        assert plain.layout.poses == other.layout.poses


# -- sub-tasks ---------------------------------------------------------------------------------------

PLACES = [as_pattern(template) for template in vocabulary()["place"].values()]
SUBTASK = re.compile(rf"Pick up the (?P<block>{BLOCK}) and place it (?P<place>.+)\.")


@every_task
def test_the_sub_tasks_lead_to_the_goal_within_the_limit(task):
    for problem in problems(task, 15):
        steps, end = plan(problem)
        assert problem.goal.score(end) == 1.0
        assert 1 <= len(steps) <= problem.max_steps


@every_task
def test_every_sub_task_follows_the_templates_and_names_what_it_means(task):
    for problem in problems(task, 15):
        for scene, subtask in plan(problem)[0]:
            match = SUBTASK.fullmatch(subtask.text)
            assert match, subtask.text
            assert any(re.fullmatch(place, match["place"]) for place in PLACES), subtask.text
            block = scene.blocks[subtask.pick]
            sizes = {other.edge for other in scene.blocks.values()}
            assert match["block"] == f"{block.size} {block.color} block" if len(sizes) > 1 else f"{block.color} block"
            target = scene.fixtures.get(subtask.target) or scene.blocks.get(subtask.target)
            assert (target.color if target else subtask.target) in match["place"]


@every_task
def test_no_sub_task_picks_a_block_that_another_lies_on(task):
    for problem in problems(task, 15):
        for scene, subtask in plan(problem)[0]:
            x, y, z = scene.centre(subtask.pick)
            higher = [
                b for b in scene.blocks if math.dist(scene.centre(b)[:2], (x, y)) < 0.02 and scene.centre(b)[2] > z
            ]
            assert not higher


@every_task
def test_every_block_that_a_sub_tasks_words_fit_is_one_that_the_goal_moves(task):
    """Who only hears "pick up the red block" must not be able to pick a wrong red block."""
    for problem in problems(task, 60):
        steps, _ = plan(problem)
        ever_moved = wanted(problem.goal) | {subtask.pick for _, subtask in steps}
        for scene, subtask in steps:
            meant = scene.blocks[subtask.pick]
            alike = {b for b, other in scene.blocks.items() if (other.color, other.edge) == (meant.color, meant.edge)}
            assert alike <= ever_moved


@every_task
def test_after_a_block_was_lost_the_next_sub_task_mends_it(task):
    """A plan from the state alone: whatever was done is undone once, and the goal is reached all the same."""
    for problem in problems(task, 5, seed=79):
        steps, _ = plan(problem)
        scene, subtask = steps[-1]
        index = list(scene.blocks).index(subtask.pick)
        spot = next(
            (x, y)
            for x, y in itertools.product(np.arange(0.3, 0.72, 0.02), np.arange(-0.45, 0.46, 0.02))
            if all(math.dist((x, y), scene.centre(other)[:2]) > 0.1 for other in scene.blocks)
            and all(math.dist((x, y), (p.x, p.y)) > 0.12 for p in scene.fixture_poses.values())
        )
        positions = scene.positions.copy()
        positions[index] = *spot, scene.blocks[subtask.pick].edge / 2
        scene = replace(scene, positions=positions)
        for _ in range(10):
            following = problem.goal.next(scene)
            if following is None:
                break
            scene = teleport(scene, following)
        assert problem.goal.score(scene) == 1.0


def test_a_pose_is_written_down_as_drawn():
    problem = problems("B", 1)[0]
    assert all(isinstance(pose, Pose) for pose in problem.layout.poses.values())
    assert set(problem.layout.poses) == set(problem.layout.entities)


def test_a_large_zone_is_shared_by_quarters(hand_scene):
    """Each of four blocks has 2 cm to the next and 2.5 cm to the edge, and goes to the free quarter nearest to it."""
    fixtures = {"zone0": ("red", 0.15, 0.5, 0.0)}
    corners = {"a": (0.4, -0.3), "b": (0.41, -0.3), "c": (0.42, -0.3), "d": (0.6, 0.3), "e": (0.7, 0.3)}
    at = {name: ("red", 0.04, *corner, 0.0) for name, corner in corners.items()}
    places = []
    for name in "abcd":
        place = put_in_zone(hand_scene(at, fixtures), name, "zone0").place
        places.append((round(place.x, 6), round(place.y, 6)))
        at[name] = ("red", 0.04, place.x, place.y, 0.0)
    assert places[0] == (0.47, -0.03)
    assert places[3] == (0.53, 0.03)
    assert set(places) == {(x, y) for x in (0.47, 0.53) for y in (-0.03, 0.03)}
    # No quarter is left for a fifth, and none at all in a small zone: the middle, or where it stands least in the way.
    fifth = put_in_zone(hand_scene(at, fixtures), "e", "zone0").place
    assert math.dist((fifth.x, fifth.y), (0.5, 0.0)) < 0.08
    small = put_in_zone(hand_scene({"a": at["a"]}, {"zone0": ("red", 0.10, 0.5, 0.2)}), "a", "zone0").place
    assert (small.x, small.y) == (0.5, 0.2)
