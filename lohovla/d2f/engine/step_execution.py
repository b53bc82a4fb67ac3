"""A step: one forward pass over what was chosen. States change only after everything that can fail."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import numpy as np
import torch

from lohovla.d2f.denoiser import DecoderDenoiser
from lohovla.d2f.engine.block_manager import BlockManager
from lohovla.d2f.engine.engine_settings import EngineSettings
from lohovla.d2f.engine.engine_stats import EngineStats
from lohovla.d2f.engine.forward_batch import build_batch
from lohovla.d2f.engine.model_runner import ModelRunner
from lohovla.d2f.engine.prompt_scores import score_prompt
from lohovla.d2f.engine.request_group import GroupKey, RequestGroup, SequenceState
from lohovla.d2f.engine.step_plan import PrefillChunk, StepPlan, fitting
from lohovla.d2f.engine.token_proposals import draw_chances, propose_tokens

_LOG = logging.getLogger(__name__)


class StepExecutor:
    """Runs steps.

    Args:
        denoiser: the model.
        settings: limits.
        pool: the pages.
        runner: of the model.
        stats: of the engine.
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
        self._steps = 0

    def run(
        self,
        lanes: dict[GroupKey, RequestGroup],
        plan: StepPlan,
        failed: Callable[[SequenceState, Exception], None],
    ) -> tuple[dict[GroupKey, RequestGroup], list[SequenceState]]:
        """Run what was chosen; a request whose own step fails is given up, and the others go on.

        Args:
            lanes: all running requests.
            plan: which of them run.
            failed: told of those that fail.

        Returns:
            The lanes after the step, and the requests that failed, which are in none of them.
        """
        self._steps += 1
        chosen: list[RequestGroup] = []
        resting: dict[GroupKey, RequestGroup] = {}
        for kind, lane in lanes.items():
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
            chosen, broken = self._one_by_one(chosen, plan.chunks, chances, failed)
        after = dict(resting)
        for lane in chosen:
            kind = lane.texts[0].kind
            if kind in after:
                lane.join(after[kind])
            after[kind] = lane
        return after, broken

    def _one_by_one(
        self,
        lanes: list[RequestGroup],
        chunks: list[PrefillChunk],
        chances: list[np.ndarray | None],
        failed: Callable[[SequenceState, Exception], None],
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
                    failed(text, error)
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
                failed(chunk.text, error)
                broken.append(chunk.text)
        return kept, broken

    def _forward(self, lanes: list[RequestGroup], chunks: list[PrefillChunk], chances: list[np.ndarray | None]) -> None:
        """One model call."""
        shift, budget = self._denoiser.shift, self._settings.max_num_batched_tokens
        versions = [fitting(lane, lane.versions(), budget) for lane in lanes]
        direct, device = self._runner.paged.direct, self._denoiser.device
        batch = build_batch(lanes, versions, chunks, self._pool.size, shift, direct, device, self._runner.rows)
        hidden = self._runner.forward(batch.tokens, batch.positions, batch.plan)
        self._stats.forwards += 1
        self._stats.rows += batch.width
        after = []
        for lane, made, sections, chance in zip(lanes, versions, batch.sections, chances, strict=True):
            further = copy.copy(lane)
            further.forwards = lane.forwards + 1
            further.settle(made, propose_tokens(self._runner, hidden, lane, sections, chance))
            after.append(further)
        commits = [
            (text, lane.canvas.tokens[row], lane.canvas.size, len(text.head) + retired * lane.canvas.size, ends[row])
            for lane, ends in zip(lanes, batch.ends, strict=True)
            for row, (text, retired) in enumerate(zip(lane.texts, lane.canvas.retired.tolist(), strict=True))
        ]
        commits += [
            (chunk.text, chunk.canvas, chunk.size, chunk.end, end)
            for chunk, end in zip(chunks, batch.chunk_ends, strict=True)
        ]
        scores = [score_prompt(self._runner, hidden, text, done, row) for text, _, _, done, row in commits]
        for (text, canvas, size, done, row), score in zip(commits, scores, strict=True):
            text.prompt_scores.update(score)
            self._commit(text, canvas, size, done, hidden, row)
        for lane, further in zip(lanes, after, strict=True):
            vars(lane).update(vars(further))
        self._stats.forward_seconds = self._runner.seconds

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
        page = self._pool.size
        if self._denoiser.shift and row >= 0:
            text.last = hidden[row].clone()
        before, text.cached = text.cached, done
        if before == done or not self._settings.enable_prefix_caching or text.request.prefix is not None:
            return
        if text.chain.tokens < done:
            known = canvas[text.chain.tokens - len(text.head) : done - len(text.head)].tolist()
            for at in range(0, len(known), size):
                text.chain.extend(known[at : at + size])
        for number in range(before // page, done // page):
            if number < len(text.chain.keys):
                self._pool.register_block(text.pages[number], text.chain.keys[number])
