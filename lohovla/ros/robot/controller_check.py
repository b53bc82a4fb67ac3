"""Whether a joint trajectory controller of ROS 2 takes trajectories that come one after the other."""

from __future__ import annotations

import logging
import threading
from typing import Any

from lohovla.ros.transport.message_types import BadMessage
from lohovla.ros.transport.transport import ServiceFailed

_log = logging.getLogger("lohovla.ros")
_ENDS = "/joint_trajectory"
# Either has a new trajectory begin where the one before had the joints be; the second is the older name.
PARAMETERS = ("interpolate_from_desired_state", "open_loop_control")
_WITHIN = 2.0  # s for an answer


class ControllerCheck:
    """A watcher of a session: pauses it where the controller begins every trajectory at the measured state.

    That is the default of ros2_control's joint trajectory controller. An arm that lags behind then hardly gets under
    way, and leaps after its commands when they end. A person who knows better presses start. Where the controller
    does not answer, as on ROS 1, nothing is said.

    Args:
        transport: to ROS.
        command: the profile's ``command``.
    """

    def __init__(self, transport: Any, command: Any):
        self._transport, topic = transport, str(command["topic"])
        asks = command["kind"] == "trajectory" and topic.endswith(_ENDS)
        self._controller = topic[: -len(_ENDS)] if asks else ""
        self._asking: threading.Thread | None = None
        self._doubt = ""

    def __call__(self, session: Any) -> None:
        """Called after every look at the arm; asks once."""
        if self._asking is None and self._controller and self._transport.connected:
            self._asking = threading.Thread(target=self._ask, name="lohovla-controller", daemon=True)
            self._asking.start()
        if self._doubt:
            words, self._doubt = self._doubt, ""
            _log.warning("%s. Set it in the controller's parameters (docs/robots.md). Paused", words)
            session.log.add(session.clock.now(), "controller in doubt", words)
            session.operator.pause()

    def wait(self, timeout: float) -> None:
        """Until the controller has answered, or not; at most ``timeout`` s. It is asked in a thread of its own."""
        if self._asking is not None:
            self._asking.join(timeout)

    def _ask(self) -> None:
        if self._transport.ros_version != 2:
            return
        told = [self._value(name) for name in PARAMETERS]
        if False in told and True not in told:
            self._doubt = (
                f"the controller {self._controller} begins every trajectory where the joints are measured: "
                f"{PARAMETERS[told.index(False)]} is false"
            )

    def _value(self, name: str) -> bool | None:
        """A parameter of the controller; None where it has none of that name, or does not say."""
        service, wanted = f"{self._controller}/get_parameters", {"names": [name]}
        try:
            values = self._transport.call(service, "rcl_interfaces/GetParameters", wanted, _WITHIN)["values"]
        except (ServiceFailed, BadMessage) as error:
            _log.debug("%s", error)
            return None
        return bool(values[0]["bool_value"]) if values and values[0]["type"] == 1 else None
