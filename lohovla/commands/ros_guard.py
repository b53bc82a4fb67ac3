"""``lohovla ros-guard``: the guard on the robot's side, run here or written as one file for the robot."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lohovla.commands.ros_sim import check_packages
from lohovla.errors import UserError


def run(config: DictConfig) -> int:
    """Guard until a signal comes, or write the file."""
    from lohovla.control.settings import LoopSettings
    from lohovla.ros.guard.guard_main import LIFECYCLES, guard_natively, guard_robot, write_app
    from lohovla.ros.guard.guard_profile import guard_settings
    from lohovla.ros.robot.profile_file import profile_of
    from lohovla.ros.transport.connect import connect
    from lohovla.ros.transport.namespace import check_namespace, in_namespace, log_format

    if config.enable not in ("topic", "always"):
        raise UserError(f"enable cannot be {config.enable!r}", "choose topic or always")
    namespace = check_namespace(config.namespace)
    profile = profile_of(config.robot, config.profile)
    if config.enable == "always" and not profile.world:
        raise UserError("enable=always is for simulators", f"hold the enable on {namespace}/lohovla/enable")
    loop: Any = OmegaConf.to_container(config.loop)
    for key in ("clock", "worker", "delay", "command_hz"):
        loop.pop(key)
    limits = LoopSettings.from_config(profile.loop_settings(loop)).limits
    settings = guard_settings(profile, limits, config.enable)
    if config.write is not None:
        write_app(Path(config.write), settings, profile.ros_version, namespace, list(config.shared))
        print(f"{config.write}: copy it to the robot, source ROS there, and run `python3 {Path(config.write).name}`")
        return 0
    if config.transport == "rosbridge":
        check_packages()
    logging.basicConfig(format=log_format(config.namespace), level=logging.INFO, stream=sys.stderr)
    if config.lifecycle not in LIFECYCLES:
        raise UserError(f"lifecycle cannot be {config.lifecycle!r}", f"choose one of {', '.join(LIFECYCLES)}")

    def inside(transport: Any) -> Any:
        return in_namespace(transport, config.namespace, list(config.shared))

    if config.transport == "native":
        return guard_natively(profile.ros_version, settings, config.lifecycle, inside, namespace)
    return guard_robot(inside(connect(config.transport, config.url, profile.ros_version)), settings)
