"""Velocity, acceleration, jerk and workspace limits, kept on every single command.

A limiter is a point on each axis with a position p, a velocity v and an acceleration a; at every command

    a' in [a - J dt, a + J dt],  |a'| <= A,  v' = v + a' dt,  |v'| <= V,  p' = p + v' dt,  low <= p' <= high

so that the limits hold for the differences of consecutive commands exactly. It follows a moving target
without lag where the limits allow, and it never enters a state from which braking at full jerk would break a
limit: each step is taken only if the brake that would follow it stays inside (a bound in closed form), and
otherwise the brake itself is the step. As the brake of a state continues the brake of the state before, the
limits hold by induction, whatever the targets are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lohovla.control.poses import nearest

_TRIES = (1.0, 0.75, 0.5, 0.25)  # shares of the wanted acceleration that are tried before braking
_BRAKING = 0.8  # share of the limits that the approach to a target counts on
_GAIN = 25.0  # 1/s, how fast small distances to the target close


@dataclass(frozen=True)
class MotionLimits:
    """What a tool may do, for each axis of the base frame.

    Attributes:
        low: lowest position, m (3,).
        high: highest position, m (3,).
        velocity: m/s.
        acceleration: m/s^2.
        jerk: m/s^3.
        turn_velocity: of the rotation vector, rad/s.
        turn_acceleration: rad/s^2.
        turn_jerk: rad/s^3.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    velocity: float = 1.5
    acceleration: float = 15.0
    jerk: float = 600.0
    turn_velocity: float = 4.0
    turn_acceleration: float = 40.0
    turn_jerk: float = 1600.0

    def stopping_time(self, dt: float) -> float:
        """The longest that a brake can take, s: from full velocity, still accelerating, at commands ``dt`` apart."""
        times = [
            v / a + 3.0 * a / j + 4.0 * dt
            for v, a, j in (
                (self.velocity, self.acceleration, self.jerk),
                (self.turn_velocity, self.turn_acceleration, self.turn_jerk),
            )
        ]
        return max(times)


class AxisLimiter:
    """One axis of a limiter.

    Args:
        low: lowest position.
        high: highest position.
        velocity: V.
        acceleration: A.
        jerk: J.
        dt: seconds between commands.
    """

    __slots__ = ("A", "J", "V", "a", "dt", "high", "low", "p", "ramp", "v")

    def __init__(self, low: float, high: float, velocity: float, acceleration: float, jerk: float, dt: float):
        self.low, self.high = low, high
        self.V, self.A, self.J, self.dt = velocity, acceleration, jerk, dt
        self.ramp = jerk * dt  # the largest change of acceleration in one step
        self.p = self.v = self.a = 0.0

    def follow(self, target: float, velocity: float, acceleration: float) -> bool:
        """Step towards a moving target; returns whether a limit held it back.

        Args:
            target: where to be at this command.
            velocity: how fast the target moves there.
            acceleration: and speeds up.
        """
        behind = target - velocity * self.dt - self.p
        closing = min(self._closing_speed(abs(behind)), abs(behind) * min(_GAIN, 1.0 / self.dt))
        desired = velocity + math.copysign(closing, behind)
        # Within the limit, or else a step at full jerk, which may exceed a small limit by itself, would be aimed at.
        wanted = min(max(desired, -self.V), self.V)
        lacking = (wanted - self.v) / self.dt - acceleration
        aim = acceleration + math.copysign(self._shed(abs(lacking)), lacking)
        least, most = max(self.a - self.ramp, -self.A), min(self.a + self.ramp, self.A)
        taken = min(max(aim, least), most)
        brake = self._braking()
        for share in _TRIES:
            tried = brake + share * (taken - brake)
            if self._safe(tried):
                self._move(tried)
                return abs(tried - aim) > 1e-9 or wanted != desired
        self._move(brake)
        return True

    def brake(self) -> None:
        """Step towards rest, as fast as the limits allow."""
        self._move(self._braking())

    def _move(self, a: float) -> None:
        self.a = a
        self.v += a * self.dt
        self.p += self.v * self.dt

    def _braking(self) -> float:
        """The acceleration of the next step of the brake."""
        wanted = -math.copysign(min(self._shed(abs(self.v) / self.dt), self.A), self.v)
        return min(max(wanted, self.a - self.ramp, -self.A), self.a + self.ramp, self.A)

    def _shed(self, w: float) -> float:
        """The first acceleration x of x, x - r, x - 2r, ... > 0 whose sum is ``w`` (r: the change in one step)."""
        r = self.ramp
        m = int((math.sqrt(1.0 + 8.0 * w / r) - 1.0) / 2.0)
        return (w + 0.5 * r * m * (m + 1)) / (m + 1)

    def _rise(self, a: float) -> float:
        """How much the velocity still changes while an acceleration ``a`` >= 0 goes to zero at full jerk."""
        m = int(a / self.ramp)
        return (m * a - 0.5 * self.ramp * m * (m + 1)) * self.dt

    def _safe(self, a: float) -> bool:
        """Whether a step with acceleration ``a`` leaves a state whose brake stays within the limits."""
        v = self.v + a * self.dt
        peak = v + math.copysign(self._rise(abs(a)), a)
        if max(abs(v), abs(peak)) > self.V:
            return False
        p = self.p + v * self.dt
        # An axis that was started outside may only come in.
        return p + self._reach(v, a) <= max(self.high, self.p) and p - self._reach(-v, -a) >= min(self.low, self.p)

    def _reach(self, v: float, a: float) -> float:
        """A bound on how far a brake from velocity ``v`` and acceleration ``a`` still goes upward."""
        A, J = self.A, self.J
        a = max(a, 0.0)
        peak = v + self._rise(a)
        if peak <= 0.0:
            return 0.0
        if v >= 0.0:
            before = v * a / J + a * a * a / (3.0 * J * J)
        else:
            rest = math.sqrt(2.0 * J * peak)  # the acceleration left when the velocity changes its sign
            before = rest * rest * rest / (3.0 * J * J)
        after = 0.5 * peak * (A / J + peak / A) if peak >= A * A / J else peak * math.sqrt(peak / J)
        return before + after + 2.0 * peak * self.dt

    def _closing_speed(self, distance: float) -> float:
        """The relative speed from which one can still come to rest within ``distance``."""
        A, J = _BRAKING * self.A, _BRAKING * self.J
        if distance < A * A * A / (J * J):
            return (distance * math.sqrt(J)) ** (2.0 / 3.0)
        half = A * A / (2.0 * J)
        return math.sqrt(half * half + 2.0 * A * distance) - half


