"""From a meaning and a scene to a goal over states: its score, and the oracle's sub-tasks that reach it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lohovla.envs.language import vocabulary
from lohovla.envs.tasks.beside import Beside, PutAllBeside
from lohovla.envs.tasks.entities import Area, Bowl, Scene, Zone, resting_above
from lohovla.envs.tasks.goals import Goal, Subtask
from lohovla.envs.tasks.grammar.meaning import RELATIONS, Meaning, Place, canonical
from lohovla.envs.tasks.grammar.selection import ImpossibleGoal, find_noun, grouped, missing_error, select_blocks
from lohovla.envs.tasks.put_one import PutBeside, PutOne
from lohovla.envs.tasks.row import Row
from lohovla.envs.tasks.sort import MoveToArea, Sort
from lohovla.envs.tasks.stack import Column, Stack
from lohovla.envs.tasks.uncover import Uncover

Layers = tuple[frozenset[str], ...]


@dataclass(frozen=True)
class Either(Goal):
    """Any of several goals: the one that is nearest to being reached."""

    goals: tuple[Goal, ...]

    @property
    def moves(self) -> int:
        return self.goals[0].moves

    def score(self, scene: Scene) -> float:
        return max(goal.score(scene) for goal in self.goals)

    def next(self, scene: Scene) -> Subtask | None:
        return max(self.goals, key=lambda goal: goal.score(scene)).next(scene)


def goal_of(meaning: Meaning, scene: Scene) -> Goal:
    """The goal over states that a meaning is in a scene; which blocks are meant is decided here, once.

    Raises:
        ImpossibleGoal: the scene cannot meet it; the error's sentence says what is missing.
        ValueError: no scene can.
    """
    meaning = canonical(meaning)
    named = {find_noun(scene, noun) for noun in meaning.nouns}
    blocks = select_blocks(meaning.who, scene)
    if meaning.where.kind in ("block", *RELATIONS):
        blocks = [block for block in blocks if block not in named]  # nothing goes on or beside itself
    if not blocks:
        raise missing_error(blocks_in_words(meaning))
    make = {"tower": _towers, "row": _rows, "place": _placed, "each": _each, "uncover": _uncovered}
    return make[meaning.what](meaning, scene, blocks)


def blocks_in_words(meaning: Meaning) -> str:
    """The blocks that a goal means, for a sentence that says there are none: "bigger red block"."""
    color = meaning.said("color") or (f"{meaning.said('category')}-colored" if meaning.said("category") else "")
    area, cover = meaning.said("area").replace("-", " "), meaning.said("cover")
    words = [cover, meaning.said("size"), color, "block", f"in the {area} area" if area else ""]
    return " ".join(filter(None, words))


def _towers(meaning: Meaning, scene: Scene, blocks: list[str]) -> Goal:
    where, groups = meaning.where, grouped(blocks, meaning.by, scene)
    columns: list[list[Column]] = []
    for key, members in groups.items():
        zone = _zone_for(where, key, scene)
        if where.kind == "zone" and zone is None:
            continue  # its colour has no zone: not meant
        if len(members) < 2 and where.kind in ("here", "area") and meaning.by:
            continue  # one block makes no tower, and has none to stand on
        area = where.value if where.kind == "area" else (key if meaning.by == "area" else "")
        foot = [frozenset({find_noun(scene, where.noun)})] if where.kind == "block" and where.noun else []
        columns.append(
            [
                Column((*foot, *layers), zone, _area(area), *_carried(layers, area, where, scene))
                for layers in _layers(members, meaning.order, scene)
            ]
        )
    columns = [column for column in columns if column[0].moves > 0]
    if not columns:
        raise ImpossibleGoal(vocabulary()["nothing"])
    # Where an order may begin in two ways, every tower may, by itself.
    choices: list[tuple[Column, ...]] = [()]
    for options in columns:
        choices = [(*before, option) for before in choices for option in options]
    return Stack(choices[0]) if len(choices) == 1 else Either(tuple(Stack(choice) for choice in choices))


def _area(name: str) -> Area | None:
    return Area(name.replace("-", " ")) if name else None


def _zone_for(where: Place, color: str, scene: Scene) -> str | None:
    """The zone where the tower of a group goes."""
    if where.kind != "zone":
        return None
    if where.noun is not None:
        return find_noun(scene, where.noun)
    return next((n for n, f in scene.fixtures.items() if isinstance(f, Zone) and f.color == color), None)


def _carried(layers: Layers, area: str, where: Place, scene: Scene) -> tuple[bool, Beside | None]:
    """Whether a tower's foot has to be brought to its area, and what it must stand beside."""
    beside = Beside(find_noun(scene, where.noun), where.kind) if where.kind in RELATIONS and where.noun else None
    region = _area(area)
    return region is not None and not any(region.contains(*scene.centre(b)[:2]) for b in layers[0]), beside


