"""What the simulator knows of a scene, as dense training targets: objects, what they stand on, sub-tasks in numbers.

These are training signals only; no policy reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lohovla.envs.language import vocabulary
from lohovla.envs.scene.objects import BOWL_HEIGHT
from lohovla.envs.tasks.entities import DIRECTIONS, QUADRANTS, Area, Bowl, Scene, Zone, free_blocks, in_bowl
from lohovla.envs.tasks.goals import Subtask, put_aside, put_in, put_in_area, put_on_block
from lohovla.envs.tasks.put_one import put_beside
from lohovla.geometry.rotations import quarter_turn
from lohovla.model.encoders.object_schema import KINDS, LABELS, N_COLORS, SUPPORTS

COLORS = tuple(vocabulary()["colors"])
NO_COLOR = len(COLORS)  # the colour of the table, as a support
assert NO_COLOR == N_COLORS
MAX_OBJECTS = 40
POINT_COLUMNS = ("x", "y", "z", "yaw", "edge")

_BIG_ZONE = 0.12  # edge, m, between the two sizes of zones


def objects_of(scene: Scene) -> np.ndarray:
    """What can be seen from above, float32 (MAX_OBJECTS, len(LABELS)); unused rows have kind -1.

    Blocks under others are left out. ``z`` is the height of the top face (m), ``yaw`` in [-pi/4, pi/4),
    ``support`` an index of :data:`SUPPORTS`, ``occupied`` whether a bowl or zone has a block on it.
    """
    rows = [
        _block_row(scene, name) if name in scene.blocks else _fixture_row(scene, name) for name in visible_names(scene)
    ]
    table = np.full((MAX_OBJECTS, len(LABELS)), -1.0, np.float32)
    if rows:  # an empty table has none
        table[: len(rows)] = rows
    return table


def visible_names(scene: Scene) -> list[str]:
    """Names of what can be seen from above, blocks before bowls and zones, at most MAX_OBJECTS."""
    return [*free_blocks(scene), *scene.fixtures][:MAX_OBJECTS]


def roles_of(scene: Scene, future: Sequence[Subtask]) -> np.ndarray:
    """What becomes of each object on the way to the goal, float32 (MAX_OBJECTS, 3) of zeros and ones.

    Rows are as those of :func:`objects_of`: whether it will be picked up, whether something will be put on or in
    it, and whether that is what the first sub-task does.

    Args:
        scene: as it is.
        future: the sub-tasks that lead from it to the goal.
    """
    moves, receives = {s.pick for s in future}, {s.target for s in future}
    first = {s.target for s in future[:1]}
    roles = np.zeros((MAX_OBJECTS, 3), np.float32)
    for row, name in zip(roles, visible_names(scene), strict=False):
        row[:] = name in moves, name in receives, name in first
    return roles


def _block_row(scene: Scene, name: str) -> list[float]:
    block, (x, y, _) = scene.blocks[name], scene.centre(name)
    support, color = support_of(scene, name)
    return _row(
        kind=KINDS.index("block"),
        color=COLORS.index(block.color),
        big=block.size == "bigger",
        x=x,
        y=y,
        z=scene.top(name),
        yaw=scene.yaw(name),
        support=SUPPORTS.index(support),
        support_color=COLORS.index(color) if color else NO_COLOR,
        occupied=0,
    )


def _row(**values: float) -> list[float]:
    """A label by the schema's columns."""
    return [values[name] for name in LABELS]


def _fixture_row(scene: Scene, name: str) -> list[float]:
    fixture, pose = scene.fixtures[name], scene.fixture_poses[name]
    bowl = isinstance(fixture, Bowl)
    big = isinstance(fixture, Zone) and fixture.edge > _BIG_ZONE
    occupied = any(in_bowl(scene, block, name) if bowl else _over_zone(scene, block, name) for block in scene.blocks)
    return _row(
        kind=KINDS.index("bowl" if bowl else "zone"),
        color=COLORS.index(fixture.color),
        big=big,
        x=pose.x,
        y=pose.y,
        z=BOWL_HEIGHT if bowl else 0.0,
        yaw=float(quarter_turn(pose.yaw)),
        support=SUPPORTS.index("table"),
        support_color=NO_COLOR,
        occupied=occupied,
    )


