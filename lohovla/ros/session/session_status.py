"""The present state of a run for people and other programs, as plain values."""

from __future__ import annotations

import math
import time
from typing import Any


def session_snapshot(session: Any) -> dict[str, Any]:
    """What the page, ``/lohovla/state`` and the diagnostics tell of a ``RobotSession``."""
    loop, robot, operator, now = session.loop, session.robot, session.operator, session.clock.now()
    replies = loop.latency_stats.stages["reply"]
    pose = robot.measured()
    ages = [now - stamp for stamp in robot.eyes.sight.stamps.values()]
    return {
        "bridge": session.peers.name,
        "namespace": getattr(robot.transport, "namespace", ""),
        "phase": session.phase,
        "mode": loop.mode if session.phase == "running" else session.phase,
        "moving": robot.allowed,
        "waits_for": session.verdict.description,
        "fault": bool(session.verdict.reason and session.verdict.reason.fault),
        "goal": operator.goal,
        "subtask": session.subtask,
        "progress": round(loop.progress, 3),
        "emergency": operator.emergency,
        "paused": operator.paused,
        "enabled": operator.enabled(now),
        "latency_ms": round(1000.0 * replies[-1], 1) if replies else None,
        "picture_age_ms": round(1000.0 * max(ages), 1) if ages and math.isfinite(max(ages)) else None,
        "clock_offset_s": round(robot.clock.offset - (now - time.time()), 4),
        "tool": None if pose is None else [round(float(v), 4) for v in pose],
        "gripper": round(robot.gripper(), 3),
        "commands": robot.sent,
        "dry_run": robot.dry,
        "guard": robot.guard.said.get("state") if robot.guard else None,
        "seconds": round(session.seconds, 1),
        "events": [f"{e.time:.2f} s {e.kind}: {e.cause}" for e in session.log.events[-8:]],
        "event_count": sum(session.log.counts.values()),
    }
