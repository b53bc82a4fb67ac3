"""Materials, collision layers and small helpers that every part of the scene draws with."""

from __future__ import annotations

import enum

import numpy as np

from lohovla.mujoco_import import mujoco


class CollisionLayer(enum.Enum):
    """What a geom collides with, as (contype, conaffinity).

    The robot meets objects and fixtures but not itself; objects meet everything.
    """

    NONE = (0, 0)
    FIXTURE = (1, 3)
    OBJECT = (1, 3)
    ROBOT = (2, 1)


# name -> rgba, specular, shininess
MATERIALS = {
    "table": ((0.33, 0.35, 0.38, 1.0), 0.1, 0.1),
    "table_edge": ((0.70, 0.60, 0.48, 1.0), 0.1, 0.1),
    "floor": ((0.80, 0.82, 0.85, 1.0), 0.0, 0.0),
    "robot_light": ((0.80, 0.81, 0.83, 1.0), 0.5, 0.5),
    "robot_dark": ((0.25, 0.27, 0.30, 1.0), 0.4, 0.4),
    "robot_accent": ((0.38, 0.63, 0.80, 1.0), 0.4, 0.4),
    "tool": ((0.16, 0.17, 0.19, 1.0), 0.4, 0.5),
    "cup": ((0.10, 0.10, 0.12, 1.0), 0.1, 0.2),
    "matte": ((1.0, 1.0, 1.0, 1.0), 0.15, 0.2),
}


def add_materials(spec: mujoco.MjSpec) -> None:
    """Add every material of the scene to ``spec``."""
    for name, (rgba, specular, shininess) in MATERIALS.items():
        spec.add_material(name=name, rgba=rgba, specular=specular, shininess=shininess)


def cylinder_between(
    body: mujoco.MjsBody,
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    radius: float,
    material: str,
    layer: CollisionLayer = CollisionLayer.NONE,
) -> mujoco.MjsGeom:
    """A massless cylinder from ``start`` to ``end`` in the body's frame."""
    contype, conaffinity = layer.value
    return body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        fromto=np.concatenate([start, end]),
        size=[radius, 0, 0],
        material=material,
        mass=0.0,
        contype=contype,
        conaffinity=conaffinity,
    )
