"""Which blocks of a scene a goal means, and the towers and pyramids that blocks form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from lohovla.envs.language import vocabulary
from lohovla.envs.tasks.entities import (
    APART,
    DIRECTIONS,
    QUADRANTS,
    Area,
    Bowl,
    Scene,
    Zone,
    resting_above,
    rests_on_table,
)
from lohovla.envs.tasks.grammar.meaning import Condition, Noun


class ImpossibleGoal(ValueError):
    """A goal that a scene cannot meet; ``sentence`` tells a person why."""

    def __init__(self, sentence: str):
        super().__init__(sentence)
        self.sentence = sentence


def missing_error(noun: str) -> ImpossibleGoal:
    """The error that something is not there."""
    return ImpossibleGoal(vocabulary()["missing"].format(noun=noun))


def noun_words(noun: Noun) -> str:
    """A noun as a person reads it: "bigger red block"."""
    return " ".join(filter(None, (noun.size, noun.color, noun.kind)))


def find_noun(scene: Scene, noun: Noun) -> str:
    """The name of the one thing that a noun means.

    Raises:
        ImpossibleGoal: there is none, or there are several.
    """
    if noun.kind == "block":
        found = [
            name for name, block in scene.blocks.items() if block.color == noun.color and noun.size in ("", block.size)
        ]
    else:
        kind = Bowl if noun.kind == "bowl" else Zone
        found = [name for name, f in scene.fixtures.items() if isinstance(f, kind) and f.color == noun.color]
    if not found:
        raise missing_error(noun_words(noun))
    if len(found) > 1:
        raise ImpossibleGoal(vocabulary()["several"].format(noun=noun_words(noun)))
    return found[0]


def position(scene: Scene, name: str) -> tuple[float, float]:
    """Where something is on the table."""
    if name in scene.blocks:
        return scene.centre(name)[:2]
    pose = scene.fixture_poses[name]
    return pose.x, pose.y


def select_blocks(conditions: Iterable[Condition], scene: Scene) -> list[str]:
    """The blocks that meet all conditions, in the scene's order.

    Raises:
        ImpossibleGoal: a thing that a condition refers to is not there.
    """
    chosen = list(scene.blocks)
    for condition in conditions:
        test = _test(condition, scene)
        chosen = [block for block in chosen if block in test]
    return chosen


def _test(condition: Condition, scene: Scene) -> set[str]:
    """The blocks that meet one condition."""
    kind, value, blocks = condition.kind, condition.value, scene.blocks
    if condition.relation:
        name = find_noun(scene, condition.noun)
        (x, y), (dx, dy) = position(scene, name), DIRECTIONS[condition.relation]
        away = {b: dx * (scene.centre(b)[0] - x) + dy * (scene.centre(b)[1] - y) for b in blocks}
        return {block for block, distance in away.items() if distance > APART and block != name}
    if kind == "color":
        return {name for name, block in blocks.items() if block.color == value}
    if kind == "size":
        return {name for name, block in blocks.items() if block.size == value}
    if kind == "category":
        return {name for name, block in blocks.items() if block.color in vocabulary()["color_categories"][value]}
    if kind == "area":
        area = Area(value.replace("-", " "))
        return {name for name in blocks if area.contains(*scene.centre(name)[:2])}
    if kind == "cover":
        return {name for name in blocks if bool(resting_above(scene, name)) == (value == "covered")}
    if kind == "layer":
        return {name for name in blocks if rests_on_table(scene, name)}
    if kind == "in":
        return {name for name, structure in structures(scene).items() if structure == value}
    counts = Counter(block.color for block in blocks.values())
    wanted = {color for color, n in counts.items() if (("even", "odd")[n % 2] == value or str(n) == value)}
    return {name for name, block in blocks.items() if block.color in wanted}


def structures(scene: Scene) -> dict[str, str]:
    """For each block that stands in one the structure: ``two-layer-towers`` and so on; blocks alone are left out."""
    joined = {name: {name} for name in scene.blocks}
    for name in scene.blocks:
        for other in resting_above(scene, name):
            group = joined[name] | joined[other]
            for member in group:
                joined[member] = group
    found = {}
    for name, group in joined.items():
        if len(group) > 1:
            feet = sum(rests_on_table(scene, member) for member in group)
            tower = {2: "two-layer-towers", 3: "three-layer-towers"}.get(len(group), "towers")
            found[name] = tower if feet == 1 else "pyramid"
    return found


def grouped(blocks: list[str], by: str, scene: Scene) -> dict[str, list[str]]:
    """Blocks by colour, size or area (those in none are left out), groups in the order of their first block."""
    groups: dict[str, list[str]] = {}
    for name in blocks:
        block = scene.blocks[name]
        key = {"": "", "color": block.color, "size": block.size}.get(by)
        if key is None:
            key = next((area for area in QUADRANTS if Area(area).contains(*scene.centre(name)[:2])), None)
        if key is not None:
            groups.setdefault(key, []).append(name)
    return groups
