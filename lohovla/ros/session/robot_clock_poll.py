"""What a session asks a robot beside its run: the time, for the clock's offset and rate, and why topics are silent."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable

from lohovla.ros.session.ros_robot import RosRobot
from lohovla.ros.transport.message_types import BadMessage, seconds_of
from lohovla.ros.transport.time_sync import describe_clock
from lohovla.ros.transport.transport import ServiceFailed

_log = logging.getLogger("lohovla.ros")
_ASK_EVERY, _ASK_FIRST, _ADVISE_AFTER = 5.0, 1.0, 3.0  # s
_CERTAIN = 0.1  # s that the offset of the robot's clock may be off
_SAME_RATE = 0.02  # between rates of the robot's clock that are said once


class RobotClockPoll:
    """Asks in a thread of its own until it is closed.

    Args:
        robot: the robot.
        run_time: how long the run has lasted, s: silent topics are told of after some seconds.
    """

    def __init__(self, robot: RosRobot, run_time: Callable[[], float]):
        self._robot, self._run_time = robot, run_time
        self._closed = threading.Event()
        threading.Thread(target=self._ask, name="lohovla-ask", daemon=True).start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()

    def _ask(self) -> None:
        """Ask for the robot's time now and then, and once why nothing comes where nothing does."""
        advised, rate = False, 1.0
        while not self._closed.is_set():
            sent = time.monotonic()
            with contextlib.suppress(ServiceFailed, BadMessage):
                answer = self._robot.transport.call("/rosapi/get_time", "rosapi/GetTime", {}, 1.0)
                self._robot.clock.exchange(sent, seconds_of(answer["time"]), time.monotonic())
            clock = self._robot.clock
            if (found := describe_clock(clock)) and abs((clock.rate * clock.slipping) - rate) > _SAME_RATE:
                rate = clock.rate * clock.slipping
                _log.warning("%s", found)
            connected = self._robot.transport.connected
            if connected and not advised and self._run_time() > _ADVISE_AFTER:
                advice = self._robot.feeds.silence_hint()
                advised = bool(advice)
                for line in advice:
                    _log.warning("%s", line)
            # Two answers tell how fast its clock runs; until then a rate that messages show is not proven. An answer
            # that took long, because a packet was lost, leaves the offset uncertain: it is asked for again.
            certain = clock.error is not None and clock.error < _CERTAIN
            settled = clock.proven and clock.slipping == 1.0 and certain
            self._closed.wait(_ASK_EVERY if settled else _ASK_FIRST)
