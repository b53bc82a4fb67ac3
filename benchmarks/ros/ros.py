"""The bridge to a robot: two cameras of 640 x 480 at 30 Hz through a rosbridge server, image in to command out.

The robot (graph, server, cameras) is a process of its own, as it would be another machine, and shares the cores. A
command carries the stamp of the picture that it answers, so that the robot's side tells how long it took: the way of
the picture into the bridge and its decoding, and the way of the command back. First with nothing in between, which is
what the bridge adds, with raw pictures and with JPEG; then with the shipped model in between, in its process.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from lohovla.benchmarks.bench_utils import emit, markdown_table
from lohovla.control.inference.inference_messages import InferenceRequest
from lohovla.control.inference.inference_worker import BackgroundWorker
from lohovla.errors import UserError

CAMERAS, HEIGHT, WIDTH = ("front", "left"), 480, 640
_WANTED, _OLDEST = 25.0, 100.0  # ms
_SETTLE = 1.0  # s that do not count
_COMMAND = "/bench/target"


def run(seconds: float, camera_hz: float, checkpoint: str | None) -> dict[str, Any]:
    """Measure for ``seconds`` each; print a table and the JSON line."""
    if not 0.0 < camera_hz <= 120.0:
        raise UserError(f"camera_hz cannot be {camera_hz}", "camera_hz=30 is the default")
    if seconds < 2.0 * _SETTLE:
        raise UserError(f"seconds must be at least {2 * _SETTLE:g}, not {seconds}", "seconds=30 is enough")
    found = {kind: measure(partial(echo, kind=kind), kind, seconds, camera_hz) for kind in ("jpeg", "raw")}
    worker = BackgroundWorker(partial(_policy, checkpoint), "process")
    try:
        worker.wait()
        decide = partial(_decide, kind="jpeg", worker=worker, observation=_observation())
        found["jpeg, with the model"] = measure(decide, "jpeg", seconds, camera_hz)
    finally:
        worker.close()
    print(markdown_table([{"pictures": kind, **values} for kind, values in found.items()]))
    bare, whole = found["jpeg"], found["jpeg, with the model"]
    behind = [kind for kind in ("jpeg", "raw") if found[kind]["late"] or found[kind]["drift_ms"] > _WANTED]
    print(f"the bridge adds {bare['median_ms']:.1f} ms; it falls behind with {' and '.join(behind) or 'neither'}")
    return emit(
        "ros",
        "image in to command out, JPEG, median",
        bare["median_ms"],
        "ms",
        wanted=_WANTED,
        raw_ms=found["raw"]["median_ms"],
        with_model_ms=whole["median_ms"],
        model_ms=whole["model_ms"],
        load=round(os.getloadavg()[0], 1),
        falls_behind=behind,
        cameras=len(CAMERAS),
        camera_hz=camera_hz,
        seconds=seconds,
        found=found,
    )


# -- the robot's side --------------------------------------------------------------------------------------


def _robot(pipe: Any, kind: str, camera_hz: float) -> None:
    """Serve two cameras until told to end; then tell when each command came, and of which picture it was."""
    from lohovla.ros.transport.in_process_ros import InProcessRos, LocalTransport
    from lohovla.ros.transport.message_types import seconds_of
    from lohovla.ros.transport.rosbridge_server import RosbridgeServer
    from lohovla.ros.transport.transport import Subscription

    graph = InProcessRos()
    node, came, shown, ended = LocalTransport(graph), [], [], threading.Event()

    def take(message: Any) -> None:
        came.append((time.time(), seconds_of(message["header"]["stamp"])))

    node.subscribe(Subscription(_COMMAND, "geometry_msgs/PoseStamped", take))
    for name in CAMERAS:
        node.advertise(picture_topic(name), _type(kind))
    server = RosbridgeServer(graph, port=0).start()
    pipe.send(server.url)
    pictures = timed_pictures(kind)

    def show(name: str, offset: float) -> None:
        due = time.monotonic() + offset
        while not ended.wait(max(due - time.monotonic(), 0.0)):
            seconds = time.time()
            shown.append(seconds)
            node.publish(picture_topic(name), pictures[len(shown) % len(pictures)](seconds))
            due = max(due + 1.0 / camera_hz, time.monotonic() - 1.0 / camera_hz)

    threads = [
        threading.Thread(target=show, args=(name, k * 0.5 / camera_hz), daemon=True) for k, name in enumerate(CAMERAS)
    ]
    for thread in threads:
        thread.start()
    pipe.recv()
    ended.set()
    for thread in threads:
        thread.join()
    server.close()
    pipe.send((np.array(came).reshape(-1, 2), np.array(shown)))


def timed_pictures(kind: str) -> list[Callable[[float], Any]]:
    """Makers of messages, by their stamp: what a camera driver does before is not the bridge's."""
    from lohovla.ros.vision.image_messages import compressed, image

    pixels = [np.roll(_scene(), 40 * k, axis=1) for k in range(4)]
    if kind == "raw":
        return [partial(image, one, "rgb8", frame="eye") for one in pixels]
    made = [compressed(one, "jpeg", 0.0, "eye") for one in pixels]
    return [lambda seconds, one=one: {**one, **_stamped(seconds)} for one in made]


def _stamped(seconds: float) -> dict[str, Any]:
    from lohovla.ros.transport.message_types import header

    return {"header": header(seconds, "eye")}


