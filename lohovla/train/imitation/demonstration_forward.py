"""One pass of the core over a batch of demonstrations, and the losses that are read from it.

``[prefix] [sub-task] [keyframe]  [start] [keyframe]  [masked sub-task]``: a sample that is told its sub-task is read
behind the first group, one that is told the goal alone behind the second, which has no words.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import DynamicCache

from lohovla.model.action.flow_matching import sample_time
from lohovla.model.attention_mask import SequenceLayout, TokenType, expert_attention_mask
from lohovla.model.inference.robot_actions import keyframe_tokens
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.robot_processor import RobotProcessor
from lohovla.train.imitation.demonstration_batch import DemonstrationBatch, ImitationSettings
from lohovla.train.training_forward import masked_mean, noise_words

_ALONE = 1  # the group without words


class DemonstrationForward:
    """A batch run through camera encoder and decoder once.

    Args:
        model: the core.
        batch: of demonstrations.
        processor: of the model.
        settings: how it is learned from.
    """

    def __init__(
        self, model: LoHoVLA, batch: DemonstrationBatch, processor: RobotProcessor, settings: ImitationSettings
    ):
        self.model, self.batch, self.settings = model, batch, settings
        self._processor, self._end = processor, processor.end
        tokens, layout, places = model.robot_prefix_tokens(batch.inputs)
        self._rows, self._device = tokens.shape[0], tokens.device
        self._parts, self._layouts, self._places = [tokens], [layout], [places]
        self._at: dict[str, slice] = {}
        self._length = tokens.shape[1]
        if batch.subtasks is not None:
            self._add_words(batch.subtasks)
        self._add_words(torch.full((self._rows, 1), self._end, device=self._device), _ALONE)
        if batch.subtasks is not None:
            self._add_masked_words(batch.subtasks)
        self.layout = SequenceLayout.concat(self._layouts)
        self.cache = DynamicCache(config=model.decoder.config)
        allowed = self.layout.attention_mask()
        places = torch.cat(self._places, 1)
        with short_attention(self._device):
            self.states = model.run(torch.cat(self._parts, 1), self.layout, places, self.cache, allowed)

    def _add(self, name: str, part: Tensor, layout: SequenceLayout, place: Tensor) -> None:
        self._parts.append(part)
        self._layouts.append(layout)
        self._places.append(place.expand(self._rows, -1))
        self._at[name] = slice(self._length, self._length + part.shape[1])
        self._length += part.shape[1]

    def _add_words(self, subtasks: Tensor, group: int = 0) -> None:
        """The start and a sub-task's words, and the keyframe's token behind them."""
        model = self.model
        lengths = subtasks.ne(self._end).sum(-1)
        steps = torch.arange(int(lengths.max()) + 1, device=self._device)
        words = subtasks[:, : len(steps) - 1]
        given = torch.cat([words.new_full((self._rows, 1), self._processor.start), words], 1)
        text = SequenceLayout.of_type(TokenType.TEXT, steps <= lengths[:, None], group, steps)
        self._add(f"text{group}", model.embed_tokens(given, TokenType.TEXT), text, model.places.text + steps)
        if model.config.keyframes:
            one = torch.ones(self._rows, 1, dtype=torch.bool, device=self._device)
            point = SequenceLayout.of_type(TokenType.POINT, one, group)
            place = torch.tensor([model.places.point], device=self._device)
            self._add(f"keyframe{group}", keyframe_tokens(model, self._rows), point, place)

    def _add_masked_words(self, subtasks: Tensor) -> None:
        block = self.model.config.block_size
        self._noised, self._masked, self._ratio = noise_words(subtasks, block, self._processor.mask)
        every = torch.arange(subtasks.shape[1], device=self._device)
        layout = SequenceLayout.of_type(TokenType.NOISED, torch.ones_like(self._masked), 0, every // block)
        words = self.model.embed_tokens(self._noised, TokenType.NOISED)
        self._add("masked", words, layout, self.model.places.text + 1 + every)

    def losses(self) -> dict[str, Tensor]:
        """Unweighted losses by name; those of words only where there are sub-tasks."""
        losses = {"action": self.action_loss()}
        if self.model.config.keyframes:
            losses |= self.keyframe_losses()
        return losses | (self.text_losses() if self.batch.subtasks is not None else {})

    def text_losses(self) -> dict[str, Tensor]:
        """Cross-entropies of the sub-task: next word, and masked words weighted by 1 / ratio (D2F, 2508.09192)."""
        subtasks, chosen = self.batch.subtasks, self.batch.planned
        assert subtasks is not None
        states = self.states[:, self._at["text0"]]
        wanted = subtasks[:, : states.shape[1]]
        lengths = subtasks.ne(self._end).sum(-1)
        real = (torch.arange(states.shape[1], device=self._device) <= lengths[:, None]) & chosen[:, None]
        masked = self._masked & chosen[:, None]
        if not bool(chosen.any()):
            zero = self.states.sum() * 0.0
            return {"text/ar": zero, "text/d2f": zero}
        ar = F.cross_entropy(self.model.vocabulary_logits(states[real]), wanted[real])
        logits = self.model.vocabulary_logits(self.states[:, self._at["masked"]][masked])
        each = F.cross_entropy(logits, subtasks[masked], reduction="none")
        return {"text/ar": ar, "text/d2f": (each / self._ratio[masked]).sum() / (chosen.sum() * subtasks.shape[1])}

    def _group(self) -> Tensor:
        """The group that each sample is read behind (B,)."""
        return torch.where(self.batch.told, 0, _ALONE)

    def _read(self) -> Tensor:
        """What the heads read (B, hidden): the last token before each sample's chunk, and the cameras."""
        return self._last() + self.model.summarize_cameras(self.states)

    def _last(self) -> Tensor:
        """The decoder's state of the last token before each sample's chunk (B, hidden)."""
        rows = torch.arange(self._rows, device=self._device)
        name = "keyframe" if self.model.config.keyframes else "text"
        alone = self.states[:, self._at[f"{name}{_ALONE}"]][:, 0]
        if self.batch.subtasks is None:
            return alone
        own = self.states[:, self._at[f"{name}0"]]
        ends = 0 if name == "keyframe" else self.batch.subtasks.ne(self._end).sum(-1)
        return torch.where(self.batch.told[:, None], own[rows, ends], alone)

    def keyframe_losses(self) -> dict[str, Tensor]:
        """Errors of the state at the next keyframe, and of the progress, where they are known."""
        batch = self.batch
        said, progress = self.model.keyframe_head(self._read())
        error = F.smooth_l1_loss(said, batch.keyframe, beta=0.1, reduction="none").mean(-1)
        known = ~batch.progress.isnan() & (batch.told if batch.subtasks is not None else True)
        wrong = (progress - torch.nan_to_num(batch.progress)).square()
        return {"keyframe": masked_mean(error, batch.keyframe_known), "progress": masked_mean(wrong, known)}

    def action_loss(self) -> Tensor:
        """Flow matching of the chunk: squared error of the velocity, without padded actions and those given clean."""
        model, batch, copies = self.model, self.batch, self.settings.flow_samples
        data = batch.action.repeat_interleave(copies, 0)
        count, horizon = data.shape[:2]
        noise = torch.randn_like(data)
        t = sample_time((count, 1), data.device).expand(-1, horizon)
        most = model.config.max_prefix
        given = torch.randint(1, max(most, 1) + 1, (count, 1), device=data.device)
        begun = torch.rand(count, 1, device=data.device) < (self.settings.prefix_share if most else 0.0)
        given = torch.where(begun, given, 0)
        clean = torch.arange(horizon, device=data.device) < given
        t = torch.where(clean, 0.0, t)
        x = t[..., None] * noise + (1 - t[..., None]) * data
        cache = [tuple(part.repeat_interleave(copies, 0) for part in pair) for pair in model.expert_cache(self.cache)]
        valid = expert_attention_mask(self.layout, self._group()[:, None]).repeat_interleave(copies, 0)
        condition = torch.cat([batch.inputs.state, self._read()], -1).repeat_interleave(copies, 0)
        with short_attention(self._device):
            velocity = model.experts["action"](x, t, condition, cache, valid)
        error = (velocity.float() - (noise - data)).square().mean(-1)
        return masked_mean(error, ~clean & ~batch.padded.repeat_interleave(copies, 0))


def short_attention(device: torch.device) -> AbstractContextManager[Any]:
    """Attention by plain products on a CPU, where the fused kernel's backward pass is slow on a few dozen tokens."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
