"""LoHoVLA's side of each part, as a process that works in turns."""

from __future__ import annotations

import itertools
import multiprocessing
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from lohovla.benchmarks.peers.turn_process import Work, repeat, serve_turns
from lohovla.data.training_set import DatasetChoice, TrainingSet
from lohovla.errors import UserError
from lohovla.settings.hydra_config import compose


def prepare(side: str, threads: int, **settings: Any) -> tuple[Work, dict[str, Any]]:
    """Make a side ready."""
    torch.set_num_threads(threads)
    return _SIDES[side](**settings)


def _opened(root: str, cache: str, chunk: int, height: int) -> TrainingSet:
    return TrainingSet.open(
        [DatasetChoice(root)],
        rename={},
        cameras=None,
        image_height=height,
        chunk_size=chunk,
        held_out=0.0,
        seed=1,
        cache=Path(cache),
    )


def _config(*words: str) -> dict[str, Any]:
    """The settings of `lohovla train dataset=...`."""
    return dict(OmegaConf.to_container(compose("train-dataset", list(words))))  # type: ignore[arg-type]


def _read(root: str, cache: str, chunk: int, batch: int, height: int) -> tuple[Work, dict[str, Any]]:
    batches = _opened(root, cache, chunk, height).prefetched(0, batch)
    return repeat(lambda: next(batches), batch), {}


def _write(root: str, height: int, width: int, length: int) -> tuple[Work, dict[str, Any]]:
    from lohovla.data.dataset_layout import STAGING, frame_features, video_feature
    from lohovla.data.episode_record import EpisodeRecord, stage
    from lohovla.data.writer import DatasetWriter

    shutil.rmtree(root, ignore_errors=True)
    names, fps = [f"x{k}" for k in range(7)], 20
    features = {f"observation.images.{name}": video_feature(height, width, fps) for name in ("top", "wrist")}
    pictures = {name: list(drawn_frames(number, length, height, width)) for number, name in enumerate(features)}
    features |= {key: entry for key, entry in frame_features(names, names).items() if key in _WRITTEN}
    values = np.linspace(0.0, 1.0, 7 * length, dtype=np.float32).reshape(length, 7)
    columns = {"observation.state": values, "action": values}
    writer, numbers = DatasetWriter(Path(root), features, fps, {}, "bench"), itertools.count()

    def once() -> None:
        staged = Path(root) / STAGING / str(next(numbers))
        stage(EpisodeRecord(columns, pictures, {"task": "Move.", "plan": []}), fps, staged)
        writer.commit(staged)

    return repeat(once, length), {}


