"""A world small enough to be learned in a test: a point in a picture goes to the square that the words name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from gymnasium.spaces import Box

from lohovla.data.features import CameraFeature, RobotFeatures
from lohovla.data.parquet import write_index
from lohovla.train.run_imitation import new_robot_model

SIZE, FPS, CHUNK, REACH, NEAR = 32, 10, 8, 0.08, 0.06
COLORS = {"red": (220, 40, 40), "blue": (40, 60, 220)}


class PointWorld:
    """Positions are in [-1, 1]; an action moves the point by at most ``REACH`` along each axis."""

    name, control, control_hz = "points", "action", float(FPS)
    action_space = Box(-1.0, 1.0, (2,), np.float32)
    features = RobotFeatures((CameraFeature("top", SIZE, SIZE),), ("x", "y"), ("dx", "dy"), float(FPS))

    def reset(self, seed: int) -> dict:
        rng = np.random.default_rng(seed)
        while True:
            places = rng.uniform(-0.7, 0.7, (2, 2))
            if np.abs(places[0] - places[1]).max() > 0.4:
                break
        self.squares = dict(zip(COLORS, places, strict=True))
        self.target = str(rng.choice(list(COLORS)))
        self.tip = rng.uniform(-0.7, 0.7, 2)
        return self.observation()

    def observation(self) -> dict:
        picture = np.full((SIZE, SIZE, 3), 200, np.uint8)
        for color, place in self.squares.items():
            self._draw(picture, place, COLORS[color], 3)
        self._draw(picture, self.tip, (20, 20, 20), 1)
        words = f"Go to the {self.target} square."
        return {"images.top": picture, "state": self.tip.astype(np.float32), "instruction": words}

    @staticmethod
    def _draw(picture: np.ndarray, place: np.ndarray, color: tuple[int, int, int], half: int) -> None:
        column, row = np.rint((place + 1) / 2 * (SIZE - 1)).astype(int)
        picture[max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1] = color

    def expert(self) -> np.ndarray:
        return np.clip((self.squares[self.target] - self.tip) / REACH, -1, 1).astype(np.float32)

    def step(self, action: np.ndarray) -> dict:
        self.tip = np.clip(self.tip + np.clip(action, -1, 1) * REACH, -1, 1)
        return self.observation()

    @property
    def solved(self) -> bool:
        return bool(np.abs(self.squares[self.target] - self.tip).max() < NEAR)


def write_dataset(root: Path, episodes: int, length: int = 16, subtasks: bool = False, camera: str = "top") -> Path:
    """Demonstrations of the expert as a LeRobotDataset v3.0: one table, one video, as lerobot writes it.

    With ``subtasks`` the sentence of an episode is ``Go on.`` and the sub-task names the square.
    """
    world, rows, pictures, lengths, tasks = PointWorld(), [], [], [], []
    for episode in range(episodes):
        world.reset(2 * episode)
        for frame in range(length):
            seen, action = world.observation(), world.expert()
            sentence = "Go on." if subtasks else seen["instruction"]
            if sentence not in tasks:
                tasks.append(sentence)
            rows.append(
                {
                    "observation.state": seen["state"],
                    "action": action,
                    "timestamp": np.float32(frame / FPS),
                    "frame_index": frame,
                    "episode_index": episode,
                    "index": len(rows),
                    "task_index": tasks.index(sentence),
                    **({"subtask_index": list(COLORS).index(world.target)} if subtasks else {}),
                }
            )
            pictures.append(seen["images.top"])
            world.step(action)
        lengths.append(length)
    key = f"observation.images.{camera}"
    _write_video(root / f"videos/{key}/chunk-000/file-000.mp4", pictures)
    _write_tables(root, rows, lengths, tasks, key, subtasks)
    return root


def _write_video(path: Path, pictures: list[np.ndarray]) -> None:
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", FPS, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv444p"
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        file.mux(stream.encode())


def _write_tables(root: Path, rows: list[dict], lengths: list[int], tasks: list[str], key: str, subtasks: bool) -> None:
    scalars = ("timestamp", "frame_index", "episode_index", "index", "task_index", *(["subtask_index"] * subtasks))
    columns = {name: pa.array([row[name] for row in rows]) for name in scalars}
    columns["timestamp"] = columns["timestamp"].cast(pa.float32())
    for name in ("observation.state", "action"):
        columns[name] = pa.array([row[name].tolist() for row in rows], pa.list_(pa.float32(), 2))
    for folder in ("data/chunk-000", "meta/episodes/chunk-000"):
        (root / folder).mkdir(parents=True)
    pq.write_table(pa.table(columns), root / "data/chunk-000/file-000.parquet")
    ends = np.cumsum(lengths)
    episodes = {
        "episode_index": list(range(len(lengths))),
        "tasks": [[tasks[rows[end - 1]["task_index"]]] for end in ends],
        "length": lengths,
        "data/chunk_index": [0] * len(lengths),
        "data/file_index": [0] * len(lengths),
        "dataset_from_index": [int(end - length) for end, length in zip(ends, lengths, strict=True)],
        "dataset_to_index": [int(end) for end in ends],
        f"videos/{key}/chunk_index": [0] * len(lengths),
        f"videos/{key}/file_index": [0] * len(lengths),
        f"videos/{key}/from_timestamp": [float((end - n) / FPS) for end, n in zip(ends, lengths, strict=True)],
        f"videos/{key}/to_timestamp": [float(end / FPS) for end in ends],
        "meta/episodes/chunk_index": [0] * len(lengths),
        "meta/episodes/file_index": [0] * len(lengths),
    }
    pq.write_table(pa.table(episodes), root / "meta/episodes/chunk-000/file-000.parquet")
    write_index(root / "meta/tasks.parquet", "task", {text: number for number, text in enumerate(tasks)})
    numbers = {name: {"dtype": "int64", "shape": [1], "names": None} for name in scalars}
    numbers["timestamp"]["dtype"] = "float32"
    features = {
        key: {"dtype": "video", "shape": [SIZE, SIZE, 3], "names": ["height", "width", "channels"]},
        "observation.state": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
        "action": {"dtype": "float32", "shape": [2], "names": ["dx", "dy"]},
        **numbers,
    }
    if subtasks:
        sentences = {f"Go to the {color} square.": number for number, color in enumerate(COLORS)}
        write_index(root / "meta/subtasks.parquet", "subtask", sentences)
    info = {
        "codebase_version": "v3.0",
        "robot_type": "point",
        "total_episodes": len(lengths),
        "total_frames": len(rows),
        "total_tasks": len(tasks),
        "chunks_size": 1000,
        "fps": FPS,
        "splits": {"train": f"0:{len(lengths)}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features,
    }
    (root / "meta/info.json").write_text(json.dumps(info))


TINY_DECODER = {
    "model_type": "qwen3",
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 48,
}
TINY = {
    "detector": False,
    "chunk_size": CHUNK,
    "camera_width": 24,
    "expert_dim": 96,
    "expert_layers": 2,
    "expert_heads": 2,
    "max_prefix": 3,
    "max_subtask": 10,
    "text_config": TINY_DECODER,
}


def tiny_model(cameras: dict[str, tuple[int, int]] | None = None, subtasks: bool = True, **settings):
    """An untrained core for this world, or for other cameras (height and width by name), and its processor."""
    statistics = {
        name: [value] * 2
        for name, value in {"mean": 0.1, "std": 0.5, "min": -1.0, "max": 1.0, "q01": -0.9, "q99": 0.9}.items()
    }
    features = replace(
        PointWorld.features,
        cameras=tuple(CameraFeature(n, *size) for n, size in (cameras or {"top": (SIZE, SIZE)}).items()),
        statistics={"state": statistics, "action": statistics, "learned_action": statistics},
    )
    sentences = ["Go on.", *(f"Go to the {color} square." for color in COLORS)]
    model, processor = new_robot_model({**TINY, **settings}, features, sentences, 0, subtasks)
    # Untrained heads say nothing: here their answers depend on what they read.
    torch.nn.init.normal_(model.experts["action"].leave.weight, std=0.3)
    return model, processor


def train_words(root: Path, out: Path, *words: str) -> list[str]:
    """What is typed to train a tiny core on a data set of this world."""
    model = {name: value for name, value in TINY.items() if name not in ("text_config", "detector", "max_subtask")}
    return [
        "train",
        f"dataset={root}",
        f"output={out}",
        f"cache={root.parent / 'cache'}",
        f"image_height={SIZE}",
        "batch_size=16",
        "threads=1",
        "recipe.imitation.shift=0",
        "recipe.imitation.color=0",
        *(f"recipe.model.{name}={value}" for name, value in model.items()),
        *(f"recipe.model.text_config.{name}={value}" for name, value in TINY_DECODER.items()),
        *words,
    ]
