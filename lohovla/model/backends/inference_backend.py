"""The calls of a decision, by the backend that is chosen.

``eager`` is the model's own code, as it was trained and evaluated. ``fused`` runs ``graph_functions``: the lean
decoder on the project's kernels, and on CUDA each pass as a graph for each size of its inputs, which are widened to a
few sizes. ``compile`` gives the same passes, in plain PyTorch, to ``torch.compile``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree
from transformers import DynamicCache

from lohovla.errors import UserError
from lohovla.model.attention_mask import SequenceLayout, TokenType, expert_attention_mask
from lohovla.model.backends.fused_decoder import Pairs
from lohovla.model.backends.graph_functions import GraphFunctions
from lohovla.model.backends.graph_runners import (
    CompiledRunner,
    CudaGraphRunner,
    EagerRunner,
    Pass,
    next_power_of_two,
    round_up,
)
from lohovla.model.backends.graph_tensors import (
    DecisionTensors,
    GivenActions,
    ObservationTensors,
    PointTensors,
    WordTensors,
    padded_shapes,
    tensors_of,
)
from lohovla.model.backends.single_graph import DecisionConfig, DecisionInputs, DecisionOutputs
from lohovla.model.inference import action_sampling, pick_place_prediction, subtask_decoding
from lohovla.model.inference.action_sampling import ActionContext
from lohovla.model.inference.pick_place_prediction import PickPlacePrediction, SubtaskTokens
from lohovla.model.language.token_trie import TokenTrie
from lohovla.model.model_inputs import EncodedObservation, ModelInputs
from lohovla.model.modeling_lohovla import LoHoVLA

BACKENDS = ("eager", "compile", "fused")
_LENGTH, _GOAL, _WORDS = 32, 8, 4  # to multiples of which inputs are widened


class InferenceBackend:
    """A model's calls by one backend.

    Args:
        model: the core; ``fused`` and ``compile`` take its weights as they are now.
        backend: one of :data:`BACKENDS`.
        runner: how passes are carried out; None chooses by device and backend.

    Attributes:
        prefers_single_graph: whether decisions are better made in one (:meth:`decide`): it saves launches, of
            which a CPU has none.

    Raises:
        UserError: there is no such backend, or it does not know the model's decoder.
    """

    def __init__(self, model: LoHoVLA, backend: str = "eager", runner: EagerRunner | None = None):
        if backend not in BACKENDS:
            raise UserError(f"there is no backend {backend!r}", f"choose {', '.join(BACKENDS)}")
        self.model, self.backend = model, backend
        self.prefers_single_graph = backend != "eager" and model.device.type == "cuda"
        self._functions: GraphFunctions | None = None
        if backend != "eager":
            self._functions = GraphFunctions(model, "auto" if backend == "fused" else "reference")
            self._runner = runner or choose_runner(backend, model.device)

    @torch.no_grad()
    def encode(self, inputs: ModelInputs) -> EncodedObservation:
        """See :meth:`LoHoVLA.encode`."""
        if self._functions is None:
            return self.model.encode(inputs)
        shapes = self._input_shapes(inputs)
        return self._encoded(inputs, self._run_padded("encode", self._functions.encode, (inputs,), (shapes,)))

    def _input_shapes(self, inputs: ModelInputs) -> Any:
        """To which sizes observations are widened."""
        rows = next_power_of_two(len(inputs.state))
        wide = {1: min(round_up(inputs.goal.shape[1], _GOAL), self.model.config.max_goal)}
        return ModelInputs(
            picture=padded_shapes(inputs.picture, rows),
            state=padded_shapes(inputs.state, rows),
            goal=padded_shapes(inputs.goal, rows, wide),
            goal_valid=padded_shapes(inputs.goal_valid, rows, wide),
        )

    def _encoded(self, inputs: ModelInputs, made: ObservationTensors) -> EncodedObservation:
        """What was made of ``inputs`` by encoding them, without what they were widened by."""
        length = self.model.config.num_object_tokens + self.model.config.patches + 1 + inputs.goal.shape[1]
        layout = SequenceLayout(
            kind=made.layout.kind[:, :length], group=made.layout.group[:, :length], order=made.layout.order[:, :length]
        )
        cache = self._cache([(k[:, :, :length], v[:, :, :length]) for k, v in made.cache])
        return EncodedObservation(made.seen, made.objects, made.tokens, layout, cache, inputs.state)

    @torch.no_grad()
    def decide_in_one_pass(self, config: DecisionConfig, inputs: ModelInputs, asked: DecisionInputs) -> DecisionOutputs:
        """Encode, judge, plan, point and act in one pass, by block diffusion; on CUDA it is one graph, replayed once.

        What it gives is what the other calls give one after the other, where it is complete.

        Raises:
            ValueError: with the eager backend.
        """
        if self._functions is None:
            raise ValueError("the eager backend decides pass by pass")
        first = _given_actions(asked.prefix, asked.noise)
        given = inputs, replace(asked, prefix=None), first
        rows = next_power_of_two(len(inputs.state))
        shapes = self._input_shapes(inputs), *(padded_shapes(part, rows) for part in given[1:])
        work = partial(self._functions.decide_in_one_pass, config, not self._runner.fixed)
        made: DecisionTensors = self._run_padded(f"decide {config}", work, given, shapes)
        return DecisionOutputs(
            progress=made.progress,
            replanned=made.replanned,
            complete=made.complete,
            subtask_tokens=made.subtask_tokens,
            objects=made.observation.objects,
            action_context=made.action_context,
            initial_features=made.initial_features,
            action=made.action,
            encoded_observation=partial(self._encoded, inputs, made.observation),
        )

    @torch.no_grad()
    def decode_autoregressive(
        self, prefix: EncodedObservation, start: int, end: int, grammar: TokenTrie | Sequence[TokenTrie] | None = None
    ) -> SubtaskTokens:
        """See :func:`lohovla.model.inference.subtask_decoding.decode_autoregressive`."""
        feed = None if self._functions is None else self._decode_token
        return subtask_decoding.decode_autoregressive(self.model, prefix, start, end, grammar, feed=feed)

    def _decode_token(
        self, cache: DynamicCache, layout: SequenceLayout, waiting: list[list[int]], fed: list[int]
    ) -> tuple[Tensor, SequenceLayout]:
        assert self._functions is not None
        words = WordTensors(*pick_place_prediction.pad_tokens(waiting, fed, layout.kind.device))
        last = torch.tensor([max(0, len(row) - 1) for row in waiting], device=layout.kind.device)
        past, width, length = _pairs_of(cache), words.tokens.shape[1], layout.kind.shape[1]
        rows, wide, long = next_power_of_two(len(last)), next_power_of_two(width), round_up(length, _LENGTH)
        shapes = (
            padded_shapes(words, rows, {1: wide}),
            padded_shapes(last, rows),
            padded_shapes(layout, rows, {1: long}),
            padded_shapes(past, rows, {2: long}),
        )
        logits, new = self._run_padded(
            "decode_token", self._functions.decode_token, (words, last, layout, past), shapes
        )
        for number, (k, v) in enumerate(new):
            cache.update(k[:, :, :width], v[:, :, :width], number)
        part = SequenceLayout.of_type(TokenType.TEXT, words.valid, 0, words.order)
        return logits, SequenceLayout.concat([layout, part])

    @torch.no_grad()
    def decode_block_diffusion(
        self, prefix: EncodedObservation, start: int, end: int, mask: int, accept: float = 0.9
    ) -> SubtaskTokens:
        """See ``decode_block_diffusion``; a step is one pass, and its end the one thing waited for."""
        if self._functions is None:
            return subtask_decoding.decode_block_diffusion(self.model, prefix, start, end, mask, accept)
        canvas = self._functions.empty_canvas(prefix.state.shape[0], end, mask, accept)
        valid, past = prefix.layout.kind != int(TokenType.PAD), _pairs_of(prefix.cache)
        rows, long = next_power_of_two(len(valid)), round_up(valid.shape[1], _LENGTH)
        shapes = (
            padded_shapes(canvas, rows),
            padded_shapes(valid, rows, {1: long}),
            padded_shapes(past, rows, {2: long}),
        )
        work, forwards, over = partial(self._functions.diffusion_step, end, mask, accept), 0, False
        while not over:
            canvas, done = self._run_padded(f"diffusion_step {accept}", work, (canvas, valid, past), shapes)
            forwards += 1
            over = bool(done.all())
        said = [row[: row.index(end)] if end in row else row for row in canvas.tokens.tolist()]
        words = pick_place_prediction.subtask_from_tokens(self.model, prefix, said, start)
        words.forwards = forwards
        return words

    @torch.no_grad()
    def predict_pick_place(self, prefix: EncodedObservation, words: SubtaskTokens) -> PickPlacePrediction:
        """See :func:`lohovla.model.inference.pick_place_prediction.predict_pick_place`."""
        if self._functions is None:
            return pick_place_prediction.predict_pick_place(self.model, prefix, words)
        entered = WordTensors(
            *pick_place_prediction.pad_tokens(
                words.waiting, pick_place_prediction.num_cached_tokens(words), prefix.state.device
            )
        )
        seen, past = (prefix.seen, prefix.objects, prefix.tokens), _pairs_of(words.cache)
        width, length = entered.tokens.shape[1], words.layout.kind.shape[1]
        rows, long = next_power_of_two(len(prefix.tokens)), round_up(length, _LENGTH)
        shapes = (
            *(padded_shapes(part, rows) for part in seen),
            padded_shapes(entered, rows, {1: round_up(width, _WORDS)}),
            padded_shapes(words.layout, rows, {1: long}),
            padded_shapes(past, rows, {2: long}),
        )
        made: PointTensors = self._run_padded(
            "predict_pick_place", self._functions.predict_pick_place, (*seen, entered, words.layout, past), shapes
        )
        # Behind the past, which may have been widened: the words, perhaps widened with padding, and the points.
        behind = made.cache[0][0].shape[2]
        new = SequenceLayout(
            kind=made.layout.kind[:, -behind:],
            group=made.layout.group[:, -behind:],
            order=made.layout.order[:, -behind:],
        )
        layout = SequenceLayout.concat([words.layout, new])
        for number, (k, v) in enumerate(made.cache):
            words.cache.update(k, v, number)
        cache, valid = self.model.expert_cache(words.cache), expert_attention_mask(layout, 0)
        return PickPlacePrediction(made.points, made.confidence, cache, valid, layout, words.cache)

    @torch.no_grad()
    def sample_ee_chunk(
        self,
        attended: ActionContext,
        state: Tensor,
        motion: Tensor,
        steps: int,
        noise: Tensor,
        prefix: Tensor | None = None,
    ) -> Tensor:
        """See :func:`lohovla.model.inference.action_sampling.sample_ee_chunk`."""
        if self._functions is None:
            return action_sampling.sample_ee_chunk(self.model, attended, state, motion, steps, noise, prefix)
        first = _given_actions(prefix, noise)
        return self._sample_actions(
            f"ee {steps}", partial(self._functions.sample_ee_chunk, steps), attended, state, motion, noise, first
        )

    @torch.no_grad()
    def sample_pick_place(self, attended: ActionContext, steps: int, noise: Tensor) -> Tensor:
        """See :func:`lohovla.model.inference.action_sampling.sample_pick_place`."""
        if self._functions is None:
            return action_sampling.sample_pick_place(self.model, attended, steps, noise)
        return self._sample_actions(
            f"pick_place {steps}", partial(self._functions.sample_pick_place, steps), attended, noise
        )

    def _sample_actions(self, name: str, work: Pass, context: ActionContext, *rest: Any) -> Tensor:
        rows, long = next_power_of_two(len(context.points)), round_up(context.valid.shape[1], _LENGTH)
        widened: Any = ActionContext(
            points=padded_shapes(context.points, rows),
            cache=padded_shapes(context.cache, rows, {2: long}),
            valid=padded_shapes(context.valid, rows, {1: long}),
        )
        return self._run_padded(name, work, (context, *rest), (widened, *(padded_shapes(part, rows) for part in rest)))

    def _run_padded(self, name: str, work: Pass, given: tuple[Any, ...], shapes: tuple[Any, ...]) -> Any:
        """What ``work`` makes of the rows that are given, which are widened to ``shapes``."""
        rows = len(tensors_of(given)[0][0])
        return pytree.tree_map_only(Tensor, lambda x: x[:rows], self._runner(name, work, given, shapes))

    def _cache(self, layers: Pairs) -> DynamicCache:
        cache = DynamicCache(config=self.model.decoder.config)
        for number, (k, v) in enumerate(layers):
            cache.update(k, v, number)
        return cache


def choose_runner(backend: str, device: torch.device) -> EagerRunner:
    """How a backend runs its functions on a device."""
    if backend == "compile":
        return CompiledRunner()
    return CudaGraphRunner() if device.type == "cuda" else EagerRunner()


def _given_actions(prefix: Tensor | None, noise: Tensor) -> GivenActions | None:
    """First actions (B, d, A) in a chunk as long as ``noise`` (B, H, A); None where there are none."""
    if prefix is None or not prefix.shape[1]:
        return None
    count, horizon = prefix.shape[1], noise.shape[1]
    fixed = (torch.arange(horizon, device=noise.device) < count).expand(len(noise), -1)
    return GivenActions(F.pad(prefix, (0, 0, 0, horizon - count)), fixed)


def _pairs_of(cache: Any) -> Pairs:
    return [(layer.keys, layer.values) for layer in cache.layers]
