"""The maker's UR5e meshes, from the mujoco-menagerie package, on this project's joints and servos.

The package holds no meshes; it fetches them on first use, so this is an option. Only the shapes are
taken: kinematics, limits, collisions and servos stay those of :mod:`lohovla.envs.scene.arm`.
"""

from __future__ import annotations

import math

import numpy as np

from lohovla.envs.scene import arm
from lohovla.errors import SetupError
from lohovla.mujoco_import import mujoco

_VISUAL_GROUP = 2


def add_menagerie_arm(spec: mujoco.MjSpec) -> mujoco.MjsBody:
    """Add the arm with the menagerie's meshes at the origin; returns the flange.

    Raises:
        SetupError: the package or its meshes cannot be had.
    """
    source = _fetch()
    flange = arm.add_arm(spec, visible=False)
    frames = _link_frames()
    data = mujoco.MjData(source)
    mujoco.mj_forward(source, data)
    turn = _turn_between(data.body("wrist_3_link").xpos, frames["wrist_3_link"][0])
    for geom in range(source.ngeom):
        if source.geom_type[geom] != mujoco.mjtGeom.mjGEOM_MESH or source.geom_group[geom] != _VISUAL_GROUP:
            continue
        link = source.body(source.geom_bodyid[geom]).name
        target = "base_link" if link == "base" else link
        mesh = source.geom_dataid[geom]
        vertices = _part(source.mesh_vert, source.mesh_vertadr, source.mesh_vertnum, mesh)
        faces = _part(source.mesh_face, source.mesh_faceadr, source.mesh_facenum, mesh)
        world = (vertices @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom]) @ turn.T
        origin, rotation = frames[target]
        name = f"{target}/{geom}"
        asset = spec.add_mesh(name=name)
        asset.uservert = ((world - origin) @ rotation).ravel().tolist()
        asset.userface = faces.ravel().tolist()
        asset.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
        material = source.geom_matid[geom]
        rgba = source.mat_rgba[material] if material >= 0 else source.geom_rgba[geom]
        spec.body(target).add_geom(
            type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, rgba=rgba, mass=0.0, contype=0, conaffinity=0
        )
    return flange


def _fetch() -> mujoco.MjModel:
    try:
        import mujoco_menagerie  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise SetupError(
            "robot=menagerie needs the mujoco-menagerie package",
            "pip install 'lohovla[menagerie]', or use robot=ur5e",
        ) from None
    try:
        return mujoco_menagerie.get("universal_robots_ur5e").spec("ur5e").compile()
    except Exception as error:  # the package's own kinds: network, cache, archive
        raise SetupError(
            f"robot=menagerie could not fetch the UR5e's meshes: {str(error).splitlines()[0]}",
            "connect once to the network, point MENAGERIE_ROOT at a checkout, or use robot=ur5e",
        ) from None


def _link_frames() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Position and rotation of every link's frame in the base frame, all joints at zero."""
    bare = mujoco.MjSpec()
    bare.compiler.degree = False
    arm.add_arm(bare, visible=False)
    model = bare.compile()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    return {model.body(i).name: (data.xpos[i].copy(), data.xmat[i].reshape(3, 3).copy()) for i in range(model.nbody)}


def _turn_between(theirs: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """The rotation about z that brings the stretched arm of the source onto ours."""
    angle = math.atan2(ours[1], ours[0]) - math.atan2(theirs[1], theirs[0])
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def _part(values: np.ndarray, starts: np.ndarray, counts: np.ndarray, index: int) -> np.ndarray:
    return values[starts[index] : starts[index] + counts[index]]
