"""What a simulated robot's sensors publish: joint states, the tool's pose, the gripper, and the cameras' pictures."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from lohovla.geometry.ur5e_kinematics import JOINTS
from lohovla.ros.robot.pose_conversion import pose_message
from lohovla.ros.transport.message_types import Message, header
from lohovla.ros.vision.image_messages import compressed, image


class SimulatedSensors:
    """Publishes what is measured in a ``BlocksEnv``, each topic at a rate of its own and only where somebody listens.

    Args:
        env: the environment; its cameras are what is published.
        transport: to ROS.
        camera_hz: pictures a second.
    """

    def __init__(self, env: Any, transport: Any, camera_hz: float):
        self._env, self._transport, self._camera_hz = env, transport, camera_hz
        self._due: dict[str, float] = {}

    def advertise(self) -> None:
        """Say what will be published."""
        transport = self._transport
        for topic, kind in (
            ("/joint_states", "sensor_msgs/JointState"),
            ("/sim/tool_pose", "geometry_msgs/PoseStamped"),
            ("/sim/gripper_state", "std_msgs/Float64"),
        ):
            transport.advertise(topic, kind)
        for name in self._env.sensors.cameras:
            transport.advertise(f"/camera/{name}/color/image_raw", "sensor_msgs/Image")
            transport.advertise(f"/camera/{name}/color/image_raw/compressed", "sensor_msgs/CompressedImage")
            transport.advertise(f"/camera/{name}/color/camera_info", "sensor_msgs/CameraInfo")
            if f"depth.{name}" in self._env.observation_space.spaces:
                transport.advertise(f"/camera/{name}/depth/image_raw", "sensor_msgs/Image")

    def is_due(self, what: str, rate: float) -> bool:
        """Whether something that is published ``rate`` times a second is due now."""
        now = time.monotonic()
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = max(self._due.get(what, now) + 1.0 / rate, now - 1.0 / rate)
        return True

    def wanted(self, topic: str) -> bool:
        """Whether somebody listens, as far as the transport can tell."""
        ask = getattr(self._transport, "wanted", None)
        return True if ask is None else ask(topic)

    def publish_state(self, seconds: float) -> None:
        """Joints, the tool's pose and the gripper, stamped ``seconds``."""
        state = self._env.observe_state().astype(float)
        head = header(seconds, "base_link")
        joints = self._env.simulation.joints
        velocity = self._env.simulation.data.qvel[:6]
        self._transport.publish(
            "/joint_states",
            {"header": head, "name": list(JOINTS), "position": joints.tolist(), "velocity": velocity.tolist()},
            newest=True,
        )
        self._transport.publish("/sim/tool_pose", {"header": head, "pose": pose_message(state[:6])}, newest=True)
        self._transport.publish("/sim/gripper_state", {"data": float(state[6])}, newest=True)

    def publish_camera(self, name: str, seconds: float) -> None:
        """A camera's pictures, where they are due, stamped ``seconds``."""
        base = f"/camera/{name}"
        topics = [f"{base}/color/image_raw", f"{base}/color/image_raw/compressed", f"{base}/depth/image_raw"]
        wanted = [topic for topic in topics if self.wanted(topic)]
        if not wanted or not self.is_due(name, self._camera_hz):
            return
        color, steps = self._see(name)
        frame = f"{name}_optical"
        if topics[0] in wanted:
            self._transport.publish(topics[0], image(color, "rgb8", seconds, frame), newest=True)
        if topics[1] in wanted:
            self._transport.publish(topics[1], compressed(color, "jpeg", seconds, frame), newest=True)
        if topics[2] in wanted and steps is not None:
            self._transport.publish(topics[2], image(steps, "16UC1", seconds, frame), newest=True)
        if self.is_due(f"{name} info", 2.0):
            self._transport.publish(f"{base}/color/camera_info", self._info(name, seconds, frame), newest=True)

    def _see(self, name: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Colour, and depth in steps, of a camera now."""
        from lohovla.envs.render.renderer import render_camera_picture, render_color
        from lohovla.envs.sensors import depth_unit

        simulation, camera = self._env.simulation, self._env.sensors.cameras[name]
        size = camera.width, camera.height
        if f"depth.{name}" not in self._env.observation_space.spaces:
            return render_color(simulation.model, simulation.data, name, *size), None
        color, depth = render_camera_picture(simulation.model, simulation.data, name, *size)
        steps = np.clip(np.rint(depth / np.float32(depth_unit(camera))), 0, 2**15 - 1).astype(np.uint16)
        return color, steps

    def _info(self, name: str, seconds: float, frame: str) -> Message:
        camera = self._env.sensors.cameras[name]
        k = camera.intrinsics.copy()
        k[:2, 2] -= 0.5  # ROS counts pixels by their centres
        return {
            "header": header(seconds, frame),
            "width": camera.width,
            "height": camera.height,
            "distortion_model": "plumb_bob",
            "d": [0.0] * 5,
            "k": k.ravel().tolist(),
            "r": np.eye(3).ravel().tolist(),
            "p": np.hstack([k, np.zeros((3, 1))]).ravel().tolist(),
        }