class MotionLimiter:
    """Follows poses within limits, one command at a time.

    Args:
        limits: what is allowed.
        dt: seconds between commands; the nominal period, also when a command comes late.
    """

    def __init__(self, limits: MotionLimits, dt: float):
        self.limits, self.dt = limits, dt
        moves = (limits.velocity, limits.acceleration, limits.jerk, dt)
        turns = (limits.turn_velocity, limits.turn_acceleration, limits.turn_jerk, dt)
        self._axes = [AxisLimiter(low, high, *moves) for low, high in zip(limits.low, limits.high)]
        self._axes += [AxisLimiter(-math.inf, math.inf, *turns) for _ in range(3)]

    def reset(self, pose: np.ndarray) -> None:
        """Start at rest at ``pose`` (6,)."""
        for axis, value in zip(self._axes, pose):
            axis.p, axis.v, axis.a = float(value), 0.0, 0.0

    def set_speed(self, share: float) -> None:
        """Allow only that share of the velocities, 0 to 1; in motion it takes effect no faster than braking allows."""
        for axis, most in zip(self._axes, [self.limits.velocity] * 3 + [self.limits.turn_velocity] * 3):
            axis.V = most * share

    def follow(self, pose: np.ndarray, velocity: np.ndarray, acceleration: np.ndarray) -> bool:
        """Step towards a moving pose, each (6,); returns whether a limit held it back."""
        pose = np.concatenate([pose[:3], nearest(pose[3:], self.pose[3:])])
        held = [
            axis.follow(*moving)
            for axis, *moving in zip(self._axes, pose.tolist(), velocity.tolist(), acceleration.tolist())
        ]
        return any(held)

    def brake(self) -> None:
        """Step towards rest."""
        for axis in self._axes:
            axis.brake()

    @property
    def pose(self) -> np.ndarray:
        """The last command (6,); its rotation vector is unwrapped."""
        return np.array([axis.p for axis in self._axes])

    @property
    def velocity(self) -> np.ndarray:
        """Of the last command (6,)."""
        return np.array([axis.v for axis in self._axes])

    @property
    def acceleration(self) -> np.ndarray:
        """Of the last command (6,)."""
        return np.array([axis.a for axis in self._axes])

    @property
    def resting(self) -> bool:
        """Whether the last command stands still."""
        return all(abs(axis.v) < 1e-9 and abs(axis.a) < 1e-6 for axis in self._axes)
