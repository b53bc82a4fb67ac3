"""What lies on the table: blocks, bowls, zones. Sizes and masses are the published ones, in metres and kg."""

from __future__ import annotations

import math

import numpy as np

from lohovla.envs.scene.materials import CollisionLayer
from lohovla.mujoco_import import mujoco

BLOCK_MASS = 0.01
BLOCK_FRICTION = (1.0, 0.005, 0.0001)

BOWL_RADIUS = 0.058  # outer, at the rim
BOWL_HEIGHT = 0.035
BOWL_FLOOR = 0.004
_BOWL_WALLS = 12
# Profile of a bowl turned about its axis: (radius, height), outside from the foot up, then back inside.
_BOWL_PROFILE = (
    (0.0, 0.0),
    (0.038, 0.0),
    (0.050, 0.012),
    (BOWL_RADIUS, BOWL_HEIGHT),
    (0.0545, BOWL_HEIGHT),
    (0.0465, 0.014),
    (0.036, BOWL_FLOOR),
    (0.0, BOWL_FLOOR),
)
_ZONE_BORDER = 0.008


def add_bowl_mesh(spec: mujoco.MjSpec, segments: int = 24) -> None:
    """The visible shape of a bowl, turned on a lathe; collisions use boxes (a mesh collides as its hull)."""
    angles = np.arange(segments) * (2 * math.pi / segments)
    rings = [np.stack([r * np.cos(angles), r * np.sin(angles), np.full(segments, z)], 1) for r, z in _BOWL_PROFILE]
    faces = []
    for ring in range(len(_BOWL_PROFILE) - 1):
        for k in range(segments):
            a, b = ring * segments + k, ring * segments + (k + 1) % segments
            faces += [(a, b, b + segments), (a, b + segments, a + segments)]
    mesh = spec.add_mesh(name="bowl")
    mesh.uservert = np.concatenate(rings).ravel().tolist()
    mesh.userface = np.array(faces).ravel().tolist()
    mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    mesh.smoothnormal = False


def add_block(spec: mujoco.MjSpec, name: str, edge: float) -> None:
    """A free cube of ``edge`` metres."""
    body = spec.worldbody.add_body(name=name)
    body.add_freejoint(name=name)
    contype, conaffinity = CollisionLayer.OBJECT.value
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[edge / 2] * 3,
        mass=BLOCK_MASS,
        friction=BLOCK_FRICTION,
        material="matte",
        contype=contype,
        conaffinity=conaffinity,
    )


def add_bowl(spec: mujoco.MjSpec, name: str) -> None:
    """A fixed bowl: concave for what falls into it, and not to be pushed or picked up."""
    body = spec.worldbody.add_body(name=name)
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname="bowl",
        material="matte",
        contype=0,
        conaffinity=0,
    )
    contype, conaffinity = CollisionLayer.FIXTURE.value
    hidden = {"group": 3, "contype": contype, "conaffinity": conaffinity, "rgba": [0, 0, 0, 0]}
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        size=[0.038, BOWL_FLOOR / 2, 0],
        pos=[0, 0, BOWL_FLOOR / 2],
        **hidden,
    )
    foot, rim = np.array([0.0375, 0.002]), np.array([0.0565, BOWL_HEIGHT])
    middle, slope = (foot + rim) / 2, rim - foot
    lean = math.atan2(slope[0], slope[1])
    half_width = BOWL_RADIUS * math.tan(math.pi / _BOWL_WALLS)
    for k in range(_BOWL_WALLS):
        turn = 2 * math.pi * k / _BOWL_WALLS
        yaw = np.array([math.cos(turn / 2), 0, 0, math.sin(turn / 2)])
        pitch = np.array([math.cos(lean / 2), 0, math.sin(lean / 2), 0])
        quat = np.empty(4)
        mujoco.mju_mulQuat(quat, yaw, pitch)
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[0.002, half_width, float(np.linalg.norm(slope)) / 2],
            pos=[middle[0] * math.cos(turn), middle[0] * math.sin(turn), middle[1]],
            quat=quat,
            **hidden,
        )


def add_zone(spec: mujoco.MjSpec, name: str, edge: float) -> None:
    """A coloured square on the table with a darker middle; it can be seen, not touched."""
    body = spec.worldbody.add_body(name=name)
    box = {"type": mujoco.mjtGeom.mjGEOM_BOX, "contype": 0, "conaffinity": 0, "material": "matte"}
    body.add_geom(name=name, size=[edge / 2, edge / 2, 0.0004], pos=[0, 0, 0.0004], **box)
    inner = edge / 2 - _ZONE_BORDER
    body.add_geom(name=f"{name}/inner", size=[inner, inner, 0.0004], pos=[0, 0, 0.0007], **box)
