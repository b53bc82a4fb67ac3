"""The loop: admit what fits, one forward over all of it, hand out what came of it."""

from __future__ import annotations

import itertools
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
from lohovla.d2f.engine.stop_conditions import endings
from lohovla.d2f.engine.token_proposals import propose
from lohovla.errors import UserError


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

    @property
    def longest(self) -> int:
        """Most tokens of a prompt with its answer."""
        return self.pool.count * self.pool.size

    @property
    def running(self) -> int:
        """Requests being decoded."""
        return len(self._order)

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return len(self._waiting) + len(self._arrived)

    def submit(self, request: GenerationRequest, listener: Listener) -> int:
        """Queue a request; returns its number. ``listener`` is called in the engine's thread, after each forward.

        Raises:
            UserError: the request cannot be carried out.
            QueueFull: too many are waiting.
        """
        self._check(request)
        text = begin(next(self._numbers), request, listener, self.denoiser, self.pool.size)
        with self._lock:
            if self.queued >= self.settings.max_queue and self.queued + self.running >= self.settings.max_num_seqs:
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
        lanes = list(self._lanes.values())
        self._forward(lanes)
        self._tell(lanes)
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
        self.pool.forget()

    # Coming in.

    def _check(self, request: GenerationRequest) -> None:
        begun = len(request.prompt) if request.prefix is None else request.prefix.length
        whole = begun + request.sampling.max_tokens
        if whole > self.longest:
            raise UserError(
                f"prompt and answer may have {self.longest} tokens, not {begun} + {request.sampling.max_tokens}",
                "ask for fewer, or serve with a larger cache_mb",
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
        rows = sum(len(lane.texts) * 2 * lane.canvas.size for lane in self._lanes.values())
        computing = {key for text in self._order for key in text.chain.keys[len(text.pages) :]}
        held_back: list[SequenceState] = []
        while self._waiting and len(self._order) < self.settings.max_num_seqs:
            text = self._waiting[0]
            lane = text.state = text.state or RequestGroup.begin(text, self.denoiser)
            ready = len(text.head) + int(lane.canvas.retired[0]) * lane.canvas.size
            keys = text.chain.keys if self.settings.enable_prefix_caching else []
            known = self.pool.known(keys)
            begun = known * self.pool.size if text.request.prefix is None else text.request.prefix.length
            rows += ready - begun + 2 * lane.canvas.size
            if self._order and rows > self.settings.max_num_batched_tokens:
                break
            self._waiting.popleft()
            if self.settings.enable_prefix_caching and known < len(keys) and keys[known] in computing:
                held_back.append(text)  # what it begins with is being computed; one step later it is there
                continue
            text.pages = self.pool.share(keys)
            needed = -(-ready // self.pool.size) - known
            if needed > self.pool.available:
                self.pool.give_back(text.pages)
                text.pages = []
                self._waiting.appendleft(text)
                break
            text.pages += self.pool.take(needed)
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
            while needed[text.number] > self.pool.available and text in self._order:
                self._preempt(self._order[-1])
            if needed[text.number] > 0 and text in self._order:
                text.pages += self.pool.take(needed[text.number])

    def _preempt(self, text: SequenceState) -> None:
        """Keep what is decided and drop the pages; the text goes on when there is room again."""
        lane = self._lanes[text.kind]
        state = lane.select([lane.texts.index(text)])
        self._leave([text])
        text.state, text.cached, text.last = state, 0, None
        self._waiting.appendleft(text)
        self.stats.preempted += 1

    # The forward.

    def _forward(self, lanes: list[RequestGroup]) -> None:
        shift = self.denoiser.shift
        versions = [lane.versions() for lane in lanes]
        batch = build_batch(lanes, versions, self.pool.size, shift, self.runner.paged.direct, self.denoiser.device)
        hidden = self.runner.forward(batch.tokens, batch.positions, batch.plan)
        self.stats.forwards += 1
        self.stats.rows += batch.width
        for lane, made, sections, ends in zip(lanes, versions, batch.sections, batch.ends, strict=True):
            self._commit(lane, hidden, ends)
            lane.forwards = lane.forwards + 1
            lane.settle(made, propose(self.runner, hidden, lane, sections))
        self.stats.forward_seconds = self.runner.seconds

    def _commit(self, lane: RequestGroup, hidden: torch.Tensor, ends: list[int]) -> None:
        """Note what this forward has put into pages, and let others find whole ones."""
        size, page = lane.canvas.size, self.pool.size
        for row, (text, retired) in enumerate(zip(lane.texts, lane.canvas.retired.tolist(), strict=True)):
            if self.denoiser.shift and ends[row] >= 0:
                text.last = hidden[ends[row]].clone()
            before, text.cached = text.cached, len(text.head) + retired * size
            if before == text.cached or not self.settings.enable_prefix_caching or text.request.prefix is not None:
                continue
            if text.chain.tokens < text.cached:
                start = text.chain.tokens - len(text.head)
                known = lane.canvas.tokens[row, start : retired * size].tolist()
                for at in range(0, len(known), size):
                    text.chain.extend(known[at : at + size])
            for number in range(before // page, text.cached // page):
                if number < len(text.chain.keys):
                    self.pool.name(text.pages[number], text.chain.keys[number])

    # Going out.

    def _tell(self, lanes: list[RequestGroup]) -> None:
        for lane in lanes:
            canvas = lane.canvas
            known = np.minimum(canvas.gap, canvas.end).tolist()
            open_, tokens, born, forwards = (
                part.tolist() for part in (canvas.open, canvas.tokens, lane.born, lane.forwards)
            )
            for row, text in enumerate(lane.texts):
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
        self.pool.give_back(text.pages)
        text.pages = []
