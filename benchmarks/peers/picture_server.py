"""A rosbridge server with two cameras of 640 x 480 as JPEG: prints its URL, and runs until it is killed."""

from __future__ import annotations

import sys
import threading
import time

from lohovla.benchmarks.ros.ros import CAMERAS, picture_topic, timed_pictures
from lohovla.ros.transport.in_process_ros import InProcessRos, LocalTransport
from lohovla.ros.transport.rosbridge_server import RosbridgeServer

TYPE = "sensor_msgs/CompressedImage"


def main(camera_hz: float) -> None:
    """Publish both cameras at a rate."""
    graph = InProcessRos()
    node = LocalTransport(graph)
    for name in CAMERAS:
        node.advertise(picture_topic(name), TYPE)
    server = RosbridgeServer(graph, port=0).start()
    print(server.url, flush=True)
    pictures, due = timed_pictures("jpeg"), time.monotonic()
    for number in range(sys.maxsize):
        threading.Event().wait(max(due - time.monotonic(), 0.0))
        for name in CAMERAS:
            node.publish(picture_topic(name), pictures[number % len(pictures)](time.time()))
        due = max(due + 1.0 / camera_hz, time.monotonic() - 1.0 / camera_hz)


if __name__ == "__main__":
    main(float(sys.argv[1]))
