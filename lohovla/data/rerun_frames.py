"""Frames of data sets for the Rerun viewer: whole episodes, and samples as training picks them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lohovla.data.training_set import TrainingSet
from lohovla.rerun_recording import RerunRecording


def write_episode_to_rerun(training_set: TrainingSet, number: int, path: Path, held_out: bool = False) -> int:
    """Write an episode: pictures, state, action, words and progress of every frame, by ``frame`` and ``time``.

    Args:
        training_set: of the data set.
        number: of the episode, among those trained on.
        path: the .rrd file.
        held_out: among the others instead.

    Returns:
        How many frames there are.
    """
    episode, features = training_set.episode(number, held_out), training_set.features
    recording = RerunRecording(path)
    recording.set_time(0, 0.0, "frame")
    recording.words("goal", episode["instruction"])
    said = ""
    for frame, seconds in enumerate(episode["time"].tolist()):
        recording.set_time(frame, seconds, "frame")
        seen = {key: value[frame] for key, value in episode.items() if key.startswith("images.") or key == "state"}
        recording.observation(seen, features.state_names)
        recording.numbers("action", episode["action"][frame], features.action_names)
        if episode["subtask"][frame] != said:
            said = episode["subtask"][frame]
            recording.words("subtask", said or "none")
        if np.isfinite(episode["progress"][frame]):
            recording.numbers("progress", [episode["progress"][frame]], ["subtask"])
    recording.close()
    return len(episode["time"])


def record_samples(training_set: TrainingSet, batch_size: int, path: Path) -> None:
    """Write the first batch of a training, a sample a moment: its pictures, state, words, and the chunk to be learned.

    The chunk's actions are curves over ``sample`` for its first action, and a chart ``chunk`` of all of them.
    """
    batch, features = training_set.batch(0, batch_size), training_set.features
    recording = RerunRecording(path)
    for row in range(len(batch["instruction"])):
        recording.set_time(row, line="sample")
        seen = {
            key: value[row].numpy()
            for key, value in batch.items()
            if key.startswith(("images.", "goal.")) or key == "state"
        }
        recording.observation(seen, features.state_names)
        recording.words("goal", batch["instruction"][row])
        recording.words("subtask", batch["subtask"][row] or "none")
        action = batch["action"][row].numpy()
        recording.numbers("action", action[0], features.action_names)
        recording.chart("chunk", action)
        recording.numbers("chunk_actions", [float((~batch["action_is_pad"][row]).sum())], ["own"])
    recording.close()
