"""A six-joint arm with the link lengths, joint limits and torques of a Universal Robots UR5e.

The shape is modelled from primitives, so that nothing is downloaded; ``robot=menagerie`` puts the real
meshes on the same kinematics. Body frames follow the Denavit-Hartenberg convention, which the closed
form in :mod:`lohovla.geometry.ur5e_kinematics` shares. Lengths in metres, angles in radians.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lohovla.envs.scene.materials import CollisionLayer, cylinder_between
from lohovla.geometry.ur5e_kinematics import DH_A, DH_ALPHA, DH_D, JOINT_LIMITS, JOINTS
from lohovla.mujoco_import import mujoco

MAX_JOINT_SPEED = math.pi  # rad/s, all six joints
MAX_TORQUE = (150.0, 150.0, 150.0, 28.0, 28.0, 28.0)  # N m

HOME = np.array([-1.0, -0.5, 0.5, -0.5, -0.5, 0.0]) * math.pi


@dataclass(frozen=True)
class _Link:
    name: str
    mass: float  # kg
    com: tuple[float, float, float]  # in the link's frame
    inertia: float  # kg m^2 about the centre, isotropic


# Masses and centres of the UR5e's links, in their Denavit-Hartenberg frames before the joint's offset.
_LINKS = (
    _Link("shoulder_link", 3.761, (0.0, 0.0, 0.14), 0.012),
    _Link("upper_arm_link", 8.058, (-0.2125, 0.0, 0.11336), 0.06),
    _Link("forearm_link", 2.846, (-0.15, 0.0, 0.0265), 0.025),
    _Link("wrist_1_link", 1.37, (0.0, 0.0, 0.11), 0.003),
    _Link("wrist_2_link", 1.3, (0.0, 0.0, 0.08), 0.003),
    _Link("wrist_3_link", 0.365, (0.0, 0.0, 0.08), 0.0005),
)

# Servo bandwidth of each joint: stiffness N m/rad and damping N m s/rad of a position actuator.
STIFFNESS = (6000.0, 6000.0, 4000.0, 800.0, 800.0, 500.0)
DAMPING = (300.0, 300.0, 200.0, 40.0, 40.0, 25.0)
_ARMATURE = (0.5, 0.5, 0.4, 0.1, 0.1, 0.05)


def add_arm(spec: mujoco.MjSpec, *, visible: bool = True) -> mujoco.MjsBody:
    """Add the arm at the world's origin and return its last link, whose frame is the tool flange's.

    Args:
        spec: the specification to add to.
        visible: give the links their primitive shapes; without, only joints and inertia.
    """
    parent = spec.worldbody.add_body(name="base_link")
    if visible:
        _draw_base(parent)
    for index, link in enumerate(_LINKS):
        body = parent.add_body(name=link.name, gravcomp=1.0, **_offset(index))
        body.mass = link.mass
        body.ipos = link.com
        body.inertia = [link.inertia] * 3
        body.explicitinertial = True
        body.add_joint(
            name=JOINTS[index],
            axis=[0, 0, 1],
            range=JOINT_LIMITS[index],
            limited=True,
            armature=_ARMATURE[index],
        )
        _add_servo(spec, index)
        parent = body
    if visible:
        _draw_links(spec)
    flange = parent.add_body(name="flange", pos=[0, 0, DH_D[5]], gravcomp=1.0)
    return flange


def _offset(index: int) -> dict:
    """Pose of joint ``index`` in the frame before it (its DH row, with the joint at zero)."""
    if index == 0:
        return {"pos": [0.0, 0.0, 0.0]}
    half = DH_ALPHA[index - 1] / 2
    return {
        "pos": [DH_A[index - 1], 0.0, DH_D[index - 1]],
        "quat": [math.cos(half), math.sin(half), 0.0, 0.0],
    }


def _add_servo(spec: mujoco.MjSpec, index: int) -> None:
    servo = spec.add_actuator(name=JOINTS[index], target=JOINTS[index], trntype=mujoco.mjtTrn.mjTRN_JOINT)
    servo.set_to_position(kp=STIFFNESS[index], kv=DAMPING[index])
    servo.forcelimited = True
    servo.forcerange = [-MAX_TORQUE[index], MAX_TORQUE[index]]


_BACK = 0.1355  # how far the upper arm stands beside the shoulder's axis
_FORE = 0.0165  # the same for the forearm


def _draw_base(base: mujoco.MjsBody) -> None:
    cylinder_between(base, (0, 0, 0.0), (0, 0, 0.03), 0.075, "robot_dark")
    cylinder_between(base, (0, 0, 0.03), (0, 0, 0.10), 0.06, "robot_light")


def _draw_links(spec: mujoco.MjSpec) -> None:
    """Housings at the joints, tubes between them; the wrist is solid to blocks, the rest is not."""
    reach, fore = DH_A[1], DH_A[2]
    draw = [
        ("shoulder_link", (0, 0, 0.09), (0, 0, DH_D[0] + 0.055), 0.061, "robot_light"),
        ("shoulder_link", (0, 0, DH_D[0] + 0.055), (0, 0, DH_D[0] + 0.062), 0.057, "robot_accent"),
        ("upper_arm_link", (0, 0, 0.05), (0, 0, _BACK + 0.055), 0.06, "robot_light"),
        ("upper_arm_link", (0, 0, _BACK + 0.055), (0, 0, _BACK + 0.062), 0.056, "robot_accent"),
        ("upper_arm_link", (0, 0, _BACK), (reach, 0, _BACK), 0.051, "robot_light"),
        ("upper_arm_link", (reach, 0, _BACK - 0.05), (reach, 0, _BACK + 0.055), 0.055, "robot_light"),
        ("upper_arm_link", (reach, 0, _BACK + 0.055), (reach, 0, _BACK + 0.062), 0.051, "robot_accent"),
        ("forearm_link", (0, 0, _FORE - 0.04), (0, 0, _BACK - 0.05), 0.05, "robot_dark"),
        ("forearm_link", (0, 0, _FORE), (fore, 0, _FORE), 0.04, "robot_light"),
        ("forearm_link", (fore, 0, _FORE - 0.045), (fore, 0, 0.075), 0.042, "robot_light"),
        ("forearm_link", (fore, 0, _FORE - 0.052), (fore, 0, _FORE - 0.045), 0.039, "robot_accent"),
        ("wrist_1_link", (0, 0, 0.075), (0, 0, DH_D[3] + 0.044), 0.041, "robot_light", CollisionLayer.ROBOT),
        ("wrist_1_link", (0, 0, DH_D[3] + 0.044), (0, 0, DH_D[3] + 0.05), 0.038, "robot_accent"),
        ("wrist_2_link", (0, 0, 0.03), (0, 0, DH_D[4] + 0.042), 0.04, "robot_light", CollisionLayer.ROBOT),
        ("wrist_2_link", (0, 0, DH_D[4] + 0.042), (0, 0, DH_D[4] + 0.048), 0.037, "robot_accent"),
        ("wrist_3_link", (0, 0, 0.04), (0, 0, DH_D[5]), 0.036, "robot_dark", CollisionLayer.ROBOT),
    ]
    for name, start, end, radius, material, *layer in draw:
        cylinder_between(spec.body(name), start, end, radius, material, *layer)
