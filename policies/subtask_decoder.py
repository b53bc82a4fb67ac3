"""Constrained decoding of sub-tasks: the words of those that are due, of what may be said in the scene."""

from __future__ import annotations

from collections.abc import Sequence

from lohovla.model.backends.inference_backend import InferenceBackend
from lohovla.model.encoders.detector import Detections
from lohovla.model.inference.pick_place_prediction import SubtaskTokens, select_rows, subtask_from_tokens
from lohovla.model.language.token_trie import TokenTrie
from lohovla.model.model_inputs import EncodedObservation
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor
from lohovla.policies.policy_config import LoHoVLAPolicyConfig, PolicyState


class SubtaskDecoder:
    """Decodes sub-tasks of several episodes at once, word by word or by block diffusion.

    Args:
        model: the core.
        processor: of its checkpoint.
        config: which planner, and what may be said.
        backend: the model's calls.

    Attributes:
        constraints: what may be said, of any scene; None where anything may be.
    """

    def __init__(self, model: LoHoVLA, processor: Processor, config: LoHoVLAPolicyConfig, backend: InferenceBackend):
        self._model, self._config, self._backend = model, config, backend
        self._start, self._end, self._mask = processor.start, processor.end, processor.mask
        self.constraints = processor.subtask_constraints(config.allow_done) if config.grammar != "none" else None

    def next_subtasks(
        self, prefix: EncodedObservation, memories: Sequence[PolicyState], due: Sequence[bool]
    ) -> SubtaskTokens:
        """New sub-tasks where they are due, the old ones elsewhere."""
        if self._config.subtasks == "none":
            return subtask_from_tokens(self._model, prefix, [[] for _ in memories], self._start)
        if all(due):
            return self._decode_subtasks(prefix, memories)
        words = [memory.subtask_tokens or [] for memory in memories]
        if rows := [row for row, is_due in enumerate(due) if is_due]:
            new = self._decode_subtasks(select_rows(self._model, prefix, rows), [memories[row] for row in rows])
            words = _replaced(words, rows, new.tokens)
        return subtask_from_tokens(self._model, prefix, words, self._start)

    def _decode_subtasks(self, prefix: EncodedObservation, memories: Sequence[PolicyState]) -> SubtaskTokens:
        grammars = self._scene_constraints(prefix.objects, memories)
        if self._config.planner == "ar":
            return self._backend.decode_autoregressive(prefix, self._start, self._end, grammars)
        words = self._backend.decode_block_diffusion(prefix, self._start, self._end, self._mask)
        rows = [row for row, said in enumerate(words.tokens) if grammars is not None and said not in grammars[row]]
        if grammars is None or not rows:
            return words
        part, own = select_rows(self._model, prefix, rows), [grammars[row] for row in rows]
        again = self._backend.decode_autoregressive(part, self._start, self._end, own)
        return subtask_from_tokens(self._model, prefix, _replaced(words.tokens, rows, again.tokens), self._start)

    def _scene_constraints(self, objects: Detections, memories: Sequence[PolicyState]) -> list[TokenTrie] | None:
        if self.constraints is None:
            return None
        if self._config.grammar == "all":
            return [self.constraints.everything] * len(memories)
        return [
            self.constraints.for_scene(objects, k, memory.failed_subtasks, memory.goal)
            for k, memory in enumerate(memories)
        ]

    def violates_constraints(
        self, objects: Detections, words: Sequence[list[int]], memories: Sequence[PolicyState], due: Sequence[bool]
    ) -> bool:
        """Whether any of what is new may not be said."""
        rows = [row for row, new in enumerate(due) if new]
        grammars = self._scene_constraints(objects.select_rows(rows), [memories[row] for row in rows])
        return grammars is not None and any(words[row] not in own for row, own in zip(rows, grammars, strict=True))

    def note_episode_end(self, objects: Detections, memories: Sequence[PolicyState], due: Sequence[bool]) -> None:
        """Note where what was planned ends an episode: all is done, or nothing can be."""
        if not self._config.allow_done or self.constraints is None:
            return
        for row in (row for row, new in enumerate(due) if new):
            memory = memories[row]
            grammar = self._scene_constraints(objects.select_rows([row]), [memory])
            memory.over = self.constraints.ends(memory.subtask_tokens or [], grammar[0]) if grammar else ""


def _replaced(words: list[list[int]], rows: Sequence[int], new: Sequence[list[int]]) -> list[list[int]]:
    """Sub-tasks of which those of ``rows`` are new."""
    fresh = dict(zip(rows, new, strict=True))
    return [fresh.get(row, old) for row, old in enumerate(words)]
