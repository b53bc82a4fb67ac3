"""The loop: admit what fits, one forward over all of it, hand out what came of it."""

from __future__ import annotations

import copy
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np
import torch

from lohovla.d2f.denoiser import DecoderDenoiser
from lohovla.d2f.engine.block_manager import BlockManager
from lohovla.d2f.engine.engine_settings import EngineSettings
from lohovla.d2f.engine.engine_stats import EngineStats
from lohovla.d2f.engine.forward_batch import build_batch
from lohovla.d2f.engine.model_runner import ModelRunner, pages_of
from lohovla.d2f.engine.request import GenerationRequest, Listener, QueueFull, RequestOutput
from lohovla.d2f.engine.request_group import GroupKey, RequestGroup, SequenceState
from lohovla.d2f.engine.request_setup import begin
from lohovla.d2f.engine.step_plan import PrefillChunk, StepPlan, fitting, plan_step
from lohovla.d2f.engine.stop_conditions import endings
from lohovla.d2f.engine.token_proposals import draw_chances, propose
from lohovla.errors import UserError

_LOG = logging.getLogger(__name__)


class Engine:
    """Decodes many requests together. ``submit`` and ``abort`` may be called from any thread, ``step`` from one.

    Args:
        denoiser: the model.
        settings: limits.
        text: turns ids into text; only stop strings need it.
        runner: makes what runs the model over so many pages of such a size.

    Attributes:
        pool: the pages.
        stats: what was done.
        max_model_len: tokens of a prompt with its answer at most.
    """

    def __init__(
        self,
        denoiser: DecoderDenoiser,
        settings: EngineSettings | None = None,
        text: Callable[[list[int]], str] | None = None,
        runner: Callable[[DecoderDenoiser, int, int], ModelRunner] = ModelRunner,
    ):
        self.denoiser, self.settings, self.text = denoiser, settings or EngineSettings(), text
        pages, page = pages_of(denoiser, self.settings), self.settings.block_size
        self.pool, self.runner, self.stats = BlockManager(pages, page), runner(denoiser, pages, page), EngineStats()
        self._lanes: dict[GroupKey, RequestGroup] = {}
        self._order: list[SequenceState] = []  # running, by arrival
        self._waiting: deque[SequenceState] = deque()
        self._arrived: deque[SequenceState] = deque()
        self._leaving: set[int] = set()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._steps = 0
        made_for = getattr(denoiser.decoder.config, "max_position_embeddings", None)
        wanted = self.settings.max_model_len or made_for or pages * page
        self.max_model_len = min(wanted, pages * page)

    @property
    def _budget(self) -> int:
        return self.settings.max_num_batched_tokens

    @property
    def running(self) -> int:
        """Requests being decoded."""
        return len(self._order)

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return len(self._waiting) + len(self._arrived)

    @property
    def full(self) -> bool:
        """Whether the next request would be refused because too many wait."""
        return self.queued >= self.settings.max_queue and self.queued + self.running >= self.settings.max_num_seqs

    def submit(self, request: GenerationRequest, listener: Listener) -> int:
        """Queue a request; returns its number. ``listener`` is called in the engine's thread, after each forward.

        Raises:
            UserError: the request cannot be carried out.
            QueueFull: too many are waiting.
        """
        self._check(request)
        text = begin(next(self._numbers), request, listener, self.denoiser, self.pool.size, self._budget)
        with self._lock:
            if self.full:
                raise QueueFull(self._patience())
            self._arrived.append(text)
        return text.number

    def abort(self, number: int) -> None:
        """Drop a request, wherever it is; its pages are free when the present step is over."""
        with self._lock:
            self._leaving.add(number)

    def step(self) -> bool:
        """One forward over everything that runs; False if there was nothing to do."""
        began = time.monotonic()
        self._take_in()
        self._make_room()
        if self._admit():
            self._dismiss_finished()  # an answer of no blocks needs no forward
        if not self._order:
            return False
        self._run(plan_step(self._lanes.values(), self._budget, self.settings.long_prefill_tokens, self.denoiser.shift))
        self._dismiss_finished()
        self.stats.seconds += time.monotonic() - began
        return True

    def fail(self, error: str) -> None:
        """Give up everything that runs or waits, for instance when a step has failed."""
        self._take_in()
        for text in [*self._order, *self._waiting]:
            self.stats.failed += 1
            text.listener(RequestOutput([], [], [], 0, error=error))
        for text in self._order:
            self._release(text)
        self._order, self._lanes = [], {}
        self._waiting.clear()
        self.pool.clear_cached_blocks()

    # Coming in.

    def _check(self, request: GenerationRequest) -> None:
        begun = len(request.prompt) if request.prefix is None else request.prefix.length
        whole = begun + request.sampling.max_tokens
        if whole > self.max_model_len:
            raise UserError(
                f"prompt and answer may have {self.max_model_len} tokens, not {begun} + {request.sampling.max_tokens}",
                "ask for fewer, or serve with a larger max_model_len and cache_mb",
            )
        if request.sampling.stop and self.text is None:
            raise UserError("this engine knows no text, so no stop strings", "leave stop out")

    def _patience(self) -> float:
        """Seconds in which one of those that wait will have come in."""
        recent = list(self.stats.whole)[-32:]
        whole = sum(recent) / len(recent) if recent else 1.0
        return min(60.0, max(1.0, whole))

    def _take_in(self) -> None:
        with self._lock:
            self._waiting.extend(self._arrived)
            self._arrived.clear()
            leaving, self._leaving = self._leaving, set()
        if not leaving:
            return
        gone = [text for text in (*self._order, *self._waiting) if text.number in leaving]
        self.stats.aborted += len(gone)
        self._waiting = deque(text for text in self._waiting if text.number not in leaving)
        self._leave([text for text in gone if text in self._order])

    def _admit(self) -> bool:
        """Let in what there is room for, in order of arrival; whether anything came in."""
        if not self._waiting:
            return False
        before = len(self._order)
        page = self.pool.size
        computing = {key for text in self._order for key in text.chain.keys[text.cached // page :]}
        held_back: list[SequenceState] = []
        while self._waiting and len(self._order) < self.settings.max_num_seqs:
            text = self._waiting[0]
            try:
                lane = text.state = text.state or RequestGroup.begin(text, self.denoiser, self._budget)
            except Exception as error:  # of this request alone
                self._waiting.popleft()
                self._broken(text, error)
                continue
            ready = len(text.head) + int(lane.canvas.retired[0]) * lane.canvas.size
            keys = text.chain.keys if self.settings.enable_prefix_caching else []
            known = self.pool.count_cached_prefix(keys)
            self._waiting.popleft()
            if self.settings.enable_prefix_caching and known < len(keys) and keys[known] in computing:
                held_back.append(text)  # what it begins with is being computed; one step later it is there
                continue
            text.pages = self.pool.share_cached_prefix(keys)
            needed = -(-ready // self.pool.size) - known
            if needed > self.pool.num_free_blocks:
                self.pool.free_blocks(text.pages)
                text.pages = []
                self._waiting.appendleft(text)
                break
            text.pages += self.pool.allocate_blocks(needed)
            text.cached = known * self.pool.size
            if text.request.prefix is not None:
                self.runner.import_prefix(text.request.prefix, text.pages)
                text.cached = text.request.prefix.length
            computing.update(keys)
            self._enter(text, lane)
        self._waiting.extendleft(reversed(held_back))
        return len(self._order) > before

    def _enter(self, text: SequenceState, lane: RequestGroup) -> None:
        if text.started is None:
            text.started = time.monotonic()
            self.stats.queued.append(text.started - text.arrived)
            self.stats.prompt_tokens += len(text.head)
            self.stats.shared_tokens += text.cached
        text.state = None
        if text.kind in self._lanes:
            self._lanes[text.kind].join(lane)
        else:
            self._lanes[text.kind] = lane
        self._order.append(text)

    def _make_room(self) -> None:
        """Take the pages that this step commits to; where there are too few, the latest comers wait again."""
        needed = {}
        for lane in self._lanes.values():
            for text, retired in zip(lane.texts, lane.canvas.retired.tolist(), strict=True):
                ready = len(text.head) + retired * lane.canvas.size
                needed[text.number] = -(-ready // self.pool.size) - len(text.pages)
        for text in list(self._order):
            while needed[text.number] > self.pool.num_free_blocks and text in self._order:
                self._preempt(self._order[-1])
            if needed[text.number] > 0 and text in self._order:
                text.pages += self.pool.allocate_blocks(needed[text.number])

    def _preempt(self, text: SequenceState) -> None:
        """Keep what is decided and drop the pages; the text goes on when there is room again."""
        lane = self._lanes[text.kind]
        state = lane.select([lane.texts.index(text)])
        self._leave([text])
        text.state, text.cached, text.last = state, 0, None
        self._waiting.appendleft(text)
        self.stats.preempted += 1

    # The forward.

    def _run(self, plan: StepPlan) -> None:
        """Run what was chosen; a request whose own step fails is given up, and the others go on."""
        self._steps += 1
        chosen: list[RequestGroup] = []
        resting: dict[GroupKey, RequestGroup] = {}
        for kind, lane in self._lanes.items():
            rows = [row for row, text in enumerate(lane.texts) if text.number in plan.decoding]
            if len(rows) < len(lane.texts):
                others = sorted(set(range(len(lane.texts))) - set(rows))
                resting[kind] = lane.select(others) if rows else lane
            if rows:
                chosen.append(lane.select(rows) if kind in resting else lane)
        for text in (*(text for lane in chosen for text in lane.texts), *(chunk.text for chunk in plan.chunks)):
            text.last_step = self._steps
        chances = [draw_chances(lane) for lane in chosen]
        broken: list[SequenceState] = []
        try:
            self._forward(chosen, plan.chunks, chances)
        except Exception as error:
            _LOG.warning("a step failed; its requests are tried one by one", exc_info=error)
            chosen, broken = self._one_by_one(chosen, plan.chunks, chances)
        lanes = dict(resting)
        for lane in chosen:
            kind = lane.texts[0].kind
            if kind in lanes:
                lane.join(lanes[kind])
            lanes[kind] = lane
        self._lanes = lanes
        self._leave(broken)
        self._tell(plan.decoding)

    def _one_by_one(
        self, lanes: list[RequestGroup], chunks: list[PrefillChunk], chances: list[np.ndarray | None]
    ) -> tuple[list[RequestGroup], list[SequenceState]]:
        """The lanes after a step of each request by itself, without those that failed; and those."""
        kept, broken = [], []
        for lane, chance in zip(lanes, chances, strict=True):
            whole: RequestGroup | None = None
            for row, text in enumerate(lane.texts):
                own = lane.select([row])
                try:
                    width = own.canvas.tokens.shape[1]
                    self._forward([own], [], [None if chance is None else chance[row : row + 1, :width]])
                except Exception as error:
                    self._broken(text, error)
                    broken.append(text)
                    continue
                if whole is None:
                    whole = own
                else:
                    whole.join(own)
            kept += [] if whole is None else [whole]
        for chunk in chunks:
            try:
                self._forward([], [chunk], [])
            except Exception as error:
                self._broken(chunk.text, error)
                broken.append(chunk.text)
        return kept, broken

    def _broken(self, text: SequenceState, error: Exception) -> None:
        """Tell that a request has failed."""
        _LOG.warning("request %d failed: %s: %s", text.number, type(error).__name__, error)
        self.stats.failed += 1
        text.listener(RequestOutput([], [], [], 0, error=f"the model failed: {type(error).__name__}"))

    def _forward(self, lanes: list[RequestGroup], chunks: list[PrefillChunk], chances: list[np.ndarray | None]) -> None:
        """One model call. The lanes are changed only after all that can fail."""
        shift = self.denoiser.shift
        versions = [fitting(lane, lane.versions(), self._budget) for lane in lanes]
        direct, device = self.runner.paged.direct, self.denoiser.device
        batch = build_batch(lanes, versions, chunks, self.pool.size, shift, direct, device)
        hidden = self.runner.forward(batch.tokens, batch.positions, batch.plan)
        self.stats.forwards += 1
        self.stats.rows += batch.width
        after = []
        for lane, made, sections, chance in zip(lanes, versions, batch.sections, chances, strict=True):
            further = copy.copy(lane)
            further.forwards = lane.forwards + 1
            further.settle(made, propose(self.runner, hidden, lane, sections, chance))
            after.append(further)
        for lane, ends, further in zip(lanes, batch.ends, after, strict=True):
            retired = lane.canvas.retired.tolist()
            for row, text in enumerate(lane.texts):
                done = len(text.head) + retired[row] * lane.canvas.size
                self._commit(text, lane.canvas.tokens[row], lane.canvas.size, done, hidden, ends[row])
            vars(lane).update(vars(further))
        for chunk, end in zip(chunks, batch.chunk_ends, strict=True):
            self._commit(chunk.text, chunk.canvas, chunk.size, chunk.end, hidden, end)
        self.stats.forward_seconds = self.runner.seconds

    def _commit(
        self, text: SequenceState, canvas: np.ndarray, size: int, done: int, hidden: torch.Tensor, row: int
    ) -> None:
        """Note that a text's first ``done`` tokens are in pages, and let others find whole ones.

        Args:
            text: whose they are.
            canvas: (length,) tokens of its answer.
            size: tokens a block.
            done: tokens of prompt and answer.
            hidden: (rows, d) of the forward.
            row: of the last one of them; -1 if this forward committed none.
        """
        page = self.pool.size
        if self.denoiser.shift and row >= 0:
            text.last = hidden[row].clone()
        before, text.cached = text.cached, done
        if before == done or not self.settings.enable_prefix_caching or text.request.prefix is not None:
            return
        if text.chain.tokens < done:
            known = canvas[text.chain.tokens - len(text.head) : done - len(text.head)].tolist()
            for at in range(0, len(known), size):
                text.chain.extend(known[at : at + size])
        for number in range(before // page, done // page):
            if number < len(text.chain.keys):
                self.pool.register_block(text.pages[number], text.chain.keys[number])

    # Going out.

    def _tell(self, numbers: set[int]) -> None:
        for lane in self._lanes.values():
            canvas = lane.canvas
            known = np.minimum(canvas.gap, canvas.end).tolist()
            open_, tokens, born, forwards = (
                part.tolist() for part in (canvas.open, canvas.tokens, lane.born, lane.forwards)
            )
            for row, text in enumerate(lane.texts):
                if text.number not in numbers:
                    continue
                given, end = len(text.tail), open_[row] * canvas.size
                shown = tokens[row][given:end]
                text.listener(
                    RequestOutput(
                        tokens[row][given : max(given, known[row])],
                        [None if token == canvas.mask_id else token for token in shown],
                        born[row][given:end],
                        forwards[row],
                    )
                )

    def _dismiss_finished(self) -> None:
        for lane in list(self._lanes.values()):
            over = [(lane.texts[row], answer) for row, answer in endings(lane, self.text).items()]
            self._leave([text for text, _ in over])
            for text, answer in over:
                if isinstance(answer, Exception):
                    self._broken(text, answer)
                    continue
                self.stats.finished += 1
                self.stats.tokens += len(answer.tokens)
                self.stats.steps += answer.forwards
                self.stats.whole.append(time.monotonic() - text.arrived)
                text.listener(RequestOutput(answer.tokens, list(answer.tokens), answer.step, answer.forwards, answer))

    def _leave(self, texts: list[SequenceState]) -> None:
        """Take texts out of their lanes, and their pages back."""
        gone = {id(text) for text in texts}
        if not gone:
            return
        for kind, lane in list(self._lanes.items()):
            stay = [row for row, text in enumerate(lane.texts) if id(text) not in gone]
            if not stay:
                del self._lanes[kind]
            elif len(stay) < len(lane.texts):
                self._lanes[kind] = lane.select(stay)
        self._order = [text for text in self._order if id(text) not in gone]
        for text in texts:
            self._release(text)

    def _release(self, text: SequenceState) -> None:
        self.pool.free_blocks(text.pages)
        text.pages = []
