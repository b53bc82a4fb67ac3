"""What tasks speak about: blocks, bowls, zones and areas, and a snapshot of where they are.

Positions are in metres in the base frame: x away from the robot, y to its left, z up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lohovla.envs.language import vocabulary
from lohovla.envs.scene.objects import BOWL_FLOOR, BOWL_HEIGHT, BOWL_RADIUS
from lohovla.geometry.rotations import yaw_of_quat
from lohovla.geometry.workspace import WORKSPACE

SMALL = vocabulary()["sizes"]["smaller"]
BIG = vocabulary()["sizes"]["bigger"]


@dataclass(frozen=True)
class Block:
    """A cube of ``edge`` metres."""

    name: str
    color: str
    edge: float

    @property
    def radius(self) -> float:
        """Half the diagonal of its footprint."""
        return self.edge / 2**0.5

    @property
    def size(self) -> str:
        """The word for its size."""
        return "bigger" if self.edge > (SMALL + BIG) / 2 else "smaller"


@dataclass(frozen=True)
class Bowl:
    """A bowl; fixed to the table."""

    name: str
    color: str
    radius: float = BOWL_RADIUS


@dataclass(frozen=True)
class Zone:
    """A coloured square on the table."""

    name: str
    color: str
    edge: float

    @property
    def radius(self) -> float:
        """Half its diagonal."""
        return self.edge / 2**0.5


Entity = Block | Bowl | Zone


@dataclass(frozen=True)
class Area:
    """A named part of the workspace: a quadrant, or a square of 0.08 m in the centre.

    Top is the robot's side (smaller x), left is negative y.
    """

    name: str

    @property
    def key(self) -> str:
        """Its name in a goal's formal notation: ``top-left``."""
        return self.name.replace(" ", "-")

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """X and y limits as (x_min, x_max, y_min, y_max)."""
        (x0, x1), (y0, y1) = WORKSPACE[0], WORKSPACE[1]
        middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
        if self.name == "center":
            return middle_x - 0.04, middle_x + 0.04, middle_y - 0.04, middle_y + 0.04
        row, column = self.name.split()
        xs = (x0, middle_x) if row == "top" else (middle_x, x1)
        ys = (y0, middle_y) if column == "left" else (middle_y, y1)
        return *xs, *ys

    @property
    def inset(self) -> float:
        """How far from its borders blocks are put, m."""
        x0, x1, _, _ = self.bounds
        return 0.03 if x1 - x0 > 0.1 else 0.02

    def contains(self, x: float, y: float) -> bool:
        """Whether a point lies in the area."""
        x0, x1, y0, y1 = self.bounds
        return x0 <= x <= x1 and y0 <= y <= y1


QUADRANTS = ("top left", "top right", "bottom left", "bottom right")

# Unit step on the table for "left of" and so on.
DIRECTIONS = {"left": (0.0, -1.0), "right": (0.0, 1.0), "top": (-1.0, 0.0), "bottom": (1.0, 0.0)}
APART = 0.05  # how far along its direction something must be to count as left, right, top, bottom of it
RELATIVE_OFFSET = 0.16  # where a block is put that shall lie beside another


@dataclass(frozen=True)
class Pose:
    """Where something is: a block's centre, a bowl's or zone's foot; yaw in rad."""

    x: float
    y: float
    z: float
    yaw: float


