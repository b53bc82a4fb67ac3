"""What each stage of training lowers: losses of the stem, of the core, of continuous commands and of progress."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from lohovla.model.action.action_expert import ee_condition, ee_waypoints, scale_ee
from lohovla.model.action.flow_matching import sample_time
from lohovla.model.attention_mask import expert_attention_mask
from lohovla.model.encoders.detection_loss import WEIGHTS, detection_losses
from lohovla.model.encoders.detector import DetectionMap
from lohovla.model.inference.subgoal_generation import render_subgoal
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor
from lohovla.model.subgoal.autoencoder import downsample
from lohovla.train.training_batch import ActionChunks, LabelledBatch
from lohovla.train.training_forward import TrainingForward, masked_mean

_SMALL_NOISE = 0.1
_TRUE_PICTURES = 0.5  # share of batches whose sub-goal pictures are the camera's
_PLAIN = 0.25  # share of observations whose objects are told by facts alone


def stem_losses(model: LoHoVLA, batch: LabelledBatch) -> dict[str, Tensor]:
    """Losses of the stem alone: what the simulator knows of every object, weighted."""
    seen = model.stem(batch.inputs.picture.to(model.dtype))
    losses = detection_losses(seen, batch.objects, model.config)
    return {f"see/{name}": WEIGHTS[name] * loss for name, loss in losses.items()}


def core_losses(model: LoHoVLA, batch: LabelledBatch, processor: Processor) -> dict[str, Tensor]:
    """Losses of planning (both ways), pointing, acting with ``pick_place`` and progress; the stem stays as it is."""
    with torch.no_grad():
        seen, objects = model.detect_objects(batch.inputs)
        after = model.stem(batch.after.to(model.dtype))
    # Tables have no features: some pictures without them tie what was learned from both.
    plain = torch.rand(len(objects.features), 1, 1, device=objects.features.device) < _PLAIN
    objects = replace(objects, features=torch.where(plain, 0.0, objects.features))
    if model.config.use_subtasks:
        subgoal = model.subgoal_entry(seen, _seen_of_pictures(model, batch, after))
        sequence = TrainingForward(
            model, batch.with_subgoal_image(processor.end), seen, objects, processor, subgoal=subgoal
        )
        losses = sequence.text_losses() | sequence.point_losses()
    else:
        sequence = TrainingForward(model, batch.goal_alone(), seen, objects, processor, noised=False)
        losses = sequence.point_losses()
    losses["act/pick_place"] = sequence.action_loss()
    losses["progress"] = progress_loss(model, batch, seen, after)
    return losses


@torch.no_grad()
def _seen_of_pictures(model: LoHoVLA, batch: LabelledBatch, after: DetectionMap) -> DetectionMap:
    """What the stem sees in sub-goal pictures: those of the camera, or such as are painted."""
    true = bool(torch.rand(()) < _TRUE_PICTURES)
    return after if true else model.stem(as_painted(model, batch).to(model.dtype))


def as_painted(model: LoHoVLA, batch: LabelledBatch) -> Tensor:
    """The pictures after the moves (B, 4, H, W), all that changes as a painter that makes no mistake would paint it."""
    if "autoencoder" not in model.config.trained_stages:
        return batch.after
    now = batch.inputs.picture
    both = model.autoencoder.encode(downsample(torch.cat([now, batch.after]))).mode()
    observed, tokens = model.painter.tokens(both).chunk(2)
    return render_subgoal(model, now, observed, tokens)


@torch.no_grad()
def expert_inputs(
    model: LoHoVLA, batch: LabelledBatch, processor: Processor
) -> tuple[Tensor, list[tuple[Tensor, Tensor]], TrainingForward]:
    """What an expert reads: the points (B, 2, 5) as the model reads them, the cache, and the sequence.

    They are of the oracle's sub-task, or of the goal alone where the model learns no sub-tasks.
    """
    seen, objects = model.detect_objects(batch.inputs)
    told = batch.oracle_only() if model.config.use_subtasks else batch.goal_alone()
    sequence = TrainingForward(model, told, seen, objects, processor, noised=False)
    return sequence.read_points(0), model.expert_cache(sequence.cache), sequence


def motion_loss(model: LoHoVLA, batch: LabelledBatch, pieces: ActionChunks, processor: Processor) -> Tensor:
    """Flow matching of ``ee`` chunks; the first d actions are given clean (Training-time RTC), d drawn at random.

    The points are those read out at the true cells, so that the expert meets the errors that it will meet.
    """
    points, cache, sequence = expert_inputs(model, batch, processor)
    valid = expert_attention_mask(sequence.layout, 0)
    count, n = pieces.state.shape[:2]
    points, valid = points.repeat_interleave(n, 0), valid.repeat_interleave(n, 0)
    cache = [(keys.repeat_interleave(n, 0), values.repeat_interleave(n, 0)) for keys, values in cache]
    state, action, motion = (x.flatten(0, 1) for x in (pieces.state, pieces.action, pieces.motion))
    data = scale_ee(action, state)
    noise = torch.randn_like(data)
    horizon = data.shape[1]
    t = sample_time((count * n, 1), data.device).expand(-1, horizon)
    given = torch.randint(0, model.config.max_prefix + 1, (count * n, 1), device=data.device)
    given = torch.where(torch.rand_like(given.float()) < 0.5, 0, given)
    clean = torch.arange(horizon, device=data.device) < given
    t = torch.where(clean, 0.0, t)
    x = t[..., None] * noise + (1 - t[..., None]) * data
    anchors = ee_waypoints(points, state, model.config.observe_position)
    velocity = model.experts["ee"](x, t, ee_condition(points, state, motion), cache, valid, anchors)
    # Velocities are divided by the noise level; without a bound its smallest values would outweigh all others.
    weight = t.clamp(min=_SMALL_NOISE)[..., None] / _SMALL_NOISE
    error = F.smooth_l1_loss(velocity * weight, (noise - data) * weight, reduction="none").mean(-1)
    wanted = ~clean & sequence.exists[:, 0].repeat_interleave(n)[:, None]
    return masked_mean(error, wanted)


def progress_loss(model: LoHoVLA, batch: LabelledBatch, seen: DetectionMap, after: DetectionMap) -> Tensor:
    """Binary cross-entropy of "done": true moves, moves that failed, no move, and sub-tasks not carried out."""
    exists = ~batch.points.isnan().any(-1).any(-1)
    points = torch.nan_to_num(batch.points, nan=0.05)
    with torch.no_grad():
        before, now, others, others_now = (
            model.progress.sample_features(m, p)
            for m, p in (
                (seen, points[:, 0]),
                (after, points[:, 0]),
                (seen, points[:, 1]),
                (after, points[:, 1]),
            )
        )
    moved_alike = (points[:, 0] - points[:, 1])[..., :2].norm(dim=-1).amax(-1) < 0.03
    logits = torch.cat(
        [
            model.progress(before, now, points[:, 0]),
            model.progress(before, before, points[:, 0]),
            model.progress(others, others_now, points[:, 1]),
        ]
    )
    zeros = torch.zeros_like(batch.reached)
    wanted = torch.cat([batch.reached, zeros, zeros])
    known = torch.cat([exists[:, 0], exists[:, 0], exists[:, 1] & ~moved_alike])
    return masked_mean(F.binary_cross_entropy_with_logits(logits, wanted, reduction="none"), known)
