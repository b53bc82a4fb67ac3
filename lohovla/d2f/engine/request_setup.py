"""How an answer begins: a request is checked and becomes a text that pages can be found for."""

from __future__ import annotations

import numpy as np
import torch

from lohovla.d2f.denoiser import DecoderDenoiser
from lohovla.d2f.engine.block_manager import PrefixHash
from lohovla.d2f.engine.request import CachedPrefix, GenerationRequest, Listener
from lohovla.d2f.engine.request_group import GroupKey, SequenceState
from lohovla.d2f.engine.step_plan import longest_group
from lohovla.errors import UserError


def begin_request(
    number: int, request: GenerationRequest, listener: Listener, denoiser: DecoderDenoiser, page: int, budget: int
) -> SequenceState:
    """The text of a request.

    Args:
        number: the engine's name for it.
        request: what is asked.
        listener: told of its answer.
        denoiser: the model.
        page: tokens a page.
        budget: rows of a forward at most.

    Raises:
        UserError: the request cannot be carried out.
    """
    request.verifier.check(request.sampling)
    if denoiser.mask_id in request.prompt:
        raise UserError("the prompt holds the mask token", "leave it out")
    if not request.prompt and request.prefix is None:
        raise UserError("the prompt is empty", "give at least one token")
    if request.prompt_ranks is not None and not (request.causal or denoiser.prompt == "causal"):
        raise UserError("block diffusion gives no log-probabilities of the prompt", "use mode=ar, or leave them out")
    if request.constraint is not None and request.verifier.most_versions > 1:
        raise UserError("a constrained answer is decoded from the left, without branches and drafts", "use mode=block")
    size = request.size
    if size > budget:
        raise UserError(f"block_size cannot be {size}", f"a forward has {budget} rows at most (max_num_batched_tokens)")
    if request.prefix is not None:
        return _after(request.prefix, number, request, listener, denoiser, page)
    prompt = np.asarray(request.prompt, np.int64)
    tail = len(prompt) % size if denoiser.prompt == "blocks" and not request.causal else 0
    head = prompt[: len(prompt) - tail]
    sees = _sees(request, denoiser, len(head), size)
    if (group := longest_group(sees)) > budget:
        raise UserError(
            f"{group} tokens of the prompt attend to each other in one forward, which has {budget} rows at most",
            "give a shorter prompt, or serve with a larger max_num_batched_tokens",
        )
    chain = PrefixHash(page)
    at = 0
    for end in sorted(set(sees.tolist())):
        chain.extend(head[at:end])
        at = end
    kind = GroupKey(size, request.verifier, request.sampling.logprobs)
    generator = torch.Generator().manual_seed(request.sampling.seed + request.number)
    return SequenceState(number, request, listener, kind, head, prompt[len(head) :], sees, chain, generator)


def _after(
    prefix: CachedPrefix,
    number: int,
    request: GenerationRequest,
    listener: Listener,
    denoiser: DecoderDenoiser,
    page: int,
) -> SequenceState:
    """A text whose beginning has keys and values and no tokens; nobody else can share its pages."""
    if request.prompt or denoiser.shift or denoiser.prompt == "blocks":
        raise ValueError("a prefix stands alone, and before models that do not shift and have no blocks in prompts")
    kind = GroupKey(request.size, request.verifier, request.sampling.logprobs)
    head, none = np.zeros(prefix.length, np.int64), np.zeros(0, np.int64)
    generator = torch.Generator().manual_seed(request.sampling.seed + request.number)
    sees = np.full(prefix.length, prefix.length)
    return SequenceState(number, request, listener, kind, head, none, sees, PrefixHash(page), generator)


def _sees(request: GenerationRequest, denoiser: DecoderDenoiser, length: int, size: int) -> np.ndarray:
    """(length,) for each token of the prompt where what it sees ends."""
    places = np.arange(length)
    if request.causal or denoiser.prompt == "causal":
        return places + 1
    if denoiser.prompt == "blocks":
        return (places // size + 1) * size
    ends = np.array([*(seam for seam in request.seams if 0 < seam < length), length])
    return ends[np.searchsorted(ends, places, side="right")]
