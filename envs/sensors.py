"""What an environment observes: cameras by setting, proprioception, the instruction; spaces and calibration."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from lohovla.envs.control.simulation import Simulation
from lohovla.envs.instruction_space import InstructionSpace
from lohovla.envs.perturbations import Perturbation
from lohovla.envs.render.fused_view import fuse
from lohovla.envs.render.noise import CameraNoise
from lohovla.envs.render.renderer import check_size, render_camera_picture, render_color
from lohovla.envs.scene.cameras import CAMERAS, CameraModel, rotation_of
from lohovla.errors import UserError
from lohovla.geometry.depth import DEPTH_STEPS, quantize_depth
from lohovla.geometry.rotations import rotvec_from_matrix
from lohovla.geometry.workspace import WORKSPACE

DEFAULT_CAMERAS: dict[str, dict[str, Any]] = {
    "top": {"width": 320, "height": 160, "depth": True},
    "wrist": {"width": 128, "height": 128},
}
TOP_SOURCES = ("orthographic", "fused")

_FUSED_FROM = ("front", "left", "right")


class Sensors:
    """The sensors of one environment.

    Args:
        cameras: settings by camera name: width and height in pixels, depth as a flag; None leaves one out.
        noise: observation noise.
        top_source: ``orthographic`` renders the view from above; ``fused`` builds it from three RGB-D views.
    """

    def __init__(
        self, cameras: Mapping[str, Mapping[str, Any] | None], noise: CameraNoise, top_source: str = "orthographic"
    ):
        if top_source not in TOP_SOURCES:
            raise UserError(f"no top_source {top_source!r}", f"choose one of {', '.join(TOP_SOURCES)}")
        self.noise, self.top_source = noise, top_source
        self.perturbation: Perturbation | None = None  # of the present episode
        self.cameras: dict[str, CameraModel] = {}
        self._with_depth: set[str] = set()
        for name, settings in cameras.items():
            if settings is not None:
                self._add(name, settings)

    def _add(self, name: str, settings: Mapping[str, Any]) -> None:
        if name not in CAMERAS:
            nearest = difflib.get_close_matches(name, CAMERAS, n=1, cutoff=0.0)[0]
            raise UserError(f"there is no camera {name!r}", f"did you mean {nearest!r}?")
        unknown = set(settings) - {"width", "height", "depth"}
        if unknown:
            raise UserError(f"camera {name} has no setting {sorted(unknown)[0]!r}", "it has width, height and depth")
        model = CAMERAS[name]
        width, height = int(settings.get("width", model.width)), int(settings.get("height", model.height))
        check_size(width, height)
        fovy = model.fovy
        if model.orthographic:  # whatever the shape of the picture, the whole workspace is in it
            fovy = max(float(np.ptp(WORKSPACE[0])), float(np.ptp(WORKSPACE[1])) * height / width)
        self.cameras[name] = dataclasses.replace(model, width=width, height=height, fovy=fovy)
        if settings.get("depth", False):
            self._with_depth.add(name)

    @property
    def space(self) -> gym.spaces.Dict:
        """The observation space."""
        spaces: dict[str, gym.Space] = {}
        for name, camera in self.cameras.items():
            shape = camera.height, camera.width
            spaces[f"images.{name}"] = gym.spaces.Box(0, 255, (*shape, 3), np.uint8)
            if name in self._with_depth:
                spaces[f"depth.{name}"] = gym.spaces.Box(0.0, _farthest(camera), shape, np.float32)
        turn, reach = np.pi * 1.0001, 2 * np.pi
        limits = np.array([2.0] * 3 + [turn] * 3 + [1.0] + [reach] * 6, np.float32)
        low = -limits
        low[6] = 0.0
        spaces["state"] = gym.spaces.Box(low, limits, dtype=np.float32)
        spaces["instruction"] = InstructionSpace()
        return gym.spaces.Dict(spaces)

    def prepare(self, simulation: Simulation, rng: np.random.Generator) -> None:
        """Set a fresh scene's cameras and lights for an episode."""
        self.aim(simulation)
        self.noise.perturb(simulation.model, rng)
        if self.perturbation is not None:
            self.perturbation.dress(simulation.model)

    def aim(self, simulation: Simulation) -> None:
        """Give each camera the field of view that its picture's shape asks for."""
        for name, camera in self.cameras.items():
            simulation.model.camera(name).fovy = camera.fovy

    def observe(self, simulation: Simulation, instruction: str, rng: np.random.Generator) -> dict[str, Any]:
        """One observation; its keys are the wire's and the data sets' names."""
        observation: dict[str, Any] = {}
        for name, camera in self.cameras.items():
            size = camera.width, camera.height
            depth = None
            if name == "top" and self.top_source == "fused":
                color, depth = self._fused_top(simulation, camera, rng)
            elif name in self._with_depth:
                color, depth = render_camera_picture(simulation.model, simulation.data, name, *size, self._quality)
                color, depth = self._disturb_color(color, rng), self._disturb_depth(depth, rng)
            else:
                color = render_color(simulation.model, simulation.data, name, *size, self._quality)
                color = self._disturb_color(color, rng)
            observation[f"images.{name}"] = color
            if name in self._with_depth and depth is not None:
                observation[f"depth.{name}"] = quantize_depth(depth, depth_unit(camera))
        observation["state"] = proprioception(simulation)
        observation["instruction"] = instruction
        return observation

    def _fused_top(
        self, simulation: Simulation, camera: CameraModel, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        views = []
        for name in _FUSED_FROM:
            model = CAMERAS[name]
            color, depth = render_camera_picture(
                simulation.model, simulation.data, name, model.width, model.height, self._quality
            )
            views.append((model, self._disturb_color(color, rng), self._disturb_depth(depth, rng)))
        return fuse(views, camera.height, camera.width)

    @property
    def _quality(self) -> str:
        return "shadows" if self.perturbation is not None and self.perturbation.shadows else "fast"

    def _disturb_color(self, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        color = self.noise.disturb_color(color, rng)
        return color if self.perturbation is None else self.perturbation.color(color, rng)

    def _disturb_depth(self, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        depth = self.noise.disturb_depth(depth, rng)
        return depth if self.perturbation is None else self.perturbation.depth(depth, rng)

    def calibration(self) -> dict[str, dict[str, Any]]:
        """Intrinsics, poses and bounds of every camera, as plain lists: metadata that travels with data.

        ``position`` and ``rotation`` give the optical frame in ``parent`` (``world`` is the robot's base;
        ``flange`` the tool flange). An orthographic camera's focal lengths are pixels a metre.
        """
        return {
            name: {
                "width": camera.width,
                "height": camera.height,
                "projection": "orthographic" if camera.orthographic else "perspective",
                "intrinsics": camera.intrinsics.tolist(),
                "parent": camera.parent,
                "position": list(camera.position),
                "rotation": rotation_of(camera).tolist(),
                "bounds": WORKSPACE.tolist(),
                "depth_unit": depth_unit(camera),
            }
            for name, camera in self.cameras.items()
        }


def depth_unit(camera: CameraModel) -> float:
    """The step in which a camera gives depth, metres: 0.02 mm from above, 0.1 mm along an optical axis."""
    return 2e-5 if camera.orthographic else 1e-4


def _farthest(camera: CameraModel) -> float:
    """The largest depth a camera reports, metres."""
    return float(np.float32(DEPTH_STEPS) * np.float32(depth_unit(camera)))


def proprioception(simulation: Simulation) -> np.ndarray:
    """The ``state`` vector, float32 (13,): tool position (m), rotation vector (rad), gripper 0..1, joints (rad)."""
    position, rotation = simulation.tcp()
    opening = simulation.gripper.opening(simulation.data)
    return np.concatenate([position, rotvec_from_matrix(rotation), [opening], simulation.joints]).astype(np.float32)