def drawn_frames(seed: int, count: int, height: int, width: int) -> Iterator[np.ndarray]:
    """Pictures uint8 (height, width, 3) of a square that moves over a still background, as a camera sees a table."""
    rng = np.random.default_rng(seed)
    still = np.kron(rng.integers(60, 200, (height // 8, width // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    for k in range(count):
        picture, place = still.copy(), (2 * k) % (width - 24)
        picture[40:64, place : place + 24] = (200, 40, 40)
        yield picture


def _infer(root: str, cache: str, chunk: int, height: int) -> tuple[Work, dict[str, Any]]:
    from lohovla.train.imitation.held_out import predict_chunks, rows_of
    from lohovla.train.run_imitation import new_robot_model

    data = _opened(root, cache, chunk, height)
    recipe = _config(f"dataset={root}")["recipe"]["model"]
    model, processor = new_robot_model({**recipe, "chunk_size": chunk}, data.features, data.sentences, 0, True)
    model.eval()
    rows = rows_of(data.episode(0, held_out=False), [0])
    work = repeat(lambda: predict_chunks(model, processor, rows, 4))
    return work, {"million weights": round(sum(p.numel() for p in model.parameters()) / 1e6, 1)}


class _InTurns:
    """Batches for a trainer that stands still between turns."""

    def __init__(self, batches: Any, size: int):
        self.inner, self.size = batches, size
        self.count, self.seed = 0, batches.seed
        self._go, self._idle = threading.Event(), threading.Event()

    def settings(self) -> dict[str, Any]:
        return self.inner.settings()

    def batches(self, stage: Any, start: int, rank: int, world: int) -> Iterator[dict[str, Any]]:
        for batch in self.inner.batches(stage, start, rank, world):
            if not self._go.is_set():
                self._idle.set()
                self._go.wait()
            yield batch
            self.count += self.size

    def work(self, seconds: float) -> int:
        """Let the trainer go on for so long, and wait for the step that it is in; returns samples."""
        self._idle.wait()  # it may not have come to its first batch yet
        before = self.count
        self._idle.clear()
        self._go.set()
        threading.Event().wait(seconds)
        self._go.clear()
        self._idle.wait()
        return self.count - before


def _train(root: str, cache: str, chunk: int, batch: int, height: int, output: str) -> tuple[Work, dict[str, Any]]:
    from lohovla.train.run_imitation import ImitationRun

    words = [f"dataset={root}", f"cache={cache}", f"image_height={height}", f"batch_size={batch}", "device=cpu"]
    shutil.rmtree(output, ignore_errors=True)
    run = ImitationRun(_config(*words, f"recipe.model.chunk_size={chunk}", "save_seconds=1e9"))
    turns: list[_InTurns] = []

    def through(batches: Any) -> _InTurns:
        turns.append(_InTurns(batches, batch))
        return turns[0]

    trainer = run.trainer(Path(output), through)
    threading.Thread(target=trainer.run, daemon=True).start()
    weights = sum(p.numel() for p in trainer.model.parameters())
    return turns[0].work, {"million weights": round(weights / 1e6, 1)}


def _serve(shapes: Mapping[str, Any]) -> tuple[Work, dict[str, Any]]:
    from lohovla.benchmarks.serve.server_process import ServerProcess
    from lohovla.client.policy_client import PolicyClient

    factory = "policy.factory=lohovla.benchmarks.peers.still_policy:StillPolicy"
    server = ServerProcess("policy=custom", factory, "threads=1")
    client = PolicyClient(server.url)
    asked = {key for key, entry in client.metadata["observations"].items() if entry["shape"] is not None}
    if asked != shapes.keys():
        raise SystemExit(f"the server reads {sorted(asked)}, and the peer is sent {sorted(shapes)}")
    seen = {key: np.zeros(shape, kind) for key, (shape, kind) in shapes.items()}
    client.reset(seed=1)
    return repeat(lambda: client.infer({**seen, "instruction": "Stack the blocks."})), {}


def _simulate() -> tuple[Work, dict[str, Any]]:
    from lohovla.envs.env import BlocksEnv

    pictures = {
        "top": {"height": 96, "width": 96, "depth": False},
        "wrist": {"height": 96, "width": 96, "depth": False},
    }
    env = BlocksEnv(task="pick-and-place-primitive", control="ee", cameras=pictures)
    seeds = itertools.count(10001, 2)
    env.reset(seed=next(seeds))
    hold = np.array([0.5, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0], np.float32)

    def once() -> None:
        hold[:2] = 0.5 + 0.1 * np.sin(next(turn) / 20.0), 0.1 * np.cos(next(turn) / 20.0)
        _, _, terminated, truncated, _ = env.step(hold)
        if terminated or truncated:
            env.reset(seed=next(seeds))

    turn = itertools.count()
    return repeat(once), {"control Hz": env.control_hz}


def _hear(server: list[str], topics: list[str], kind: str) -> tuple[Work, dict[str, Any]]:
    from lohovla.ros.transport.rosbridge_client import Rosbridge
    from lohovla.ros.transport.transport import Subscription
    from lohovla.ros.vision.image_messages import color_of

    process = subprocess.Popen(server, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    transport = Rosbridge(process.stdout.readline().strip())
    came: list[tuple[int, ...]] = []
    for topic in topics:
        transport.subscribe(Subscription(topic, kind, lambda message: came.append(color_of(message).shape)))
    while not came:  # the turns begin when pictures come
        time.sleep(0.01)

    def work(seconds: float) -> tuple[int, float]:
        before, spent = len(came), time.process_time()
        time.sleep(seconds)
        return len(came) - before, time.process_time() - spent

    return work, {}


def _evaluate(workers: int) -> tuple[Work, dict[str, Any]]:
    """Groups of episodes over worker processes, as `lohovla evaluate` plays them."""
    from concurrent.futures import ProcessPoolExecutor

    from lohovla.evaluate.evaluation_worker import EpisodeGroup, play_group

    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    seeds = itertools.count(10001, 2)

    def once() -> None:
        groups = [
            EpisodeGroup(_EVALUATED, tuple(itertools.islice(seeds, 4)), "oracle", _PICK_PLACE) for _ in range(workers)
        ]
        for result in pool.map(play_group, groups):
            assert result.rows

    return repeat(once, 4 * workers), {}


def _loop(workers: int) -> tuple[Work, dict[str, Any]]:
    """One episode after the other: reset, and step until it ends."""
    import gymnasium

    import lohovla.envs  # noqa: F401  registers them
    from lohovla.envs.oracle import Oracle
    from lohovla.envs.tasks.names import VERSION, gym_name

    env: Any = gymnasium.make(f"lohovla/{gym_name(_EVALUATED, VERSION)}", **_PICK_PLACE)
    oracle, seeds = Oracle(env.unwrapped), itertools.count(10001, 2)

    def once() -> None:
        env.reset(seed=next(seeds))
        oracle.reset()
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(oracle.act())
            over = terminated or truncated

    return repeat(once), {}


_EVALUATED, _PICK_PLACE = "put-block-into-matching-bowl", {"control": "pick_place", "cameras": {}}
_WRITTEN = ("observation.state", "action")
_SIDES = {
    "read": _read,
    "write": _write,
    "infer": _infer,
    "train": _train,
    "serve": _serve,
    "simulate": _simulate,
    "hear": _hear,
    "evaluate": _evaluate,
    "loop": _loop,
}
if __name__ == "__main__":
    try:
        serve_turns(prepare)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
