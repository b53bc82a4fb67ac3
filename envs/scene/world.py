"""Putting the scene together and compiling it.

A :class:`Composition` says which objects there are, not where they lie nor what colour they have; the
compiled prototype is cached by it, and each environment works on a light copy (0.2 ms) whose colours,
light and grasp anchors are its own. Compiling takes about 2 ms.
"""

from __future__ import annotations

import copy
import functools
import math
from dataclasses import dataclass, field

from lohovla.envs.scene import arm, cameras, grippers, menagerie, objects
from lohovla.envs.scene.materials import CollisionLayer, add_materials
from lohovla.mujoco_import import mujoco

TIMESTEP = 0.005  # s


@dataclass(frozen=True)
class ClutterShape:
    """Something that no task speaks of: ``size`` as MuJoCo has it of a ``box``, ``cylinder`` or ``sphere``, m."""

    shape: str
    size: tuple[float, float, float]

    @property
    def radius(self) -> float:
        """Of the circle that its footprint lies in, m."""
        return max(self.size[0], (self.size[0] ** 2 + self.size[1] ** 2) ** 0.5 if self.shape == "box" else 0.0)

    @property
    def half_height(self) -> float:
        """Half its height, m."""
        return {"box": self.size[2], "cylinder": self.size[1], "sphere": self.size[0]}[self.shape]


CLUTTER = (
    ClutterShape("cylinder", (0.02, 0.03, 0.0)),  # a can
    ClutterShape("cylinder", (0.03, 0.004, 0.0)),  # a lid
    ClutterShape("box", (0.045, 0.006, 0.006)),  # a pen
    ClutterShape("box", (0.035, 0.02, 0.01)),  # an eraser
    ClutterShape("sphere", (0.018, 0.0, 0.0)),  # a ball
)


@dataclass(frozen=True)
class Scenery:
    """What an episode shows beside its task.

    Attributes:
        texture: of the table: "" (plain), ``flecked`` or ``checked``.
        clutter: things: index in :data:`CLUTTER`, x, y (m), yaw (rad), and red, green, blue.
    """

    texture: str = ""
    clutter: tuple[tuple[int, float, float, float, tuple[float, float, float]], ...] = ()


@dataclass(frozen=True)
class Composition:
    """What a scene is made of.

    Attributes:
        robot: ``ur5e`` (primitives) or ``menagerie`` (the maker's meshes, fetched on first use).
        gripper: ``suction`` or ``jaw``.
        blocks: names and edges (m) of the blocks.
        bowls: names of the bowls.
        zones: names and edges (m) of the zones.
        scenery: what else is seen.
    """

    robot: str = "ur5e"
    gripper: str = "suction"
    blocks: tuple[tuple[str, float], ...] = ()
    bowls: tuple[str, ...] = ()
    zones: tuple[tuple[str, float], ...] = ()
    scenery: Scenery = field(default_factory=Scenery)


@functools.lru_cache(maxsize=256)
def _prototype(composition: Composition) -> mujoco.MjModel:
    return build_spec(composition).compile()


def compile_model(composition: Composition) -> mujoco.MjModel:
    """A model of ``composition`` that the caller may write to."""
    return copy.copy(_prototype(composition))


def build_spec(composition: Composition) -> mujoco.MjSpec:
    """The specification of ``composition``: table, light, robot, objects, cameras."""
    spec = mujoco.MjSpec()
    spec.modelname = "lohovla"
    spec.compiler.degree = False
    _set_options(spec)
    add_materials(spec)
    objects.add_bowl_mesh(spec)
    _add_surroundings(spec)
    flange = _ROBOTS[composition.robot](spec)
    grippers.GRIPPERS[composition.gripper](spec, flange)
    _add_camera_housing(flange)
    for name, edge in composition.zones:
        objects.add_zone(spec, name, edge)
    for name in composition.bowls:
        objects.add_bowl(spec, name)
    for name, edge in composition.blocks:
        objects.add_block(spec, name, edge)
        if composition.gripper == "suction":
            _add_grasp(spec, name)
    _add_scenery(spec, composition.scenery)
    for camera in cameras.CAMERAS.values():
        cameras.add_camera(flange if camera.parent == "flange" else spec.worldbody, camera)
    return spec


