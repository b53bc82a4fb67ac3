"""Small data sets as LeRobot's own writers leave them, of versions 2.1 and 3.0, whose every picture says what it is."""

import json
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

FPS = 10
STEP = 4  # levels of grey between two pictures; a lossy codec is off by less than half of it


def grey(episode, frame):
    """The level that fills the picture of a frame."""
    return 20 + 60 * (episode % 3) + STEP * (frame % 14)


def picture(episode, frame, size):
    return np.full((*size, 3), grey(episode, frame), np.uint8)


def write_video(path, pictures, fps=FPS, codec="libx264", gop=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps))
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        stream.options = {"g": str(gop), "crf": "10", "x265-params": "log-level=none"}
        stream.codec_context.thread_count = 1
        for each in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(each, format="rgb24")))
        container.mux(stream.encode())


def png(image):
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return {"bytes": buffer.getvalue(), "path": "frame.png"}


def make_set(
    root,
    lengths=(12, 9, 10),
    version="v3.0",
    cameras=None,
    fps=FPS,
    codec="libx264",
    gop=2,
    images=False,
    state_names=("x", "y", "z"),
    action_names=("dx", "dy", "gripper"),
    columns=None,
    extra=None,
    tasks=("Push the block.", "Open the drawer."),
    video_fps=None,
):
    """Write a data set.

    ``columns`` maps a column to a function of (episode, length) that gives its values, ``extra`` features to entries.
    """
    root, cameras = Path(root), {"front": (32, 48)} if cameras is None else cameras
    v3 = version.startswith("v3")
    rng = np.random.default_rng(0)
    kind = "image" if images else "video"
    features = {
        f"observation.images.{name}": {"dtype": kind, "shape": [*size, 3], "names": ["height", "width", "channels"]}
        for name, size in cameras.items()
    }
    features["observation.state"] = {"dtype": "float32", "shape": [len(state_names)], "names": list(state_names)}
    features["action"] = {"dtype": "float32", "shape": [len(action_names)], "names": list(action_names)}
    for name in ("timestamp", "frame_index", "episode_index", "index", "task_index"):
        features[name] = {"dtype": "float32" if name == "timestamp" else "int64", "shape": [1], "names": None}
    features |= extra or {}
    tables, videos, total = [], {name: [] for name in cameras}, 0
    for episode, length in enumerate(lengths):
        steps = np.arange(length)
        closed = (steps >= length // 2).astype(float)
        made = {
            "observation.state": np.cumsum(rng.normal(size=(length, len(state_names))), axis=0).astype(np.float32),
            "action": np.column_stack([rng.normal(size=(length, len(action_names) - 1)), closed]).astype(np.float32),
            "timestamp": (steps / fps).astype(np.float32),
            "frame_index": steps,
            "episode_index": np.full(length, episode),
            "index": total + steps,
            "task_index": np.full(length, episode % len(tasks)),
        }
        made |= {name: values(episode, length) for name, values in (columns or {}).items()}
        table = pa.table({name: pa.array(list(values)) for name, values in made.items()})
        for name, size in cameras.items():
            pictures = [picture(episode, frame, size) for frame in range(length)]
            if images:
                table = table.append_column(f"observation.images.{name}", pa.array([png(each) for each in pictures]))
            else:
                videos[name].append(pictures)
        tables.append(table)
        total += length
    info = {
        "codebase_version": version,
        "robot_type": "so100",
        "total_episodes": len(lengths),
        "total_frames": total,
        "total_tasks": len(tasks),
        "chunks_size": 1000,
        "fps": fps,
        "splits": {"train": f"0:{len(lengths)}"},
        "features": features,
    }
    place = "chunk-{chunk_index:03d}/file-{file_index:03d}" if v3 else "chunk-{episode_chunk:03d}"
    single = "" if v3 else "/episode_{episode_index:06d}"
    info["data_path"] = f"data/{place}{single}.parquet"
    info["video_path"] = f"videos/{{video_key}}/{place}.mp4" if v3 else f"videos/{place}/{{video_key}}{single}.mp4"
    (root / "meta").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    rate = video_fps or fps
    if v3:
        _summarise_v3(root, lengths, cameras if not images else {}, fps, tasks)
        _put(root / "data/chunk-000/file-000.parquet", pa.concat_tables(tables, promote_options="permissive"))
        for name, own in videos.items() if not images else ():
            path = root / f"videos/observation.images.{name}/chunk-000/file-000.mp4"
            write_video(path, [each for pictures in own for each in pictures], rate, codec, gop)
    else:
        rows = [{"episode_index": k, "tasks": [tasks[k % len(tasks)]], "length": n} for k, n in enumerate(lengths)]
        _put_lines(root / "meta/episodes.jsonl", rows)
        _put_lines(root / "meta/tasks.jsonl", [{"task_index": k, "task": text} for k, text in enumerate(tasks)])
        for episode, table in enumerate(tables):
            _put(root / f"data/chunk-000/episode_{episode:06d}.parquet", table)
        for name, own in videos.items() if not images else ():
            for episode, pictures in enumerate(own):
                path = root / f"videos/chunk-000/observation.images.{name}/episode_{episode:06d}.mp4"
                write_video(path, pictures, rate, codec, gop)
    return root


def _summarise_v3(root, lengths, cameras, fps, tasks):
    ends = np.cumsum(lengths)
    rows = []
    for episode, (length, end) in enumerate(zip(lengths, ends.tolist(), strict=True)):
        row = {
            "episode_index": episode,
            "tasks": [tasks[episode % len(tasks)]],
            "length": length,
            "dataset_from_index": end - length,
            "dataset_to_index": end,
            "data/chunk_index": 0,
            "data/file_index": 0,
        }
        for name in cameras:
            key = f"videos/observation.images.{name}"
            row |= {f"{key}/chunk_index": 0, f"{key}/file_index": 0}
            row |= {f"{key}/from_timestamp": (end - length) / fps, f"{key}/to_timestamp": end / fps}
        rows.append(row)
    _put(root / "meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist(rows))
    numbers = {"task_index": list(range(len(tasks))), "task": list(tasks)}
    _put(root / "meta/tasks.parquet", pa.table(numbers))


def _put(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _put_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def change_info(root, **changes):
    """Write other values into ``info.json``."""
    path = Path(root) / "meta/info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_table(path, **columns):
    """Put other values into a table's columns: functions of the values there."""
    table = pq.read_table(path)
    for name, change in columns.items():
        at = table.column_names.index(name)
        values = np.array(table[name].to_pylist())
        table = table.set_column(at, name, pa.array(list(change(values))))
    pq.write_table(table, path)
