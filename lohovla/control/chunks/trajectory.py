"""The path that the commands follow: chunks of actions in time, joined without leaps.

Action i of a chunk is the target at ``start + (i + 1) * period``, or later where the limits of speed ask for it: a slow
arm goes the same way in more time (time scaling). Between targets the path is a monotone cubic (Fritsch and Carlson,
1980), smooth in velocity and never outside the two targets that it joins; the last targets are spread out in time so
that it comes to rest on the last one. When other chunks take over, the difference
between the path so far and the new one fades out.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from lohovla.control.chunks.chunk_blending import BlendOut, Setpoint
from lohovla.control.chunks.temporal_ensembling import ensemble_setpoints, ensemble_weights
from lohovla.control.motion_limits import MotionLimits
from lohovla.control.poses import POSE, unwrap

_REST = 0.6  # share of the acceleration limit with which a chunk's end comes to rest
_PACE = 0.9  # share of the speed limit at which an arm that is too slow goes on, so that it can make up what it lags
_LAG = 0.03  # s that an arm may lag behind a change of velocity
_ROUNDS = 12  # of spreading changes of velocity over time


@dataclass(frozen=True)
class Chunk:
    """A chunk of actions laid out in time.

    Attributes:
        number: which of the episode's chunks it is.
        actions: absolute ``ee`` actions, rotation vectors unwrapped, float64 (H, 7).
        start: s, when its first period begins.
        period: s of an action by the policy's own time.
        due: s when each action is due, after the start itself (H + 1,): a period after the one before, or later where
            the way to it takes longer at the speed that is allowed.
        times: s of the path's knots (H + 1,): ``due``, and later towards the end, where the path comes to rest.
        values: the poses there (H + 1, 6).
        slopes: the velocities there (H + 1, 6).
    """

    number: int
    actions: np.ndarray
    start: float
    period: float
    due: np.ndarray
    times: list[float]
    values: np.ndarray
    slopes: np.ndarray

    @classmethod
    def from_actions(
        cls, number: int, actions: np.ndarray, start: float, period: float, origin: np.ndarray, limits: MotionLimits
    ) -> Chunk:
        """Lay absolute ``ee`` actions (H, 7) out from the pose ``origin`` (6,) on, as fast as ``limits`` allow."""
        actions = unwrap(actions, origin[3:])
        values = np.vstack([origin, actions[:, :POSE]])
        ways = np.diff(values, axis=0)
        paces = action_durations(ways, period, limits)
        spans = _segment_durations(ways, paces, limits)
        due, times = (start + np.concatenate([[0.0], np.cumsum(each)]) for each in (paces, spans))
        return cls(number, actions, start, period, due, times.tolist(), values, _knot_velocities(values, spans))

    @property
    def rest_time(self) -> float:
        """When the path comes to rest, s."""
        return self.times[-1]

    @property
    def last_action_time(self) -> float:
        """When the last action is due, s."""
        return float(self.due[-1])

    def actions_due(self, moment: float) -> float:
        """How many actions are due by a moment, parts of one included."""
        return float(np.interp(moment, self.due, np.arange(len(self.due))))

    def times_due(self, counts: np.ndarray) -> np.ndarray:
        """When so many actions (n,) are due, s (n,)."""
        return np.interp(counts, np.arange(len(self.due)), self.due)

    def setpoint_at(self, now: float) -> Setpoint:
        """The path at a moment; at rest after its end."""
        k = min(max(bisect_right(self.times, now) - 1, 0), len(self.actions) - 1)
        h = self.times[k + 1] - self.times[k]
        u = min(max((now - self.times[k]) / h, 0.0), 1.0)
        gripper = float(self.actions[k, 6])
        p0, p1, m0, m1 = self.values[k], self.values[k + 1], self.slopes[k] * h, self.slopes[k + 1] * h
        if now >= self.rest_time:
            return Setpoint(p1, np.zeros(POSE), np.zeros(POSE), gripper)
        way = p1 - p0
        a, b = m0 + m1 - 2.0 * way, 3.0 * way - 2.0 * m0 - m1
        return Setpoint(
            p0 + u * (m0 + u * (b + u * a)),
            (m0 + u * (2.0 * b + 3.0 * u * a)) / h,
            (2.0 * b + 6.0 * u * a) / (h * h),
            gripper,
        )

    def nominal_action_at(self, moment: float) -> np.ndarray:
        """The action (7,) at a moment: straight between targets, at full pace to the end."""
        place = self.actions_due(moment)
        k = min(math.ceil(place - 1e-9), len(self.actions))
        share = place - (k - 1)
        before, after = self.values[max(k - 1, 0)], self.values[k]
        return np.append(before + share * (after - before), self.actions[max(k - 1, 0), 6])


def action_durations(ways: np.ndarray, period: float, limits: MotionLimits) -> np.ndarray:
    """Seconds of each way (n, 6): the period, or longer where an arm within the limits could not follow."""
    needed = np.zeros(len(ways))
    for part, most in ((ways[:, :3], limits.velocity), (ways[:, 3:], limits.turn_velocity)):
        needed = np.maximum(needed, np.abs(part).max(axis=1) / most)
    spans = np.where(needed > period * (1.0 + 1e-6), needed / _PACE, period)
    for _ in range(_ROUNDS):
        lacking = np.ones(len(ways))  # how many times longer each has to be
        for part, most, jerk in (
            (ways[:, :3], limits.acceleration, limits.jerk),
            (ways[:, 3:], limits.turn_acceleration, limits.turn_jerk),
        ):
            changes = np.abs(np.diff(part / spans[:, None], axis=0)).max(axis=1, initial=0.0)  # of velocity
            low = changes < most * most / jerk
            times = np.where(low, 2.0 * np.sqrt(changes / jerk), changes / most + most / jerk) - _LAG
            ratios = np.maximum(times / (0.5 * (spans[:-1] + spans[1:])), 1.0)
            lacking[:-1] = np.maximum(lacking[:-1], ratios)
            lacking[1:] = np.maximum(lacking[1:], ratios)
        if lacking.max() < 1.01:
            break
        spans = spans * np.sqrt(lacking)  # the change shrinks as well
    return spans


def _segment_durations(ways: np.ndarray, paces: np.ndarray, limits: MotionLimits) -> np.ndarray:
    """Seconds of each way (n, 6): its pace (n,), longer towards the end so that the last target is met at rest."""
    spans = paces.copy()
    for part, most in ((ways[:, :3], limits.acceleration), (ways[:, 3:], limits.turn_acceleration)):
        speed = 0.0  # at the end of the way
        for k in range(len(ways) - 1, -1, -1):
            length = float(np.linalg.norm(part[k]))
            before = math.sqrt(speed * speed + 2.0 * _REST * most * length)
            if before + speed > 0.0:
                needed = 2.0 * length / (before + speed)
                spans[k] = max(spans[k], needed)
                if needed <= paces[k] and before >= length / paces[k]:
                    break  # from here on it is slow enough as it is
            speed = before
    return spans


def _knot_velocities(values: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Velocities at the knots (n + 1, 6): weighted harmonic means, zero at turning points and at the end."""
    rates = np.diff(values, axis=0) / spans[:, None]
    slopes = np.zeros_like(values)
    slopes[0] = rates[0]
    if len(rates) > 1:
        before, after = spans[:-1, None], spans[1:, None]
        w1, w2 = 2.0 * after + before, after + 2.0 * before
        r1, r2 = rates[:-1], rates[1:]
        same = r1 * r2 > 1e-18  # of one sign, and no rounding error
        means = (w1 + w2) / (w1 / np.where(same, r1, 1.0) + w2 / np.where(same, r2, 1.0))
        slopes[1:-1] = np.where(same, means, 0.0)
    return slopes


