"""How far behind its commands an arm may be: what it says is old, and old means far at full speed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from lohovla.ros.session.motion_interlock import MotionInterlock
from lohovla.ros.session.stop_reasons import StopReason


def gate(velocity: float, measured: np.ndarray, dry: bool = False) -> MotionInterlock:
    """One of an arm at ``measured`` (6,) that may go at ``velocity`` (m/s), with all else as it should be."""
    robot = SimpleNamespace(
        profile=SimpleNamespace(max_age=SimpleNamespace(state=0.2, camera=0.5, guard=0.5)),
        transport=SimpleNamespace(connected=True),
        state_fault=lambda now: "",
        measured=lambda: measured,
        eyes=SimpleNamespace(camera_age=lambda now: ("top", 0.01), frozen=lambda: ""),
        limits=SimpleNamespace(velocity=velocity),
        guard=None,
        status=SimpleNamespace(fault=""),
        dry=dry,
    )
    operator = SimpleNamespace(emergency="", goal="stack", started=True, paused=False, enabled=lambda now: True)
    peers, warm_up = SimpleNamespace(other_controller=lambda now: ""), SimpleNamespace(done=True)
    return MotionInterlock(robot, operator, False, peers, warm_up)


@pytest.mark.parametrize(
    ("velocity", "behind", "follows"),
    [(0.25, 0.09, True), (0.25, 0.11, False), (1.5, 0.17, True), (1.5, 0.24, False)],
)
def test_an_arm_that_does_not_follow_is_stopped(velocity, behind, follows):
    measured = np.array([0.5, 0.1, 0.3, 0.0, 0.0, 0.0])
    commanded = measured + np.array([0.0, behind, 0.0, 0.0, 0.0, 0.0])
    verdict = gate(velocity, measured).check(1.0, commanded)
    assert bool(verdict) == follows
    assert follows or (verdict.reason is StopReason.NOT_FOLLOWING and f"{1000 * behind:.0f} mm" in verdict.cause)


def test_an_arm_that_is_sent_nowhere_need_not_follow():
    away = np.array([0.9, 0.0, 0.3, 0.0, 0.0, 0.0])
    assert gate(0.25, np.zeros(6)).check(1.0)
    assert gate(0.25, np.zeros(6), dry=True).check(1.0, away)
    assert not gate(0.25, np.zeros(6)).check(1.0, away)
