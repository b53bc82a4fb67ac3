"""The guard as a managed node of ROS 2: configure, activate, deactivate, clean up, shut down, as launch files do it."""

from __future__ import annotations

import logging
import time
from typing import Any, Callable

from lohovla.errors import SetupError
from lohovla.ros.transport.rclpy_node import Rclpy

_log = logging.getLogger("lohovla.guard")
_RESTS_WITHIN = 5.0  # s that an arm is given to come to rest before the node is inactive


class ManagedNode:
    """A lifecycle node with a transport on it, whose transitions switch a guard on and off.

    Only an active guard lets commands pass. One that is deactivated in mid-motion brakes first.

    Args:
        begin: given the transport, makes what runs (``GuardNode``); called once, when
            the node is configured for the first time.
        end: called when the node is shut down.
        namespace: of the node, and so of the services by which a manager switches it.

    Attributes:
        transport: to ROS, through this node.
        running: what was begun, or None before.

    Raises:
        SetupError: there is no ``rclpy.lifecycle`` or no ``lifecycle_msgs``.
    """

    def __init__(self, begin: Callable[[Any], Any], end: Callable[[], Any], namespace: str = ""):
        try:
            from rclpy.lifecycle import (  # pyright: ignore[reportMissingImports]
                LifecycleNode,
                TransitionCallbackReturn,
            )
        except ImportError as error:
            raise SetupError(f"there are no managed nodes here: {error}", "lifecycle=off runs a plain node") from None
        self.running: Any = None
        self._begin, self._end = begin, end
        done = TransitionCallbackReturn.SUCCESS
        manager = self

        class GuardLifecycle(LifecycleNode):  # pyright: ignore[reportGeneralTypeIssues]
            def on_configure(self, state: Any) -> Any:
                manager._configure()
                return done

            def on_activate(self, state: Any) -> Any:
                manager._switch(True)
                return done

            def on_deactivate(self, state: Any) -> Any:
                manager._switch(False)
                return done

            def on_cleanup(self, state: Any) -> Any:
                return done

            def on_shutdown(self, state: Any) -> Any:
                manager._switch(False)
                manager._end()
                return done

        self.transport = Rclpy("lohovla_guard", GuardLifecycle, namespace)

    def start(self) -> None:
        """Configure and activate, where no manager does."""
        self.transport.node.trigger_configure()
        self.transport.node.trigger_activate()

    def _configure(self) -> None:
        if self.running is None:
            self.running = self._begin(self.transport)
            self.running.guard.active = False

    def _switch(self, active: bool) -> None:
        if self.running is None:
            return
        guard, until = self.running.guard, time.monotonic() + _RESTS_WITHIN
        guard.active = active
        while not active and guard.state in ("relaying", "braking") and time.monotonic() < until:
            time.sleep(0.01)
        _log.info("the guard is %s", "active" if active else "not active: no command passes")