def _scene() -> np.ndarray:
    """A table with blocks as the simulator's camera sees it, uint8 (480, 640, 3)."""
    from lohovla.envs.env import BlocksEnv
    from lohovla.envs.render.renderer import render_color

    env = BlocksEnv("put-block-into-matching-bowl", cameras={})
    env.reset(seed=1)
    return render_color(env.simulation.model, env.simulation.data, "front", WIDTH, HEIGHT)


def picture_topic(name: str) -> str:
    """The topic of a camera."""
    return f"/{name}/image"


def _type(kind: str) -> str:
    return "sensor_msgs/Image" if kind == "raw" else "sensor_msgs/CompressedImage"


# -- the bridge's side -------------------------------------------------------------------------------------


def measure(drive: Callable[[Any, float], dict[str, float]], kind: str, seconds: float, camera_hz: float) -> Any:
    """Start a robot, have ``drive`` answer its pictures, and sum up what the robot's side saw."""
    from lohovla.ros.transport.rosbridge_client import Rosbridge

    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_robot, args=(theirs, kind, camera_hz), daemon=True)
    process.start()
    client = Rosbridge(ours.recv(), 2)
    try:
        client.wait(10.0)
        client.advertise(_COMMAND, "geometry_msgs/PoseStamped")
        more = drive(client, seconds)
        client.flush()
        client.close()
        ours.send("end")
        came, shown = ours.recv()
    finally:
        client.close()
        process.join(5.0)
        process.kill()
    came = came[came[:, 0] > came[0, 0] + _SETTLE] if len(came) else came
    if len(came) < 2:
        raise UserError("no command came back", "this machine is too busy to measure on")
    ages = 1000.0 * (came[:, 0] - came[:, 1])
    quarter = max(len(ages) // 4, 1)
    return {
        "median_ms": round(float(np.median(ages)), 2),
        "p99_ms": round(float(np.percentile(ages, 99)), 2),
        "largest_ms": round(float(ages.max()), 1),
        "late": int((ages > _OLDEST).sum()) if not more else 0,
        "drift_ms": round(float(np.median(ages[-quarter:]) - np.median(ages[:quarter])), 2),
        "pictures_hz": round(float((len(shown) - 1) / np.ptp(shown)), 1),
        "commands_hz": round(float((len(came) - 1) / np.ptp(came[:, 0])), 1),
        **more,
    }


def _heard(client: Any, kind: str) -> tuple[threading.Event, list[Any]]:
    from lohovla.ros.transport.subscriptions import Subscriptions
    from lohovla.ros.transport.time_sync import ClockOffset

    new, feeds = threading.Event(), Subscriptions(client, ClockOffset())
    return new, [feeds.subscribe(picture_topic(name), _type(kind), 0.0, new.set) for name in CAMERAS]


def _answer(client: Any, stamp: Any) -> None:
    client.publish(_COMMAND, {"header": {"stamp": stamp, "frame_id": "base"}}, newest=True)


def echo(client: Any, seconds: float, kind: str) -> dict[str, float]:
    """Decode each new picture and answer it with a command."""
    from lohovla.ros.vision.image_messages import color_of

    new, feeds = _heard(client, kind)
    until, seen = time.monotonic() + seconds, [0] * len(feeds)
    while time.monotonic() < until:
        new.wait(1.0)
        new.clear()
        for k, feed in enumerate(feeds):
            newest = feed.newest
            if newest is not None and newest.order != seen[k]:
                seen[k] = newest.order
                color_of(newest.message)
                _answer(client, newest.message["header"]["stamp"])
    return {}


def _decide(client: Any, seconds: float, kind: str, worker: Any, observation: Any) -> dict[str, float]:
    """Decode the newest pictures, have the model decide, answer, and so on: as fast as the model goes."""
    from lohovla.ros.vision.image_messages import color_of

    new, feeds = _heard(client, kind)
    _ask(worker, InferenceRequest(-2, "reset", 0, 0.0))
    plan = _ask(worker, InferenceRequest(-1, "plan", 0, 0.0, observation=observation)).result
    until, spent = time.monotonic() + seconds, []
    while time.monotonic() < until:
        new.wait(1.0)
        new.clear()
        if any(feed.newest is None for feed in feeds):
            continue
        newest = [feed.newest for feed in feeds]
        for one in newest:
            color_of(one.message)
        reply = _ask(worker, InferenceRequest(len(spent), "chunk", 0, 0.0, observation=observation, plan=plan))
        spent.append(1000.0 * reply.seconds)
        _answer(client, min(newest, key=lambda one: one.taken).message["header"]["stamp"])
    return {"model_ms": round(float(np.median(spent)), 2), "model_p99_ms": round(float(np.percentile(spent, 99)), 2)}


def _ask(worker: Any, job: InferenceRequest) -> Any:
    worker.submit(job, 0.0)
    while not (replies := worker.poll(0.0)):
        time.sleep(5e-4)
    if replies[0].error:
        raise UserError(f"the model failed: {replies[0].error}", "checkpoint=null takes the shipped one")
    return replies[0]


def _policy(checkpoint: str | None) -> Any:
    """The model as it drives a robot; built in its own process."""
    from lohovla.evaluate.realtime_episodes import build_policy

    settings = {"checkpoint": checkpoint, "progress": "model"}
    return build_policy("lohovla", settings, "put-block-into-matching-bowl", {"control": "ee", "control_hz": 20.0})


def _observation() -> dict[str, Any]:
    """What the model sees: the top view of a scene, which this benchmark does not fuse anew for each picture."""
    from lohovla.envs.env import BlocksEnv

    env = BlocksEnv("put-block-into-matching-bowl", control="ee")
    observation, _ = env.reset(seed=1)
    return observation
