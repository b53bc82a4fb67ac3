"""How well a core does on episodes that it was not trained on: losses, and errors of actions in their units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lohovla.data.training_set import TrainingSet
from lohovla.model.inference.pick_place_prediction import subtask_from_tokens
from lohovla.model.inference.robot_actions import action_chunk, read_subtask
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.robot_processor import RobotProcessor
from lohovla.train.imitation.demonstration_batch import ImitationSettings, demonstration_batch
from lohovla.train.imitation.demonstration_forward import DemonstrationForward

_BATCH, _MOST = 64, 8  # samples of a batch, and batches


class HeldOut:
    """Figures of the held-out episodes of a training set.

    Args:
        training_set: with held-out episodes.
        processor: of the core.
        steps: denoising steps.
    """

    def __init__(self, training_set: TrainingSet, processor: RobotProcessor, steps: int = 6):
        self._set, self._processor, self._steps = training_set, processor, steps
        self._as_they_are = ImitationSettings(0, 0.0, 1, 0.0, 0.0)

    @torch.no_grad()
    def figures(self, model: LoHoVLA) -> dict[str, float]:
        """Mean losses, and ``error/<name>``: mean absolute error of each number of an action, in its unit."""
        sums: dict[str, list[float]] = {}
        wrong: list[np.ndarray] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for batch in self._set.held_out_batches(_BATCH, _MOST):
                demonstrations = demonstration_batch(batch, self._processor).to(model.device)
                forward = DemonstrationForward(model, demonstrations, self._processor, self._as_they_are)
                for name, loss in forward.losses().items():
                    sums.setdefault(name, []).append(float(loss))
                said = predict_chunks(model, self._processor, batch, self._steps)
                away = np.abs(said - batch["action"].numpy())
                wrong.append(away[~batch["action_is_pad"].numpy()])
        if not wrong:
            return {}
        means = np.concatenate(wrong).mean(0)
        named = zip(self._processor.features.action_names, means, strict=True)
        losses = {name: sum(values) / len(values) for name, values in sums.items()}
        return {**losses, **{f"error/{name}": float(value) for name, value in named}}

    @torch.no_grad()
    def plot(self, model: LoHoVLA, path: Path) -> Path | None:
        """Draw predicted over true actions of a held-out episode, each chunk after the one before; None without one."""
        if not self._set.held_out_episodes:
            return None
        episode = self._set.episode(0, held_out=True)
        horizon, actions = model.config.chunk_size, np.asarray(episode["action"])
        starts = list(range(0, len(actions), horizon))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            chunks = predict_chunks(model, self._processor, rows_of(episode, starts), self._steps)
        said = np.concatenate(list(chunks))[: len(actions)]
        draw_open_loop(actions, said, self._processor.features.action_names, self._processor.features.fps, path)
        return path


def rows_of(episode: Mapping[str, Any], frames: Sequence[int]) -> dict[str, Any]:
    """A batch of some frames of a whole episode."""
    chosen = list(frames)
    arrays = {name: value[chosen] for name, value in episode.items() if isinstance(value, np.ndarray)}
    subtasks = [episode["subtask"][frame] for frame in chosen]
    return {**arrays, "subtask": subtasks, "instruction": [episode["instruction"]] * len(chosen)}


@torch.no_grad()
def predict_chunks(model: LoHoVLA, processor: RobotProcessor, batch: Mapping[str, Any], steps: int) -> np.ndarray:
    """Chunks (B, H, A) in the actions' units for a batch of a training set, told its sub-tasks where it has them."""
    images = {n.removeprefix("images."): torch.as_tensor(v) for n, v in batch.items() if n.startswith("images.")}
    subtasks = list(batch["subtask"])
    inputs = processor.inputs(images, torch.as_tensor(batch["state"]), list(batch["instruction"]), subtasks)
    prefix = model.encode_robot(inputs.to(model.device))
    tokens = [processor.words(text) for text in subtasks]
    context = read_subtask(model, subtask_from_tokens(model, prefix, tokens, processor.start), prefix)
    noise = torch.randn(len(subtasks), model.config.chunk_size, model.config.action_dim).to(model.device)
    return processor.actions(action_chunk(model, context, steps, noise), np.asarray(batch["state"], np.float32))


def draw_open_loop(true: np.ndarray, said: np.ndarray, names: Sequence[str], fps: float, path: Path) -> None:
    """Plot true and predicted actions (T, A) over time, a panel a number."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    seconds = np.arange(len(true)) / fps
    figure = Figure(figsize=(9, 1.3 * len(names) + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for number, (panel, name) in enumerate(zip(panels, names, strict=True)):
        panel.plot(seconds, true[:, number], label="demonstration", color="black", linewidth=1.0)
        panel.plot(seconds, said[:, number], label="predicted", color="tab:orange", linewidth=1.0)
        panel.set_ylabel(name, rotation=0, ha="right", fontsize=8)
    panels[0].legend(loc="upper right", fontsize=7, ncols=2)
    panels[-1].set_xlabel("time in s")
    figure.savefig(path, dpi=110)
