"""What the model is trained on: one pass over a batch, and its losses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache

from lohovla.model.action import (
    ee_anchors,
    ee_condition,
    ee_scaled,
    pick_place_condition,
    pick_place_scaled,
    sample_time,
)
from lohovla.model.core import Inputs, LoHoVLA
from lohovla.model.grounding import WEIGHTS, dense_losses
from lohovla.model.layout import Kind, Layout, expert_sees
from lohovla.model.pointer import to_points, to_readout
from lohovla.model.processor import Processor, picture_of
from lohovla.model.stem import KINDS, Objects, Seen, cells_of

_SMALL_NOISE = 0.1
_HIT = 0.015  # m; how near an object must be to a point to be what it points at
_JITTER = 0.35  # cells; how far the cell that is read out may lie from the one that holds the point


@dataclass
class Labelled:
    """A batch of labelled observations; S sub-tasks each: the oracle's first, then any, and last none at all.

    The last has no words and the oracle's points, so that the model can also act from the goal alone.

    Attributes:
        inputs: the observations.
        subtasks: tokens (B, S, T), ends repeated to the full length.
        points: pick and place (B, S, 2, 5); NaN where there is none.
        objects: dense targets (B, N, 10).
        after: the picture after the move (B, 4, H, W).
        reached: whether the move succeeded (B,).
    """

    inputs: Inputs
    subtasks: Tensor
    points: Tensor
    objects: Tensor
    after: Tensor
    reached: Tensor

    def oracle(self) -> Labelled:
        """The same with the oracle's sub-task alone."""
        return replace(self, subtasks=self.subtasks[:, :1], points=self.points[:, :1])

    def to(self, device: torch.device) -> Labelled:
        """On another device."""
        return Labelled(*(value.to(device) for value in vars(self).values()))


@dataclass
class Pieces:
    """Moments of motions, n of each sub-task.

    Attributes:
        state: proprioception (B, n, 13).
        motion: of the last commands (B, n, 4).
        action: what followed (B, n, H, 7); past the motion's end the last is repeated.
    """

    state: Tensor
    motion: Tensor
    action: Tensor


def labelled(batch: dict[str, Any], processor: Processor) -> Labelled:
    """Tensors of a collated batch of :class:`lohovla.collect.scenes.LabelledScenes`."""
    goal, valid = processor.goals(batch["instruction"])
    picture = picture_of(batch["images.top"], batch["depth.top"])
    inputs = Inputs(picture, batch["state"].float(), goal, valid)
    sentences = [[first, *others] for first, others in zip(batch["subtask"], batch["other.subtasks"], strict=True)]
    tokens = torch.stack([processor.subtasks(row) for row in sentences])
    tokens = torch.cat([tokens, torch.full_like(tokens[:, :1], processor.end)], 1)
    points = torch.cat([batch["points"][:, None], batch["other.points"], batch["points"][:, None]], 1).float()
    after, reached = picture, torch.ones(len(tokens))  # played motions do not say what came after
    if "next.images.top" in batch:
        after, reached = picture_of(batch["next.images.top"], batch["next.depth.top"]), batch["next.reached"]
    return Labelled(inputs, tokens, points, batch["objects"], after, reached)


def stem_losses(model: LoHoVLA, batch: Labelled) -> dict[str, Tensor]:
    """Losses of the stem alone: what the simulator knows of every object, weighted."""
    seen = model.stem(batch.inputs.picture.to(model.dtype))
    losses = dense_losses(seen, batch.objects, model.config)
    return {f"see/{name}": WEIGHTS[name] * loss for name, loss in losses.items()}


def core_losses(model: LoHoVLA, batch: Labelled, processor: Processor) -> dict[str, Tensor]:
    """Losses of planning (both ways), pointing, acting with ``pick_place`` and progress; the stem stays as it is."""
    with torch.no_grad():
        seen, objects = model.see(batch.inputs)
    sequence = Sequence(model, batch, seen, objects, processor)
    losses = sequence.text_losses() | sequence.point_losses()
    losses["act/pick_place"] = sequence.action_loss()
    losses["progress"] = progress_loss(model, batch, seen)
    return losses


