"""The processes of :mod:`lohovla.benchmarks.ros.ros_stops`: robot, guard, the wire of the client, and the client."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from typing import Any

import numpy as np

_PERIOD = 0.01  # s between commands and between steps of the world
_GOAL = 0.45  # m on y: out of reach for as long as it is watched


def robot(pipe: Any, timeout: float, where: Any) -> None:
    """Run the simulated robot and a server; tell where the tool is, and when told to end, where it was and how late."""
    from lohovla.envs.env import BlocksEnv
    from lohovla.ros.sim.simulated_ros_robot import SimulatedRosRobot
    from lohovla.ros.transport.in_process_ros import InProcessRos, LocalTransport
    from lohovla.ros.transport.rosbridge_server import RosbridgeServer

    logging.disable(logging.WARNING)
    graph = InProcessRos()
    env = BlocksEnv("put-block-into-matching-bowl", control="ee", control_hz=1.0 / _PERIOD, cameras={})
    world = SimulatedRosRobot(env, LocalTransport(graph), 1, controller_timeout=timeout)
    server = RosbridgeServer(graph, port=0).start()
    pipe.send(server.url)
    samples, due, behind, fallen = [], time.monotonic(), 0.0, []
    while not pipe.poll():
        world.tick()
        now, place = time.monotonic(), np.asarray(world.env.observe_state()[:3], float)
        samples.append((now, *place))
        past = samples[-6:][0]
        where[0], where[1] = now, place[1]
        where[2] = (place[1] - past[2]) / (now - past[0]) if now > past[0] else 0.0
        due += _PERIOD
        behind, due = (behind + now - due, now) if due < now - _PERIOD else (behind, due)
        fallen.append(behind)
        time.sleep(max(due - time.monotonic(), 0.0))
    pipe.send((np.array(samples), np.array(fallen)))


def guard(url: str, settings: dict[str, Any], pipe: Any) -> None:
    """Guard until killed."""
    from lohovla.ros.guard.guard import GuardSettings
    from lohovla.ros.guard.guard_node import GuardNode
    from lohovla.ros.transport.rosbridge_client import Rosbridge

    logging.disable(logging.WARNING)
    transport = Rosbridge(url, 2)
    transport.wait(10.0)
    node = GuardNode(transport, GuardSettings.from_json(settings))
    pipe.send("ready")
    node.run(threading.Event())


def wire(url: str, pipe: Any) -> None:
    """Carry one connection to the server at ``url``, as its own process does for a real rosbridge."""
    host, port = url.rsplit("/", 1)[-1].split(":")
    listening = socket.create_server(("127.0.0.1", 0))
    pipe.send(f"ws://127.0.0.1:{listening.getsockname()[1]}")
    while True:
        near, _ = listening.accept()
        try:
            far = socket.create_connection((host, int(port)))
        except ConnectionRefusedError:  # the server was killed, and the client tries again
            near.close()
            continue
        for one in (near, far):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for a, b in ((near, far), (far, near)):
            threading.Thread(target=_carry, args=(a, b), daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def client(url: str, profile: Any, limits: dict[str, Any], guarded: bool, offset: Any, pipe: Any) -> None:
    """Drive the tool along y until killed; ``offset`` is s that its clock was set by."""
    from lohovla.control.motion_limits import MotionLimiter, MotionLimits
    from lohovla.control.safety.command_receiver import Command
    from lohovla.ros.guard.guard import COMMAND
    from lohovla.ros.robot.arm_commands import ArmCommander
    from lohovla.ros.robot.joint_trajectories import COMMANDS
    from lohovla.ros.robot.pose_conversion import joints_of, pose_of
    from lohovla.ros.transport.rosbridge_client import Rosbridge
    from lohovla.ros.transport.subscriptions import Subscriptions
    from lohovla.ros.transport.time_sync import ClockOffset

    logging.disable(logging.WARNING)
    transport = Rosbridge(url, 2)
    transport.wait(10.0)
    feeds = Subscriptions(transport, ClockOffset())
    tool = feeds.subscribe(profile.tool["topic"], "geometry_msgs/PoseStamped")
    joints = feeds.subscribe(profile.joints["topic"], "sensor_msgs/JointState")
    topic = COMMAND if guarded else profile.command["topic"]
    transport.advertise(topic, COMMANDS[profile.command["kind"]])
    known = MotionLimits(**limits)
    limiter, commander = MotionLimiter(known, _PERIOD), ArmCommander(profile, known)
    while tool.newest is None or joints.newest is None:
        time.sleep(0.01)
    limiter.reset(pose_of(tool.newest.message["pose"]))
    goal = limiter.pose
    goal[1] = _GOAL
    pipe.send("ready")
    due, still, number = time.monotonic(), np.zeros(6), 0
    while True:
        limiter.follow(goal, still, still)
        number += 1
        command = Command(number, due, limiter.pose, limiter.velocity, limiter.acceleration, 0.0, "run")
        measured = pose_of(tool.newest.message["pose"])
        at = joints_of(joints.newest.message, profile.joints["names"])
        message = commander.message(command, measured, at, time.time() + offset.value)
        with contextlib.suppress(OSError):
            transport.publish(topic, message, newest=True)
        due = max(due + _PERIOD, time.monotonic() - _PERIOD)
        time.sleep(max(due - time.monotonic(), 0.0))
