"""The training sequence of the core: one pass over a batch, and the losses that are read from it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache

from lohovla.model.action.action_expert import pick_place_condition, scale_pick_place
from lohovla.model.action.flow_matching import sample_time
from lohovla.model.attention_mask import SequenceLayout, TokenType, expert_attention_mask
from lohovla.model.encoders.detector import DetectionMap, Detections, heatmap_cells
from lohovla.model.encoders.object_schema import FACT, LABEL, LABEL_XY
from lohovla.model.keyframes.pick_place_head import to_points, to_readout
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor
from lohovla.train.training_batch import LabelledBatch

_HIT = 0.015  # m; how near an object must be to a point to be what it points at
_JITTER = 0.35  # cells; how far the cell that is read out may lie from the one that holds the point


class TrainingForward:
    """The training sequence of a batch, run through the decoder once.

    Args:
        model: the core.
        batch: of S sub-tasks each.
        seen: by the stem; None leaves out pointing at cells, and where to place.
        objects: chosen as tokens.
        processor: of the model.
        noised: add words for block diffusion.
        subgoal: tokens of the sub-goal picture (B, n, hidden) that the last sub-task is told by.
        program: tokens of the goal's meaning and which are real (B, P) each, a further text on the same prefix.
    """

    def __init__(
        self,
        model: LoHoVLA,
        batch: LabelledBatch,
        seen: DetectionMap | None,
        objects: Detections,
        processor: Processor,
        noised: bool = True,
        subgoal: Tensor | None = None,
        program: tuple[Tensor, Tensor] | None = None,
    ):
        self.model, self.batch, self.seen, self.objects, self.noisy = model, batch, seen, objects, noised
        self.subgoal, self.program = subgoal, program
        self.end, self.mask_id = processor.end, processor.mask
        self.start, self.program_start = processor.start, processor.program_start
        self.exists = ~batch.points.isnan().any(-1).any(-1)  # (B, S)
        self.points = torch.nan_to_num(batch.points, nan=0.05)
        jitter = (torch.rand_like(self.points[..., :2]) * 2 - 1) * _JITTER
        size = self.points.new_tensor(model.config.cell_size)
        self.read_cell = heatmap_cells(model.config, self.points[..., :2] + jitter * size)  # (B, S, 2)
        self.true_cell = heatmap_cells(model.config, self.points[..., :2])
        if noised:
            words = batch.subtasks[:, 0]
            self.noised, self.masked, self.ratio = noise_words(words, model.config.block_size, self.mask_id)
        self._run(noised)

    def _run(self, noised: bool) -> None:
        model, batch = self.model, self.batch
        tokens, layout, places = model.prefix_tokens(batch.inputs, self.objects)
        parts, layouts, numbers = [tokens], [layout], [places]
        self.at: dict[tuple[str, int], slice] = {}
        self.lengths = batch.subtasks.ne(self.end).sum(-1)  # words (B, S)
        count, device = len(tokens), tokens.device
        where = layout.kind.shape[1]

        def add(
            name: str, group: int, part: Tensor, valid: Tensor, kind: TokenType, order: Tensor, place: Tensor
        ) -> None:
            nonlocal where
            parts.append(part)
            layouts.append(SequenceLayout.of_type(kind, valid, group, order))
            numbers.append(place.expand(count, -1))
            self.at[name, group] = slice(where, where + part.shape[1])
            where += part.shape[1]

        for group in range(batch.subtasks.shape[1]):
            length = int(self.lengths[:, group].max()) + 1
            steps = torch.arange(length, device=device)
            words = batch.subtasks[:, group, : length - 1]
            given = torch.cat([words.new_full((count, 1), self.start), words], 1)
            valid = steps <= self.lengths[:, group, None]
            add(
                "text",
                group,
                model.embed_tokens(given, TokenType.TEXT),
                valid,
                TokenType.TEXT,
                steps,
                model.places.text + steps,
            )
            if self.subgoal is not None and group == batch.subtasks.shape[1] - 1:
                always = torch.ones(self.subgoal.shape[:2], dtype=torch.bool, device=device)
                every = torch.zeros(always.shape[1], dtype=torch.long, device=device)
                add("subgoal", group, self.subgoal, always, TokenType.SUBGOAL, every, model.places.subgoal + every)
            points = [model.point_tokens(self.seen, None, count)]
            if self.seen is not None:
                points.append(model.point_tokens(self.seen, self.read_cell[:, group, :1]))
            which = torch.arange(len(points), device=device)
            valid = torch.ones(count, len(points), dtype=torch.bool, device=device)
            add("point", group, torch.cat(points, 1), valid, TokenType.POINT, which, model.places.point + which)
        if self.program is not None:
            words, valid = self.program
            given = torch.cat([words.new_full((count, 1), self.program_start or 0), words[:, :-1]], 1)
            steps = torch.arange(given.shape[1], device=device)
            embedded = model.embed_tokens(given, TokenType.TEXT)
            group = batch.subtasks.shape[1]
            add("program", group, embedded, valid, TokenType.TEXT, steps, model.places.text + steps)
        if noised:
            every = torch.arange(self.noised.shape[1], device=device)
            add(
                "noised",
                0,
                model.embed_tokens(self.noised, TokenType.NOISED),
                torch.ones_like(self.masked),
                TokenType.NOISED,
                every // model.config.block_size,
                model.places.text + 1 + every,
            )
        self.layout = SequenceLayout.concat(layouts)
        self.cache = DynamicCache(config=model.decoder.config)
        allowed = self.layout.attention_mask()
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

    def program_loss(self) -> Tensor:
        """Cross-entropy of the goal's meaning, token by token; 0 where no goal of the batch has one."""
        assert self.program is not None
        words, valid = self.program
        states = self.states[:, self.at["program", self.batch.subtasks.shape[1]]]
        each = F.cross_entropy(self.model.vocabulary_logits(states).flatten(0, 1), words.flatten(), reduction="none")
        return masked_mean(each, valid.flatten())

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
        said = model.pointer.regress(self.seen, self.read_cell.flatten(1), hidden)
        wanted = to_readout(self.points, self.read_cell, model.config).flatten(1, 2)
        error = F.smooth_l1_loss(said, wanted, beta=0.05, reduction="none").mean(-1)
        pick, place = exists.clone(), exists.clone()
        pick[:, 1::2], place[:, 0::2] = False, False
        return {
            "point/pick": masked_mean(cross, pick),
            "point/place": masked_mean(cross, place),
            "point/read": masked_mean(error, exists),
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
        return {"point/pick": masked_mean(cross, self.exists & (distance < _HIT))}

    def role_loss(self, roles: Tensor) -> Tensor:
        """Binary cross-entropy of what becomes of each object, which its token must say from goal and scene alone.

        Args:
            roles: (B, N, 3) of the rows of the batch's ``objects``.
        """
        table = self.batch.objects
        away = (self.objects.xy[:, :, None] - table[:, None, :, LABEL_XY]).norm(dim=-1)  # (B, K, N)
        alike = self.objects.facts[:, :, None, FACT["kind"]].argmax(-1) == table[:, None, :, LABEL["kind"]]
        distance, nearest = torch.where(alike, away, torch.inf).min(-1)
        wanted = roles.gather(1, nearest[..., None].expand(-1, -1, roles.shape[-1]))
        logits = self.model.roles(self.states[:, : self.objects.xy.shape[1]])
        cross = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        return masked_mean(cross.mean(-1), distance < _HIT)

    @torch.no_grad()
    def read_points(self, group: int) -> Tensor:
        """Pick and place (B, 2, 5) as the model reads them near the true cells: an expert meets its errors there."""
        assert self.seen is not None
        cell = self.read_cell[:, group]
        said = self.model.pointer.regress(self.seen, cell, self.states[:, self.at["point", group]])
        return to_points(said, cell, self.model.config)

    def action_loss(self) -> Tensor:
        """Flow matching of the ``pick_place`` action of one sub-task, drawn at random, from the points read out."""
        model = self.model
        group = int(torch.randint(self.batch.subtasks.shape[1], ()))
        points = self.read_points(group)
        data = scale_pick_place(self.points[:, group, :, :4].flatten(1), points).clamp(-5, 5)
        noise = torch.randn_like(data)
        t = sample_time((len(data), 1), data.device)
        x = t[..., None] * noise + (1 - t[..., None]) * data
        # The expert learns to read the decoder, not the decoder to please the expert: its gradient stops here.
        cache = [(keys.detach(), values.detach()) for keys, values in model.expert_cache(self.cache)]
        valid = expert_attention_mask(self.layout, group)
        velocity = model.experts["pick_place"](x, t, pick_place_condition(points), cache, valid)
        return masked_mean((velocity - (noise - data)).square().mean((1, 2)), self.exists[:, group])


def masked_mean(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of ``values`` where they are ``chosen``; 0 where none is."""
    return torch.where(chosen, values, 0.0).sum() / chosen.sum().clamp(min=1)


def noise_words(tokens: Tensor, block: int, mask: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mask sentences for block diffusion: each block more than the one before (D2F, 2508.09192).

    Args:
        tokens: (B, T), whole blocks.
        block: tokens of a block.
        mask: the token that stands for a word not decided.

    Returns:
        The masked sentences (B, T), what is masked (B, T), and the share that was to be masked there (B, T).
    """
    batch, length = tokens.shape
    blocks = length // block
    low = torch.rand(batch, 1) * 0.5 + 0.2
    steps = torch.rand(batch, blocks - 1) * (0.95 - low) / max(1, blocks - 1)
    ratio = torch.cat([low, low + steps.cumsum(1)], 1).to(tokens.device).repeat_interleave(block, 1)
    everything = torch.rand(batch, 1, device=tokens.device) < 0.25  # as at the start of decoding
    ratio = torch.where(everything, torch.ones_like(ratio), ratio)
    masked = torch.rand_like(ratio) < ratio
    return torch.where(masked, mask, tokens), masked, ratio
