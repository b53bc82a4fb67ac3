"""The two end effectors: a suction cup (the published one) and a parallel jaw.

Both have a site ``tcp``, the tool centre point, fixed to the flange. Its frame has z pointing away from the
work, so that a tool held straight down with no yaw has zero rotation in the base frame.
"""

from __future__ import annotations

from lohovla.envs.scene.materials import CollisionLayer, cylinder_between
from lohovla.mujoco_import import mujoco

TOOL_LENGTH = {"suction": 0.13, "jaw": 0.145}  # flange to tcp, metres
CUP_TRAVEL = 0.012  # how far the bellows of the cup gives, metres
JAW_OPENING = 0.085  # between the open fingers, metres

_FLIP = [0.0, 2**-0.5, -(2**-0.5), 0.0]
_JAW_FORCE = 4.0  # N, of each finger
_CUP_STIFFNESS = 250.0  # N/m
_CUP_DAMPING = 5.0  # N s/m


def add_suction(spec: mujoco.MjSpec, flange: mujoco.MjsBody) -> None:
    """A tube with a cup on a spring: it touches softly, so millimetre errors do no harm."""
    length = TOOL_LENGTH["suction"]
    cylinder_between(flange, (0, 0, 0), (0, 0, 0.025), 0.032, "tool", CollisionLayer.ROBOT)
    cylinder_between(flange, (0, 0, 0.025), (0, 0, length - 0.03), 0.011, "robot_light", CollisionLayer.ROBOT)
    cup = flange.add_body(name="cup", pos=[0, 0, length], gravcomp=1.0)
    cup.mass, cup.inertia, cup.explicitinertial = 0.03, [2e-5] * 3, True
    cup.add_joint(
        name="cup_slide",
        type=mujoco.mjtJoint.mjJNT_SLIDE,
        axis=[0, 0, 1],
        range=[-CUP_TRAVEL, 0.0],
        limited=True,
        stiffness=_CUP_STIFFNESS,
        damping=_CUP_DAMPING,
    )
    cylinder_between(cup, (0, 0, -0.035), (0, 0, -0.012), 0.008, "tool")
    pad = cylinder_between(cup, (0, 0, -0.012), (0, 0, 0), 0.012, "cup", CollisionLayer.ROBOT)
    pad.name = "cup_pad"
    pad.friction = [1.0, 0.01, 0.001]
    # Where the cup is at rest, not on it: what a robot knows of its tool follows from its joints, the spring does not.
    flange.add_site(name="tcp", pos=[0, 0, length], quat=_FLIP, size=[0.003] * 3, group=5)


def add_jaw(spec: mujoco.MjSpec, flange: mujoco.MjsBody) -> None:
    """Two fingers on slides, each with its own position actuator; they hold by friction alone."""
    length = TOOL_LENGTH["jaw"]
    box = mujoco.mjtGeom.mjGEOM_BOX
    cylinder_between(flange, (0, 0, 0), (0, 0, 0.02), 0.032, "tool", CollisionLayer.ROBOT)
    contype, conaffinity = CollisionLayer.ROBOT.value
    flange.add_geom(
        type=box,
        size=[0.03, 0.055, 0.03],
        pos=[0, 0, 0.05],
        material="robot_dark",
        mass=0.0,
        contype=contype,
        conaffinity=conaffinity,
    )
    for side, sign in (("left", 1.0), ("right", -1.0)):
        finger = flange.add_body(name=f"{side}_finger", pos=[0, sign * (JAW_OPENING / 2 + 0.006), 0.08], gravcomp=1.0)
        finger.mass, finger.inertia, finger.explicitinertial = 0.08, [1e-4] * 3, True
        finger.add_joint(
            name=f"{side}_finger_slide",
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=[0, -sign, 0],
            range=[0.0, JAW_OPENING / 2],
            limited=True,
            armature=0.05,
            damping=2.0,
        )
        pad = finger.add_geom(
            name=f"{side}_pad",
            type=box,
            size=[0.011, 0.006, 0.0375],
            pos=[0, 0, 0.0325],
            material="tool",
            mass=0.0,
            contype=contype,
            conaffinity=conaffinity,
        )
        pad.friction = [1.5, 0.02, 0.001]
        pad.condim, pad.solmix = 4, 1000.0
        pad.solref, pad.solimp = [0.01, 1.0], [0.99, 0.999, 0.0005, 0.5, 2.0]  # a light block must not be pressed into
        servo = spec.add_actuator(
            name=f"{side}_finger", target=f"{side}_finger_slide", trntype=mujoco.mjtTrn.mjTRN_JOINT
        )
        servo.set_to_position(kp=400.0, kv=20.0)
        servo.forcelimited, servo.forcerange = True, [-_JAW_FORCE, _JAW_FORCE]
    # One drive moves both fingers of a real jaw: what they hold stays in the middle.
    spec.add_equality(
        type=mujoco.mjtEq.mjEQ_JOINT,
        name1="left_finger_slide",
        name2="right_finger_slide",
        objtype=mujoco.mjtObj.mjOBJ_JOINT,
        data=[0.0, 1.0] + [0.0] * 10,
    )
    flange.add_site(name="tcp", pos=[0, 0, length], quat=_FLIP, size=[0.003] * 3, group=5)


GRIPPERS = {"suction": add_suction, "jaw": add_jaw}
