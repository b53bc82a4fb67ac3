"""Disturbances while an episode runs: the target moves, the goal place slides, the arm is pushed, a block slips.

They are settings of the environment and off by default. When and which way is drawn from a stream of the episode's
seed, so that the same seed and actions give the same episode again.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lohovla.envs.tasks.entities import Scene, block_moved_to, resting_above, rests_on_table
from lohovla.errors import UserError
from lohovla.geometry.workspace import WORKSPACE

# The largest value and the unit of each setting.
_LIMITS = {
    "object": (0.1, "metres that a block moves, 0.03 to 0.06 is usual"),
    "place": (0.1, "metres that a bowl or zone slides, 0.03 to 0.06 is usual"),
    "arm": (200.0, "newtons on the flange, 100 is usual"),
    "slip": (1.0, "the chance that a carried block is lost"),
}
_SPEED = 0.25  # m/s of what is moved
_OVER = 0.04  # m, how near above a block the tool must be for a descent to be an approach to it
_HEIGHTS = (0.03, 0.10)  # m above the block at which it moves
_CARRIED = (0.3, 0.9)  # s after the grip at which the place slides, or the block slips
_PUSHED = (0.5, 3.0)  # s before the arm is pushed, from the start or the push before
_PUSH_SECONDS = 0.3
_CLEAR = 0.008  # m between what is moved and its neighbours
_DIRECTIONS = 24


@dataclass(frozen=True)
class PushSettings:
    """What disturbs an episode; 0 is never.

    Attributes:
        object: metres that a block moves while the tool comes down on it.
        place: metres that a bowl or zone slides while the arm carries a block that belongs there.
        arm: newtons that push the flange sideways, for 0.3 s.
        slip: chance that suction loses a block while the arm carries it.
        times: how often each may happen in an episode.
        random: draw each size anew for an episode, half of the time 0, else up to its value.
    """

    object: float = 0.0
    place: float = 0.0
    arm: float = 0.0
    slip: float = 0.0
    times: int = 1
    random: bool = False

    def __post_init__(self) -> None:
        for name, (largest, meaning) in _LIMITS.items():
            value = getattr(self, name)
            if not 0.0 <= value <= largest:
                raise UserError(f"push.{name} cannot be {value}", f"it is {meaning}: 0 to {largest:g}")
        if not (isinstance(self.times, int) and 1 <= self.times <= 100):
            raise UserError(f"push.times cannot be {self.times}", "it is how often an episode: 1 to 100")

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> PushSettings:
        """Disturbances of these settings.

        Raises:
            UserError: there is no such kind; the message names the nearest. Or a value is out of range.
        """
        return cls(**known_settings(cls, settings, "push"))

    @property
    def any(self) -> bool:
        """Whether anything may happen."""
        return any(getattr(self, name) > 0 for name in _LIMITS)

    def drawn(self, rng: np.random.Generator) -> PushSettings:
        """The sizes of one episode."""
        if not self.random:
            return self
        drawn = {name: max(0.0, rng.uniform(-1.0, 1.0)) * getattr(self, name) for name in _LIMITS}
        return dataclasses.replace(self, **drawn, random=False)


def known_settings(cls: Any, settings: Mapping[str, Any], group: str) -> dict[str, Any]:
    """``settings`` as arguments of a dataclass.

    Raises:
        UserError: one of them is none of its fields; the message names the nearest.
    """
    kinds = [field.name for field in dataclasses.fields(cls)]
    for name in settings:
        if name not in kinds:
            nearest = difflib.get_close_matches(name, kinds, n=1, cutoff=0.0)[0]
            raise UserError(f"there is no {group}.{name}", f"did you mean {nearest!r}?")
    return dict(settings)


@dataclass(frozen=True)
class PushEvent:
    """One disturbance that happened.

    Attributes:
        time: simulated seconds since the episode's start.
        kind: ``object``, ``place``, ``arm`` or ``slip``.
        what: name of the block, bowl or zone; ``arm``.
        size: metres, newtons, or 1 for a slip.
    """

    time: float
    kind: str
    what: str
    size: float


@dataclass
class _Slide:
    """Something on its way: metres a control period, and how many periods are left."""

    name: str
    step: tuple[float, float]
    left: int


class Pushes:
    """The disturbances of one episode; part of its snapshots.

    Args:
        settings: how far, and how often.
        rng: the episode's stream for them.
    """

    def __init__(self, settings: PushSettings, rng: np.random.Generator):
        self._rng = rng
        self._how = settings.drawn(rng)
        self.events: list[PushEvent] = []
        self._left = {kind: self._how.times if getattr(self._how, kind) > 0 else 0 for kind in _LIMITS}
        self.moves = 0  # beginnings and ends of slides
        self._slide: _Slide | None = None
        self._push_left, self._push_at = 0, float(rng.uniform(*_PUSHED))
        self._height, self._trigger = math.inf, float(rng.uniform(*_HEIGHTS))
        self._held: str | None = None
        self._home: str | None = None  # the bowl or zone that what is held belongs in
        self._place_at = self._slip_at = math.inf

    def before_tick(self, episode: Any) -> None:
        """What happens in the coming control period of an ``envs.episode.Episode``; called by the simulation."""
        simulation = episode.simulation
        if self._slide is not None:
            self._move(episode, self._slide)
        self._push_arm(episode)
        tip = simulation.tcp()[0]
        if simulation.held != self._held:
            self._gripped_or_lost(episode)
        if self._held is not None:
            self._while_carrying(episode)
        elif self._left["object"] and self._slide is None and tip[2] < self._height - 1e-4:
            self._while_coming_down(episode, tip)
        self._height = float(tip[2])

    # -- the block --------------------------------------------------------------------------------

    def _while_coming_down(self, episode: Any, tip: np.ndarray) -> None:
        scene = episode.scene()
        for name in scene.blocks:
            x, y, _ = scene.centre(name)
            above = float(tip[2]) - scene.top(name)
            if math.hypot(tip[0] - x, tip[1] - y) > _OVER or not 0.005 < above < self._trigger:
                continue
            if resting_above(scene, name) or not rests_on_table(scene, name):
                continue
            if self._begin(episode, scene, "object", name, self._how.object, (x, y), scene.blocks[name].radius):
                self._trigger = float(self._rng.uniform(*_HEIGHTS))
            return

    def _begin(
        self, episode: Any, scene: Scene, kind: str, name: str, size: float, at: tuple[float, float], radius: float
    ) -> bool:
        """Let something slide by ``size`` to where there is room; False where there is none."""
        start = self._rng.uniform(0, 2 * math.pi)
        for turn in start + np.arange(_DIRECTIONS) * (2 * math.pi / _DIRECTIONS):
            dx, dy = size * math.cos(turn), size * math.sin(turn)
            if _room(scene, name, at[0] + dx, at[1] + dy, radius):
                ticks = max(1, round(size / _SPEED / episode.simulation.period))
                self._slide = _Slide(name, (dx / ticks, dy / ticks), ticks)
                self.moves += 1
                self._happened(episode, kind, name, size)
                return True
        return False

    def _move(self, episode: Any, slide: _Slide) -> None:
        if slide.name in episode.simulation.block_names:
            if episode.simulation.held != slide.name:
                episode.simulation.slide_block(slide.name, *slide.step)
        else:
            episode.slide_fixture(slide.name, *slide.step)
        slide.left -= 1
        if not slide.left:
            self._slide = None
            self.moves += 1

    # -- while something is carried ---------------------------------------------------------------

    def _gripped_or_lost(self, episode: Any) -> None:
        now, held = episode.simulation.time, episode.simulation.held
        self._held, self._home = held, None
        self._place_at = self._slip_at = math.inf
        if held is None:
            return
        if self._left["place"]:
            self._home = _home_of(episode, held)
            self._place_at = now + float(self._rng.uniform(*_CARRIED))
        if self._left["slip"] and self._rng.random() < self._how.slip:
            self._slip_at = now + float(self._rng.uniform(*_CARRIED))

    def _while_carrying(self, episode: Any) -> None:
        now = episode.simulation.time
        if now >= self._place_at and self._home is not None and self._slide is None:
            scene, pose = episode.scene(), episode.fixture_poses[self._home]
            radius = scene.fixtures[self._home].radius
            self._begin(episode, scene, "place", self._home, self._how.place, (pose.x, pose.y), radius)
            self._place_at = math.inf
        if now >= self._slip_at:
            self._slip_at = math.inf
            episode.simulation.gripper.lose(episode.simulation.data)
            self._happened(episode, "slip", str(self._held), 1.0)

    # -- the arm ----------------------------------------------------------------------------------

    def _push_arm(self, episode: Any) -> None:
        simulation = episode.simulation
        if self._push_left:
            self._push_left -= 1
            if not self._push_left:
                simulation.push_flange(np.zeros(3))
        elif self._left["arm"] and simulation.time >= self._push_at:
            turn = self._rng.uniform(0, 2 * math.pi)
            simulation.push_flange(self._how.arm * np.array([math.cos(turn), math.sin(turn), 0.0]))
            self._push_left = max(1, round(_PUSH_SECONDS / simulation.period))
            self._push_at = simulation.time + float(self._rng.uniform(*_PUSHED))
            self._happened(episode, "arm", "arm", self._how.arm)

    def _happened(self, episode: Any, kind: str, what: str, size: float) -> None:
        self._left[kind] -= 1
        self.events.append(PushEvent(round(episode.simulation.time, 3), kind, what, float(size)))


def _room(scene: Scene, name: str, x: float, y: float, radius: float) -> bool:
    """Whether a circle on the table is within the workspace and clear of everything but ``name`` and what is held."""
    (x0, x1), (y0, y1) = WORKSPACE[0], WORKSPACE[1]
    if not (x0 + radius <= x <= x1 - radius and y0 + radius <= y <= y1 - radius):
        return False
    for other, distance in _neighbours(scene, x, y):
        if other not in (name, scene.held) and distance < radius + _CLEAR:
            return False
    return True


def _neighbours(scene: Scene, x: float, y: float) -> Iterator[tuple[str, float]]:
    """What lies on the table, and how far its circle is from a point."""
    for name, block in scene.blocks.items():
        u, v, _ = scene.centre(name)
        yield name, math.hypot(u - x, v - y) - block.radius
    for name, pose in scene.fixture_poses.items():
        yield name, math.hypot(pose.x - x, pose.y - y) - scene.fixtures[name].radius


def _home_of(episode: Any, held: str) -> str | None:
    """The empty bowl or zone, nearest to the block, in which it would raise the score; None where there is none."""
    scene = episode.scene()
    scene.held = None
    score, goal = episode.problem.goal.score(scene), episode.problem.goal
    x, y, _ = scene.centre(held)
    best, name = math.inf, None
    for fixture, pose in scene.fixture_poses.items():
        taken = any(
            math.hypot(scene.centre(block)[0] - pose.x, scene.centre(block)[1] - pose.y)
            < scene.fixtures[fixture].radius + scene.blocks[block].radius
            for block in scene.blocks
            if block != held
        )
        distance = math.hypot(pose.x - x, pose.y - y)
        if taken or distance >= best:
            continue
        if goal.score(block_moved_to(scene, held, pose)) > score:
            best, name = distance, fixture
    return name