@torch.no_grad()
def expert_inputs(
    model: LoHoVLA, batch: Labelled, processor: Processor
) -> tuple[Tensor, list[tuple[Tensor, Tensor]], Sequence]:
    """What an expert reads of the oracle's sub-task: the points (B, 2, 5) as the model reads them, cache, sequence."""
    seen, objects = model.see(batch.inputs)
    sequence = Sequence(model, batch.oracle(), seen, objects, processor, noised=False)
    return sequence.read_points(0), model.expert_cache(sequence.cache), sequence


def motion_loss(model: LoHoVLA, batch: Labelled, pieces: Pieces, processor: Processor) -> Tensor:
    """Flow matching of ``ee`` chunks; the first d actions are given clean (Training-time RTC), d drawn at random.

    The points are those read out at the true cells, so that the expert meets the errors that it will meet.
    """
    points, cache, sequence = expert_inputs(model, batch, processor)
    valid = expert_sees(sequence.layout, 0)
    count, n = pieces.state.shape[:2]
    points, valid = points.repeat_interleave(n, 0), valid.repeat_interleave(n, 0)
    cache = [(keys.repeat_interleave(n, 0), values.repeat_interleave(n, 0)) for keys, values in cache]
    state, action, motion = (x.flatten(0, 1) for x in (pieces.state, pieces.action, pieces.motion))
    data = ee_scaled(action, state)
    noise = torch.randn_like(data)
    horizon = data.shape[1]
    t = sample_time((count * n, 1), data.device).expand(-1, horizon)
    given = torch.randint(0, model.config.max_prefix + 1, (count * n, 1), device=data.device)
    given = torch.where(torch.rand_like(given.float()) < 0.5, 0, given)
    clean = torch.arange(horizon, device=data.device) < given
    t = torch.where(clean, 0.0, t)
    x = t[..., None] * noise + (1 - t[..., None]) * data
    anchors = ee_anchors(points, state, model.config.look)
    velocity = model.experts["ee"](x, t, ee_condition(points, state, motion), cache, valid, anchors)
    # Velocities are divided by the noise level; without a bound its smallest values would outweigh all others.
    weight = t.clamp(min=_SMALL_NOISE)[..., None] / _SMALL_NOISE
    error = F.smooth_l1_loss(velocity * weight, (noise - data) * weight, reduction="none").mean(-1)
    wanted = ~clean & sequence.exists[:, 0].repeat_interleave(n)[:, None]
    return _mean(error, wanted)


