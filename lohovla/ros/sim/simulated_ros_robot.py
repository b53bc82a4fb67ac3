"""The simulated world as a ROS robot: it publishes what a robot publishes and takes what a robot takes.

It is as dangerous as the real one: the last command stands (``simulated_controllers``). An episode's time begins
with the first command after its table was set, so that nobody is judged by how long a bridge takes to start.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lohovla.control.poses import shortest_rotation
from lohovla.envs.scene.cameras import CAMERAS
from lohovla.errors import SetupError
from lohovla.geometry.ur5e_kinematics import JOINTS
from lohovla.ros.robot.pose_conversion import BadPose, pose_of
from lohovla.ros.sim.sim_state_mirror import pack_sim_state
from lohovla.ros.sim.simulated_controllers import SimulatedController
from lohovla.ros.sim.simulated_sensors import SimulatedSensors
from lohovla.ros.transport.message_types import Message
from lohovla.ros.transport.transport import Subscription

_log = logging.getLogger("lohovla.ros")
_STATE_HZ, _WORLD_HZ, _RESULT_HZ = 50.0, 10.0, 2.0
_CATCH_UP = 0.1  # s behind real time beyond which the world slows down instead of racing


class SimulatedRosRobot:
    """Runs a ``BlocksEnv`` in real time between topics.

    Topics: ``/joint_states``, ``/sim/tool_pose``, ``/sim/gripper_state``, ``/camera/<name>/color/image_raw`` and
    ``.../compressed``, ``.../camera_info``, ``/camera/<name>/depth/image_raw``, ``/sim/world`` (the true state),
    ``/sim/result`` (score, as JSON). Commands: ``/sim/tool_target`` (pose), ``/sim/tool_twist``,
    ``/sim/joint_trajectory``, ``/sim/joint_positions``, ``/sim/joint_velocities``, ``/sim/gripper`` or the
    action ``/sim/gripper_cmd``; ``/sim/reset`` (a seed) sets the table anew.

    Args:
        env: the environment, with ``ee`` actions at its control rate; its cameras are what is published.
        transport: to ROS.
        seed: of the first episode.
        camera_hz: pictures a second.
        clock_offset: s that its stamps are ahead of this machine's clock, as another machine's may be.
        controller_timeout: s without a command after which velocities count no more, as with MoveIt Servo; 0: never.
    """

    def __init__(
        self,
        env: Any,
        transport: Any,
        seed: int,
        camera_hz: float = 15.0,
        clock_offset: float = 0.0,
        controller_timeout: float = 0.1,
    ):
        self.env, self._transport, self._offset = env.unwrapped, transport, clock_offset
        self._controller = SimulatedController(
            lambda: self.env.simulation.joints, tuple(JOINTS), self._tool_length(), controller_timeout
        )
        self._lock = threading.Lock()
        self._seed = self._next_seed = seed
        self.sensors = SimulatedSensors(self.env, transport, camera_hz)
        self.steps, self.behind = 0, 0.0
        self._ended: Mapping[str, Any] | None = None
        self._advertise()
        self._subscribe()
        self._begin(seed)

    # -- topics --------------------------------------------------------------------------------------------

    def _advertise(self) -> None:
        self._transport.advertise("/sim/world", "std_msgs/Float64MultiArray")
        self._transport.advertise("/sim/result", "std_msgs/String", latch=True)
        self.sensors.advertise()

    def _subscribe(self) -> None:
        for topic, kind, callback in (
            ("/sim/tool_target", "geometry_msgs/PoseStamped", self._take_pose),
            ("/sim/tool_twist", "geometry_msgs/TwistStamped", self._take_twist),
            ("/sim/joint_trajectory", "trajectory_msgs/JointTrajectory", self._take_trajectory),
            ("/sim/joint_positions", "std_msgs/Float64MultiArray", self._take_joints),
            ("/sim/joint_velocities", "std_msgs/Float64MultiArray", self._take_joint_speeds),
            ("/sim/gripper", "std_msgs/Float64MultiArray", self._take_gripper),
            ("/sim/reset", "std_msgs/Int64", self._take_reset),
        ):
            self._transport.subscribe(Subscription(topic, kind, callback))
        action, kind = "/sim/gripper_cmd", "control_msgs/GripperCommand"
        if self._transport.ros_version == 2 and hasattr(self._transport, "serve"):
            self._transport.serve(action, kind, self._take_goal)
        elif self._transport.ros_version == 1:
            take: Callable[[Message], None] = lambda message: self._take_goal(message["goal"])  # noqa: E731
            try:
                self._transport.subscribe(Subscription(f"{action}/goal", f"{kind}ActionGoal", take))
            except SetupError as error:  # Debian has no control_msgs; the gripper's topic is there
                _log.warning("no gripper action: %s", error.cause)

    def _take_pose(self, message: Message) -> None:
        try:
            pose = pose_of(message["pose"])
        except BadPose as error:
            _log.warning("refused: %s", error)
            return
        with self._lock:
            self._controller.take_pose(pose)
            self._begun = True

    def _take_twist(self, message: Message) -> None:
        twist = message["twist"]
        values = [twist[part][axis] for part in ("linear", "angular") for axis in "xyz"]
        with self._lock:
            self._controller.take_twist(np.array(values, float), time.monotonic())
            self._begun = True

    def _take_trajectory(self, message: Message) -> None:
        with self._lock:
            self._took(self._controller.take_trajectory(message))

    def _take_joints(self, message: Message) -> None:
        with self._lock:
            self._took(self._controller.take_joints(message["data"]))

    def _take_joint_speeds(self, message: Message) -> None:
        with self._lock:
            self._took(self._controller.take_joint_speeds(message["data"], time.monotonic()))

    def _took(self, refusal: str) -> None:
        self._begun = self._begun or not refusal
        if refusal and refusal != self._refusal:
            _log.warning("refused: %s", refusal)
        self._refusal = refusal

    def _tool_length(self) -> float:
        return self.env.tool_length

    def _take_gripper(self, message: Message) -> None:
        if message["data"]:
            with self._lock:
                self._gripper = float(np.clip(message["data"][0], 0.0, 1.0))

    def _take_goal(self, goal: Message) -> None:
        self._take_gripper({"data": [goal["command"]["position"]]})

    def _take_reset(self, message: Message) -> None:
        with self._lock:
            self._next_seed = int(message["data"])
            self._ended = None
            self._fresh = False

    # -- the world -----------------------------------------------------------------------------------------

    def _begin(self, seed: int) -> None:
        self.env.reset(seed=seed)
        with self._lock:
            self._seed, self._fresh = seed, True
            self._controller.reset(np.asarray(self.env.observe_state()[:6], float))
            self._gripper, self._ended, self._refusal = 0.0, None, ""
            self._begun, self._from = False, self.steps
        self._score = 0.0
        _log.info("seed %d: %s", seed, self.env.problem.instruction)
        self._publish_result()

    def run(self, stop: threading.Event) -> None:
        """Go on in real time until ``stop``."""
        period = 1.0 / self.env.control_hz
        due = time.monotonic()
        while not stop.is_set():
            self.tick()
            due += period
            left = due - time.monotonic()
            if left > 0:
                stop.wait(left)
            elif left < -_CATCH_UP:
                self.behind -= left
                due = time.monotonic()

    def tick(self) -> None:
        """One control period of the world, and whatever is due to be published."""
        with self._lock:
            again = None if self._fresh else self._next_seed
        if again is not None:
            self._begin(again)
        if self._begun and (self._ended is None or self._ended["reason"] == "success"):
            self._move()
        self._publish()

    def _move(self) -> None:
        with self._lock:
            space = self.env.action_space
            target = self._controller.step(time.monotonic(), 1.0 / self.env.control_hz)
            target[:3] = np.clip(target[:3], space.low[:3], space.high[:3])
            action = np.concatenate([target[:3], shortest_rotation(target[3:]), [self._gripper]])
        self.env.episode.over = False  # after a success it goes on: who is to see that all is done must be able to look
        reward, terminated, truncated, info = self.env.advance(action)
        self._score += reward
        if self._ended is not None:
            self._ended = {**self._ended, "success": info["success"]}
            return
        self.steps += 1
        if terminated or truncated:
            self._ended = info
            self._publish_result()

    # -- publishing ----------------------------------------------------------------------------------------

    def _publish(self) -> None:
        seconds = time.time() + self._offset
        if self.sensors.is_due("state", _STATE_HZ):
            self.sensors.publish_state(seconds)
        if self.sensors.wanted("/sim/world") and self.sensors.is_due("world", _WORLD_HZ):
            self._transport.publish("/sim/world", {"data": pack_sim_state(self.env, self._seed, seconds)}, newest=True)
        if self.sensors.is_due("result", _RESULT_HZ):
            self._publish_result()
        for name in self.env.sensors.cameras:
            self.sensors.publish_camera(name, seconds)

    def _publish_result(self) -> None:
        ended = self._ended
        result = {
            "seed": self._seed,
            "task": self.env.task.name,
            "instruction": self.env.problem.instruction,
            "time": round(self.env.simulation.time, 3),
            "score": round(self._score, 4),
            "ended": ended is not None,
            "success": bool(ended and ended["success"]),
            "reason": ended["reason"] if ended else "",
            "steps": self.steps - self._from,
            "actions": self.env.episode.actions,
            "drops": self.env.simulation.gripper.drops,
            "missing": self._missing() if ended and not ended["success"] else "",
        }
        self._transport.publish("/sim/result", {"data": json.dumps(result)})

    def _missing(self) -> str:
        """The sub-task that the world still asks for."""
        following = self.env.problem.goal.next(self.env.scene())
        return following.text if following else ""


def simulated_cameras(names: list[str]) -> dict[str, dict[str, Any] | None]:
    """Camera settings of an environment that publishes these: their own sizes, all with depth but the wrist's."""
    cameras: dict[str, dict[str, Any] | None] = {name: None for name in CAMERAS}
    for name in names:
        model = CAMERAS[name]
        cameras[name] = {"width": model.width, "height": model.height, "depth": name != "wrist"}
    return cameras
