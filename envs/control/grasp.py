"""What holds a block: suction that grips what it touches and can lose it, or a jaw that squeezes."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from lohovla.envs.scene.materials import CollisionLayer
from lohovla.mujoco_import import mujoco

_SEAL = 0.7  # cosine of the largest angle between cup and face at which suction seals


class Gripper(ABC):
    """What both kinds share: which geoms are theirs, what is held, what is touched.

    Attributes:
        held: name of the block that is held, if any.
        drops: how often something was lost, not released.
    """

    def __init__(self, model: mujoco.MjModel, blocks: tuple[str, ...]):
        own = (model.geom_contype == CollisionLayer.ROBOT.value[0]) & (model.geom_bodyid >= model.body("flange").id)
        self._tool = frozenset(np.flatnonzero(own).tolist())
        self._block_of_geom = {model.geom(name).id: name for name in blocks}
        self.held: str | None = None
        self.drops = 0

    @abstractmethod
    def opening(self, data: mujoco.MjData) -> float:
        """State of the gripper as observed, 0 (open, off) to 1 (closed, on)."""

    @abstractmethod
    def drive(self, data: mujoco.MjData, closed: float) -> None:
        """Send the gripper's motors, if it has any, towards ``closed`` in [0, 1]."""

    @abstractmethod
    def update(
        self, model: mujoco.MjModel, data: mujoco.MjData, closed: float, period: float, rng: np.random.Generator
    ) -> None:
        """Notice what is held after ``period`` seconds with the command ``closed``."""

    def keep_hold(self) -> None:  # noqa: B027 - only suction loses things by chance
        """Lose nothing by chance from here on."""

    def lose(self, data: mujoco.MjData) -> None:  # noqa: B027 - a jaw loses things by physics alone
        """Lose what is held, as by a leak."""

    def touching(self, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
        """Whether the tool, or the held block, touches anything but the other of the two."""
        held = None if self.held is None else model.geom(self.held).id
        for pair in data.contact.geom[: data.ncon].tolist():
            if sum(1 for geom in pair if geom in self._tool or geom == held) == 1:
                return True
        return False


class Suction(Gripper):
    """A cup that seals on the block it touches while suction is on.

    A block is held by a weld between cup and block, at the pose in which they met. With drop probability p
    a held second, holding for t seconds succeeds with chance (1 - p)^t; what was dropped is not gripped
    again until suction was switched off once.
    """

    def __init__(self, model: mujoco.MjModel, blocks: tuple[str, ...], drop_probability: float):
        super().__init__(model, blocks)
        self._cup = model.body("cup").id
        self._pad = model.geom("cup_pad").id
        self._weld = {name: model.equality(f"grasp/{name}").id for name in blocks}
        self._keep = 1.0 - drop_probability
        self._armed = True
        self._on = False

    def opening(self, data: mujoco.MjData) -> float:
        """State of the gripper as observed, 0 (off) to 1 (on)."""
        return float(self._on)

    def keep_hold(self) -> None:
        """Lose nothing by chance from here on."""
        self._keep = 1.0

    def drive(self, data: mujoco.MjData, closed: float) -> None:
        """Suction has no motor."""

    def update(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        closed: float,
        period: float,
        rng: np.random.Generator,
    ) -> None:
        """Let go, lose or grip, after ``period`` seconds with suction on (``closed`` >= 0.5) or off."""
        self._on = closed >= 0.5
        if not self._on:
            self._release(data)
            self._armed = True
        elif self.held is not None:
            if self._keep < 1.0 and rng.random() > self._keep**period:
                self.lose(data)
        elif self._armed:
            self._grip(model, data)

    def lose(self, data: mujoco.MjData) -> None:
        """Lose what is held; nothing is gripped again until suction was switched off once."""
        self._release(data)
        self._armed = False
        self.drops += 1

    def _release(self, data: mujoco.MjData) -> None:
        if self.held is not None:
            data.eq_active[self._weld[self.held]] = 0
            self.held = None

    def _grip(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Weld the block that the pad faces; at several, the one it meets most squarely."""
        axis = data.xmat[self._cup].reshape(3, 3)[:, 2]
        best, name = _SEAL, None
        for contact in data.contact[: data.ncon]:
            pair = contact.geom1, contact.geom2
            if self._pad not in pair:
                continue
            other = pair[0] if pair[1] == self._pad else pair[1]
            alignment = abs(float(contact.frame[:3] @ axis))
            if other in self._block_of_geom and alignment > best:
                best, name = alignment, self._block_of_geom[other]
        if name is None:
            return
        block = model.body(name).id
        weld = self._weld[name]
        inverse, relative = np.empty(4), np.empty(4)
        mujoco.mju_negQuat(inverse, data.xquat[self._cup])
        mujoco.mju_mulQuat(relative, inverse, data.xquat[block])
        offset = data.xmat[self._cup].reshape(3, 3).T @ (data.xpos[block] - data.xpos[self._cup])
        model.eq_data[weld, 0:3] = 0.0
        model.eq_data[weld, 3:6] = offset
        model.eq_data[weld, 6:10] = relative
        data.eq_active[weld] = 1
        self.held = name


class Jaw(Gripper):
    """Two fingers that close on a block and hold it by friction; a real grasp, with nothing welded.

    Drops are not simulated: what slips, slips.
    """

    def __init__(self, model: mujoco.MjModel, blocks: tuple[str, ...], drop_probability: float):
        super().__init__(model, blocks)
        del drop_probability
        self._pads = (model.geom("left_pad").id, model.geom("right_pad").id)
        self._motors = [model.actuator(f"{side}_finger").id for side in ("left", "right")]
        joint = model.joint("left_finger_slide")
        self._travel = float(joint.range[1])
        self._qpos = int(model.jnt_qposadr[joint.id])

    def opening(self, data: mujoco.MjData) -> float:
        """How far the fingers have closed, 0 (open) to 1 (shut)."""
        return float(np.clip(data.qpos[self._qpos] / self._travel, 0.0, 1.0))

    def drive(self, data: mujoco.MjData, closed: float) -> None:
        """Send both fingers to ``closed`` in [0, 1] of their travel."""
        data.ctrl[self._motors] = closed * self._travel

    def update(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        closed: float,
        period: float,
        rng: np.random.Generator,
    ) -> None:
        """Notice what both fingers touch."""
        touched: list[set[str]] = [set(), set()]
        for first, second in data.contact.geom[: data.ncon]:
            for side, pad in enumerate(self._pads):
                other = second if first == pad else first if second == pad else None
                if other in self._block_of_geom:
                    touched[side].add(self._block_of_geom[other])
        both = touched[0] & touched[1]
        was = self.held
        self.held = min(both) if both and closed > 0.05 else None
        self.drops += was is not None and self.held is None and closed >= 0.5


GRIPPERS: dict[str, type[Suction] | type[Jaw]] = {"suction": Suction, "jaw": Jaw}