class Sequence:
    """The training sequence of a batch, run through the decoder once.

    Args:
        model: the core.
        batch: of S sub-tasks each.
        seen: by the stem; None leaves out pointing at cells, and where to place.
        objects: chosen as tokens.
        processor: of the model.
        noised: add words for block diffusion.
    """

    def __init__(
        self,
        model: LoHoVLA,
        batch: Labelled,
        seen: Seen | None,
        objects: Objects,
        processor: Processor,
        noised: bool = True,
    ):
        self.model, self.batch, self.seen, self.objects, self.noisy = model, batch, seen, objects, noised
        self.end, self.mask_id = processor.end, processor.mask
        self.start = processor.start
        self.exists = ~batch.points.isnan().any(-1).any(-1)  # (B, S)
        self.points = torch.nan_to_num(batch.points, nan=0.05)
        jitter = (torch.rand_like(self.points[..., :2]) * 2 - 1) * _JITTER
        size = self.points.new_tensor(model.config.cell_size)
        self.read_cell = cells_of(model.config, self.points[..., :2] + jitter * size)  # (B, S, 2)
        self.true_cell = cells_of(model.config, self.points[..., :2])
        if noised:
            self._noise_words()
        self._run(noised)

    def _noise_words(self) -> None:
        """Mask the oracle's sentence for block diffusion: each block more than the one before (D2F, 2508.09192)."""
        tokens = self.batch.subtasks[:, 0]
        batch, length = tokens.shape
        block = self.model.config.block_size
        blocks = length // block
        low = torch.rand(batch, 1) * 0.5 + 0.2
        steps = torch.rand(batch, blocks - 1) * (0.95 - low) / max(1, blocks - 1)
        self.ratio = torch.cat([low, low + steps.cumsum(1)], 1).to(tokens.device).repeat_interleave(block, 1)
        everything = torch.rand(batch, 1, device=tokens.device) < 0.25  # as at the start of decoding
        self.ratio = torch.where(everything, torch.ones_like(self.ratio), self.ratio)
        self.masked = torch.rand_like(self.ratio) < self.ratio
        self.noised = torch.where(self.masked, self.mask_id, tokens)

    def _run(self, noised: bool) -> None:
        model, batch = self.model, self.batch
        tokens, layout, places = model.prefix_tokens(batch.inputs, self.objects)
        parts, layouts, numbers = [tokens], [layout], [places]
        self.at: dict[tuple[str, int], slice] = {}
        self.lengths = batch.subtasks.ne(self.end).sum(-1)  # words (B, S)
        count, device = len(tokens), tokens.device
        where = layout.kind.shape[1]

        def add(name: str, group: int, part: Tensor, valid: Tensor, kind: Kind, order: Tensor, place: Tensor) -> None:
            nonlocal where
            parts.append(part)
            layouts.append(Layout.part(kind, valid, group, order))
            numbers.append(place.expand(count, -1))
            self.at[name, group] = slice(where, where + part.shape[1])
            where += part.shape[1]

        for group in range(batch.subtasks.shape[1]):
            length = int(self.lengths[:, group].max()) + 1
            steps = torch.arange(length, device=device)
            words = batch.subtasks[:, group, : length - 1]
            given = torch.cat([words.new_full((count, 1), self.start), words], 1)
            valid = steps <= self.lengths[:, group, None]
            add("text", group, model.words(given, Kind.TEXT), valid, Kind.TEXT, steps, model.places.text + steps)
            points = [model.point_tokens(self.seen, None, count)]
            if self.seen is not None:
                points.append(model.point_tokens(self.seen, self.read_cell[:, group, :1]))
            which = torch.arange(len(points), device=device)
            valid = torch.ones(count, len(points), dtype=torch.bool, device=device)
            add("point", group, torch.cat(points, 1), valid, Kind.POINT, which, model.places.point + which)
        if noised:
            every = torch.arange(self.noised.shape[1], device=device)
            add(
                "noised", 0, model.words(self.noised, Kind.NOISED), torch.ones_like(self.masked), Kind.NOISED,
                every // model.config.block_size, model.places.text + 1 + every,
            )  # fmt: skip
        self.layout = Layout.join(layouts)
        self.cache = DynamicCache(config=model.decoder.config)
        allowed = self.layout.allowed()
        self.states = model.run(torch.cat(parts, 1), self.layout, torch.cat(numbers, 1), self.cache, allowed)

    def text_losses(self) -> dict[str, Tensor]:
        """Cross-entropies of the oracle's sentence: next word, and (noised) masked words weighted by 1 / ratio."""
        states = self.states[:, self.at["text", 0]]
        wanted = self.batch.subtasks[:, 0, : states.shape[1]]
        real = torch.arange(states.shape[1], device=states.device) <= self.lengths[:, 0, None]
        logits = self.model.vocabulary_logits(states[real])
        ar = F.cross_entropy(logits, wanted[real])
        if not self.noisy:
            return {"text/ar": ar}
        states = self.states[:, self.at["noised", 0]]
        logits = self.model.vocabulary_logits(states[self.masked])
        each = F.cross_entropy(logits, self.batch.subtasks[:, 0][self.masked], reduction="none")
        d2f = (each / self.ratio[self.masked]).sum() / self.masked.numel()
        return {"text/ar": ar, "text/d2f": d2f}

    def point_losses(self) -> dict[str, Tensor]:
        """Cross-entropy over cells and the readout's error, over all sub-tasks that exist."""
        model = self.model
        assert self.seen is not None
        groups = self.batch.subtasks.shape[1]
        hidden = torch.cat([self.states[:, self.at["point", g]] for g in range(groups)], 1)  # (B, 2 S, hidden)
        tokens = self.states[:, : self.objects.cell.shape[1]]
        logits = model.pointer.score(hidden, model.pointer.keys(self.seen), self.objects, tokens)
        exists = self.exists[..., None].expand(-1, -1, 2).flatten(1)
        cross = F.cross_entropy(logits.flatten(0, 1), self.true_cell.flatten(), reduction="none").view(exists.shape)
        said = model.pointer.read(self.seen, self.read_cell.flatten(1), hidden)
        wanted = to_readout(self.points, self.read_cell, model.config).flatten(1, 2)
        error = F.smooth_l1_loss(said, wanted, beta=0.05, reduction="none").mean(-1)
        pick, place = exists.clone(), exists.clone()
        pick[:, 1::2], place[:, 0::2] = False, False
        return {
            "point/pick": _mean(cross, pick),
            "point/place": _mean(cross, place),
            "point/read": _mean(error, exists),
        }

    def object_losses(self) -> dict[str, Tensor]:
        """Cross-entropy over the objects' tokens of what is picked, over all sub-tasks that exist."""
        groups = self.batch.subtasks.shape[1]
        hidden = torch.cat([self.states[:, self.at["point", g]] for g in range(groups)], 1)  # (B, S, hidden)
        tokens = self.states[:, : self.objects.xy.shape[1]]
        away = (self.points[:, :, 0, None, :2] - self.objects.xy[:, None]).norm(dim=-1)  # (B, S, K)
        distance, nearest = away.min(-1)
        logits = self.model.pointer.score_objects(hidden, tokens)
        cross = F.cross_entropy(logits.flatten(0, 1), nearest.flatten(), reduction="none").view(nearest.shape)
        return {"point/pick": _mean(cross, self.exists & (distance < _HIT))}

    def role_loss(self, roles: Tensor) -> Tensor:
        """Binary cross-entropy of what becomes of each object, which its token must say from goal and scene alone.

        Args:
            roles: (B, N, 3) of the rows of the batch's ``objects``.
        """
        table = self.batch.objects
        away = (self.objects.xy[:, :, None] - table[:, None, :, 3:5]).norm(dim=-1)  # (B, K, N)
        alike = self.objects.facts[:, :, None, : len(KINDS)].argmax(-1) == table[:, None, :, 0]
        distance, nearest = torch.where(alike, away, torch.inf).min(-1)
        wanted = roles.gather(1, nearest[..., None].expand(-1, -1, roles.shape[-1]))
        logits = self.model.roles(self.states[:, : self.objects.xy.shape[1]])
        cross = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        return _mean(cross.mean(-1), distance < _HIT)

    @torch.no_grad()
    def read_points(self, group: int) -> Tensor:
        """Pick and place (B, 2, 5) as the model reads them near the true cells: an expert meets its errors there."""
        assert self.seen is not None
        cell = self.read_cell[:, group]
        said = self.model.pointer.read(self.seen, cell, self.states[:, self.at["point", group]])
        return to_points(said, cell, self.model.config)

    def action_loss(self) -> Tensor:
        """Flow matching of the ``pick_place`` action of one sub-task, drawn at random, from the points read out."""
        model = self.model
        group = int(torch.randint(self.batch.subtasks.shape[1], ()))
        points = self.read_points(group)
        data = pick_place_scaled(self.points[:, group, :, :4].flatten(1), points).clamp(-5, 5)
        noise = torch.randn_like(data)
        t = sample_time((len(data), 1), data.device)
        x = t[..., None] * noise + (1 - t[..., None]) * data
        # The expert learns to read the decoder, not the decoder to please the expert: its gradient stops here.
        cache = [(keys.detach(), values.detach()) for keys, values in model.expert_cache(self.cache)]
        valid = expert_sees(self.layout, group)
        velocity = model.experts["pick_place"](x, t, pick_place_condition(points), cache, valid)
        return _mean((velocity - (noise - data)).square().mean((1, 2)), self.exists[:, group])


def progress_loss(model: LoHoVLA, batch: Labelled, seen: Seen) -> Tensor:
    """Binary cross-entropy of "done": true moves, moves that failed, no move, and sub-tasks not carried out."""
    exists = ~batch.points.isnan().any(-1).any(-1)
    points = torch.nan_to_num(batch.points, nan=0.05)
    with torch.no_grad():
        after = model.stem(batch.after.to(model.dtype))
        before, now, others, others_now = (
            model.progress.remember(m, p) for m, p in (
                (seen, points[:, 0]), (after, points[:, 0]), (seen, points[:, 1]), (after, points[:, 1]),
            )
        )  # fmt: skip
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
    return _mean(F.binary_cross_entropy_with_logits(logits, wanted, reduction="none"), known)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return torch.where(chosen, values, 0.0).sum() / chosen.sum().clamp(min=1)