def support_of(scene: Scene, block: str) -> tuple[str, str]:
    """What a block stands on or lies in, an item of :data:`SUPPORTS`, and that thing's colour ("" for the table)."""
    x, y, z = scene.centre(block)
    edge = scene.blocks[block].edge
    for name, fixture in scene.fixtures.items():
        if isinstance(fixture, Bowl) and in_bowl(scene, block, name):
            return "bowl", fixture.color
    below = [
        (scene.centre(name)[2], other.color)
        for name, other in scene.blocks.items()
        if name != block
        and scene.centre(name)[2] < z - 0.4 * edge
        and max(abs(scene.centre(name)[0] - x), abs(scene.centre(name)[1] - y)) < 0.5 * (edge + other.edge)
    ]
    if below and z > 0.75 * edge:
        return "block", max(below)[1]
    for name, fixture in scene.fixtures.items():
        if isinstance(fixture, Zone) and _over_zone(scene, block, name):
            return "zone", fixture.color
    return "table", ""


def _over_zone(scene: Scene, block: str, zone: str) -> bool:
    """Whether a block's centre is above a zone."""
    pose, half = scene.fixture_poses[zone], scene.fixtures[zone].edge / 2  # type: ignore[union-attr]
    x, y, _ = scene.centre(block)
    cosine, sine = np.cos(pose.yaw), np.sin(pose.yaw)
    along, across = cosine * (x - pose.x) + sine * (y - pose.y), -sine * (x - pose.x) + cosine * (y - pose.y)
    return bool(max(abs(along), abs(across)) <= half)


def points_of(scene: Scene, subtask: Subtask | None) -> np.ndarray:
    """The pick and the place of a sub-task, float32 (2, len(POINT_COLUMNS)); NaN where there is none.

    ``z`` is the height of the surface to touch (pick) or to put down on (place); ``edge`` that of the block (m).
    """
    if subtask is None:
        return np.full((2, len(POINT_COLUMNS)), np.nan, np.float32)
    x, y, _ = scene.centre(subtask.pick)
    place, edge = subtask.place, scene.blocks[subtask.pick].edge
    pick = (x, y, scene.top(subtask.pick), scene.yaw(subtask.pick), edge)
    return np.array([pick, (place.x, place.y, place.z, place.yaw, edge)], np.float32)


def any_subtasks(scene: Scene, rng: np.random.Generator) -> Iterator[Subtask]:
    """Sub-tasks drawn at random, whatever the goal: endless, for grounding words in pictures.

    Only blocks and targets whose words fit one thing in the scene are drawn.
    """
    free = free_blocks(scene)
    picks = _unique(scene, free, free)
    surfaces = _unique(scene, free, list(scene.blocks))
    fixtures = _unique_fixtures(scene)
    if not picks:
        return
    misses = 0
    while misses < 20:
        pick = picks[rng.integers(len(picks))]
        subtask = _any_place(scene, pick, [n for n in surfaces if n != pick], fixtures, rng)
        misses = misses + 1 if subtask is None else 0
        if subtask is not None:
            yield subtask


def _unique(scene: Scene, names: list[str], among: list[str]) -> list[str]:
    """Those of ``names`` whose colour and size no other of ``among`` has."""
    looks = [(scene.blocks[n].color, scene.blocks[n].edge) for n in among]
    return [n for n in names if looks.count((scene.blocks[n].color, scene.blocks[n].edge)) == 1]


def _unique_fixtures(scene: Scene) -> list[str]:
    looks = [(type(f), f.color) for f in scene.fixtures.values()]
    return [name for name, f in scene.fixtures.items() if looks.count((type(f), f.color)) == 1]


def _any_place(
    scene: Scene, pick: str, surfaces: list[str], fixtures: list[str], rng: np.random.Generator
) -> Subtask | None:
    kind = rng.choice(["fixture", "fixture", "block", "block", "area", "relation", "table"])
    if kind == "fixture" and fixtures:
        return put_in(scene, pick, fixtures[rng.integers(len(fixtures))])
    if kind == "block" and surfaces:
        return put_on_block(scene, pick, surfaces[rng.integers(len(surfaces))])
    if kind == "table":
        return put_aside(scene, pick)
    if kind == "relation" and surfaces:
        reference, relation = surfaces[rng.integers(len(surfaces))], rng.choice(list(DIRECTIONS))
        found = put_beside(scene, pick, reference, str(relation))
        return found if 0.27 < found.place.x < 0.73 and -0.48 < found.place.y < 0.48 else None
    if kind == "area":
        return put_in_area(scene, pick, Area(str(rng.choice([*QUADRANTS, "center"]))))
    return None
