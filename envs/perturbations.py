"""Perturbations of what is seen (cameras, light, table, sensors, clutter) and of how an episode begins (arm, sizes).

Each has three strengths, after the dimensions of LIBERO-Plus; 0 is none. They are drawn from a stream of the
episode's seed. The goal, the objects and where they lie stay those of the seed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lohovla.envs.disturbances import known_settings
from lohovla.envs.scene.world import CLUTTER, Scenery
from lohovla.envs.tasks.entities import Block
from lohovla.envs.tasks.registry import TaskInstance
from lohovla.errors import UserError
from lohovla.geometry.workspace import WORKSPACE
from lohovla.mujoco_import import mujoco

# By strength, from 0 (none) to 3.
_CAMERA_METRES = (0.0, 0.01, 0.02, 0.04)
_CAMERA_DEGREES = (0.0, 1.0, 2.0, 4.0)
_WRIST_SHARE = 0.25  # of the metres of other cameras
_LIGHT_BRIGHTNESS = (0.0, 0.2, 0.35, 0.5)  # relative, brighter or darker
_LIGHT_TILT = (0.0, 0.3, 0.6, 0.9)  # of the direction's unit vector
_LIGHT_TINT = (0.0, 0.05, 0.1, 0.2)  # of each of red, green, blue
_TABLE_COLOR = (0.0, 0.06, 0.15, 0.30)  # of each of red, green, blue; the floor too
_TEXTURES = ("", "", "flecked", "checked")
_SENSOR_COLOR = (0.0, 5.0, 10.0, 20.0)  # of 255, each value of each picture
_SENSOR_DEPTH = (0.0, 0.001, 0.002, 0.004)  # m
_SENSOR_BLUR = (0.0, 0.6, 1.0, 1.6)  # pixels of a picture of 128 rows, standard deviation
_CLUTTER = (0, 3, 6, 10)
_ARM_METRES = (0.0, 0.04, 0.08, 0.12)
_ARM_DEGREES = (0.0, 10.0, 20.0, 40.0)
_SIZES = (0.0, 0.05, 0.10, 0.15)  # relative, of all blocks
# Colours that no task speaks of.
_CLUTTER_COLORS = ((0.10, 0.10, 0.12), (0.45, 0.40, 0.20), (0.10, 0.16, 0.30), (0.80, 0.74, 0.62), (0.40, 0.12, 0.16))
_TABLE = (0.33, 0.35, 0.38)
_FLOOR = (0.80, 0.82, 0.85)
_MARGIN = 0.015  # m between clutter and what the task is about


@dataclass(frozen=True)
class PerturbSettings:
    """How strongly each is perturbed, 0 (none) to 3.

    Attributes:
        camera: each camera's position and direction.
        light: brightness, direction and tint of the lights; pictures show shadows.
        table: colour and texture of the table, colour of the floor.
        sensor: noise of colour and depth, blur.
        clutter: things that no task speaks of; they can be seen, not touched.
        arm: the arm's first pose.
        sizes: edges of the blocks.
        random: draw each strength anew for an episode, from 0 to its value.
    """

    camera: int = 0
    light: int = 0
    table: int = 0
    sensor: int = 0
    clutter: int = 0
    arm: int = 0
    sizes: int = 0
    random: bool = False

    def __post_init__(self) -> None:
        for name in _KINDS:
            value = getattr(self, name)
            if value not in (0, 1, 2, 3):
                raise UserError(f"perturb.{name} cannot be {value}", "it is a strength: 0 (none), 1, 2 or 3")

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> PerturbSettings:
        """Perturbations of these settings.

        Raises:
            UserError: there is no such kind; the message names the nearest. Or a strength is none of 0 to 3.
        """
        return cls(**known_settings(cls, settings, "perturb"))

    def drawn(self, rng: np.random.Generator) -> PerturbSettings:
        """The strengths of one episode."""
        draws = {name: int(rng.integers(0, getattr(self, name) + 1)) for name in _KINDS}
        return dataclasses.replace(self, **draws, random=False) if self.random else self


_KINDS = ("camera", "light", "table", "sensor", "clutter", "arm", "sizes")


class Perturbation:
    """The perturbations of one episode.

    Args:
        settings: how strongly.
        rng: the episode's stream for them.
    """

    def __init__(self, settings: PerturbSettings, rng: np.random.Generator):
        self.strengths = settings.drawn(rng)
        # A stream for each kind: one of them does not change what the others draw.
        self._streams = dict(zip(_KINDS, rng.spawn(len(_KINDS)), strict=True))

    @property
    def shadows(self) -> bool:
        """Whether pictures show shadows."""
        return self.strengths.light > 0

    def resize(self, problem: TaskInstance) -> None:
        """Make all blocks of a fresh problem bigger or smaller by one factor."""
        most = _SIZES[self.strengths.sizes]
        if not most:
            return
        factor = 1.0 + most * float(self._streams["sizes"].choice([-1.0, 1.0]))
        layout = problem.layout
        for name, entity in layout.entities.items():
            if isinstance(entity, Block):
                layout.entities[name] = dataclasses.replace(entity, edge=entity.edge * factor)
                layout.poses[name] = dataclasses.replace(layout.poses[name], z=layout.poses[name].z * factor)

    def scenery(self, problem: TaskInstance) -> Scenery:
        """What stands around, where the task's objects leave room for it."""
        rng = self._streams["clutter"]
        taken = [(pose.x, pose.y, problem.layout.entities[name].radius) for name, pose in problem.layout.poses.items()]
        things = []
        for _ in range(_CLUTTER[self.strengths.clutter]):
            kind = int(rng.integers(len(CLUTTER)))
            for _ in range(60):
                x, y = (float(rng.uniform(low, high)) for low, high in WORKSPACE[:2])
                radius = CLUTTER[kind].radius
                if all(math.hypot(x - u, y - v) > radius + other + _MARGIN for u, v, other in taken):
                    taken.append((x, y, radius))
                    color = _CLUTTER_COLORS[rng.integers(len(_CLUTTER_COLORS))]
                    things.append((kind, x, y, float(rng.uniform(0, math.pi)), color))
                    break
        return Scenery(_TEXTURES[self.strengths.table], tuple(things))

    def first_pose(self) -> tuple[np.ndarray, float]:
        """How far the tool is from home at the start: metres (3,), and its turn, rad."""
        rng, most = self._streams["arm"], _ARM_METRES[self.strengths.arm]
        if not most:
            return np.zeros(3), 0.0
        direction = rng.normal(size=3) * (1.0, 1.0, 0.5)
        turn = math.radians(_ARM_DEGREES[self.strengths.arm]) * float(rng.choice([-1.0, 1.0]))
        return most * direction / np.linalg.norm(direction), turn

    def dress(self, model: mujoco.MjModel) -> None:
        """Move the cameras, change lights and table of an episode's model, before its data is reset."""
        self._move_cameras(model)
        self._change_lights(model)
        most = _TABLE_COLOR[self.strengths.table]
        if most:
            for name, color in (("table", _TABLE), ("floor", _FLOOR)):
                shift = (
                    most * self._streams["table"].choice([-1.0, 1.0], 3) * self._streams["table"].uniform(0.5, 1.0, 3)
                )
                model.geom(name).rgba = [*np.clip(np.array(color) + shift, 0.02, 1.0), 1.0]

    def _move_cameras(self, model: mujoco.MjModel) -> None:
        metres, degrees = _CAMERA_METRES[self.strengths.camera], _CAMERA_DEGREES[self.strengths.camera]
        rng = self._streams["camera"]
        for camera in range(model.ncam):
            name = model.camera(camera).name
            if name != "film" and metres:
                shift = metres * _direction(rng)
                if name == "wrist":  # a bracket is bent less than a tripod is moved, and never into the arm
                    shift = _WRIST_SHARE * np.array([shift[0], shift[1], abs(shift[2])])
                model.cam_pos[camera] += shift
                mujoco.mju_quatIntegrate(model.cam_quat[camera], math.radians(degrees) * _direction(rng), 1.0)

    def _change_lights(self, model: mujoco.MjModel) -> None:
        strength, rng = self.strengths.light, self._streams["light"]
        if not strength:
            return
        brightness = 1.0 + _LIGHT_BRIGHTNESS[strength] * float(rng.choice([-1.0, 1.0]))
        tint = 1.0 + _LIGHT_TINT[strength] * rng.choice([-1.0, 1.0], 3)
        for light in range(model.nlight):
            model.light_diffuse[light] *= brightness * tint
            direction = model.light_dir[light] + _LIGHT_TILT[strength] * _direction(rng) * (1.0, 1.0, 0.0)
            model.light_dir[light] = direction / np.linalg.norm(direction)

    def color(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A picture uint8 (H, W, 3) as the sensor gives it."""
        strength = self.strengths.sensor
        if not strength:
            return picture
        blurred = _blur(picture.astype(np.float32), _SENSOR_BLUR[strength] * picture.shape[0] / 128)
        noisy = blurred + rng.normal(0.0, _SENSOR_COLOR[strength], picture.shape)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)

    def depth(self, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A depth map float32 (H, W), m, as the sensor gives it."""
        size = _SENSOR_DEPTH[self.strengths.sensor]
        if not size:
            return depth
        return np.maximum(depth + rng.normal(0.0, size, depth.shape), 0.0).astype(np.float32)


def _direction(rng: np.random.Generator) -> np.ndarray:
    """A random unit vector (3,)."""
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def _blur(picture: np.ndarray, deviation: float) -> np.ndarray:
    """A picture float32 (H, W, 3) under a Gaussian; its borders are repeated."""
    reach = max(1, math.ceil(3 * deviation))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        size = picture.shape[axis]
        padded = np.pad(picture, [(reach, reach) if a == axis else (0, 0) for a in range(3)], mode="edge")
        windows = np.stack([np.take(padded, np.arange(k, k + size), axis=axis) for k in range(len(weights))])
        picture = np.einsum("k,khwc->hwc", weights, windows)
    return picture
