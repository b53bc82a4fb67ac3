"""Random initial states: what there is, and free places for it.

Everything keeps a circle of half its diagonal to itself. When a place cannot be found the whole layout is
drawn again, so that crowded tasks neither fail nor bias their last objects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from lohovla.envs.language import palette, vocabulary
from lohovla.envs.tasks.entities import BIG, SMALL, Block, Bowl, Entity, Pose, Zone
from lohovla.geometry.workspace import WORKSPACE

_GAP = 0.012  # between neighbouring circles, metres
_TRIES = 80
_T = TypeVar("_T")


class NoRoom(Exception):
    """No free place was found; the layout is drawn again."""


class SceneSampler:
    """A scene in the making.

    Args:
        rng: the episode's generator.
        colors: the palette to draw from (train, eval, all).
    """

    def __init__(self, rng: np.random.Generator, colors: str = "train"):
        self.rng = rng
        self.palette = palette(colors)
        self.entities: dict[str, Entity] = {}
        self.poses: dict[str, Pose] = {}
        self._circles: list[tuple[float, float, float]] = []

    def count(self, low: int, high: int) -> int:
        """A uniform whole number in [low, high], both ends included."""
        return int(self.rng.integers(low, high + 1))

    def choose(self, options: Sequence[_T], n: int = 1) -> list[_T]:
        """``n`` different ones of ``options`` in random order."""
        return [options[i] for i in self.rng.permutation(len(options))[:n]]

    def pick_colors(self, n: int) -> list[str]:
        """``n`` different colours of the palette."""
        if n > len(self.palette):
            raise ValueError(f"{n} colours wanted of a palette of {len(self.palette)}")
        return self.choose(self.palette, n)

    def other_colors(self, used: Sequence[str]) -> list[str]:
        """Every colour there is but ``used``, in random order: distractors may have any."""
        rest = [color for color in vocabulary()["colors"] if color not in used]
        return self.choose(rest, len(rest))

    def block(self, color: str, edge: float = SMALL, within: Callable[[float, float], bool] | None = None) -> str:
        """Add a block at a free place, optionally one that ``within`` accepts; returns its name."""
        entity = Block(self._name("block"), color, edge)
        x, y, yaw = self._free(entity.radius, within)
        return self._add(entity, Pose(x, y, edge / 2, yaw))

    def block_on(self, color: str, edge: float, lower: str) -> str:
        """Add a block standing squarely on another."""
        pose, below = self.poses[lower], self.entities[lower]
        assert isinstance(below, Block)
        entity = Block(self._name("block"), color, edge)
        return self._add(entity, Pose(pose.x, pose.y, pose.z + (below.edge + edge) / 2, pose.yaw), free=True)

    def block_at(self, color: str, edge: float, pose: Pose) -> str:
        """Add a block at a given pose; the caller has kept the place free with :meth:`reserve`."""
        return self._add(Block(self._name("block"), color, edge), pose, free=True)

    def bowl(self, color: str) -> str:
        """Add a bowl at a free place; returns its name."""
        entity = Bowl(self._name("bowl"), color)
        x, y, _ = self._free(entity.radius)
        return self._add(entity, Pose(x, y, 0.0, 0.0))

    def zone(self, color: str, edge: float = 0.10) -> str:
        """Add a zone at a free place; returns its name."""
        entity = Zone(self._name("zone"), color, edge)
        x, y, yaw = self._free(entity.radius)
        return self._add(entity, Pose(x, y, 0.0, yaw))

    def reserve(self, radius: float) -> tuple[float, float, float]:
        """Keep a circle free for something built by hand; returns x, y and a random yaw."""
        x, y, yaw = self._free(radius)
        self._circles.append((x, y, radius))
        return x, y, yaw

    def keep_clear(self, x: float, y: float, radius: float) -> None:
        """Let nothing else be drawn in a circle; raises :class:`NoRoom` where something already stands."""
        if any(math.hypot(x - u, y - v) < radius + other for u, v, other in self._circles):
            raise NoRoom
        self._circles.append((x, y, radius))

    @staticmethod
    def on_table(x: float, y: float, margin: float) -> bool:
        """Whether a point lies in the workspace, ``margin`` metres from its border."""
        (x0, x1), (y0, y1) = WORKSPACE[0], WORKSPACE[1]
        return x0 + margin <= x <= x1 - margin and y0 + margin <= y <= y1 - margin

    def distractors(self, most: int, used: Sequence[str], kinds: Sequence[str]) -> list[str]:
        """Up to ``most`` bowls or blocks of colours that no other thing has; stops when the table is full."""
        names = []
        for color in self.other_colors(used)[: self.count(0, most)]:
            kind = self.choose(kinds)[0]
            try:
                names.append(self.bowl(color) if kind == "bowl" else self.block(color, BIG if kind == "big" else SMALL))
            except NoRoom:
                break
        return names

    def _name(self, kind: str) -> str:
        return f"{kind}{sum(1 for name in self.entities if name.startswith(kind))}"

    def _add(self, entity: Entity, pose: Pose, free: bool = False) -> str:
        self.entities[entity.name], self.poses[entity.name] = entity, pose
        if not free:
            self._circles.append((pose.x, pose.y, entity.radius))
        return entity.name

    def _free(self, radius: float, within: Callable[[float, float], bool] | None = None) -> tuple[float, float, float]:
        (x0, x1), (y0, y1) = WORKSPACE[0], WORKSPACE[1]
        for _ in range(_TRIES):
            x = float(self.rng.uniform(x0 + radius, x1 - radius))
            y = float(self.rng.uniform(y0 + radius, y1 - radius))
            yaw = float(self.rng.uniform(0, 2 * math.pi))
            if within is not None and not within(x, y):
                continue
            if all(math.hypot(x - u, y - v) > radius + other + _GAP for u, v, other in self._circles):
                return x, y, yaw
        raise NoRoom


def free_spot(
    moved: str,
    blocks: dict[str, tuple[float, float, float]],
    others: list[tuple[float, float, float]],
    within: Callable[[float, float], bool],
    margin: float = 0.02,
) -> tuple[float, float] | None:
    """The free place nearest to a block, on a grid of 2.5 cm; None if there is none.

    Args:
        moved: the block that needs the place.
        blocks: circles (x, y, radius) of all blocks by name.
        others: circles of what else must stay clear.
        within: which places are wanted.
        margin: gap to the neighbours, metres.
    """
    x, y, radius = blocks[moved]
    taken = np.array([c for name, c in blocks.items() if name != moved] + others).reshape(-1, 3)
    (x0, x1), (y0, y1) = WORKSPACE[0], WORKSPACE[1]
    xs = np.arange(x0 + radius + 0.01, x1 - radius - 0.01, 0.025)
    ys = np.arange(y0 + radius + 0.01, y1 - radius - 0.01, 0.025)
    grid = np.stack(np.meshgrid(xs, ys, indexing="ij"), -1).reshape(-1, 2)
    gaps = np.hypot(grid[:, None, 0] - taken[None, :, 0], grid[:, None, 1] - taken[None, :, 1]) - taken[None, :, 2]
    free = gaps.min(axis=1, initial=np.inf) > radius + margin
    free &= np.array([within(u, v) for u, v in grid])
    if not free.any():
        return None
    distance = np.hypot(grid[:, 0] - x, grid[:, 1] - y)
    best = int(np.argmin(np.where(free, distance, np.inf)))
    return float(grid[best, 0]), float(grid[best, 1])