def _layers(blocks: Sequence[str], order: str, scene: Scene) -> list[Layers]:
    """Which blocks may be at each place of a tower or row, in all the ways that an order allows.

    Raises:
        ImpossibleGoal: the blocks cannot alternate.
    """
    if not order:
        return [(frozenset(blocks),) * len(blocks)]
    if order in ("bigger-first", "smaller-first"):
        sizes = sorted({scene.blocks[b].edge for b in blocks}, reverse=order == "bigger-first")
        same = [frozenset(b for b in blocks if scene.blocks[b].edge == size) for size in sizes]
        return [tuple(layer for layer in same for _ in layer)]
    kinds = list(grouped(list(blocks), "size" if order == "alternating-size" else "color", scene).values())
    kinds.sort(key=len, reverse=True)
    if len(kinds) != 2 or len(kinds[0]) - len(kinds[1]) > 1:
        raise ImpossibleGoal(vocabulary()["nothing"])
    often, seldom = map(frozenset, kinds)
    one = tuple((often, seldom)[place % 2] for place in range(len(blocks)))
    return (
        [one] if len(often) > len(seldom) else [one, tuple((seldom, often)[place % 2] for place in range(len(blocks)))]
    )


def _rows(meaning: Meaning, scene: Scene, blocks: list[str]) -> Goal:
    groups = [members for members in grouped(blocks, meaning.by, scene).values() if len(members) > 1]
    if not groups:
        raise ImpossibleGoal(vocabulary()["nothing"])
    choices: list[tuple[Layers, ...]] = [()]
    for members in groups:
        choices = [(*before, layers) for before in choices for layers in _layers(members, meaning.order, scene)]
    return Row(choices[0]) if len(choices) == 1 else Either(tuple(Row(choice) for choice in choices))


def _placed(meaning: Meaning, scene: Scene, blocks: list[str]) -> Goal:
    where = meaning.where
    if where.kind == "area":
        return MoveToArea(tuple(blocks), Area(where.value.replace("-", " ")))
    target = find_noun(scene, where.noun) if where.noun else ""
    if where.kind in RELATIONS:
        if len(blocks) == 1 and where.kind != "near" and target in scene.blocks:
            return PutBeside(blocks[0], target, where.kind)
        return PutAllBeside(tuple(blocks), Beside(target, where.kind))
    if target and len(blocks) == 1:
        return PutOne(blocks[0], target)
    if where.kind == "block":
        return Stack((Column((frozenset({target}), *_layers(blocks, "", scene)[0])),))
    return _sorted(meaning, scene, blocks, exclusive=False)


def _each(meaning: Meaning, scene: Scene, blocks: list[str]) -> Goal:
    return _sorted(meaning, scene, blocks, exclusive=True)


def _sorted(meaning: Meaning, scene: Scene, blocks: list[str], exclusive: bool) -> Goal:
    """Blocks into bowls or zones; those that have none of their colour are not meant."""
    where = meaning.where
    kind = Bowl if where.kind == "bowl" else Zone
    containers = {name: thing.color for name, thing in scene.fixtures.items() if isinstance(thing, kind)}
    if not containers:
        raise missing_error(where.kind)

    def suits(block: str, color: str) -> bool:
        own = scene.blocks[block].color
        return {"same": color == own, "other": color != own, "any": True}.get(where.value, color == where.value)

    allowed = {b: tuple(name for name, color in containers.items() if suits(b, color)) for b in blocks}
    allowed = {block: names for block, names in allowed.items() if names}
    if not allowed:
        raise missing_error(
            f"{where.kind} of the same color" if where.value == "same" else f"{where.kind} of another color"
        )
    if exclusive and not _can_be_shared_out(allowed):
        raise ImpossibleGoal(vocabulary()["nothing"])
    above = {other for block in allowed for other in resting_above(scene, block)} - set(allowed)
    return Sort(allowed, exclusive=exclusive, extra_moves=len(above))


def _can_be_shared_out(allowed: dict[str, tuple[str, ...]]) -> bool:
    """Whether every block can have a container of its own."""
    taken: dict[str, str] = {}

    def seat(block: str, tried: set[str]) -> bool:
        for name in allowed[block]:
            if name not in tried:
                tried.add(name)
                if name not in taken or seat(taken[name], tried):
                    taken[name] = block
                    return True
        return False

    return all(seat(block, set()) for block in allowed)


def _uncovered(meaning: Meaning, scene: Scene, blocks: list[str]) -> Goal:
    covering = {other for block in blocks for other in resting_above(scene, block)}
    return Uncover(tuple(blocks), len(covering))


def end_states(goal: Goal) -> object:
    """What a goal accepts, to be compared: goals of one scene that are reached by the same states have equal ones."""
    if isinstance(goal, Either):
        return frozenset(map(end_states, goal.goals))
    if isinstance(goal, Stack):
        return frozenset((c.layers, c.zone, c.area, c.beside) for c in goal.columns)
    if isinstance(goal, Sort):
        return frozenset((block, frozenset(names)) for block, names in goal.allowed.items()), goal.exclusive
    if isinstance(goal, PutOne):  # one container each: a block alone shares it with none
        return frozenset({(goal.pick, frozenset({goal.target}))}), False
    if isinstance(goal, MoveToArea):
        return frozenset(goal.blocks), goal.area
    if isinstance(goal, Row):
        return "row", frozenset(goal.rows)
    return goal
