"""Running the guard until a signal, and packing it into one file that needs ROS and numpy only."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import zipapp
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lohovla.errors import UserError
from lohovla.ros.guard import GuardSettings
from lohovla.ros.guard_node import GuardNode

# What the guard is made of: nothing here needs more than numpy, and Python 3.8, which ROS Noetic's Ubuntu has.
MODULES = (
    "__init__", "errors", "control/__init__", "control/limits", "control/poses", "ros/__init__", "ros/clocks",
    "ros/conversion", "ros/frames", "ros/grippers", "ros/guard", "ros/guard_app", "ros/guard_joints", "ros/guard_node",
    "ros/guard_paths", "ros/guard_speed", "ros/messages", "ros/namespace", "ros/native", "ros/ros1", "ros/ros2",
    "ros/trajectories", "ros/transport",
)  # fmt: skip
_MAIN = '''"""Made by `lohovla ros-guard write=...`: the guard of one robot."""
import sys
from lohovla.ros.guard_app import main
sys.exit(main({settings!r}, {generation!r}, {namespace!r}, {shared!r}))
'''


def guard_robot(transport: Any, settings: GuardSettings) -> int:
    """Guard until SIGINT or SIGTERM; the arm is brought to rest before this returns."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    node = GuardNode(transport, settings)
    print(
        f"guarding {settings.topic}: what comes on /lohovla/guarded/command passes for {settings.ttl:g} s", flush=True
    )
    node.run(stop)
    transport.close()
    print(f"{node.guard.passed} commands passed, {node.guard.refused} refused", flush=True)
    return 0


def main(settings: str, generation: int | None, namespace: str, shared: Sequence[str]) -> int:
    """What the packed file runs."""
    from lohovla.ros.namespace import within
    from lohovla.ros.native import native

    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        return guard_robot(within(native(generation), namespace, shared), GuardSettings.of(json.loads(settings)))
    except UserError as error:
        print(f"guard: {error.cause}\n       {error.remedy}", file=sys.stderr)
        return 2


def write_app(
    path: Path, settings: GuardSettings, generation: int | None, namespace: str = "", shared: Sequence[str] = ()
) -> None:
    """Write the guard with these settings as one file for ``python3``, 3.8 or newer."""
    package = Path(__file__).resolve().parents[1]
    with TemporaryDirectory() as made:
        root = Path(made)
        for name in MODULES:
            target = root / "lohovla" / f"{name}.py"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((package / f"{name}.py").read_bytes())
        names = {"namespace": namespace, "shared": list(shared)}
        text = _MAIN.format(settings=json.dumps(settings.as_json()), generation=generation, **names)
        (root / "__main__.py").write_text(text, encoding="utf-8")
        try:
            zipapp.create_archive(root, path, "/usr/bin/env python3")
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}", "name another place with write=FILE") from None
