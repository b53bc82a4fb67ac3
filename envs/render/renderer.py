"""Colour and depth of any camera, off screen, from one render.

A software rasteriser spends its time on the shadow map and on tessellation, not on pixels: the ``fast``
quality (observations) has no shadows and few facets, ``film`` (videos for people) has both. One OpenGL
context a thread (:mod:`lohovla.envs.render.gl_contexts`) serves every scene drawn there.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np

from lohovla.envs.render.gl_contexts import MAX_HEIGHT, MAX_WIDTH, thread_context
from lohovla.envs.scene.cameras import CAMERAS
from lohovla.errors import UserError
from lohovla.geometry.workspace import TOP_CEILING
from lohovla.mujoco_import import error_in_a_line, mujoco, no_opengl

_MAX_GEOMS = 1000
_BELOW = 0.01  # how far under the table's surface the orthographic view ends, metres
_BELOW_MOVED = 0.15  # the same of a camera that is out of place: it must not cut the table off


@dataclass(frozen=True)
class Quality:
    """What a context is built with: shadow map edge, samples a pixel, facets of round shapes."""

    shadow: int
    samples: int
    slices: int
    stacks: int


QUALITIES = {"fast": Quality(0, 0, 12, 1), "shadows": Quality(2048, 0, 12, 1), "film": Quality(1024, 4, 28, 16)}


def render_camera_picture(
    model: mujoco.MjModel, data: mujoco.MjData, camera: str, width: int, height: int, quality: str = "fast"
) -> tuple[np.ndarray, np.ndarray]:
    """One camera's picture.

    Args:
        model: the scene.
        data: its state; positions must be computed.
        camera: a name of :data:`lohovla.envs.scene.cameras.CAMERAS`.
        width: pixels.
        height: pixels.
        quality: ``fast``, ``shadows`` (the same with shadows) or ``film``.

    Returns:
        Colour uint8 (height, width, 3), and depth float32 (height, width): metres along the optical axis,
        or, for the orthographic ``top``, metres above the table.

    Raises:
        SetupError: OpenGL cannot be had here.
        UserError: the picture is empty or larger than the off-screen buffer.
    """
    canvas = _canvas(model, quality, width, height)
    color, raw = canvas.draw(model, data, camera, width, height, with_depth=True)
    assert raw is not None
    return color, raw


def render_color(
    model: mujoco.MjModel, data: mujoco.MjData, camera: str, width: int, height: int, quality: str = "fast"
) -> np.ndarray:
    """The colour of :func:`render_camera_picture` alone, a little faster."""
    return _canvas(model, quality, width, height).draw(model, data, camera, width, height, with_depth=False)[0]


def _canvas(model: mujoco.MjModel, quality: str, width: int, height: int) -> _Canvas:
    """The drawing context of this thread for models with these meshes."""
    check_size(width, height)
    opengl = thread_context()
    canvases = opengl.canvases
    # Meshes and textures are in the context; textures of one size may differ.
    key = quality, model.nmesh, model.nmeshvert, model.ntex, hash(model.tex_data.tobytes()) if model.ntex > 1 else 0
    if key not in canvases:
        try:
            canvases[key] = _Canvas(model, QUALITIES[quality])
        except mujoco.FatalError as error:
            raise no_opengl(f"{opengl.backend}: {error_in_a_line(error)}") from None
    return canvases[key]


def check_size(width: int, height: int) -> None:
    """Refuse a picture that is empty or larger than the off-screen buffer."""
    if not (0 < width <= MAX_WIDTH and 0 < height <= MAX_HEIGHT):
        raise UserError(
            f"a picture of {width} x {height} pixels cannot be drawn",
            f"width and height lie between 1 x 1 and {MAX_WIDTH} x {MAX_HEIGHT}",
        )


class _Canvas:
    """A MuJoCo rendering context and scene of one quality."""

    def __init__(self, model: mujoco.MjModel, quality: Quality):
        styled = copy.copy(model)
        styled.vis.quality.shadowsize = quality.shadow
        styled.vis.quality.offsamples = quality.samples
        styled.vis.quality.numslices = quality.slices
        styled.vis.quality.numstacks = quality.stacks
        styled.vis.quality.numquads = 1
        self._context = mujoco.MjrContext(styled, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._scene = mujoco.MjvScene(model, maxgeom=_MAX_GEOMS)
        self._options = mujoco.MjvOption()
        self._options.geomgroup[3] = 0
        self._options.sitegroup[:] = 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = quality.shadow > 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._buffers: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def draw(
        self, model: mujoco.MjModel, data: mujoco.MjData, camera: str, width: int, height: int, with_depth: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Colour, and depth in metres where asked for."""
        if (width, height) not in self._buffers:
            self._buffers[width, height] = (
                np.empty((height, width, 3), np.uint8),
                np.empty((height, width), np.float32),
            )
        color, depth = self._buffers[width, height]
        orthographic = CAMERAS[camera].orthographic
        self._camera.fixedcamid = model.camera(camera).id
        mujoco.mjv_updateScene(model, data, self._options, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = not orthographic
        near, far, below = self._clip(model, camera)
        rectangle = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        mujoco.mjr_render(rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(color, depth if with_depth else None, rectangle, self._context)
        if not with_depth:
            return color[::-1].copy(), None
        raw = depth[::-1]
        if orthographic:  # 1 at the near plane, 0 at the far one, just under the table
            metres = np.maximum(raw * (far - near) - below, 0.0)
        else:
            metres = near / (raw + (near / far) * (1.0 - raw))
        return color[::-1].copy(), metres.astype(np.float32)

    def free(self) -> None:
        """Give the context's buffers back; its OpenGL context must be current."""
        self._context.free()

    def _clip(self, model: mujoco.MjModel, camera: str) -> tuple[float, float, float]:
        """Set and return the near and far planes, and how far under the table the orthographic view ends."""
        gl, below = self._scene.camera[0], _BELOW
        near, far = float(gl.frustum_near), float(gl.frustum_far)
        if CAMERAS[camera].orthographic:
            position = CAMERAS[camera].position
            if (model.camera(camera).pos != position).any():
                below = _BELOW_MOVED
            near, far = position[2] - TOP_CEILING, position[2] + below
            for eye in self._scene.camera:
                eye.frustum_near, eye.frustum_far = near, far
        return near, far, below