@dataclass
class Scene:
    """A snapshot: what there is and where it is.

    Attributes:
        blocks: the blocks by name.
        fixtures: bowls and zones by name, with their poses in ``fixture_poses``.
        positions: block centres (n, 3), in the order of ``blocks``.
        quats: block orientations (n, 4), w first.
        held: name of the block in the gripper, if any.
        resting: whether everything lies still.
    """

    blocks: Mapping[str, Block]
    fixtures: Mapping[str, Bowl | Zone]
    fixture_poses: Mapping[str, Pose]
    positions: np.ndarray
    quats: np.ndarray
    held: str | None = None
    resting: bool = True
    _centres: dict[str, tuple[float, float, float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._centres = dict(zip(self.blocks, map(tuple, self.positions.tolist()), strict=True))

    def centre(self, block: str) -> tuple[float, float, float]:
        """A block's centre."""
        return self._centres[block]

    def yaw(self, block: str) -> float:
        """A block's turn about the vertical, in [-pi/4, pi/4): a cube repeats every quarter turn."""
        return yaw_of_quat(self.quats[list(self.blocks).index(block)])

    def top(self, block: str) -> float:
        """Height of a block's highest point, when it lies flat."""
        return self._centres[block][2] + self.blocks[block].edge / 2

    @property
    def mixed_sizes(self) -> bool:
        """Whether small and big blocks are both on the table, so that sentences must say which."""
        return len({block.edge for block in self.blocks.values()}) > 1


STACK_TOLERANCE = 0.01  # xy offset of a block from the one below it, metres
BOWL_TOLERANCE = 0.05  # xy distance from a bowl's centre
_HEIGHT_TOLERANCE = 0.008


def rests_on_table(scene: Scene, block: str) -> bool:
    """Whether a block lies flat on the table and is not held."""
    return block != scene.held and abs(scene.centre(block)[2] - scene.blocks[block].edge / 2) < _HEIGHT_TOLERANCE


def is_on(scene: Scene, upper: str, lower: str, tolerance: float = STACK_TOLERANCE) -> bool:
    """Whether ``upper`` stands on ``lower``: within ``tolerance`` in the plane, at the right height."""
    if upper == scene.held:
        return False
    x, y, z = scene.centre(upper)
    u, v, w = scene.centre(lower)
    rise = (scene.blocks[upper].edge + scene.blocks[lower].edge) / 2
    return abs(z - w - rise) < _HEIGHT_TOLERANCE and math.hypot(x - u, y - v) <= tolerance


def in_bowl(scene: Scene, block: str, bowl: str) -> bool:
    """Whether a block lies in a bowl: released, near its middle, and down in it rather than on top of another."""
    if block == scene.held:
        return False
    x, y, z = scene.centre(block)
    pose = scene.fixture_poses[bowl]
    low = BOWL_FLOOR + BOWL_HEIGHT + scene.blocks[block].edge / 2
    return z < low and math.hypot(x - pose.x, y - pose.y) <= BOWL_TOLERANCE


def in_zone(scene: Scene, block: str, zone: str) -> bool:
    """Whether the whole footprint of a block lies inside a zone, and the block is released."""
    if block == scene.held:
        return False
    x, y, _ = scene.centre(block)
    pose, half = scene.fixture_poses[zone], scene.fixtures[zone].edge / 2  # type: ignore[union-attr]
    cosine, sine = math.cos(pose.yaw), math.sin(pose.yaw)
    along = cosine * (x - pose.x) + sine * (y - pose.y)
    across = -sine * (x - pose.x) + cosine * (y - pose.y)
    if max(abs(along), abs(across)) > half:
        return False
    turn = scene.yaw(block) - pose.yaw
    reach = scene.blocks[block].edge / 2 * (abs(math.cos(turn)) + abs(math.sin(turn)))
    return max(abs(along), abs(across)) + reach <= half + 1e-4


def in_area(scene: Scene, block: str, area: Area) -> bool:
    """Whether a block's centre lies in an area, and the block is released."""
    return block != scene.held and area.contains(*scene.centre(block)[:2])


def free_blocks(scene: Scene) -> list[str]:
    """Blocks that nothing lies on, in the scene's order."""
    return [name for name in scene.blocks if not resting_above(scene, name)]


def resting_above(scene: Scene, block: str) -> list[str]:
    """Blocks that lie over ``block``, the highest first; they must be moved before it can be picked."""
    x, y, z = scene.centre(block)
    edge = scene.blocks[block].edge
    above = []
    for name, other in scene.blocks.items():
        if name in (block, scene.held):
            continue
        u, v, w = scene.centre(name)
        if w > z + 0.4 * edge and max(abs(u - x), abs(v - y)) < 0.52 * (edge + other.edge):
            above.append((w, name))
    return [name for _, name in sorted(above, reverse=True)]


def block_moved_to(scene: Scene, block: str, place: Pose) -> Scene:
    """The scene with one block set down at a place (its foot)."""
    at = list(scene.blocks).index(block)
    positions, quats = scene.positions.copy(), scene.quats.copy()
    positions[at] = place.x, place.y, place.z + scene.blocks[block].edge / 2
    quats[at] = np.cos(place.yaw / 2), 0.0, 0.0, np.sin(place.yaw / 2)
    return Scene(scene.blocks, scene.fixtures, scene.fixture_poses, positions, quats)
