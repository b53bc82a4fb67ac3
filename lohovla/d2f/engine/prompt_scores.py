"""Log-probabilities of a prompt's tokens, as a causal model predicts each from those before it."""

from __future__ import annotations

import torch
from torch import Tensor

from lohovla.d2f.engine.model_runner import ModelRunner
from lohovla.d2f.engine.request_group import SequenceState
from lohovla.d2f.engine.row_multiple import MOST

_TILE = 2**25  # logits that are in memory at once

Score = tuple[float, list[tuple[int, float]]]


@torch.inference_mode()
def score_prompt(runner: ModelRunner, hidden: Tensor, text: SequenceState, done: int, row: int) -> dict[int, Score]:
    """What a forward says of a request's prompt: by place, the token's log-probability and the likeliest tokens'.

    Args:
        runner: of the model.
        hidden: (rows, d) of the forward.
        text: the request; nothing is computed where it does not ask for it (``prompt_ranks``).
        done: its tokens in the cache after this forward.
        row: of the last one of them.
    """
    ranks = text.request.prompt_ranks
    first, stop = text.cached, min(done, len(text.head) - 1)
    if ranks is None or stop <= first:
        return {}
    begin, scores = row + 1 - (done - first), {}
    step = max(MOST, _TILE // runner.config.vocab_size // MOST * MOST)
    for start in range(first, stop, step):
        places = range(start, min(stop, start + step))
        logprobs = runner.logits(hidden[begin + start - first : begin + places.stop - first]).log_softmax(-1)
        tokens = torch.from_numpy(text.head[places.start + 1 : places.stop + 1]).to(logprobs.device)
        own = logprobs.gather(1, tokens[:, None])[:, 0].tolist()
        values, words = (part.tolist() for part in logprobs.topk(ranks, -1))
        for place, score, near, likely in zip(places, own, words, values, strict=True):
            scores[place + 1] = (score, list(zip(near, likely, strict=True)))
    return scores
