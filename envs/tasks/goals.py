"""Goals over states, and the symbolic sub-task that comes next.

A goal scores a snapshot of the scene, never a history: a tower that topples is taken back. Its ``next``
is the oracle's plan, a sub-task at a time, from the state alone; so it also plans after a mistake.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lohovla.envs.language import block_phrase, place_phrase, subtask_sentence, vocabulary
from lohovla.envs.scene.objects import BOWL_FLOOR
from lohovla.envs.tasks.entities import Area, Pose, Scene, Zone, resting_above
from lohovla.envs.tasks.scene_sampler import free_spot
from lohovla.geometry.rotations import quarter_turn

_GAP = 0.003  # m between blocks, at least
_APART = 0.01  # m between blocks in the quarters of a zone, at least


@dataclass(frozen=True)
class Subtask:
    """One pick and one place, in symbols, in numbers and in words.

    Attributes:
        pick: name of the block to pick.
        target: what it is put in or on: a name, an area, or "table".
        place: where its foot should come to rest, and its yaw.
        text: the sentence.
    """

    pick: str
    target: str
    place: Pose
    text: str


class Goal(ABC):
    """What a task wants."""

    @abstractmethod
    def score(self, scene: Scene) -> float:
        """How much of the goal holds in ``scene``, in [0, 1]."""

    @abstractmethod
    def next(self, scene: Scene) -> Subtask | None:
        """The next sub-task towards the goal, or None where there is nothing left (or nothing possible)."""

    @property
    @abstractmethod
    def moves(self) -> int:
        """How many blocks have to be moved in all, for the step limit."""

    @property
    def ending(self) -> str:
        """What is to be said where there is no next sub-task: "Done.", or why nothing can be done."""
        return vocabulary()["done"]


def name_of(scene: Scene, block: str) -> str:
    """A block in words, with its size where the scene holds both."""
    entity = scene.blocks[block]
    return block_phrase(entity.color, entity.size if scene.mixed_sizes else None)


def put_on_block(scene: Scene, pick: str, lower: str) -> Subtask:
    """Put a block squarely on another."""
    x, y, _ = scene.centre(lower)
    entity = scene.blocks[lower]
    words = place_phrase("block", color=entity.color, size=entity.size if scene.mixed_sizes else None)
    return _subtask(scene, pick, lower, x, y, scene.top(lower), scene.yaw(lower), words)


def put_in_bowl(scene: Scene, pick: str, bowl: str) -> Subtask:
    """Put a block in the middle of a bowl."""
    pose = scene.fixture_poses[bowl]
    words = place_phrase("bowl", color=scene.fixtures[bowl].color)
    return _subtask(scene, pick, bowl, pose.x, pose.y, BOWL_FLOOR, scene.yaw(pick), words)


def put_in_zone(scene: Scene, pick: str, zone: str) -> Subtask:
    """Put a block in a zone: in a large one in the nearest free quarter, else at the free place nearest its middle.

    Quarters leave four blocks the most room on all sides: the whole of a block must lie within the zone. Where they are
    taken, and in a small zone, places are on a grid of 5 cm along its edges.
    """
    pose, entity = scene.fixture_poses[zone], scene.fixtures[zone]
    assert isinstance(entity, Zone)
    edge = scene.blocks[pick].edge
    reach = entity.edge / 2 - edge / 2 - 0.004
    side = entity.edge / 5  # as far from the next quarter's block as from the edge, nearly
    if 2 * side - edge > _APART:
        quarters = [_in_frame(pose, a * side, b * side) for a in (-1, 1) for b in (-1, 1)]
        free = [spot for spot in quarters if _room(scene, pick, *spot) > _GAP]
        if free:
            x, y = min(free, key=lambda spot: math.dist(spot, scene.centre(pick)[:2]))
            return _subtask(scene, pick, zone, x, y, 0.0, pose.yaw, place_phrase("zone", color=entity.color))
    steps = [0.0] if reach < 0.025 else [-min(0.05, reach), 0.0, min(0.05, reach)]
    places = sorted(
        ((a, b) for a in steps for b in steps),
        key=lambda place: -_room(scene, pick, *_in_frame(pose, *place)),
    )
    roomy = [place for place in places if _room(scene, pick, *_in_frame(pose, *place)) > _GAP]
    a, b = min(roomy, key=lambda place: math.hypot(*place)) if roomy else places[0]
    x, y = _in_frame(pose, a, b)
    ground = max([0.0, *(scene.top(name) for name in scene.blocks if _overlaps(scene, pick, name, x, y))])
    return _subtask(scene, pick, zone, x, y, ground, pose.yaw, place_phrase("zone", color=entity.color))


def put_in(scene: Scene, pick: str, fixture: str) -> Subtask:
    """Put a block in a bowl or a zone."""
    put = put_in_zone if isinstance(scene.fixtures[fixture], Zone) else put_in_bowl
    return put(scene, pick, fixture)


def put_in_area(scene: Scene, pick: str, area: Area, inset: float = 0.0) -> Subtask | None:
    """Put a block on a free place of an area, ``inset`` metres from its borders at least; None if it is full."""
    x0, x1, y0, y1 = area.bounds
    spot = find_spot(scene, pick, lambda x, y: x0 + inset <= x <= x1 - inset and y0 + inset <= y <= y1 - inset)
    return put_at(scene, pick, area.name, *spot, words=place_phrase("area", area=area.name)) if spot else None


def put_at(scene: Scene, pick: str, target: str, x: float, y: float, words: str) -> Subtask:
    """Put a block on the table at a point."""
    return _subtask(scene, pick, target, x, y, 0.0, scene.yaw(pick), words)


def put_aside(scene: Scene, pick: str, within: Callable[[float, float], bool] | None = None) -> Subtask | None:
    """Put a block on a free place of the table, clear of bowls and zones; None if the table is full."""
    spot = find_spot(scene, pick, within or (lambda x, y: True))
    if spot is None:
        return None
    return put_at(scene, pick, "table", *spot, words=place_phrase("table"))


def find_spot(
    scene: Scene, pick: str, within: Callable[[float, float], bool], avoid_fixtures: bool = True
) -> tuple[float, float] | None:
    """A free place for a block, nearest to where it is."""
    blocks = {name: (*scene.centre(name)[:2], block.radius) for name, block in scene.blocks.items()}
    fixtures = [
        (pose.x, pose.y, scene.fixtures[name].radius) for name, pose in scene.fixture_poses.items() if avoid_fixtures
    ]
    for margin in (0.02, 0.008):
        spot = free_spot(pick, blocks, fixtures, within, margin)
        if spot is not None:
            return spot
    return None


def uncovered(scene: Scene, block: str) -> str:
    """``block`` itself, or the highest block that lies over it and has to go first."""
    above = resting_above(scene, block)
    return above[0] if above else block


def farthest(scene: Scene, pairs: Iterable[tuple[str, tuple[float, float]]]) -> str | None:
    """Of (block, where it should go), the block farthest from its place: the published order."""
    ranked = [(math.dist(scene.centre(block)[:2], place), block) for block, place in pairs]
    return max(ranked)[1] if ranked else None


def _subtask(scene: Scene, pick: str, target: str, x: float, y: float, z: float, yaw: float, words: str) -> Subtask:
    turn = scene.yaw(pick) + quarter_turn(yaw - scene.yaw(pick))
    return Subtask(pick, target, Pose(x, y, z, turn), subtask_sentence(name_of(scene, pick), words))


def _in_frame(pose: Pose, a: float, b: float) -> tuple[float, float]:
    cosine, sine = math.cos(pose.yaw), math.sin(pose.yaw)
    return pose.x + cosine * a - sine * b, pose.y + sine * a + cosine * b


def _room(scene: Scene, pick: str, x: float, y: float) -> float:
    """Gap between ``pick``, set down at a point, and its nearest neighbour."""
    edge = scene.blocks[pick].edge
    gaps = [
        math.dist((x, y), scene.centre(name)[:2]) - (edge + block.edge) / 2
        for name, block in scene.blocks.items()
        if name != pick
    ]
    return min(gaps, default=1.0)


def _overlaps(scene: Scene, pick: str, other: str, x: float, y: float) -> bool:
    return other != pick and math.dist((x, y), scene.centre(other)[:2]) < (
        (scene.blocks[pick].edge + scene.blocks[other].edge) / 2
    )
