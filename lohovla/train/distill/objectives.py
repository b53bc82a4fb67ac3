"""What one batch teaches: the base model's two objectives, and the student's."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lohovla.d2f.denoiser import attention_bias
from lohovla.train.distill.losses import distillation_loss, token_loss
from lohovla.train.distill.mask_ratios import corrupt, ratios
from lohovla.train.distill.text_batches import TextBatch


@dataclass(frozen=True)
class MaskSchedule:
    """Mask ratios: see :func:`lohovla.train.distill.mask_ratios.ratios`."""

    schedule: str = "monotone"
    low: float = 0.2
    high: float = 0.7


class BaseObjective:
    """One set of weights that is autoregressive under a causal mask and a masked diffusion model without one.

    Args:
        mask_id: the mask token.
        shift: whether the hidden state at a position predicts the next token in diffusion too.
        causal: share of a batch's sequences that train autoregression.
    """

    def __init__(self, mask_id: int, shift: bool = True, causal: float = 0.34):
        self.mask_id, self.shift, self.causal = mask_id, shift, causal

    def __call__(
        self, model: nn.Module, batch: TextBatch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss, and its parts."""
        rows, length = batch.tokens.shape
        causal = (torch.arange(rows) < round(self.causal * rows))[torch.randperm(rows, generator=generator)]
        answer = batch.inside & (batch.places >= batch.prompt[:, None])
        noise = torch.rand(rows, 1, generator=generator).clamp(min=0.02).expand(-1, length)
        noisy, masked = corrupt(batch.tokens, answer & ~causal[:, None], noise, self.mask_id, generator)
        past = batch.places[:, None] >= batch.places
        visible = (past | ~causal[:, None, None]) & batch.inside[:, None]
        hidden = hidden_states(model, noisy, visible)
        spoken = causal[:, None] & answer & (batch.places < (batch.prompt + batch.answer)[:, None])
        losses = {}
        for name, where, shift in (("ar", spoken, True), ("diffusion", masked, self.shift)):
            logits = head(model, hidden_states_at(hidden, where, shift))
            losses[name] = token_loss(logits, batch.tokens[where])
        return losses["ar"] + losses["diffusion"], {name: loss.item() for name, loss in losses.items()}


class StudentObjective:
    """Asymmetric distillation: the adapter's block-causal student learns the adapter-free bidirectional teacher.

    Args:
        mask_id: the mask token.
        shift: whether the hidden state at a position predicts the next token.
        noise: mask ratios of the blocks.
        divergence: ``forward`` or ``reverse``.
        prompt: ``bidirectional`` or ``causal`` within the prompt.
        padding: whether end tokens behind the first are trained on.
        truth: weight of plain cross-entropy against the true tokens, beside the teacher; 0 as published.
    """

    def __init__(
        self,
        mask_id: int,
        shift: bool,
        noise: MaskSchedule,
        divergence: str = "forward",
        prompt: str = "bidirectional",
        padding: bool = True,
        truth: float = 0.0,
    ):
        self.mask_id, self.shift, self.noise = mask_id, shift, noise
        self.divergence, self.prompt, self.padding, self.truth = divergence, prompt, padding, truth

    def __call__(
        self, model: nn.Module, batch: TextBatch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss, and its parts."""
        answer = batch.block >= 0
        ratio = ratios(
            self.noise.schedule,
            len(batch.tokens),
            int(batch.block.max()) + 1,
            self.noise.low,
            self.noise.high,
            generator,
        ).gather(1, batch.block.clamp(min=0))
        noisy, masked = corrupt(batch.tokens, answer, ratio, self.mask_id, generator)
        if not self.padding:
            masked &= batch.places < (batch.prompt + batch.answer)[:, None]
        with torch.no_grad(), without_adapter(model):
            everything = batch.inside[:, None].expand(-1, noisy.shape[1], -1)
            teacher = head(model, hidden_states_at(hidden_states(model, noisy, everything), masked, self.shift))
        student = head(
            model, hidden_states_at(hidden_states(model, noisy, student_mask(batch, self.prompt)), masked, self.shift)
        )
        loss = distillation_loss(student, teacher, ratio[masked], int(answer.sum()), self.divergence)
        truth = token_loss(student, batch.tokens[masked])
        agree = (student.argmax(-1) == teacher.argmax(-1)).float().mean()
        parts = {"divergence": loss.item(), "student": truth.item(), "agree": agree.item()}
        parts["teacher"] = token_loss(teacher, batch.tokens[masked]).item()
        return loss + self.truth * truth, parts


def student_mask(batch: TextBatch, prompt: str = "bidirectional") -> Tensor:
    """(n, length, length) bool: the prompt sees the prompt; a block sees the prompt, earlier blocks and itself."""
    order = batch.block
    sees = (order[:, None, :] <= order[:, :, None]) & batch.inside[:, None]
    if prompt == "causal":
        in_prompt = batch.places < batch.prompt[:, None]
        sees &= ~in_prompt[:, :, None] | (batch.places <= batch.places[:, None])
    return sees | torch.eye(order.shape[1], dtype=torch.bool, device=order.device)


def hidden_states(model: nn.Module, tokens: Tensor, visible: Tensor) -> Tensor:
    """(n, length, d) hidden states of ``tokens`` under a bool mask (n, length, length)."""
    bare = _bare(model)
    embeddings = bare.get_input_embeddings()(tokens)
    mask = attention_bias(visible[:, None], embeddings.dtype)
    return bare.base_model(inputs_embeds=embeddings, attention_mask=mask, use_cache=False).last_hidden_state


def head(model: nn.Module, hidden: Tensor) -> Tensor:
    """Logits (m, vocabulary) of hidden states (m, d)."""
    return _bare(model).get_output_embeddings()(hidden)


def hidden_states_at(hidden: Tensor, where: Tensor, shift: bool) -> Tensor:
    """(m, d): the hidden states that predict the tokens ``where`` (n, length)."""
    if shift:
        where = torch.cat([where[:, 1:], torch.zeros_like(where[:, :1])], 1)
    return hidden[where]


def without_adapter(model: Any):
    """A context in which a PEFT model is its base model."""
    return model.disable_adapter() if hasattr(model, "disable_adapter") else nullcontext()


def _bare(model: Any) -> Any:
    """The language model inside wrappers of accelerate and PEFT."""
    model = getattr(model, "module", model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model
