"""What ``lohovla ros`` tells and keeps of a run: its record, its episode in a data set, a drawing of its commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lohovla.errors import UserError
from lohovla.ros.session.stop_reasons import EndKind


def run_record(session: Any, seed: int, outcome: Any) -> dict[str, Any]:
    """The record of a run, for ``result.json``.

    Args:
        session: the :class:`~lohovla.ros.session.robot_session.RobotSession` that ran it.
        seed: of the run.
        outcome: its :class:`~lohovla.ros.session.robot_session.RunResult`.
    """
    return {
        "seed": seed,
        "goal": session.operator.goal,
        "ending": outcome.end.kind.value,
        "cause": outcome.end.cause,
        "seconds": round(outcome.seconds, 2),
        "subtasks": outcome.subtasks,
        "events": outcome.counts,
        "event_list": [f"{e.time:.3f} s {e.kind}: {e.cause}" for e in outcome.events],
        "commands": session.robot.sent,
        "refused": session.robot.refused,
        "loop": session.loop.latency_stats.summary(session.log, session.settings.command_hz),
    }


def save_recording(
    recording: Any, root: Path, profile: Any, record: dict[str, Any], task: str, policy: str
) -> int | None:
    """Add a run to a data set; a run on a robot is a success if the policy thinks so.

    Args:
        recording: the :class:`~lohovla.ros.record.run_recorder.RunRecorder`.
        root: of the data set.
        profile: the robot's.
        record: of the run.
        task: name that the episode gets.
        policy: name of the policy.

    Returns:
        The episode's number; None where it could not be written, which is told.
    """
    from lohovla.ros.record.run_recorder import save_run

    by_policy = record["ending"] == EndKind.DONE.value
    attributes = {
        "task": record["goal"],
        "seed": record["seed"],
        "reason": record["cause"],
        "task_name": task,
        "success": bool(record.get("success", by_policy)),
        "final_score": float(record.get("score", by_policy)),
        "judged_by": "simulator" if profile.world else "policy",
        "policy": policy,
    }
    try:
        return save_run(recording, root, profile, attributes)
    except UserError as error:  # the run is over; what is known of it must still be written
        print(f"not recorded: {error.cause}", file=sys.stderr)
        return None


def write_commands(log: Any, robot: Any, folder: Path, name: str) -> None:
    """Write what was commanded, as numbers (``name.jsonl``) and as a picture (``name.png``).

    Args:
        log: the :class:`~lohovla.ros.ui.command_log.CommandLog` of the run.
        robot: whose top view is the background.
        folder: of the results.
        name: of the files.
    """
    from lohovla.ros.ui.command_log import draw_path

    log.write(folder / f"{name}.jsonl")
    draw_path(log.moments, robot.eyes.sight.pictures.get("images.top")).save(folder / f"{name}.png")


def print_run(record: dict[str, Any]) -> None:
    """Say what happened in a run."""
    print(record["goal"])
    for moment, text in record["subtasks"]:
        print(f"  {moment:6.2f} s  {text}")
    print(f"  {record['seconds']:6.2f} s  {record['cause']}")
    print("  events: " + (", ".join(f"{kind} {n}" for kind, n in record["events"].items()) or "none"), flush=True)
