"""Pictures of a MuJoCo model, drawn in software as cheaply as they can be: no shadows, reflections, sky or smoothing.

A picture of 96 x 96 of a MetaWorld scene costs 91 ms with MuJoCo's defaults, almost all of it for shadows.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

if "MUJOCO_GL" not in os.environ:  # before MuJoCo is imported, which opens its window system otherwise
    os.environ["MUJOCO_GL"] = "egl"
import mujoco

_OFF = (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_SKYBOX)
_HIDDEN = 5  # the group of geometries that is not drawn where a camera hides some
_GEOMETRIES = 1000


class SoftwareRenderer:
    """Draws the states of models of the same kind: what is uploaded once serves all of them.

    Args:
        model: the first of them.
        cameras: by name: ``camera`` (the model's), ``height``, ``width``, ``turn`` (by 180 degrees), ``position`` (in
            the world's frame, m, in place of the camera's own; or None), ``hide`` (names of bodies not to draw).
    """

    def __init__(self, model: Any, cameras: dict[str, dict[str, Any]]) -> None:
        self._cameras = cameras
        height = max(camera["height"] for camera in cameras.values())
        width = max(camera["width"] for camera in cameras.values())
        model.vis.quality.offsamples = 0
        model.vis.quality.shadowsize = 0
        model.vis.global_.offheight, model.vis.global_.offwidth = height, width
        self._gl = mujoco.GLContext(width, height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, _GEOMETRIES)
        for flag in _OFF:
            self._scene.flags[flag] = 0
        self._view, self._options = mujoco.MjvCamera(), mujoco.MjvOption()
        self._view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._hidden = {}
        for name, camera in cameras.items():
            bodies = {model.body(body).id for body in camera.get("hide") or ()}
            self._hidden[name] = np.array([i for i in range(model.ngeom) if model.geom_bodyid[i] in bodies], np.int64)

    def draw(self, model: Any, data: Any, name: str) -> np.ndarray:
        """A picture uint8 (H, W, 3) of what a camera sees."""
        camera, hidden = self._cameras[name], self._hidden[name]
        self._view.fixedcamid = number = model.camera(camera["camera"]).id
        groups, position = model.geom_group[hidden].copy(), data.cam_xpos[number].copy()
        model.geom_group[hidden] = _HIDDEN
        if camera.get("position"):
            data.cam_xpos[number] = camera["position"]
        try:
            self._gl.make_current()
            mujoco.mjv_updateScene(
                model, data, self._options, None, self._view, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
            )
            area = mujoco.MjrRect(0, 0, camera["width"], camera["height"])
            mujoco.mjr_render(area, self._scene, self._context)
            picture = np.empty((camera["height"], camera["width"], 3), np.uint8)
            mujoco.mjr_readPixels(picture, None, area, self._context)
        finally:
            model.geom_group[hidden], data.cam_xpos[number] = groups, position
        # OpenGL's first row is the lowest, which is what turning by 180 degrees asks for.
        return np.ascontiguousarray(picture[:, ::-1] if camera.get("turn") else picture[::-1])

    def close(self) -> None:
        """Free the context."""
        self._gl.make_current()  # what is freed goes by numbers, which another context has given out as well
        self._context.free()
        self._gl.free()
