"""A ROS 1 node in this process. Imported only where rospy was found."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import Any

from lohovla.errors import SetupError, UserError
from lohovla.ros.transport.message_conversion import service_value
from lohovla.ros.transport.message_types import SERVICES, Message, action_goal, short_name
from lohovla.ros.transport.native_node import NativeNode, Throttle, fill_service, service_from_native
from lohovla.ros.transport.transport import Handler, ServiceFailed, Subscription, respond

_BUFFER = 2**24  # bytes that rospy reads at once; less than a picture makes it fall behind


class Rospy(NativeNode):
    """A ROS 1 node in this process; a process can have one."""

    ros_version = 1

    def __init__(self, name: str = "lohovla"):
        super().__init__()
        import rosgraph  # pyright: ignore[reportMissingImports]
        import roslib.message  # pyright: ignore[reportMissingImports]
        import rospy  # pyright: ignore[reportMissingImports]

        self._rospy, self._roslib, self._rosgraph = rospy, roslib.message, rosgraph
        if not rosgraph.is_master_online():
            where = os.environ.get("ROS_MASTER_URI", "ROS_MASTER_URI, which is not set")
            raise UserError(f"no ROS master answers at {where}", "start roscore")
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        rospy.init_node(name, anonymous=True, disable_signals=True)
        # It puts handlers of its own in place of the program's, whose lines would vanish from the terminal.
        root.setLevel(min(level, root.level) if handlers else root.level)
        for handler in handlers:
            if handler not in root.handlers:
                root.addHandler(handler)
        for noisy in ("rosout", "rospy"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self._kept: list[Any] = []
        self._goals = 0

    @property
    def connected(self) -> bool:
        return not self._rospy.is_shutdown()

    def _installed(self, name: str) -> tuple[Any, dict[str, str]]:
        known = self._roslib.get_message_class(name)
        if known is None:
            raise SetupError(f"this ROS has no {name}", f"install {name.partition('/')[0]}")
        return known, dict(zip(known.__slots__, known._slot_types))

    def advertise(self, topic: str, type: str, latch: bool = False) -> None:
        publisher = self._rospy.Publisher(topic, self._class(type), queue_size=1, latch=latch, tcp_nodelay=True)
        self._publishers[topic] = type, publisher

    def wanted(self, topic: str) -> bool:
        """Whether anybody hears it."""
        return self._publishers[topic][1].get_num_connections() > 0

    def subscribe(self, subscription: Subscription) -> None:
        callback = Throttle(subscription)
        self._kept.append(
            self._rospy.Subscriber(
                subscription.topic,
                self._class(subscription.type),
                callback,
                queue_size=1,
                buff_size=_BUFFER,
                tcp_nodelay=True,
            )
        )

    def offer(self, service: str, type: str, handler: Handler) -> None:
        try:
            known = self._service(type)
        except ServiceFailed as error:
            raise SetupError(str(error), f"install {type.partition('/')[0]}") from None
        asked, answered = SERVICES[type]

        def reply(request: Any) -> Any:
            values = respond(service, type, handler, service_from_native(asked, request))
            if values is None:
                return None  # rospy tells the caller that it failed
            wire = service_value(answered, values, 1)
            return fill_service(known._response_class(), answered, wire, 1, self._make)

        self._kept.append(self._rospy.Service(service, known, reply))

    def _service(self, type: str) -> Any:
        known = self._roslib.get_service_class(type)
        if known is None:
            raise ServiceFailed(f"this ROS has no service type {type}")
        return known

    def call(self, service: str, type: str, request: Mapping[str, Any], timeout: float) -> Message:
        asked, answered = SERVICES[type]
        if type == "rosapi/TopicType":  # the master knows it, with rosapi or without
            return {"type": self._topics().get(str(request["topic"]), "")}
        known, rospy = self._service(type), self._rospy
        native = fill_service(known._request_class(), asked, service_value(asked, request, 1), 1, self._make)
        try:
            rospy.wait_for_service(service, timeout)
            return service_from_native(answered, rospy.ServiceProxy(service, known)(native))
        except (rospy.ROSException, rospy.ServiceException) as error:
            raise ServiceFailed(f"{service}: {error}") from None

    def _topics(self) -> dict[str, str]:
        """The types of all topics that the master knows of."""
        try:
            return {topic: short_name(kind) for topic, kind in self._rosgraph.Master("/lohovla").getTopicTypes()}
        except (OSError, self._rosgraph.MasterException) as error:
            raise ServiceFailed(f"the ROS master does not answer: {error}") from None

    def act(self, action: str, type: str, goal: Mapping[str, Any]) -> None:
        topic = f"{action}/goal"
        if topic not in self._publishers:
            self.advertise(topic, f"{type}ActionGoal")
        self._goals += 1
        self.publish(topic, action_goal(goal, f"lohovla{self._goals}", time.time()))

    def close(self) -> None:
        self._rospy.signal_shutdown("the end")
