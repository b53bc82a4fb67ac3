"""What is asked of the engine, and what it tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from lohovla.d2f.block_state import Thresholds
from lohovla.d2f.generation_output import GenerationOutput
from lohovla.d2f.parallel_verification import PlainVerifier, Verifier
from lohovla.d2f.sampling import Sampling
from lohovla.d2f.token_constraint import TokenConstraint


@dataclass(frozen=True)
class CachedPrefix:
    """What stands before an answer and was run through the model elsewhere: an observation in the hybrid core.

    Attributes:
        keys: of each layer (p, key heads, head size), as the cache holds them.
        values: likewise.
        start: position of the answer's first token.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    start: int

    @property
    def length(self) -> int:
        """Places p."""
        return len(self.keys[0])


@dataclass(frozen=True)
class GenerationRequest:
    """A prompt and how to answer it.

    Attributes:
        prompt: token ids.
        sampling: how tokens are chosen and the answer ends.
        thresholds: of the pipeline.
        verifier: what is tried side by side in one forward.
        size: tokens a block.
        causal: read the prompt causally, for autoregression (with ``size`` 1 and thresholds of 1).
        seams: places in the prompt behind which a new part begins, in rising order. A part sees itself and the parts
            before it, so that a conversation's beginning keeps its keys and values. No effect on models whose
            prompts are causal or in blocks.
        number: which of several answers this is; counts the seed up.
        prefix: stands for a prompt, which is then empty; for models that do not shift.
        constraint: which tokens may follow; the answer is then decoded from the left, see
            :mod:`lohovla.d2f.token_constraint`. It is this request's alone.
        prompt_ranks: alternatives to report for each token of the prompt, with the log-probability of each; None
            reports nothing. For causal requests.
    """

    prompt: tuple[int, ...]
    sampling: Sampling = field(default_factory=Sampling)
    thresholds: Thresholds = field(default_factory=Thresholds)
    verifier: Verifier = field(default_factory=PlainVerifier)
    size: int = 32
    causal: bool = False
    seams: tuple[int, ...] = ()
    number: int = 0
    prefix: CachedPrefix | None = None
    constraint: TokenConstraint | None = None
    prompt_ranks: int | None = None


@dataclass(frozen=True)
class RequestOutput:
    """News of a request, after a forward that it took part in.

    Attributes:
        tokens: those that are decided without a gap before them; they stay as they are.
        canvas: all of the blocks open so far, None where nothing is decided.
        born: the forward, counted from 0, that each of the canvas's tokens came from; -1 where undecided.
        forwards: model calls so far.
        answer: set in the last update.
        error: why there is no answer; then this is the last update.
    """

    tokens: list[int]
    canvas: list[int | None]
    born: list[int]
    forwards: int
    answer: GenerationOutput | None = None
    error: str | None = None


Listener = Callable[[RequestOutput], None]


class QueueFull(Exception):
    """The queue is full.

    Attributes:
        retry_after: seconds after which there is probably room.
    """

    def __init__(self, retry_after: float):
        super().__init__("too many requests are waiting")
        self.retry_after = retry_after
