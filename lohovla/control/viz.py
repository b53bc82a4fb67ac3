"""What the loop does, for the Rerun viewer: commands, chunks and events over time, as an .rrd file."""

from __future__ import annotations

from pathlib import Path

from lohovla.control.loop import ControlLoop


class RerunLog:
    """Writes one episode; call it after every command.

    Args:
        path: the .rrd file.
    """

    def __init__(self, path: Path):
        import rerun  # type: ignore[import-not-found]

        self._rerun = rerun
        self._stream = rerun.RecordingStream("lohovla")
        self._stream.save(str(path))
        self._events = self._chunks = self._modes = 0

    def __call__(self, loop: ControlLoop) -> None:
        """Log the last command, and the chunks and events that are new."""
        if loop.last_command is None:
            return
        rr, stream = self._rerun, self._stream
        stream.set_time("loop", duration=loop.last_command.time - loop.log.origin)
        for name, value in zip(("x", "y", "z", "rx", "ry", "rz"), loop.last_command.pose.tolist(), strict=True):
            stream.log(f"command/{name}", rr.Scalars(value))
        stream.log("command/gripper", rr.Scalars(loop.last_command.gripper))
        stream.log("tool/target", rr.Points3D([loop.last_command.pose[:3]], radii=0.008))
        if loop.latency_stats.command_lateness:
            stream.log("late_ms", rr.Scalars(1000.0 * loop.latency_stats.command_lateness[-1]))
        if len(loop.latency_stats.chunks) > self._chunks:
            self._chunks = len(loop.latency_stats.chunks)
            taken, joined = loop.latency_stats.chunks[-1]
            stream.log("chunk/reply_ms", rr.Scalars(1000.0 * (joined - taken)))
            if loop.trajectory.newest_chunk is not None:
                stream.log("tool/chunk", rr.LineStrips3D([loop.trajectory.newest_chunk.values[:, :3]]))
        for event in loop.log.events[self._events :]:
            stream.log("events", rr.TextLog(f"{event.kind}: {event.cause}", level="WARN"))
        self._events = len(loop.log.events)
        if len(loop.latency_stats.modes) > self._modes:
            self._modes = len(loop.latency_stats.modes)
            stream.log("mode", rr.TextLog(loop.mode))

    def close(self) -> None:
        """Finish the file."""
        self._stream.flush()
        self._stream.disconnect()