class Trajectory:
    """The chunks being carried out, and how one takes over from another.

    Args:
        blend_time: s, the shortest fade of a difference.
        temporal_ensemble_coeff: None for one chunk at a time, the newest; else temporal ensembling: the mean of all
            chunks that reach the moment, the k-th oldest weighted exp(-temporal_ensemble_coeff k), as Zhao et al.
            (2023) do.
    """

    def __init__(self, blend_time: float, temporal_ensemble_coeff: float | None = None):
        self._blend_time, self._ensemble_coeff = blend_time, temporal_ensemble_coeff
        self.clear()

    def clear(self) -> None:
        """Forget every chunk."""
        self._chunks: list[Chunk] = []
        self._key: tuple[int, ...] = ()
        self._blend = BlendOut()

    @property
    def newest_chunk(self) -> Chunk | None:
        """The chunk that came last."""
        return self._chunks[-1] if self._chunks else None

    def action_duration(self, now: float) -> float:
        """Seconds that the action of this moment takes, of the chunk that came last; 0 where there is none."""
        if (newest := self.newest_chunk) is None:
            return 0.0
        k = min(int(newest.actions_due(now)), len(newest.actions) - 1)
        return float(newest.due[k + 1] - newest.due[k])

    def has_actions(self, now: float) -> bool:
        """Whether there are actions for this moment."""
        return bool(self._chunks) and now < max(chunk.rest_time for chunk in self._active_chunks(now))

    def add_chunk(self, chunk: Chunk, replace_all: bool = False) -> None:
        """Let a chunk join in, or take the place of all others at once (``alone``)."""
        if replace_all:
            self._chunks = []
        self._chunks = [*self._chunks, chunk] if self._ensemble_coeff is not None else [*self._chunks[-1:], chunk]

    def setpoint_at(self, now: float, pose: np.ndarray) -> Setpoint | None:
        """The path at a moment, or None if there is none yet. Moments must not go back.

        Args:
            now: the moment, s.
            pose: the last command (6,), from which the first chunk starts.
        """
        if not self._chunks:
            return None
        members = self._active_chunks(now)
        target = self._mean(members, now)
        key = tuple(chunk.number for chunk in members)
        if key != self._key:
            self._blend = BlendOut.from_setpoints(self._previous_setpoint(now, pose), target, now, self._blend_time)
            self._key = key
            self._chunks = [chunk for chunk in self._chunks if chunk.number >= key[0]]
        return self._blend.add_offset(target, now)

    def remaining_actions(self, start: float, most: int) -> np.ndarray | None:
        """The actions still planned after ``start``, float64 (n, 7), n <= ``most``; None where there is none."""
        chunks = [chunk for chunk in self._chunks if chunk.last_action_time > start + 1e-9]
        if not chunks:
            return None
        newest = chunks[-1]
        done = newest.actions_due(start) if start >= newest.start else (start - newest.start) / newest.period
        count = min(most, int(len(newest.actions) - done + 1e-6))
        if count < 1:
            return None
        moments = newest.times_due(done + np.arange(1, count + 1))
        rows = np.array([self._planned(chunks, moment) for moment in moments])
        rows[:, :POSE] += [self._blend.offset_at(moment)[0] for moment in moments]
        return rows

    def _planned(self, chunks: list[Chunk], moment: float) -> np.ndarray:
        if self._ensemble_coeff is None:
            return chunks[-1].nominal_action_at(moment)
        members = [chunk for chunk in chunks if chunk.last_action_time >= moment - 1e-9] or chunks[-1:]
        rows = np.array([chunk.nominal_action_at(moment) for chunk in members])
        return ensemble_weights(len(rows), self._ensemble_coeff) @ rows

    def _active_chunks(self, now: float) -> list[Chunk]:
        if self._ensemble_coeff is None:
            return self._chunks[-1:]
        return [chunk for chunk in self._chunks if now < chunk.last_action_time] or self._chunks[-1:]

    def _mean(self, members: list[Chunk], now: float) -> Setpoint:
        if len(members) == 1:
            return members[0].setpoint_at(now)
        return ensemble_setpoints([chunk.setpoint_at(now) for chunk in members], self._ensemble_coeff or 0.0)

    def _previous_setpoint(self, now: float, pose: np.ndarray) -> Setpoint:
        """The path at this moment had nothing changed; at rest at ``pose`` where there was none."""
        members = [chunk for chunk in self._chunks if chunk.number in self._key]
        if not members:
            return Setpoint(pose, np.zeros(POSE), np.zeros(POSE), 0.0)
        return self._blend.add_offset(self._mean(members, now), now)
