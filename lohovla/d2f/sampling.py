"""From logits to proposals: a token, its confidence and its log-probability for each masked position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lohovla.d2f.block_state import Array, array_namespace
from lohovla.errors import UserError

_LEAST = 1e-30  # of temperatures and penalties: smaller ones are 0 in float32, and give no numbers


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen and answers end.

    Attributes:
        max_tokens: tokens at most; whole blocks count in ``decode_prompts``, single tokens elsewhere.
        min_tokens: no end token before so many.
        temperature: 0 takes the most likely token; above, tokens are drawn.
        top_p: draw from the likeliest tokens that make up this much probability.
        top_k: draw from so many likeliest tokens; 0 is all.
        min_p: draw from tokens that have at least this share of the likeliest one's probability; 0 is all.
        repetition_penalty: logits of tokens already in the prompt or the answer are divided by this where positive
            and multiplied where negative; 1 is none.
        presence_penalty: taken from the logits of tokens that are in the answer; 0 is none.
        frequency_penalty: taken from a token's logit for each time that it is in the answer; 0 is none.
        logit_bias: pairs of a token and what is added to its logit.
        seed: of the draws; answer i of a call uses ``seed + i``.
        stop: strings that end an answer and are cut off with what follows.
        logprobs: alternatives to report for each token.
    """

    max_tokens: int = 192
    min_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int = 0
    stop: tuple[str, ...] = ()
    logprobs: int = 0

    def __post_init__(self) -> None:
        checks = (
            (self.max_tokens >= 0, "max_tokens", "0 or more"),
            (0 <= self.min_tokens <= self.max_tokens, "min_tokens", "between 0 and max_tokens"),
            (self.temperature >= 0.0, "temperature", "0 or more"),
            (0.0 < self.top_p <= 1.0, "top_p", "above 0 and at most 1"),
            (self.top_k >= 0, "top_k", "0 or more"),
            (0.0 <= self.min_p <= 1.0, "min_p", "between 0 and 1"),
            (self.repetition_penalty > 0.0, "repetition_penalty", "above 0"),
            (abs(self.presence_penalty) <= 1e6, "presence_penalty", "a number such as 0.5"),
            (abs(self.frequency_penalty) <= 1e6, "frequency_penalty", "a number such as 0.5"),
            (all(abs(value) <= 1e6 for _, value in self.logit_bias), "logit_bias", "numbers such as -100 or 100"),
            (self.logprobs >= 0, "logprobs", "0 or more"),
            (all(self.stop), "stop", "a list of strings that are not empty"),
        )
        for fine, name, wanted in checks:
            if not fine:
                raise UserError(f"{name} cannot be {getattr(self, name)!r}", f"it is {wanted}")

    @property
    def adjusts(self) -> bool:
        """Whether logits change with what was said, or by a bias: see :func:`adjust_logits`."""
        penalties = self.repetition_penalty != 1.0 or self.presence_penalty != 0.0 or self.frequency_penalty != 0.0
        return penalties or bool(self.logit_bias)


@dataclass(frozen=True)
class Proposals:
    """What a forward proposes for (n, length) positions; read at masked positions of open blocks only.

    Attributes:
        tokens: the proposed token.
        confidence: its probability, after temperature and filters: what the thresholds see.
        logprob: its log-probability before them.
        ranked: (n, length, k) likeliest tokens, and
        ranked_logprob: their log-probabilities; k is ``Sampling.logprobs``.
    """

    tokens: Array
    confidence: Array
    logprob: Array
    ranked: Array
    ranked_logprob: Array

    def select(self, rows: Array) -> Proposals:
        """The sequences ``rows``."""
        return Proposals(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def where(self, rows: Array, other: Proposals) -> Proposals:
        """Of the sequences ``rows`` (n,) bool these, of the others ``other``'s."""
        lib, theirs = array_namespace(rows), vars(other)
        return Proposals(
            **{
                name: lib.where(rows.reshape(-1, *[1] * (mine.ndim - 1)), mine, theirs[name])
                for name, mine in vars(self).items()
            }
        )


def choose_tokens(logits: Tensor, sampling: Sampling, chance: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (m,), confidences (m,) and the log-probabilities (m, vocabulary) before temperature and filters.

    Args:
        logits: (m, vocabulary), what may not be chosen at minus infinity.
        sampling: temperature and filters.
        chance: (m,) uniform numbers in [0, 1); unused at temperature 0.
    """
    log_probabilities = logits.log_softmax(-1)
    if sampling.temperature == 0.0:
        confidence, tokens = log_probabilities.max(-1)
        return tokens, confidence.exp(), log_probabilities
    assert chance is not None
    # From the likeliest down, so that a temperature near 0 divides to minus infinity and not to infinity.
    below = logits - logits.amax(-1, keepdim=True)
    scaled = below / max(sampling.temperature, _LEAST)
    ranked, order = scaled.softmax(-1).sort(stable=True, dim=-1, descending=True)
    # A token stays while what is likelier does not yet make up top_p; the likeliest always stays.
    before = ranked.cumsum(-1) - ranked
    drop = before >= sampling.top_p
    if sampling.top_k:
        drop[:, sampling.top_k :] = True
    if sampling.min_p:
        drop |= ranked < sampling.min_p * ranked[:, :1]
    drop[:, :1] = False  # a top_p that is 0 in float32 drops everything
    ranked = ranked.masked_fill(drop, 0.0)
    ranked = ranked / ranked.sum(-1, keepdim=True)
    # Inverse of the cumulative distribution: one number a position decides, whatever else is in the batch.
    place = (ranked.cumsum(-1) <= chance[:, None]).sum(-1)
    place = torch.minimum(place, (ranked > 0).sum(-1) - 1)[:, None]
    return order.gather(1, place)[:, 0], ranked.gather(1, place)[:, 0], log_probabilities


def adjust_logits(logits: Tensor, sampling: Sampling, prompt: Sequence[int], said: Sequence[int]) -> Tensor:
    """Logits with the penalties and the bias of one answer.

    Args:
        logits: (m, vocabulary) of places in it.
        sampling: what is asked.
        prompt: tokens before the answer; for ``repetition_penalty``.
        said: tokens of the answer that are decided, in any order.
    """
    if sampling.repetition_penalty != 1.0:
        present = torch.zeros_like(logits[:1], dtype=torch.bool)
        present[0, torch.tensor([*prompt, *said], dtype=torch.long, device=logits.device)] = True
        logits = penalize(logits, present, sampling.repetition_penalty)
    if sampling.presence_penalty or sampling.frequency_penalty:
        tokens = torch.tensor([*said], dtype=torch.long, device=logits.device)
        counts = torch.bincount(tokens, minlength=logits.shape[1])[None].to(logits.dtype)
        logits = logits - sampling.frequency_penalty * counts - sampling.presence_penalty * (counts > 0)
    if sampling.logit_bias:
        tokens, values = zip(*sampling.logit_bias, strict=True)
        bias = torch.zeros_like(logits[:1])
        bias[0, list(tokens)] = torch.tensor(values, dtype=logits.dtype, device=logits.device)
        logits = logits + bias
    return logits


def penalize(logits: Tensor, present: Tensor, penalty: float) -> Tensor:
    """Make tokens that are ``present`` (m, vocabulary) less likely."""
    penalty = min(max(penalty, _LEAST), 1 / _LEAST)
    return torch.where(present, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
