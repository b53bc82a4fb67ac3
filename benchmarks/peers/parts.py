"""The parts of the comparison: what is measured, and the contenders, this project's own first."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lohovla.benchmarks.peers.contender import Contender
from lohovla.benchmarks.peers.peer_environments import peer_python

CHUNK, BATCH, HEIGHT = 16, 64, 96
_CAMERA_HZ, _TOPICS = 30.0, ["/front/image", "/left/image"]
_PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class PartContext:
    """What contenders are made from.

    Attributes:
        folder: for what they write.
        demonstrations: a data set of the simulator's ``ee`` demonstrations.
        threads: of each contender's arithmetic, and worker processes of a loader.
        python: interpreters by peer, where the user has some.
    """

    folder: Path
    demonstrations: Path
    threads: int
    python: Mapping[str, str | None]

    def own(self, side: str, **settings: object) -> Contender:
        """LoHoVLA's side of a part."""
        command = [sys.executable, "-m", "lohovla.benchmarks.peers.own_sides"]
        return Contender("lohovla", command, {"side": side, "threads": self.threads, **settings}, self._environment)

    def peer(self, peer: str, name: str, program: str, **settings: object) -> Contender:
        """A peer's side: a program beside this module, run by its own interpreter."""
        command = [peer_python(peer, self.python), str(_PROGRAMS / f"{program}.py")]
        return Contender(name, command, {"threads": self.threads, **settings}, self._environment)

    @property
    def _environment(self) -> dict[str, str]:
        offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(self.folder / "hf")}
        return {"OMP_NUM_THREADS": str(self.threads), "MUJOCO_GL": "egl", **offline}


@dataclass(frozen=True)
class Part:
    """One comparison.

    Attributes:
        about: what is measured, for people.
        unit: what is counted.
        contenders: makes them; the first is this project's.
        demonstrations: whether it needs the data set.
        by_cpu: whether the ratio is of processor time, where the rate is given.
    """

    about: str
    unit: str
    contenders: Callable[[PartContext], list[Contender]]
    demonstrations: bool = False
    by_cpu: bool = False


def _reading(context: PartContext) -> list[Contender]:
    settings = {"root": str(context.demonstrations), "chunk": CHUNK, "batch": BATCH}
    return [
        context.own("read", cache=str(context.folder / "cache"), height=HEIGHT, **settings),
        context.peer("lerobot", "lerobot 0.6.1, DataLoader", "lerobot_sides", side="read", **settings),
    ]


def _writing(context: PartContext) -> list[Contender]:
    settings = {"height": 128, "width": 128, "length": 60}
    return [
        context.own("write", root=str(context.folder / "written"), **settings),
        context.peer(
            "lerobot",
            "lerobot 0.6.1, LeRobotDataset",
            "lerobot_sides",
            side="write",
            root=str(context.folder / "written-by-lerobot"),
            **settings,
        ),
    ]


def _inference(context: PartContext) -> list[Contender]:
    settings = {"root": str(context.demonstrations), "chunk": CHUNK}
    return [
        context.own("infer", cache=str(context.folder / "cache"), height=HEIGHT, **settings),
        context.peer("lerobot", "lerobot 0.6.1, ACT", "lerobot_sides", side="infer", **settings),
        context.peer(
            "lerobot", "lerobot 0.6.1, Diffusion Policy", "lerobot_sides", side="infer", policy="diffusion", **settings
        ),
    ]


def _training(context: PartContext) -> list[Contender]:
    settings = {"root": str(context.demonstrations), "chunk": CHUNK, "batch": BATCH}
    own = {"cache": str(context.folder / "cache"), "height": HEIGHT, "output": str(context.folder / "trained")}
    return [
        context.own("train", **own, **settings),
        context.peer("lerobot", "lerobot 0.6.1, ACT", "lerobot_sides", side="train", **settings),
    ]


def _serving(context: PartContext) -> list[Contender]:
    shapes = {
        "images.top": ((160, 320, 3), "uint8"),
        "images.wrist": ((128, 128, 3), "uint8"),
        "state": ((13,), "float32"),
    }
    return [
        context.own("serve", shapes=shapes),
        context.peer("openpi", "openpi's protocol, its client 0.1.2", "openpi_sides", shapes=shapes),
    ]


def _simulation(context: PartContext) -> list[Contender]:
    return [
        context.own("simulate"),
        context.peer("metaworld", "MetaWorld 3.1.1, as it comes", "metaworld_sides", cheap=False),
        context.peer("metaworld", "MetaWorld 3.1.1, cheap rendering", "metaworld_sides", cheap=True),
        context.peer("robosuite", "robosuite 1.5.2, Stack", "robosuite_sides"),
    ]


def _hearing(context: PartContext) -> list[Contender]:
    server = [sys.executable, "-m", "lohovla.benchmarks.peers.picture_server", str(_CAMERA_HZ)]
    settings = {"server": server, "topics": _TOPICS, "kind": "sensor_msgs/CompressedImage"}
    return [context.own("hear", **settings), context.peer("roslibpy", "roslibpy 2.1.0", "roslibpy_sides", **settings)]


def _evaluation(context: PartContext) -> list[Contender]:
    own = context.own("evaluate", workers=2)
    return [own, replace(own, name="a plain Gymnasium loop", settings={**own.settings, "side": "loop"})]


PARTS: dict[str, Part] = {
    "simulation": Part("a simulator step with two cameras", "steps", _simulation),
    "reading": Part(f"demonstrations read in shuffled batches of {BATCH}", "samples", _reading, True),
    "writing": Part("demonstrations written, two cameras as video", "frames", _writing),
    "inference": Part("pictures and state to a chunk of 16 actions", "chunks", _inference, True),
    "training": Part(f"training steps on the same demonstrations, batches of {BATCH}", "samples", _training, True),
    "serving": Part("policy server, one client, a policy that answers at once", "replies", _serving),
    "rosbridge": Part("pictures of 640 x 480 at 30 Hz from two cameras heard", "pictures", _hearing, by_cpu=True),
    "evaluation": Part("episodes of the oracle, pick_place, two workers", "episodes", _evaluation),
}
