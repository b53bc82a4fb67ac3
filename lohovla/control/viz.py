"""What the loop does, for the Rerun viewer: commands, chunks and events over time, as an .rrd file."""

from __future__ import annotations

from pathlib import Path

from lohovla.control.loop import ControlLoop
from lohovla.rerun_recording import RerunRecording


class RerunLog:
    """Writes one episode; call it after every command.

    Args:
        path: the .rrd file.
    """

    def __init__(self, path: Path):
        self._recording = RerunRecording(path)
        self._events = self._chunks = self._modes = 0

    def __call__(self, loop: ControlLoop) -> None:
        """Log the last command, and the chunks and events that are new."""
        if loop.last_command is None:
            return
        recording, command, stats = self._recording, loop.last_command, loop.latency_stats
        recording.set_seconds(command.time - loop.log.origin, "loop")
        recording.numbers("command", command.pose, ("x", "y", "z", "rx", "ry", "rz"))
        recording.number("command/gripper", command.gripper)
        recording.point("tool/target", command.pose[:3])
        if stats.command_lateness:
            recording.number("late_ms", 1000.0 * stats.command_lateness[-1])
        if len(stats.chunks) > self._chunks:
            self._chunks = len(stats.chunks)
            taken, joined = stats.chunks[-1]
            recording.number("chunk/reply_ms", 1000.0 * (joined - taken))
            if loop.trajectory.newest_chunk is not None:
                recording.path("tool/chunk", loop.trajectory.newest_chunk.values[:, :3])
        for event in loop.log.events[self._events :]:
            recording.words("events", f"{event.kind}: {event.cause}", "WARN")
        self._events = len(loop.log.events)
        if len(stats.modes) > self._modes:
            self._modes = len(stats.modes)
            recording.words("mode", loop.mode)

    def close(self) -> None:
        """Finish the file."""
        self._recording.close()
