"""The thinking part of the LoHoVLA policy: judge the sub-task, say the next, paint its end, point.

It works on a batch of looks; what it knows of each episode is in :class:`lohovla.policies.rules.Memory`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lohovla.errors import UserError
from lohovla.model import planning
from lohovla.model.acting import Attended
from lohovla.model.core import LoHoVLA, Prefix
from lohovla.model.fast import Fast
from lohovla.model.grammar import Grammar
from lohovla.model.imagining import imagine, require_painter
from lohovla.model.planning import Pointed, Words
from lohovla.model.processor import Processor
from lohovla.model.stem import Seen
from lohovla.model.upload import Upload
from lohovla.policies.rules import Memory, Rules


class Planner:
    """Plans with a model.

    Args:
        model: the core.
        processor: of its checkpoint.
        rules: how.
        fast: the model's calls.

    Raises:
        UserError: the model was not trained for what the rules ask.
    """

    def __init__(self, model: LoHoVLA, processor: Processor, rules: Rules, fast: Fast):
        if not model.config.subtasks and rules.subtasks != "none":
            raise UserError(
                "this checkpoint was trained without sub-tasks: it acts from the goal alone", "set policy.subtasks=none"
            )
        if rules.paints:
            require_painter(model)
        self.model, self.rules = model, rules
        self._fast, self._inputs = fast, Upload(processor, model.device)
        self._start, self._end, self._mask = processor.start, processor.end, processor.mask
        self.sayable = processor.sayable(rules.stop) if rules.grammar != "none" else None

    def plan(self, observations: Sequence[Mapping[str, Any]], memories: Sequence[Memory]) -> list[bool]:
        """Look, judge the sub-task, plan another where one is due, and point; returns where one was planned."""
        began = time.perf_counter()
        inputs = self._inputs(observations)
        prefix = self._fast.encode(inputs)
        encoded = time.perf_counter()
        for memory, observation in zip(memories, observations, strict=True):
            memory.goal = str(observation["instruction"])
        due = [self._due(memory, prefix.seen.row(row)) for row, memory in enumerate(memories)]
        words = self._words(prefix, memories, due)
        planned = time.perf_counter()
        pointed = self._point(inputs.picture, prefix, words, memories, due)
        attended = Attended.of(pointed)
        before = self.model.progress.remember(prefix.seen, pointed.points)
        timing = {
            "encode": (encoded - began) * 1e3,
            "plan": (planned - encoded) * 1e3,
            "point": (time.perf_counter() - planned) * 1e3 - sum(one.timing.get("imagine", 0.0) for one in memories),
        }
        for row, memory in enumerate(memories):
            memory.words, memory.attended = words.tokens[row], attended.row(row)
            memory.before, memory.timing = before[row : row + 1], {**memory.timing, **timing}
        return due

    def _point(
        self, picture: torch.Tensor, prefix: Prefix, words: Words, memories: Sequence[Memory], due: Sequence[bool]
    ) -> Pointed:
        """Where the sub-tasks pick and place, told by their words, by pictures of their ends, or by both."""
        painting = self.rules.paints and any(due)
        if painting or not self.rules.pictured:
            told = self._fast.point(prefix, words)
            if painting:
                self._imagine(picture, prefix.seen, told, memories, due)
            if not self.rules.pictured:
                return told
        return self._fast.point(prefix, self._pictured(prefix, words, memories))

    def _pictured(self, prefix: Prefix, words: Words, memories: Sequence[Memory]) -> Words:
        """What is acted on where pictures are: the words or none, and what the kept pictures would change."""
        kept = [memory.painted for memory in memories if memory.painted is not None]
        then = self.model.stem(torch.cat(kept).to(self.model.dtype))
        said = words.tokens if self.rules.subtasks == "text+image" else [[]] * len(memories)
        seen = planning.given(self.model, prefix, said, self._start)
        return planning.shown(self.model, seen, self.model.subgoal_entry(prefix.seen, then))

    def _imagine(
        self, picture: torch.Tensor, seen: Seen, pointed: Pointed, memories: Sequence[Memory], due: Sequence[bool]
    ) -> None:
        """Paint where new sub-tasks lead, one by one: an episode's pictures must not depend on its neighbours."""
        for row in (row for row, new in enumerate(due) if new):
            began = time.perf_counter()
            one, memory = pointed.row(row), memories[row]
            painted = imagine(self.model, picture[row : row + 1], seen.row(row), one, generator=memory.pictures)
            memory.subgoal, memory.painted = painted.color(), painted.picture
            memory.timing = {"imagine": (time.perf_counter() - began) * 1e3}

    def _due(self, memory: Memory, seen: Seen) -> bool:
        """Whether a new sub-task is due; counts failures."""
        if memory.words is None:
            return True
        assert memory.attended is not None
        assert memory.before is not None
        points = memory.attended.points
        now = self.model.progress.remember(seen, points)
        memory.progress = float(torch.sigmoid(self.model.progress(memory.before, now, points)))
        success = memory.reward > 1e-6 if self.rules.progress == "reward" else memory.progress > self.rules.done
        if success:
            memory.fails, memory.failed = 0, []
            return True
        memory.fails += 1
        if self.rules.replan == "always" or (self.rules.replan == "patient" and memory.fails > self.rules.failures):
            memory.fails = 0
            if self.rules.avoid:
                memory.failed.append(memory.words)
            return True
        return False

    def _words(self, prefix: Prefix, memories: Sequence[Memory], due: Sequence[bool]) -> Words:
        """New sub-tasks where they are due, the old ones elsewhere."""
        if self.rules.subtasks == "none":
            return planning.given(self.model, prefix, [[] for _ in memories], self._start)
        if all(due):
            return self._new_words(prefix, memories)
        words = [memory.words or [] for memory in memories]
        if rows := [row for row, is_due in enumerate(due) if is_due]:
            new = self._new_words(planning.some(self.model, prefix, rows), [memories[row] for row in rows])
            words = _replaced(words, rows, new.tokens)
        return planning.given(self.model, prefix, words, self._start)

    def _new_words(self, prefix: Prefix, memories: Sequence[Memory]) -> Words:
        grammars = self._grammars(prefix, memories)
        if self.rules.planner == "ar":
            return self._fast.plan_ar(prefix, self._start, self._end, grammars)
        words = self._fast.plan_d2f(prefix, self._start, self._end, self._mask)
        rows = [row for row, said in enumerate(words.tokens) if grammars is not None and said not in grammars[row]]
        if grammars is None or not rows:
            return words
        part, own = planning.some(self.model, prefix, rows), [grammars[row] for row in rows]
        again = self._fast.plan_ar(part, self._start, self._end, own)
        return planning.given(self.model, prefix, _replaced(words.tokens, rows, again.tokens), self._start)

    def _grammars(self, prefix: Prefix, memories: Sequence[Memory]) -> list[Grammar] | None:
        if self.sayable is None:
            return None
        if self.rules.grammar == "all":
            return [self.sayable.everything] * len(memories)
        return [self.sayable.of(prefix.objects, k, memory.failed, memory.goal) for k, memory in enumerate(memories)]


def _replaced(words: list[list[int]], rows: Sequence[int], new: Sequence[list[int]]) -> list[list[int]]:
    """Sub-tasks of which those of ``rows`` are new."""
    fresh = dict(zip(rows, new, strict=True))
    return [fresh.get(row, old) for row, old in enumerate(words)]