def _set_options(spec: mujoco.MjSpec) -> None:
    spec.option.timestep = TIMESTEP
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # Pyramidal cones and plain friction impedance: blocks that lean on the walls of a bowl come to rest, where
    # elliptic cones let them chatter. Blocks at rest sleep, which makes ten of them eight times cheaper than
    # ten that are simulated, and keeps towers from creeping.
    spec.option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
    spec.option.impratio = 1.0
    spec.option.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP
    spec.option.sleep_tolerance = 0.002
    spec.stat.extent = 1.0
    spec.stat.center = [0.5, 0.0, 0.1]
    visual = spec.visual
    visual.map.znear, visual.map.zfar = 0.01, 6.0
    visual.map.shadowclip = 1.5  # metres around the lit scene; less speckles the far corners of the table
    visual.global_.offwidth, visual.global_.offheight = 1280, 960
    visual.headlight.ambient = [0.30, 0.30, 0.30]
    visual.headlight.diffuse = [0.10, 0.10, 0.10]
    visual.headlight.specular = [0.0, 0.0, 0.0]


def _add_surroundings(spec: mujoco.MjSpec) -> None:
    world = spec.worldbody
    contype, conaffinity = CollisionLayer.FIXTURE.value
    box = mujoco.mjtGeom.mjGEOM_BOX
    world.add_geom(
        name="table",
        type=box,
        size=[0.38, 0.62, 0.02],
        pos=[0.5, 0, -0.02],
        material="table",
        contype=contype,
        conaffinity=conaffinity,
        friction=objects.BLOCK_FRICTION,
    )
    edge = {"type": box, "material": "table_edge", "contype": 0, "conaffinity": 0}
    world.add_geom(size=[0.384, 0.624, 0.012], pos=[0.5, 0, -0.034], **edge)
    world.add_geom(
        size=[0.12, 0.12, 0.3], pos=[0, 0, -0.302], material="robot_dark", type=box, contype=0, conaffinity=0
    )
    world.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[6, 6, 1],
        pos=[0, 0, -0.6],
        material="floor",
        contype=contype,
        conaffinity=conaffinity,
    )
    world.add_light(
        name="key",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[0.9, -0.6, 1.8],
        dir=[-0.25, 0.3, -0.9],
        castshadow=True,
        diffuse=[0.48, 0.48, 0.47],
        specular=[0.2, 0.2, 0.2],
    )
    world.add_light(
        name="fill",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[-0.5, 0.8, 1.6],
        dir=[0.4, -0.5, -0.75],
        castshadow=False,
        diffuse=[0.14, 0.14, 0.15],
        specular=[0, 0, 0],
    )
    sky = spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        width=128,
        height=768,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
    )
    sky.rgb1, sky.rgb2 = [0.97, 0.98, 1.0], [0.80, 0.82, 0.85]


def _add_camera_housing(flange: mujoco.MjsBody) -> None:
    flange.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[0.02, 0.012, 0.01],
        pos=[0, -0.072, -0.014],
        material="tool",
        mass=0.0,
        contype=0,
        conaffinity=0,
    )
    flange.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[0.008, 0.02, 0.003],
        pos=[0, -0.045, -0.006],
        material="tool",
        mass=0.0,
        contype=0,
        conaffinity=0,
    )


def _add_scenery(spec: mujoco.MjSpec, scenery: Scenery) -> None:
    """The table's texture, and things that can be seen, not touched."""
    if scenery.texture:
        flecked = scenery.texture == "flecked"
        builtin = mujoco.mjtBuiltin.mjBUILTIN_FLAT if flecked else mujoco.mjtBuiltin.mjBUILTIN_CHECKER
        texture = spec.add_texture(
            name="tablecloth", type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=builtin, width=256, height=256
        )
        texture.rgb1, texture.rgb2, texture.markrgb = [1.0, 1.0, 1.0], [0.6, 0.6, 0.6], [0.55, 0.55, 0.55]
        if flecked:
            texture.mark, texture.random = mujoco.mjtMark.mjMARK_RANDOM, 0.2
        material = next(m for m in spec.materials if m.name == "table")
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "tablecloth"
        material.texuniform, material.texrepeat = True, [4.0, 4.0]
    for number, (kind, x, y, yaw, color) in enumerate(scenery.clutter):
        thing = CLUTTER[kind]
        spec.worldbody.add_geom(
            name=f"clutter{number}",
            type=_SHAPES[thing.shape],
            size=thing.size,
            pos=[x, y, thing.half_height],
            quat=[math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)],
            rgba=[*color, 1.0],
            contype=0,
            conaffinity=0,
        )


def _add_grasp(spec: mujoco.MjSpec, block: str) -> None:
    """The weld between cup and block; off until suction touches, its anchor written then."""
    weld = spec.add_equality(
        name=f"grasp/{block}",
        type=mujoco.mjtEq.mjEQ_WELD,
        objtype=mujoco.mjtObj.mjOBJ_BODY,
        name1="cup",
        name2=block,
        active=False,
    )
    weld.solref = [0.011, 1.0]
    weld.solimp = [0.95, 0.99, 0.001, 0.5, 2.0]


_SHAPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
}
_ROBOTS = {"ur5e": arm.add_arm, "menagerie": menagerie.add_menagerie_arm}
