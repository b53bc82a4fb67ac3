"""Scenes in which a goal is neither done nor impossible: the blocks that it means, others that it does not, and places.

Blocks that are meant meet every condition by construction; each of the others breaks one. What cannot be had by
construction (no two blocks with one name of which only one moves, a plan of the oracle that ends) is looked over by
:func:`is_fair` after drawing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from lohovla.envs.language import vocabulary
from lohovla.envs.tasks.entities import APART, BIG, DIRECTIONS, QUADRANTS, SMALL, Area, Pose, Scene, block_moved_to
from lohovla.envs.tasks.goals import Goal, Subtask
from lohovla.envs.tasks.grammar.meaning import RELATIONS, Condition, Meaning, Noun
from lohovla.envs.tasks.grammar.selection import select_blocks
from lohovla.envs.tasks.scene_sampler import NoRoom, SceneSampler

MOST_MOVES = 8
_EDGE = {"smaller": SMALL, "bigger": BIG}
Region = Callable[[float, float], bool]


def draw_scene(meaning: Meaning, layout: SceneSampler) -> None:
    """Fill a layout for a goal.

    Raises:
        NoRoom: it did not fit; draw again.
    """
    if meaning.said("in"):
        _draw_structures(meaning, layout)
        return
    meant = _draw_meant(meaning, layout)
    _draw_containers(meaning, layout, [color for color, _ in meant])
    _draw_nouns(meaning, layout, [color for color, _ in meant])
    mixed = len({edge for _, edge in meant}) > 1 or meaning.said("size") != ""
    covered = meaning.said("cover") == "covered" or meaning.what == "uncover"
    tops = iter(layout.other_colors([color for color, _ in meant]))
    quarters = layout.choose(QUADRANTS, 2)
    for i, (color, edge) in enumerate(meant):
        region = _region(meaning, layout, broken=None)
        if meaning.by == "area":
            region = Area(quarters[i % 2]).contains
        block = layout.block(color, edge, within=region)
        if covered:
            layout.block_on(next(tops), edge, block)
    _draw_others(meaning, layout, [color for color, _ in meant], mixed)


def _draw_meant(meaning: Meaning, layout: SceneSampler) -> list[tuple[str, float]]:
    """Colours and edges of the blocks that a goal means."""
    own, count = _colors_meant(meaning, layout), meaning.said("count")
    if count:
        numbers = {"even": (2, 4), "odd": (1, 3)}.get(count, (int(count) if count.isdigit() else 0,))
        chosen = own[: layout.count(1, 2)]
        colors = [color for color in chosen for _ in range(layout.choose(numbers)[0])]
    elif meaning.order == "alternating":
        often = layout.count(2, 3)
        colors = own[:1] * often + own[1:2] * layout.count(often - 1, often)
    elif meaning.by == "color":
        groups = layout.count(1, 3)
        colors = [own[i % min(groups, len(own))] for i in range(groups * 2 + layout.count(0, 1))]
    elif meaning.where.kind == "bowl" and meaning.where.value == "same":
        colors = own[: layout.count(2, 5)]  # a bowl of each holds one
    else:
        low, high = _how_many(meaning)
        colors = [own[i % len(own)] for i in range(layout.count(low, high))]
    return list(zip(colors, _edges(meaning, layout, len(colors)), strict=True))


def _how_many(meaning: Meaning) -> tuple[int, int]:
    if meaning.where.kind == "bowl" and meaning.what == "place":
        return 1, 1
    if meaning.what == "place":
        return (1, 1) if meaning.where.kind in ("left", "right", "top", "bottom", "block") else (1, 4)
    return {"row": (2, 4), "uncover": (1, 3), "each": (2, 4)}.get(meaning.what, (4, 5) if meaning.by else (2, 5))


def _colors_meant(meaning: Meaning, layout: SceneSampler) -> list[str]:
    """Colours that the meant blocks may have, in random order; not those of blocks that the goal names."""
    named = {noun.color for noun in meaning.nouns if noun.kind == "block"}
    colors = [color for color in layout.palette if color not in named]
    if meaning.said("color"):
        return [meaning.said("color")]
    if meaning.said("category"):
        members = vocabulary()["color_categories"][meaning.said("category")]
        colors = [color for color in colors if color in members]
    if not colors:
        raise NoRoom
    return layout.choose(colors, len(colors))


def _edges(meaning: Meaning, layout: SceneSampler, count: int) -> list[float]:
    if meaning.said("size"):
        return [_EDGE[meaning.said("size")]] * count
    if meaning.order in ("bigger-first", "smaller-first") or meaning.by == "size":
        if meaning.by == "color":
            colors = max(1, count // 2)
            return [(BIG, SMALL)[(i // colors) % 2] for i in range(count)]
        return [layout.choose((SMALL, BIG))[0] if i > 1 else (SMALL, BIG)[i] for i in range(count)]
    if layout.rng.random() < 0.6:
        return [SMALL] * count
    return [layout.choose((SMALL, BIG))[0] for _ in range(count)]


def _draw_containers(meaning: Meaning, layout: SceneSampler, colors: list[str]) -> None:
    """The bowls and zones that a goal needs, and some that it does not."""
    kind, value = meaning.where.kind, meaning.where.value
    tints = list(dict.fromkeys(colors))
    draw: list[tuple[str, str]] = []
    if kind in ("bowl", "zone"):
        if value == "same":
            draw = [(kind, color) for color in tints]
        elif value in ("other", "any"):
            wanted = len(colors) if meaning.what == "each" else layout.count(1, 2)
            others = layout.choose(layout.palette, len(layout.palette))
            draw = [(kind, color) for color in others[: wanted + layout.count(0, 1)]]
            if meaning.what == "place" and value == "other":
                draw = [(kind, c) for c in others if c not in tints or len(tints) > 1][: layout.count(2, 3)]
        else:
            draw = [(kind, value)]
    draw += [(noun.kind, noun.color) for noun in meaning.nouns if noun.kind != "block" and noun != meaning.where.noun]
    if meaning.where.noun and meaning.where.noun.kind != "block" and kind in RELATIONS:
        draw.append((meaning.where.noun.kind, meaning.where.noun.color))
    room = 0 if len(draw) > 3 or meaning.what == "row" or value in ("other", "any") else layout.count(0, 2)
    for extra in layout.choose(layout.palette, room):
        draw.append((layout.choose(("bowl", "zone"))[0], extra))
    crowd = (meaning.what == "place" and kind == "zone") or value == "same"
    for what, color in dict.fromkeys(draw):
        if what == "bowl":
            layout.bowl(color)
        else:
            layout.zone(color, 0.15 if crowd else 0.10)


def _draw_nouns(meaning: Meaning, layout: SceneSampler, colors: list[str]) -> None:
    """The blocks that a goal names."""
    for noun in sorted(meaning.nouns):
        if noun.kind == "block":
            if noun.color in colors:
                raise NoRoom
            layout.block(noun.color, _EDGE.get(noun.size, layout.choose((SMALL, BIG))[0]), within=_inner)


def _draw_others(meaning: Meaning, layout: SceneSampler, colors: list[str], mixed: bool) -> None:
    """Blocks that are not meant: each breaks one of the conditions. Without conditions there are none."""
    conditions = sorted(meaning.who)
    if not conditions:
        return
    named = {noun.color for noun in meaning.nouns if noun.kind == "block"}
    rest = [color for color in layout.palette if color not in {*colors, *named}]
    rest = layout.choose(rest, len(rest))
    if meaning.said("count"):
        _draw_other_counts(meaning.said("count"), layout, rest)
        return
    for _ in range(layout.count(1, 3)):
        broken = layout.choose(conditions)[0]
        color, edge = _look_of_other(meaning, broken, layout, colors, rest, mixed)
        cover, region = meaning.said("cover"), _region(meaning, layout, broken)
        block = layout.block(color, edge, within=region)
        if broken.kind == "cover" and cover == "free":  # what covers it is free and is meant
            above = _colors_meant(meaning, layout)
            layout.block_on(above[0], _edges(meaning, layout, 1)[0], block)


def _look_of_other(
    meaning: Meaning, broken: Condition, layout: SceneSampler, colors: list[str], rest: list[str], mixed: bool
) -> tuple[str, float]:
    """Colour and edge of a block that breaks one condition and, as far as its name stays its own, no other."""
    size = meaning.said("size")
    edge = _EDGE[size] if size else (layout.choose((SMALL, BIG))[0] if mixed else SMALL)
    if broken.kind == "size":
        return layout.choose([*colors, *rest[:1]])[0], _EDGE["smaller" if size == "bigger" else "bigger"]
    allowed = list(rest)
    if meaning.said("category"):
        members = vocabulary()["color_categories"][meaning.said("category")]
        allowed = [color for color in rest if (color in members) != (broken.kind == "category")]
    if not allowed:
        raise NoRoom
    return layout.choose(allowed)[0], edge


def _draw_other_counts(count: str, layout: SceneSampler, rest: list[str]) -> None:
    """Colours whose number of blocks is not the one that is meant."""
    numbers = [n for n in (1, 2, 3) if count not in (str(n), ("even", "odd")[n % 2])]
    for color in rest[: layout.count(1, 2)]:
        for _ in range(layout.choose(numbers)[0]):
            layout.block(color)


def _region(meaning: Meaning, layout: SceneSampler, broken: Condition | None) -> Region | None:
    """Where a block of a goal must lie, or must not lie to break a condition."""
    tests: list[Region] = []
    for condition in meaning.who:
        test = _inside(condition, layout)
        if test is not None:
            tests.append(_not(test) if condition == broken else test)
    where = meaning.where
    if where.kind == "area" and meaning.said("area") != where.value:
        tests.append(_not(Area(where.value.replace("-", " ")).contains))
    return (lambda x, y: all(test(x, y) for test in tests)) if tests else None


def _inside(condition: Condition, layout: SceneSampler) -> Region | None:
    if condition.kind == "area":
        return Area(condition.value.replace("-", " ")).contains
    if not condition.relation:
        return None
    origin = _where_is(condition.noun, layout)
    dx, dy = DIRECTIONS[condition.relation]

    def ahead(x: float, y: float) -> bool:
        return dx * (x - origin.x) + dy * (y - origin.y) > APART + 0.01

    return ahead


def _where_is(noun: Noun, layout: SceneSampler) -> Pose:
    kind = noun.kind
    return next(
        layout.poses[name]
        for name, entity in layout.entities.items()
        if name.startswith(kind) and entity.color == noun.color
    )


def _not(test: Region) -> Region:
    return lambda x, y: not test(x, y)


def _inner(x: float, y: float) -> bool:
    """Away from the table's border, so that there is room on each side."""
    return 0.35 < x < 0.65 and -0.32 < y < 0.32


