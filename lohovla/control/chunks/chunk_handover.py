"""Where a chunk that the model decided on takes over from the path before it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lohovla.control.chunks.trajectory import Chunk
from lohovla.control.event_log import EventLog
from lohovla.control.poses import to_absolute
from lohovla.control.safety.interlocks import bound_changes, fault_of
from lohovla.control.settings import LoopSettings
from lohovla.policies.base import Decision, PolicySpec

_STILL = 0.005  # m; less is no motion that a chunk would have to continue


class ArmSnapshot(NamedTuple):
    """How the arm was when a chunk was asked for.

    Attributes:
        measured: its pose (6,).
        commanded: the last command (6,).
        remaining_actions: actions that the path still had; 0 if there was none to continue.
        at_rest: whether that path stood still.
    """

    measured: np.ndarray
    commanded: np.ndarray
    remaining_actions: int
    at_rest: bool

    @classmethod
    def from_robot(cls, measured: np.ndarray, commanded: np.ndarray, ahead: np.ndarray | None) -> ArmSnapshot:
        """With the rest of the path (n, 7), if there is any."""
        if ahead is None:
            return cls(measured, commanded, 0, False)
        waits = bool(np.abs(ahead[:, :3] - commanded[:3]).max() < _STILL)
        return cls(measured, commanded, len(ahead), waits)


class AcceptedChunk(NamedTuple):
    """A chunk that takes over.

    Attributes:
        chunk: the motion.
        replaces_trajectory: it replaces the path instead of being joined to it.
        expires: when it is too old to be followed.
    """

    chunk: Chunk
    replaces_trajectory: bool
    expires: float


class ChunkHandover:
    """Decides from when on, and how far, chunks are followed.

    Args:
        spec: of the policy.
        settings: of the loop.
        period: of the actions, s.
        log: where what is wrong with a chunk is noted.
    """

    def __init__(self, spec: PolicySpec, settings: LoopSettings, period: float, log: EventLog):
        self._spec, self._settings, self._period, self.log = spec, settings, period, log

    def accept_chunk(
        self, now: float, taken: float, decision: Decision, snapshot: ArmSnapshot, pose: np.ndarray, number: int
    ) -> AcceptedChunk | None:
        """The chunk of a decision; None if it is unsound, or of no use any more.

        Args:
            now: when it came, s.
            taken: when what it was decided on was seen, s.
            decision: of the policy.
            snapshot: how the arm was then.
            pose: the last command (6,).
            number: of the chunk.
        """
        settings, period = self._settings, self._period
        anew = decision.planned and snapshot.at_rest  # a motion from rest begins with its first action, however late
        if fault := fault_of(decision, self._spec):
            self.log.add(now, "bad chunk", fault)
            return None
        expires = taken + settings.safety.stale_after
        actions = np.asarray(decision.actions, dtype=np.float64)
        # No action is skipped that nothing went ahead in place of: where the old path ended early, the arm waited.
        start = (
            max(taken, now - snapshot.remaining_actions * period) if snapshot.remaining_actions and not anew else now
        )
        if start + len(actions) * period <= now + settings.period:
            self.log.add(now, "slow model", f"all {len(actions)} actions were past when they came")
            start = now
        usable = int((expires - start) / period + 1e-6)
        if usable < 1 or now >= expires:
            self.log.add(now, "stale chunk", f"it came {now - taken:.2f} s after its observation")
            return None
        actions = actions[: min(usable, settings.n_action_steps if settings.chunking_mode == "sync" else usable)]
        actions = to_absolute(actions, snapshot.measured) if self._spec.relative else actions
        actions = self._bounded(now, actions, snapshot.commanded)
        origin = snapshot.commanded if start < now else pose
        return AcceptedChunk(Chunk.from_actions(number, actions, start, period, origin, settings.limits), anew, expires)

    def _bounded(self, now: float, actions: np.ndarray, before: np.ndarray) -> np.ndarray:
        limits = self._settings.limits
        inside = np.clip(actions[:, :3], limits.low, limits.high)
        outside = int(np.any(np.abs(inside - actions[:, :3]) > 1e-6, axis=1).sum())
        if outside:
            self.log.add(now, "workspace", f"{outside} actions of a chunk led outside")
        bounded, moved = bound_changes(np.hstack([inside, actions[:, 3:]]), before, self._settings.safety)
        if moved:
            self.log.add(now, "change bound", f"{moved} actions of a chunk leapt")
        return bounded
