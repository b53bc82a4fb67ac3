"""Planning from tables: what the stem would say of a scene, made from what the simulator knows of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.encoders.detector import HEIGHT_UNIT, Detections, cell_centres, heatmap_cells, join_facts
from lohovla.model.encoders.object_schema import KINDS, LABEL, LABEL_XY, LABELS, N_COLORS, N_SUPPORTS
from lohovla.model.model_inputs import ModelInputs
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor
from lohovla.train.training_batch import LabelledBatch
from lohovla.train.training_forward import TrainingForward

_POSITION, _HEIGHT = 0.0015, 0.03  # standard deviations: m, and units of the stem's height
_SURE = (0.9, 1.0)  # share of the truth in what is said of a colour or support
_NOISED = 0.34  # share of batches that also learn block diffusion


def table_losses(model: LoHoVLA, batch: dict[str, Any], processor: Processor) -> dict[str, Tensor]:
    """Losses of the next sub-task: its words, what it picks, and what becomes of each object on the way to the goal.

    A model that can write it also learns the goal's meaning (``program``).

    Args:
        model: the core.
        batch: of :class:`lohovla.collect.symbolic_scenes.TableScenes`, collated.
        processor: of the model.
    """
    goal, valid = processor.goals(batch["instruction"])
    tokens = torch.stack([processor.subtasks([text]) for text in batch["subtask"]])
    tokens = torch.cat([tokens, torch.full_like(tokens, processor.end)], 1)  # and without words
    points = batch["points"][:, None].expand(-1, 2, -1, -1).float()
    nothing = points.new_zeros(len(goal), 0)
    inputs = ModelInputs(nothing, batch["state"].float(), goal, valid)
    given = LabelledBatch(inputs, tokens, points, batch["objects"], nothing, nothing).to(model.device)
    noised = bool(torch.rand(()) < _NOISED)
    objects = synthetic_detections(given.objects, model.config)
    program = None
    if processor.program_start is not None and any(batch["program"]):
        words, real = processor.programs(batch["program"])
        program = words.to(model.device), real.to(model.device)
    sequence = TrainingForward(model, given, None, objects, processor, noised, program=program)
    losses = sequence.text_losses() | sequence.object_losses()
    losses["roles"] = sequence.role_loss(batch["roles"].to(model.device))
    return losses if program is None else losses | {"program": sequence.program_loss()}


def synthetic_detections(table: Tensor, config: LoHoVLAConfig) -> Detections:
    """Objects (B, K) as the stem chooses and describes them: in order of certainty, with errors, other cells after.

    Features are zero: nothing but facts is known. Each description is as of ``top_detections``.

    Args:
        table: (B, N, 10) as :func:`lohovla.collect.privileged_labels.objects_of` gives them; kind -1 is none.
        config: of the model.
    """
    count = config.num_object_tokens
    real = table[..., LABEL["kind"]] >= 0
    chance, rest = torch.rand_like(table[..., 0]), torch.rand_like(table[..., 0])
    score = torch.where(real, 0.5 + 0.5 * chance, 0.02 * rest**3)
    score, order = score.topk(count, dim=1)
    rows = table.gather(1, order[..., None].expand(-1, -1, table.shape[-1]))
    real = real.gather(1, order)
    rows = torch.where(real[..., None], rows, _random_background(rows, config))
    label = {name: rows[..., column] for name, column in LABEL.items()}
    kind = label["kind"].long()
    xy = rows[..., LABEL_XY] + _POSITION * torch.randn_like(rows[..., LABEL_XY])
    cell = heatmap_cells(config, xy)
    height = label["z"][..., None] / HEIGHT_UNIT
    facts = join_facts(
        {
            "kind": F.one_hot(kind, len(KINDS)).float(),
            "score": score[..., None],
            "offset": (xy - cell_centres(config, cell)) / xy.new_tensor(config.cell_size),
            "height": height + _HEIGHT * torch.randn_like(height),
            "turn": torch.stack([torch.cos(4 * label["yaw"]), torch.sin(4 * label["yaw"])], -1),
            "color": _soften(label["color"], N_COLORS),
            "big": _soften(label["big"], 2)[..., 1:],
            "support": _soften(label["support"], N_SUPPORTS),
            "support_color": _soften(label["support_color"], N_COLORS + 1),
            "occupied": _soften(label["occupied"], 2)[..., 1:],
        }
    )
    return Detections(facts.new_zeros(*kind.shape, config.stem_dim), facts, xy, cell)


def _soften(value: Tensor, count: int) -> Tensor:
    """One of ``count`` as probabilities (..., count) that are nearly sure."""
    truth = F.one_hot(value.long(), count).float()
    sure = torch.empty_like(truth[..., :1]).uniform_(*_SURE)
    other = torch.rand_like(truth)
    return sure * truth + (1 - sure) * other / other.sum(-1, keepdim=True)


def _random_background(rows: Tensor, config: LoHoVLAConfig) -> Tensor:
    """Descriptions of cells where nothing is: anything, anywhere."""
    anything = torch.rand_like(rows)
    low = rows.new_tensor([limits[0] for limits in config.workspace_xy])
    high = rows.new_tensor([limits[1] for limits in config.workspace_xy])
    most = {"kind": len(KINDS), "color": N_COLORS, "big": 2, "z": 0.05, "yaw": 1.5}
    most |= {"support": N_SUPPORTS, "support_color": N_COLORS + 1, "occupied": 2}
    drawn = anything * rows.new_tensor([most.get(name, 0) for name in LABELS])
    drawn[..., LABEL_XY] = low + anything[..., LABEL_XY] * (high - low)
    for name in ("kind", "color", "big", "support", "support_color", "occupied"):
        drawn[..., LABEL[name]] = drawn[..., LABEL[name]].floor()
    return drawn