def _draw_structures(meaning: Meaning, layout: SceneSampler) -> None:
    """Towers or a pyramid, and what their blocks shall be put in."""
    colors = layout.pick_colors(min(len(layout.palette), 7))
    structure = meaning.said("in")
    sizes = {"two-layer-towers": 2, "three-layer-towers": 3}
    used = [] if structure == "pyramid" else colors[: sizes[structure] * layout.count(1, 2)]
    used = used or colors[:6]
    _draw_containers(meaning, layout, used if meaning.where.value == "same" else colors[: len(used)])
    if structure == "pyramid":
        edge = layout.choose((SMALL, BIG))[0]
        pitch = edge + 0.01
        x, y, yaw = layout.reserve(1.5 * pitch + edge / 2)
        rest = iter(used)
        for layer, steps in enumerate(((-1.0, 0.0, 1.0), (-0.5, 0.5), (0.0,))):
            for step in steps:
                place = (x + step * pitch * math.cos(yaw), y + step * pitch * math.sin(yaw))
                layout.block_at(next(rest), edge, Pose(*place, edge * (layer + 0.5), yaw))
    else:
        height = sizes[structure]
        for first in range(0, len(used), height):
            below = layout.block(used[first])
            for color in used[first + 1 : first + height]:
                below = layout.block_on(color, BIG if color == used[first + height - 1] else SMALL, below)
    for color in colors[len(used) : len(used) + layout.count(0, 1)]:
        layout.block(color)


