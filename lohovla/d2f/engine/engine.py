"""The loop: admit what fits, one forward over all of it, hand out what came of it."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lohovla.d2f.denoiser import DecoderDenoiser
from lohovla.d2f.engine.block_manager import BlockManager
from lohovla.d2f.engine.engine_settings import EngineSettings
from lohovla.d2f.engine.engine_stats import EngineStats
from lohovla.d2f.engine.model_runner import ModelRunner, pages_of
from lohovla.d2f.engine.request import GenerationRequest, Listener, QueueFull, RequestOutput
from lohovla.d2f.engine.request_group import SequenceState
from lohovla.d2f.engine.request_setup import begin_request
from lohovla.d2f.engine.scheduler import Scheduler
from lohovla.d2f.engine.step_allowance import StepAllowance
from lohovla.d2f.engine.step_execution import StepExecutor
from lohovla.d2f.engine.step_plan import plan_step
from lohovla.d2f.engine.stop_conditions import endings
from lohovla.errors import UserError

_LOG = logging.getLogger(__name__)


class Engine:
    """Decodes many requests together. ``submit`` and ``abort`` may be called from any thread, ``step`` from one.

    Args:
        denoiser: the model.
        settings: limits.
        text: turns ids into text; only stop strings need it.
        runner: makes what runs the model over so many pages of such a size.
        clock: tells seconds, for the length of a step; the monotonic clock if None.

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
        clock: Callable[[], float] | None = None,
    ):
        self.denoiser, self.settings, self.text = denoiser, settings or EngineSettings(), text
        pages, page = pages_of(denoiser, self.settings), self.settings.block_size
        self.pool, self.runner, self.stats = BlockManager(pages, page), runner(denoiser, pages, page), EngineStats()
        parts = (denoiser, self.settings, self.pool, self.runner, self.stats)
        self._scheduler, self._executor = Scheduler(*parts), StepExecutor(*parts)
        self._allowance = StepAllowance(self.settings.max_num_batched_tokens, self.settings.step_seconds)
        self._clock = clock or time.monotonic
        self._arrived: deque[SequenceState] = deque()
        self._leaving: set[int] = set()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        made_for = getattr(denoiser.decoder.config, "max_position_embeddings", None)
        wanted = self.settings.max_model_len or made_for or pages * page
        self.max_model_len = min(wanted, pages * page)

    @property
    def running(self) -> int:
        """Requests being decoded."""
        return len(self._scheduler.order)

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return len(self._scheduler.waiting) + len(self._arrived)

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
        budget = self.settings.max_num_batched_tokens
        text = begin_request(next(self._numbers), request, listener, self.denoiser, self.pool.size, budget)
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
        began, scheduler = self._clock(), self._scheduler
        self._take_in()
        scheduler.make_room()
        if scheduler.admit(self._broken):
            self._dismiss_finished()  # an answer of no blocks needs no forward
        if not scheduler.order:
            return False
        rows, settings = self.stats.rows, self.settings
        plan = plan_step(
            scheduler.lanes.values(),
            settings.max_num_batched_tokens,
            settings.long_prefill_tokens,
            self.denoiser.shift,
            self._allowance.rows,
        )
        scheduler.lanes, broken = self._executor.run(scheduler.lanes, plan, self._broken)
        scheduler.leave(broken)
        self._tell(plan.decoding)
        self._dismiss_finished()
        seconds = self._clock() - began
        self._allowance.note(self.stats.rows - rows, seconds)
        self.stats.seconds += seconds
        self.stats.longest_step = max(self.stats.longest_step, seconds)
        return True

    def fail(self, error: str) -> None:
        """Give up everything that runs or waits, for instance when a step has failed."""
        self._take_in()
        for text in self._scheduler.clear():
            self.stats.failed += 1
            text.listener(RequestOutput([], [], [], 0, error=error))
        self.pool.clear_cached_blocks()

    def _check(self, request: GenerationRequest) -> None:
        begun = len(request.prompt) if request.prefix is None else request.prefix.length
        whole = begun + request.sampling.max_tokens
        if whole > self.max_model_len:
            raise UserError(
                f"prompt and answer may have {self.max_model_len} tokens, not {begun} + {request.sampling.max_tokens}",
                "ask for fewer, or serve with a larger max_model_len and cache_mb",
            )
        if request.sampling.stop and self.text is None:
            raise UserError("this engine has no tokenizer, so it cannot look for stop strings", "leave stop out")

    def _patience(self) -> float:
        """Seconds in which one of those that wait will have come in."""
        recent = list(self.stats.whole)[-32:]
        whole = sum(recent) / len(recent) if recent else 1.0
        return min(60.0, max(1.0, whole))

    def _take_in(self) -> None:
        with self._lock:
            self._scheduler.waiting.extend(self._arrived)
            self._arrived.clear()
            leaving, self._leaving = self._leaving, set()
        if leaving:
            self.stats.aborted += self._scheduler.drop(leaving)

    def _broken(self, text: SequenceState, error: Exception) -> None:
        """Tell that a request has failed."""
        _LOG.warning("request %d failed: %s: %s", text.number, type(error).__name__, error)
        self.stats.failed += 1
        text.listener(RequestOutput([], [], [], 0, error=f"the model failed: {type(error).__name__}"))

    def _tell(self, numbers: set[int]) -> None:
        for lane in self._scheduler.lanes.values():
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
        for lane in list(self._scheduler.lanes.values()):
            over = [(lane.texts[row], answer) for row, answer in endings(lane, self.text).items()]
            self._scheduler.leave(text for text, _ in over)
            for text, answer in over:
                if isinstance(answer, Exception):
                    self._broken(text, answer)
                    continue
                if text.request.prompt_ranks is not None:
                    answer = replace(answer, prompt=[text.prompt_scores.get(k) for k in range(len(text.head))])
                self.stats.finished += 1
                self.stats.tokens += len(answer.tokens)
                self.stats.steps += answer.forwards
                self.stats.whole.append(time.monotonic() - text.arrived)
                text.listener(RequestOutput(answer.tokens, list(answer.tokens), answer.step, answer.forwards, answer))
