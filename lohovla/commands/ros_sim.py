"""``lohovla ros-sim``: the simulated world as a ROS robot, until a signal comes."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lohovla.errors import SetupError, UserError

TRANSPORTS = ("serve", "rosbridge", "native")


def run(config: DictConfig) -> int:
    """Serve a graph of our own over rosbridge, or join a ROS that is there, and run the world in real time."""
    if config.transport not in TRANSPORTS:
        raise UserError(f"transport cannot be {config.transport!r}", f"choose one of {', '.join(TRANSPORTS)}")
    if config.transport != "native":
        check_packages()
    if not 0.0 < config.camera_hz <= 60.0:
        raise UserError(f"camera_hz cannot be {config.camera_hz}", "it lies above 0 and at most at 60")
    if not 0.0 <= config.controller_timeout < 60.0:
        raise UserError(f"controller_timeout cannot be {config.controller_timeout}", "seconds, or 0 for none")
    from lohovla.envs.env import BlocksEnv
    from lohovla.envs.scene.cameras import CAMERAS
    from lohovla.envs.tasks.registry import get_task
    from lohovla.ros.sim.simulated_ros_robot import SimulatedRosRobot, simulated_cameras
    from lohovla.ros.transport.namespace import in_namespace, log_format

    logging.basicConfig(format=log_format(config.namespace), level=logging.INFO, stream=sys.stderr)
    if unknown := [name for name in config.cameras if name not in CAMERAS]:
        raise UserError(f"there is no camera {unknown[0]!r}", f"choose one of {', '.join(CAMERAS)}")
    settings: Any = OmegaConf.to_container(config.env)
    settings["cameras"] = simulated_cameras(list(config.cameras))
    env = BlocksEnv(task=get_task(config.task).name, **settings)
    server, transport, where = _connect(config)
    transport = in_namespace(transport, config.namespace, list(config.shared))
    robot = SimulatedRosRobot(
        env, transport, config.seed, config.camera_hz, controller_timeout=config.controller_timeout
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    print(f"a simulated robot {where}; {env.problem.instruction!r}", flush=True)
    robot.run(stop)
    transport.close()
    if server is not None:
        server.close()
    print(f"{robot.steps} steps, {robot.behind:.1f} s behind real time", flush=True)
    return 0


def _connect(config: DictConfig) -> tuple[Any, Any, str]:
    """Our own server if there is one, the transport, and where the robot is, in words."""
    if config.transport == "serve":
        from lohovla.ros.transport.in_process_ros import InProcessRos, LocalTransport
        from lohovla.ros.transport.rosbridge_server import RosbridgeServer

        if config.ros_version not in (1, 2):
            raise UserError(f"ros_version cannot be {config.ros_version}", "choose 1 for ROS 1, 2 for ROS 2")
        graph = InProcessRos()
        server = RosbridgeServer(graph, config.ros_version, config.host, config.port).start()
        return server, LocalTransport(graph, config.ros_version), f"behind rosbridge at {server.url}"
    from lohovla.ros.transport.connect import connect

    transport = connect(config.transport, config.url)
    return None, transport, f"on {config.url}" if config.transport == "rosbridge" else "as a native node"


def check_packages() -> None:
    """Say what is missing before anything else does.

    Raises:
        SetupError: a package of the ``ros`` extra is not installed.
    """
    try:
        import cbor2  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise SetupError(f"rosbridge needs {error.name}", "pip install 'lohovla[ros]'") from None
