"""The decoding loop: several sequences, an exact cache, and one forward a step over what is not yet in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lohovla.d2f import block_state
from lohovla.d2f.block_state import DecodeState, Thresholds
from lohovla.d2f.denoiser import BlockCache, BlockDenoiser, suppress_mask
from lohovla.d2f.forward_window import ForwardWindow
from lohovla.d2f.generation_output import GenerationOutput
from lohovla.d2f.parallel_verification import PlainVerifier, Verifier
from lohovla.d2f.sampling import Proposals, Sampling, adjust_logits, choose_tokens
from lohovla.d2f.stop_strings import stopped
from lohovla.errors import UserError


@dataclass(frozen=True)
class DecodeSettings:
    """How to decode.

    Attributes:
        size: tokens a block; None is the model's own, or 32.
        thresholds: of the pipeline.
        sampling: how tokens are chosen and answers end.
        verifier: what is tried side by side in one forward.
        early: stop at the end token as soon as all before it is decided; the text is the same without.
    """

    size: int | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)
    sampling: Sampling = field(default_factory=Sampling)
    verifier: Verifier = field(default_factory=PlainVerifier)
    early: bool = True


@torch.inference_mode()
def decode_prompts(
    denoiser: BlockDenoiser,
    prompts: Sequence[Tensor | Sequence[int]],
    settings: DecodeSettings | None = None,
    cache: BlockCache | None = None,
    start: Tensor | None = None,
    text: Callable[[list[int]], str] | None = None,
) -> list[GenerationOutput]:
    """Decode an answer to each prompt.

    Args:
        denoiser: the model.
        prompts: token ids; they may be empty where ``cache`` holds a prefix.
        settings: how.
        cache: a prefix that was already run through the model, see :meth:`BlockCache.of_prefix`; the prompts follow
            it. It is used up.
        start: (n,) position of each prompt's first token; the prefix's length if None.
        text: turns ids into text; only stop strings need it.
    """
    session = DecodeSession(denoiser, prompts, settings or DecodeSettings(), cache, start, text)
    for _ in session:
        pass
    return session.answers


class DecodeSession:
    """Sequences being decoded; iterate over it, a forward a turn. Arguments as of :func:`decode_prompts`.

    Attributes:
        canvas: the state of the sequences still going on.
        rows: (n,) which of the prompts those are.
        born: (n, length) the forward that each token was accepted from; -1 before.
        forwards: model calls so far.
    """

    def __init__(
        self,
        denoiser: BlockDenoiser,
        prompts: Sequence[Tensor | Sequence[int]],
        settings: DecodeSettings,
        cache: BlockCache | None = None,
        start: Tensor | None = None,
        text: Callable[[list[int]], str] | None = None,
    ):
        self.denoiser, self.settings, self.text = denoiser, settings, text
        settings.verifier.check(settings.sampling)
        device = denoiser.device
        size = settings.size or denoiser.block or 32
        heads = [torch.as_tensor(prompt, dtype=torch.long, device=device) for prompt in prompts]
        if any((head == denoiser.mask_id).any() for head in heads):
            raise UserError("a prompt holds the mask token", "leave it out")
        self.cache = denoiser.new_cache(len(heads)) if cache is None else cache
        self.start = (self.cache.lengths if start is None else start).clone()
        tails = None
        if denoiser.prompt == "blocks":
            if self.cache.lengths.remainder(size).any():
                raise ValueError("a cached prefix of this model ends at a block's border")
            tails = [head[len(head) - len(head) % size :] for head in heads]
            heads = [head[: len(head) - len(head) % size] for head in heads]
        most = torch.tensor(
            [settings.sampling.max_tokens + (len(tails[k]) if tails else 0) for k in range(len(heads))], device=device
        )
        self.canvas = block_state.empty_state(
            len(heads), most, size, denoiser.mask_id, denoiser.eos_ids, tails, settings.early, device
        )
        self.prompt = torch.nn.utils.rnn.pad_sequence(heads, batch_first=True) if heads else torch.zeros(0, 0)
        self.length = torch.tensor([len(head) for head in heads], dtype=torch.long, device=device)
        self.fed = torch.zeros_like(self.length)  # tokens of prompt and canvas that are in the cache
        self.rows = torch.arange(len(heads), device=device)
        self.forwards = 0
        self.proposals: Proposals | None = None
        self._finished: dict[int, GenerationOutput] = {}
        self._generators = [torch.Generator().manual_seed(settings.sampling.seed + k) for k in range(len(heads))]
        shape, ranks = self.canvas.tokens.shape, settings.sampling.logprobs
        self._kept = Proposals(
            torch.zeros(shape, dtype=torch.long, device=device),
            torch.ones(shape, device=device),
            torch.zeros(shape, device=device),
            torch.zeros(*shape, ranks, dtype=torch.long, device=device),
            torch.zeros(*shape, ranks, device=device),
        )
        self.born = torch.full(shape, -1, device=device)
        self.canvas = block_state.append_block(self.canvas, settings.thresholds)

    @property
    def answers(self) -> list[GenerationOutput]:
        """The answers, in the order of the prompts, once all are finished."""
        return [self._finished[row] for row in sorted(self._finished)]

    def __iter__(self) -> Iterator[DecodeState]:
        """A forward a turn; gives the canvas that the forward saw."""
        while True:
            if self.proposals is not None:
                self.canvas = self.follow(self.canvas, self.proposals)
            self._finish()
            if not len(self.rows):
                return
            versions = self.settings.verifier.versions(self)
            proposals = self._forward([version.canvas for version in versions])
            self.canvas, self.proposals = self.settings.verifier.settle(self, versions, proposals)
            yield self.canvas

    def follow(self, canvas: DecodeState, proposals: Proposals, note: Tensor | None = None) -> DecodeState:
        """The state after ``canvas`` by the plain rules; what was accepted is noted for the answers.

        Args:
            canvas: the state that the proposals were made for.
            proposals: the model's answer to it.
            note: (n,) bool, sequences that really go this way; all if None.
        """
        limits = self.settings.thresholds
        after, filled = block_state.unmask(canvas, proposals.tokens, proposals.confidence, limits)
        self.note(filled if note is None else filled & note[:, None], proposals)
        return block_state.append_block(block_state.commit_blocks(after), limits)

    def note(self, filled: Tensor, proposals: Proposals) -> None:
        """Keep confidences and log-probabilities of what was ``filled`` (n, length) from ``proposals``."""
        kept, given = vars(self._kept), vars(proposals)
        self._kept = Proposals(
            **{
                name: torch.where(filled if kept[name].ndim == 2 else filled[..., None], given[name], kept[name])
                for name in kept
            }
        )
        self.born = torch.where(filled & (self.born < 0), self.forwards - 1, self.born)

    @torch.inference_mode()
    def _forward(self, versions: list[DecodeState]) -> list[Proposals]:
        """One model call: commit what is ready, and propose for every version of the rest."""
        window = ForwardWindow(self, versions)
        hidden = self.denoiser.forward(
            window.tokens, window.positions, window.visible, self.cache, window.lead.sum(1) if window.commits else None
        )
        self.forwards += 1
        self.fed = self.fed + window.lead.sum(1)
        chance = None
        if self.settings.sampling.temperature > 0:
            length = self.canvas.tokens.shape[1]
            chance = torch.stack([torch.rand(length, generator=g) for g in self._generators]).to(hidden.device)
        return self._propose(versions, window, hidden, chance)

    def _propose(
        self, versions: list[DecodeState], window: ForwardWindow, hidden: Tensor, chance: Tensor | None
    ) -> list[Proposals]:
        """Run the language head where something is masked, and nowhere else."""
        sampling = self.settings.sampling
        picked, places = [], []
        for canvas, section in zip(versions, window.sections, strict=True):
            rows, columns = (canvas.masked & canvas.opened).nonzero(as_tuple=True)
            local = columns - self.canvas.retired[rows] * canvas.size
            states = hidden[:, section]
            if self.denoiser.shift:
                last = self.cache.last
                if last is None and bool((local == 0).any()):
                    raise UserError(
                        "the model predicts the next token, and there is none before the answer",
                        "give a prompt, or the prefix's last hidden state",
                    )
                last = torch.zeros_like(states[:, 0]) if last is None else last  # a prompt's tail is not predicted
                states = torch.cat([last[:, None], states[:, :-1]], 1)
            picked.append(states[rows, local])
            places.append((rows, columns))
        logits = self.denoiser.logits(torch.cat(picked))
        suppress_mask(logits, self.denoiser.mask_id)
        rows, columns = (torch.cat(part) for part in zip(*places, strict=True))
        if sampling.min_tokens:
            early = columns - self.canvas.given[rows, 0] < sampling.min_tokens
            logits[early.nonzero(), torch.tensor(self.denoiser.eos_ids, device=logits.device)] = -torch.inf
        if sampling.adjusts:
            at = 0
            for canvas, (own, _) in zip(versions, places, strict=True):
                for row in own.unique().tolist():
                    mine = at + (own == row).nonzero()[:, 0]
                    logits[mine] = adjust_logits(logits[mine], sampling, *self._said(canvas, row))
                at += len(own)
        tokens, confidence, logprobs = choose_tokens(
            logits, sampling, None if chance is None else chance[rows, columns]
        )
        logprob = logprobs.gather(1, tokens[:, None])[:, 0]
        ranked_logprob, ranked = logprobs.topk(sampling.logprobs, -1)
        made, at = [], 0
        for where in places:
            span = slice(at, at := at + len(where[0]))
            values = (tokens[span], confidence[span], logprob[span], ranked[span], ranked_logprob[span])
            blank = (torch.zeros_like(old) for old in vars(self._kept).values())
            made.append(Proposals(*(b.index_put(where, value) for b, value in zip(blank, values, strict=True))))
        return made

    def _said(self, canvas: DecodeState, row: int) -> tuple[list[int], list[int]]:
        """The tokens of a sequence's prompt, and those of its answer that are decided."""
        given = self._given(row)
        decided, whole = ~canvas.masked[row], canvas.tokens[row]
        prompt = [*self.prompt[row, : int(self.length[row])].tolist(), *whole[:given].tolist()]
        return prompt, whole[given:][decided[given:]].tolist()

    def _finish(self) -> None:
        """Take out the sequences that are complete."""
        places = torch.stack([self.canvas.done.long(), self.canvas.gap, self.canvas.end, self.canvas.limit], 1)
        over = set()
        for row, (done, gap, end, limit) in enumerate(places.tolist()):
            room = limit * self.canvas.size
            known = self.canvas.tokens[row, self._given(row) : min(gap, end, room)].tolist()
            if (stop := stopped(known, self.settings.sampling.stop, self.text)) is not None:
                answer = self._answer(row, self._given(row) + stop.tokens, "stop", stop.characters)
            elif done:
                answer = self._answer(row, min(end, room), "end" if end < room else "length")
            else:
                continue
            self._finished[int(self.rows[row])] = answer
            over.add(row)
        if over:
            keep = torch.tensor([row for row in range(len(self.rows)) if row not in over], dtype=torch.long)
            self._select(keep.to(self.rows.device))

    def _given(self, row: int) -> int:
        """Tokens of the prompt that open a sequence's canvas."""
        return int(self.canvas.given[row, 0]) if self.canvas.blocks else 0

    def _answer(self, row: int, cut: int, reason: str, characters: int | None = None) -> GenerationOutput:
        span = slice(self._given(row), cut)
        kept = self._kept
        ranked = zip(kept.ranked[row, span].tolist(), kept.ranked_logprob[row, span].tolist(), strict=True)
        return GenerationOutput(
            self.canvas.tokens[row, span].tolist(),
            kept.confidence[row, span].tolist(),
            kept.logprob[row, span].tolist(),
            [list(zip(*pair, strict=True)) for pair in ranked],
            self.born[row, span].tolist(),
            self.forwards,
            reason,
            characters,
        )

    def _select(self, keep: Tensor) -> None:
        self.canvas = self.canvas.select(keep)
        self.cache.select(keep)
        for name in ("prompt", "length", "fed", "start", "rows", "born"):
            setattr(self, name, getattr(self, name)[keep])
        self._kept = self._kept.select(keep)
        self.proposals = None if self.proposals is None else self.proposals.select(keep)
        self._generators = [self._generators[row] for row in keep.tolist()]
