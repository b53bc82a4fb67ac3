"""Observation noise: what a real camera adds. Every setting defaults to none."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lohovla.errors import UserError
from lohovla.mujoco_import import mujoco


@dataclass(frozen=True)
class CameraNoise:
    """How observations differ from the truth; all are standard deviations of normal noise.

    Attributes:
        color: of each colour value, in steps of 0..255, fresh every picture.
        depth: of each depth value, metres, fresh every picture.
        camera_position: of each camera's position, metres, drawn once an episode.
        camera_rotation: of each camera's rotation vector, rad, drawn once an episode.
        light: of each light's brightness (relative) and direction (rad), drawn once an episode.
    """

    color: float = 0.0
    depth: float = 0.0
    camera_position: float = 0.0
    camera_rotation: float = 0.0
    light: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value >= 0):
                raise UserError(f"noise.{name} cannot be {value}", "it is a standard deviation: a number from 0 up")

    @classmethod
    def from_settings(cls, settings: Mapping[str, float]) -> CameraNoise:
        """Noise of these settings.

        Raises:
            UserError: there is no such kind; the message names the nearest.
        """
        kinds = [field.name for field in dataclasses.fields(cls)]
        for name in settings:
            if name not in kinds:
                nearest = difflib.get_close_matches(name, kinds, n=1, cutoff=0.0)[0]
                raise UserError(f"there is no noise {name!r}", f"did you mean {nearest!r}?")
        return cls(**settings)

    def perturb(self, model: mujoco.MjModel, rng: np.random.Generator) -> None:
        """Move the cameras and change the lights of a model, for one episode; before its data is reset.

        The camera for people (``film``) stays. The calibration that the environment reports is the nominal
        one, as on a robot whose cameras were calibrated a while ago.
        """
        if self.camera_position or self.camera_rotation:
            for camera in range(model.ncam):
                if model.camera(camera).name == "film":
                    continue
                model.cam_pos[camera] += rng.normal(0.0, self.camera_position, 3)
                mujoco.mju_quatIntegrate(model.cam_quat[camera], rng.normal(0.0, self.camera_rotation, 3), 1.0)
        if self.light:
            for light in range(model.nlight):
                model.light_diffuse[light] *= max(0.0, 1.0 + rng.normal(0.0, self.light))
                direction = model.light_dir[light] + rng.normal(0.0, self.light, 3)
                model.light_dir[light] = direction / np.linalg.norm(direction)

    def disturb_color(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A picture uint8 (H, W, 3) with colour noise."""
        if not self.color:
            return picture
        noisy = picture + rng.normal(0.0, self.color, picture.shape)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)

    def disturb_depth(self, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A depth map float32 (H, W) in metres with depth noise, never below 0."""
        if not self.depth:
            return depth
        return np.maximum(depth + rng.normal(0.0, self.depth, depth.shape), 0.0).astype(np.float32)
