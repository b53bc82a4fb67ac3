"""A checkpoint that plans from scenes given as tables, as in its symbolic training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from lohovla.collect.privileged_labels import objects_of
from lohovla.envs.tasks.entities import Scene
from lohovla.errors import UserError
from lohovla.model.encoders.detector import Detections
from lohovla.model.inference.subtask_decoding import decode_autoregressive
from lohovla.model.model_inputs import EncodedObservation, ModelInputs
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor
from lohovla.train.symbolic_pretraining import synthetic_detections

_LONGEST_MEANING = 48  # tokens


class SymbolicPlanner:
    """A checkpoint's next sub-tasks of scenes given as tables.

    Args:
        model: the core.
        processor: of its checkpoint.
        state: proprioception (13,) of the arm at home.
        grammar: what may be said: ``scene``, ``all`` or ``none``, as of the policy.

    Raises:
        UserError: the checkpoint says no sub-tasks, or there is no such grammar.
    """

    def __init__(self, model: LoHoVLA, processor: Processor, state: np.ndarray, grammar: str = "scene"):
        if grammar not in ("scene", "all", "none"):
            raise UserError(f"policy.grammar cannot be {grammar!r}", "choose one of scene, all, none")
        if not model.config.use_subtasks:
            raise UserError("this checkpoint was trained without sub-tasks: it plans nothing", "name another")
        self._model, self._processor, self._state, self._grammar = model, processor, torch.from_numpy(state), grammar
        self._constraints = {stop: processor.subtask_constraints(stop) for stop in (False, True)}

    def reads(self, goal: str) -> bool:
        """Whether a goal is short enough for the model."""
        try:
            self._processor.goals([goal])
        except UserError:
            return False
        return True

    @torch.no_grad()
    def say(
        self, scenes: Sequence[Scene], goals: Sequence[str], without: Sequence[Sequence[str]], stop: bool
    ) -> list[str]:
        """The next sub-task of each scene in words.

        Args:
            scenes: what there is.
            goals: in words, one a scene.
            without: of each scene sentences that shall not be said again.
            stop: "Done." may be said.
        """
        processor, prefix = self._processor, self._prefix(scenes, goals)
        grammars = self._grammars(prefix.objects, goals, without, stop)
        said = decode_autoregressive(self._model, prefix, processor.start, processor.end, grammars)
        return [processor.sentence(row) for row in said.tokens]

    @property
    def writes_meanings(self) -> bool:
        """Whether the checkpoint writes goals' meanings: those of the byte-level tokenizer do."""
        return self._processor.program_start is not None

    @torch.no_grad()
    def understand(self, scenes: Sequence[Scene], goals: Sequence[str]) -> list[str]:
        """The meaning of each goal as the model writes it, in the notation of the goal grammar."""
        processor, start = self._processor, self._processor.program_start
        assert start is not None
        prefix = self._prefix(scenes, goals)
        said = decode_autoregressive(self._model, prefix, start, processor.end, longest=_LONGEST_MEANING)
        return [processor.sentence(row) for row in said.tokens]

    def _prefix(self, scenes: Sequence[Scene], goals: Sequence[str]) -> EncodedObservation:
        """Scenes as tables and goals, encoded."""
        model = self._model
        objects = synthetic_detections(torch.from_numpy(np.stack([objects_of(s) for s in scenes])), model.config)
        goal, valid = self._processor.goals(goals)
        state = self._state.expand(len(scenes), -1)
        inputs = ModelInputs(state.new_zeros(len(scenes), 0), state, goal, valid)
        tokens, layout, places = model.prefix_tokens(inputs, objects)
        cache = DynamicCache(config=model.decoder.config)
        states = model.run(tokens, layout, places, cache)
        return EncodedObservation(None, objects, states[:, : objects.cell.shape[1]], layout, cache, state)  # type: ignore[arg-type]

    def _grammars(self, objects: Detections, goals: Sequence[str], without: Sequence[Sequence[str]], stop: bool) -> Any:
        constraints = self._constraints[stop]
        if self._grammar == "none" or constraints is None:
            return None
        if self._grammar == "all":
            return constraints.everything
        failed = [[self._processor.words(text) for text in texts] for texts in without]
        return [constraints.for_scene(objects, k, failed[k], goal) for k, goal in enumerate(goals)]
