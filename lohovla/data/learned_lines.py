"""Lines on what is learned from some data sets together: keyframes, goal pictures, and what is missing or constant."""

from __future__ import annotations

from lohovla.data.features import RobotFeatures, name_list
from lohovla.data.frame_table import FrameTable
from lohovla.data.training_statistics import unvaried


def learned_lines(features: RobotFeatures, table: FrameTable, goal_seconds: float | None) -> list[str]:
    """Lines on what is learned from all sets together."""
    names = [features.action_names[at] for at in table.grippers]
    lines = [
        f"keyframes: changes of the command of {name_list(names)}"
        if names
        else "keyframes: stops of the arm (no gripper)"
    ]
    if goal_seconds is None:
        lines.append("goal pictures: not asked for")
    else:
        lines.append(f"goal pictures: at a sub-task's end; without sub-tasks {goal_seconds:g} s ahead")
    if not features.cameras:
        lines.append("cameras: none are read")
    for kind, own in (("state", features.state_names), ("action", features.action_names)):
        if not own:
            lines.append(f"{kind}: none is read")
        elif line := unvaried(kind, own, features.statistics[kind]):
            lines.append(line)
    return lines
