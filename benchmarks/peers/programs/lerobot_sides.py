"""LeRobot's side of reading, writing, inference and training, run by a Python that has it."""

from __future__ import annotations

import itertools
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.append(str(Path(__file__).parent.parent))
from lerobot.configs.default import DatasetConfig  # type: ignore[import-not-found]
from lerobot.configs.train import TrainPipelineConfig  # type: ignore[import-not-found]
from lerobot.datasets.factory import make_dataset  # type: ignore[import-not-found]
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # type: ignore[import-not-found]
from lerobot.policies.act.configuration_act import ACTConfig  # type: ignore[import-not-found]
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig  # type: ignore[import-not-found]
from lerobot.policies.factory import make_policy, make_pre_post_processors  # type: ignore[import-not-found]
from turn_process import repeat, serve_turns  # type: ignore[import-not-found]


def prepare(side: str, threads: int, **settings: Any) -> Any:
    """Make a side ready."""
    torch.set_num_threads(threads)
    if side in ("read", "train"):
        settings["workers"] = threads
    return {"read": _read, "write": _write, "infer": _infer, "train": _train}[side](**settings)


def _endless(data: Any, batch: int, workers: int) -> Any:
    options: dict[str, Any] = {"num_workers": workers, "prefetch_factor": 2 if workers else None}
    if getattr(data.meta, "has_language_columns", False):
        from lerobot.utils.collate import lerobot_collate_fn  # type: ignore[import-not-found]

        options["collate_fn"] = lerobot_collate_fn
    loader = torch.utils.data.DataLoader(data, batch_size=batch, shuffle=True, drop_last=True, **options)
    return itertools.chain.from_iterable(itertools.repeat(loader))


def _read(root: str, chunk: int, batch: int, workers: int) -> Any:
    fps = LeRobotDataset("own/set", root=root).fps
    data = LeRobotDataset("own/set", root=root, delta_timestamps={"action": [k / fps for k in range(chunk)]})
    batches = _endless(data, batch, workers)
    for _ in range(2 * workers + 1):  # what was prefetched while its workers started
        next(batches)
    return repeat(lambda: next(batches), batch), {}


def _write(root: str, height: int, width: int, length: int) -> Any:
    shutil.rmtree(root, ignore_errors=True)
    picture = {"dtype": "video", "shape": (height, width, 3), "names": ["height", "width", "channels"]}
    vector = {"dtype": "float32", "shape": (7,), "names": [f"x{k}" for k in range(7)]}
    cameras = [f"observation.images.{name}" for name in ("top", "wrist")]
    features = {**dict.fromkeys(cameras, picture), "observation.state": vector, "action": vector}
    made = LeRobotDataset.create("own/set", fps=20, features=features, root=root, robot_type="bench", use_videos=True)
    films = {name: list(_frames(number, length, height, width)) for number, name in enumerate(cameras)}
    values = np.linspace(0.0, 1.0, 7 * length, dtype=np.float32).reshape(length, 7)

    def once() -> None:
        for k in range(length):
            pictures = {name: film[k] for name, film in films.items()}
            made.add_frame({**pictures, "observation.state": values[k], "action": values[k], "task": "Move."})
        made.save_episode()

    return repeat(once, length), {}


def _frames(seed: int, count: int, height: int, width: int) -> Any:
    """The same pictures as ``own_sides.drawn_frames``."""
    rng = np.random.default_rng(seed)
    still = np.kron(rng.integers(60, 200, (height // 8, width // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    for k in range(count):
        picture, place = still.copy(), (2 * k) % (width - 24)
        picture[40:64, place : place + 24] = (200, 40, 40)
        yield picture


def _made(root: str, chunk: int, policy: str) -> Any:
    given = {"device": "cpu", "push_to_hub": False, "pretrained_backbone_weights": None}
    if policy == "act":
        config = ACTConfig(chunk_size=chunk, n_action_steps=chunk, **given)
    else:
        config = DiffusionConfig(
            horizon=chunk, n_action_steps=8, num_inference_steps=10, noise_scheduler_type="DDIM", **given
        )
    data = make_dataset(TrainPipelineConfig(dataset=DatasetConfig(repo_id="own/set", root=root), policy=config))
    model = make_policy(config, ds_meta=data.meta)
    before, after = make_pre_post_processors(config, dataset_stats=data.meta.stats)
    facts = {"million weights": round(sum(p.numel() for p in model.parameters()) / 1e6, 1)}
    return config, data, model, before, after, facts


def _infer(root: str, chunk: int, policy: str = "act") -> Any:
    config, data, model, before, after, facts = _made(root, chunk, policy)
    model.eval()
    row = data[0]
    seen = {key: row[key] if row[key].ndim != 4 else row[key][-1] for key in config.input_features}
    seen = {key: value[-1] if key == "observation.state" and value.ndim == 2 else value for key, value in seen.items()}

    @torch.no_grad()
    def once() -> None:
        model.reset()
        after(model.select_action(before(dict(seen))))

    return repeat(once), facts


def _train(root: str, chunk: int, batch: int, workers: int) -> Any:
    config, data, model, before, _, facts = _made(root, chunk, "act")
    model.train()
    batches = _endless(data, batch, workers)
    optimizer = config.get_optimizer_preset().build(model.get_optim_params())

    def once() -> None:
        given = next(batches)
        for key in data.meta.camera_keys:
            given[key] = given[key].float() / 255 if given[key].dtype == torch.uint8 else given[key]
        loss, _ = model.forward(before(given))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.get_optimizer_preset().grad_clip_norm)
        optimizer.step()
        loss.item()

    once()
    return repeat(once, batch), facts


if __name__ == "__main__":
    serve_turns(prepare)
