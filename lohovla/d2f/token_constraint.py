"""Constrained decoding: only tokens that a constraint allows, in autoregression and in block diffusion alike.

A constraint says which tokens may follow a text. An autoregressive model asks it once a token. Block diffusion proposes
all masked tokens of a block at once, so the block is filled from the left: the first masked token is chosen among those
that may follow the text, the next one among those that may follow both, and so on, from the same forward pass. A
token's confidence is the least of those up to it. So the plain rules take the leading tokens that are all sure, or the
first one where it is not, and what is decided always has a continuation. Blocks are decoded one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lohovla.d2f.sampling import Sampling, choose_tokens


class TokenConstraint(Protocol):
    """Which texts are allowed."""

    def allowed(self, tokens: Sequence[int]) -> np.ndarray:
        """(vocabulary,) bool: which tokens may follow ``tokens``, an answer's first ones; the end tokens among them."""
        ...


class ConstrainedRow:
    """Proposals for the masked tokens of one sequence, from the left.

    Args:
        constraint: of the sequence.
        said: the answer's tokens before the first masked one.
        accept: the confidence that a token has to be above; behind one that is not, nothing is proposed.
        ends: tokens that end an answer; behind one nothing is proposed.
    """

    def __init__(self, constraint: TokenConstraint, said: Sequence[int], accept: float, ends: Sequence[int]):
        self._constraint, self._text, self._accept, self._ends = constraint, list(said), accept, set(ends)
        self._least, self._over = 1.0, False

    def propose(self, logits: Tensor, sampling: Sampling, chance: Tensor, ranks: int) -> tuple[Tensor, ...]:
        """Tokens, confidences, log-probabilities and the ``ranks`` likeliest with theirs, for further masked places.

        What is not to be filled has confidence 0.

        Args:
            logits: (m, vocabulary) of the next masked places, in order.
            sampling: how tokens are chosen.
            chance: (m,) uniform numbers.
            ranks: alternatives.

        Raises:
            RuntimeError: nothing may follow.
        """
        count, device = len(logits), logits.device
        token = torch.zeros(count, dtype=torch.long, device=device)
        sure, logprob = torch.zeros(count, device=device), torch.zeros(count, device=device)
        ranked = torch.zeros(count, ranks, dtype=torch.long, device=device)
        ranked_logprob = torch.zeros(count, ranks, device=device)
        for k in range(count):
            if self._over:
                break
            may = self._constraint.allowed(self._text)
            if not may.any():
                raise RuntimeError("the constraint allows no further token")
            barred = torch.from_numpy(~may).to(device)
            own = logits[k : k + 1].masked_fill(barred, -torch.inf)
            found, confidence, logprobs = choose_tokens(own, sampling, chance[k : k + 1])
            self._least = min(self._least, float(confidence))
            token[k], sure[k], logprob[k] = found[0], self._least, logprobs[0, found[0]]
            ranked_logprob[k], ranked[k] = logprobs[0].topk(ranks)
            self._text.append(int(found))
            self._over = self._least <= self._accept or int(found) in self._ends
        return token, sure, logprob, ranked, ranked_logprob
