"""Which requests run and which wait: admission in order of arrival, as far as slots and pages of the cache go."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

from lohovla.d2f.denoiser import DecoderDenoiser
from lohovla.d2f.engine.block_manager import BlockManager
from lohovla.d2f.engine.engine_settings import EngineSettings
from lohovla.d2f.engine.engine_stats import EngineStats
from lohovla.d2f.engine.model_runner import ModelRunner
from lohovla.d2f.engine.request_group import GroupKey, RequestGroup, SequenceState


class Scheduler:
    """The requests that the engine has taken in. All methods are for the engine's thread.

    Args:
        denoiser: the model.
        settings: limits.
        pool: the pages.
        runner: of the model, for prefixes that were computed elsewhere.
        stats: of the engine.

    Attributes:
        lanes: running requests, those with the same settings in one batch.
        order: running requests, by arrival.
        waiting: requests that wait.
    """

    def __init__(
        self,
        denoiser: DecoderDenoiser,
        settings: EngineSettings,
        pool: BlockManager,
        runner: ModelRunner,
        stats: EngineStats,
    ):
        self._denoiser, self._settings, self._pool, self._runner, self._stats = denoiser, settings, pool, runner, stats
        self.lanes: dict[GroupKey, RequestGroup] = {}
        self.order: list[SequenceState] = []
        self.waiting: deque[SequenceState] = deque()

    def admit(self, failed: Callable[[SequenceState, Exception], None]) -> bool:
        """Let in what there is room for, in order of arrival; whether anything came in.

        Args:
            failed: told of a request that cannot begin.
        """
        if not self.waiting:
            return False
        before, page = len(self.order), self._pool.size
        computing = {key for text in self.order for key in text.chain.keys[text.cached // page :]}
        held_back: list[SequenceState] = []
        while self.waiting and len(self.order) < self._settings.max_num_seqs:
            text = self.waiting[0]
            try:
                budget = self._settings.max_num_batched_tokens
                lane = text.state = text.state or RequestGroup.begin(text, self._denoiser, budget)
            except Exception as error:  # of this request alone
                self.waiting.popleft()
                failed(text, error)
                continue
            ready = len(text.head) + int(lane.canvas.retired[0]) * lane.canvas.size
            # Log-probabilities of a prompt ask for all of its rows.
            shares = self._settings.enable_prefix_caching and text.request.prompt_ranks is None
            keys = text.chain.keys if shares else []
            known = self._pool.count_cached_prefix(keys)
            self.waiting.popleft()
            if known < len(keys) and keys[known] in computing:
                held_back.append(text)  # what it begins with is being computed; one step later it is there
                continue
            text.pages = self._pool.share_cached_prefix(keys)
            needed = -(-ready // page) - known
            if needed > self._pool.num_free_blocks:
                self._pool.free_blocks(text.pages)
                text.pages = []
                self.waiting.appendleft(text)
                break
            text.pages += self._pool.allocate_blocks(needed)
            text.cached = known * page
            if text.request.prefix is not None:
                self._runner.import_prefix(text.request.prefix, text.pages)
                text.cached = text.request.prefix.length
            computing.update(keys)
            self._enter(text, lane)
        self.waiting.extendleft(reversed(held_back))
        return len(self.order) > before

    def _enter(self, text: SequenceState, lane: RequestGroup) -> None:
        if text.started is None:
            text.started = time.monotonic()
            self._stats.queued.append(text.started - text.arrived)
            self._stats.prompt_tokens += len(text.head)
            self._stats.shared_tokens += text.cached
        text.state = None
        if text.kind in self.lanes:
            self.lanes[text.kind].join(lane)
        else:
            self.lanes[text.kind] = lane
        self.order.append(text)

    def make_room(self) -> None:
        """Take the pages that this step commits to; where there are too few, the latest comers wait again."""
        needed = {}
        for lane in self.lanes.values():
            for text, retired in zip(lane.texts, lane.canvas.retired.tolist(), strict=True):
                ready = len(text.head) + retired * lane.canvas.size
                needed[text.number] = -(-ready // self._pool.size) - len(text.pages)
        for text in list(self.order):
            while needed[text.number] > self._pool.num_free_blocks and text in self.order:
                self._preempt(self.order[-1])
            if needed[text.number] > 0 and text in self.order:
                text.pages += self._pool.allocate_blocks(needed[text.number])

    def _preempt(self, text: SequenceState) -> None:
        """Keep what is decided and drop the pages; the text goes on when there is room again."""
        lane = self.lanes[text.kind]
        state = lane.select([lane.texts.index(text)])
        self.leave([text])
        text.state, text.cached, text.last = state, 0, None
        self.waiting.appendleft(text)
        self._stats.preempted += 1

    def drop(self, numbers: set[int]) -> int:
        """Give requests up, wherever they are; how many there were."""
        gone = [text for text in (*self.order, *self.waiting) if text.number in numbers]
        self.waiting = deque(text for text in self.waiting if text.number not in numbers)
        self.leave([text for text in gone if text in self.order])
        return len(gone)

    def leave(self, texts: Iterable[SequenceState]) -> None:
        """Take running requests out of their lanes, and their pages back."""
        texts = list(texts)
        gone = {id(text) for text in texts}
        if not gone:
            return
        for kind, lane in list(self.lanes.items()):
            stay = [row for row, text in enumerate(lane.texts) if id(text) not in gone]
            if not stay:
                del self.lanes[kind]
            elif len(stay) < len(lane.texts):
                self.lanes[kind] = lane.select(stay)
        self.order = [text for text in self.order if id(text) not in gone]
        for text in texts:
            self._pool.free_blocks(text.pages)
            text.pages = []

    def clear(self) -> list[SequenceState]:
        """Give up everything that runs or waits; what that was."""
        gone = [*self.order, *self.waiting]
        for text in self.order:
            self._pool.free_blocks(text.pages)
            text.pages = []
        self.order, self.lanes = [], {}
        self.waiting.clear()
        return gone
