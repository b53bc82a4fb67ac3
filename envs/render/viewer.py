"""A window for people, by MuJoCo's own viewer: the mouse turns the view, space does not stop the robot."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import gymnasium as gym

from lohovla.mujoco_import import mujoco
from lohovla.native_libraries import load_triton


class Viewer:
    """Shows a scene; opens with the first, again with each new one, and does nothing without a display."""

    def __init__(self) -> None:
        self._viewer: Any = None
        self._threads: list[threading.Thread] = []
        self._shown: tuple[mujoco.MjModel, mujoco.MjData] | None = None
        headless = sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
        self._disabled = headless
        if headless:
            gym.logger.warn("no display, so nothing is shown: set DISPLAY, or use render_mode='rgb_array'")

    def show(self, model: mujoco.MjModel, data: mujoco.MjData, camera: str) -> None:
        """Show a state, seen from ``camera`` at first."""
        if self._disabled:
            return
        if self._shown is None or self._shown[0] is not model or self._shown[1] is not data:
            self.close()
            load_triton()
            import mujoco.viewer

            before = set(threading.enumerate())
            self._viewer = mujoco.viewer.launch_passive(model, data, show_left_ui=False, show_right_ui=False)
            self._threads = [thread for thread in threading.enumerate() if thread not in before]
            self._viewer.cam.type = mujoco.mjtCamera.mjCAMERA_FIXED
            self._viewer.cam.fixedcamid = model.camera(camera).id
            self._shown = model, data
        self._viewer.sync()

    def close(self) -> None:
        """Close the window."""
        if self._viewer is not None:
            self._viewer.close()
            for thread in self._threads:  # the viewer's own; the interpreter must not end before it
                thread.join(timeout=5.0)
            self._viewer = self._shown = None