def oracle_plan(goal: Goal, scene: Scene, most: int) -> Iterator[tuple[Scene, Subtask | None]]:
    """The oracle's way to a goal, each sub-task carried out exactly; ends with (last scene, None)."""
    for _ in range(most):
        subtask = goal.next(scene)
        if subtask is None:
            break
        yield scene, subtask
        scene = block_moved_to(scene, subtask.pick, subtask.place)
    yield scene, None


def is_fair(meaning: Meaning, goal: Goal, scene: Scene, spare: int) -> bool:
    """Whether a scene is one to ask a goal in.

    Nothing of it is reached yet, the oracle reaches it, sub-tasks name no block that is to stay where it is, and where
    the goal chooses blocks there are some that it leaves.
    """
    if goal.score(scene) > 0.0 or not 1 <= goal.moves <= MOST_MOVES:
        return False
    if meaning.who and len(select_blocks(meaning.who, scene)) == len(scene.blocks):
        return False
    steps = list(oracle_plan(goal, scene, goal.moves + spare))
    picked = {subtask.pick for _, subtask in steps if subtask}
    looks = {(scene.blocks[name].color, scene.blocks[name].edge) for name in picked}
    alike = {name for name, block in scene.blocks.items() if (block.color, block.edge) in looks}
    if alike - picked - _meant(meaning, scene):
        return False
    return goal.score(steps[-1][0]) > 0.99


def _meant(meaning: Meaning, scene: Scene) -> set[str]:
    return set(select_blocks(meaning.who, scene))
