"""The calls of a decision, by the backend that is chosen.

``eager`` is the model's own code, as it was trained and evaluated. ``fused`` runs ``graph_functions``: the lean
decoder on the project's kernels, and on CUDA each pass as a graph for each size of its inputs, which are widened to a
few sizes. ``compile`` gives the same passes, in plain PyTorch, to ``torch.compile``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache

from lohovla.errors import UserError
from lohovla.model.attention_mask import SequenceLayout, TokenType, expert_attention_mask
from lohovla.model.backends.graph_functions import (
    LAYOUT,
    OBJECTS,
    SEEN,
    GraphFunctions,
    Pairs,
    flatten_cache,
    unflatten_cache,
)
from lohovla.model.backends.graph_runners import (
    CompiledRunner,
    CudaGraphRunner,
    EagerRunner,
    Pass,
    next_power_of_two,
    padded_shape,
    round_up,
)
from lohovla.model.backends.single_graph import DecisionConfig, DecisionInputs, DecisionOutputs
from lohovla.model.encoders.detector import DetectionMap, Detections
from lohovla.model.inference import action_sampling, pick_place_prediction, subtask_decoding
from lohovla.model.inference.action_sampling import ActionContext
from lohovla.model.inference.pick_place_prediction import PickPlacePrediction, SubtaskTokens
from lohovla.model.language.token_trie import TokenTrie
from lohovla.model.modeling_lohovla import EncodedObservation, LoHoVLA, ModelInputs

BACKENDS = ("eager", "compile", "fused")
_LENGTH, _GOAL, _WORDS = 32, 8, 4  # to multiples of which inputs are widened


class InferenceBackend:
    """A model's calls by one backend.

    Args:
        model: the core; ``fused`` and ``compile`` take its weights as they are now.
        backend: one of :data:`BACKENDS`.
        runner: how passes are carried out; None chooses by device and backend.

    Attributes:
        whole: whether decisions are better made in one (:meth:`decide`): it saves launches, of which a CPU has none.

    Raises:
        UserError: there is no such backend, or it does not know the model's decoder.
    """

    def __init__(self, model: LoHoVLA, backend: str = "eager", runner: EagerRunner | None = None):
        if backend not in BACKENDS:
            raise UserError(f"there is no backend {backend!r}", f"choose {', '.join(BACKENDS)}")
        self.model, self.backend = model, backend
        self.whole = backend != "eager" and model.device.type == "cuda"
        self._passes: GraphFunctions | None = None
        if backend != "eager":
            self._passes = GraphFunctions(model, "auto" if backend == "fused" else "reference")
            self._run = runner or _runner(backend, model.device)

    @torch.no_grad()
    def encode(self, inputs: ModelInputs) -> EncodedObservation:
        """See :meth:`LoHoVLA.encode`."""
        if self._passes is None:
            return self.model.encode(inputs)
        given, axes, wide = self._observed(inputs)
        return self._prefix(inputs, self._pass("look", self._passes.look, given, axes, g=wide))

    def _observed(self, inputs: ModelInputs) -> tuple[list[Tensor], list[str], int]:
        """Observations as passes take them, their axes, and the width of the goals."""
        wide = min(round_up(inputs.goal.shape[1], _GOAL), self.model.config.max_goal)
        return list(vars(inputs).values()), ["b", "b", "bg", "bg"], wide

    def _prefix(self, inputs: ModelInputs, made: list[Tensor]) -> EncodedObservation:
        """What was made of ``inputs`` by looking at them, without what they were widened by."""
        seen, made = DetectionMap(*made[:SEEN]), made[SEEN:]
        objects, made = Detections(*made[:OBJECTS]), made[OBJECTS:]
        states, made = made[0], made[1:]
        length = self.model.config.objects + self.model.config.patches + 1 + inputs.goal.shape[1]
        layout = SequenceLayout(*(x[:, :length] for x in made[:LAYOUT]))
        cache = self._cache([(k[:, :, :length], v[:, :, :length]) for k, v in unflatten_cache(made[LAYOUT:])])
        return EncodedObservation(seen, objects, states, layout, cache, inputs.state)

    @torch.no_grad()
    def decide(self, whole: DecisionConfig, inputs: ModelInputs, asked: DecisionInputs) -> DecisionOutputs:
        """Look, judge, say, point and act in one pass, by block diffusion; on CUDA it is one graph, replayed once.

        What it gives is what the other calls give one after the other, where it is complete.

        Raises:
            ValueError: with the eager backend.
        """
        if self._passes is None:
            raise ValueError("the eager backend decides pass by pass")
        given, axes, wide = self._observed(inputs)
        noise, prefix = asked.noise, asked.prefix
        own = [asked.kept, asked.limit, asked.before, asked.points, asked.motion, noise]
        if prefix is not None and prefix.shape[1]:
            own += _given_actions(prefix, noise)
        given, axes = [*given, *own], [*axes, *["b"] * len(own)]
        work = partial(self._passes.decide, whole, not self._run.fixed)
        progress, fresh, complete, said, action, points, now, valid, *made = self._pass(
            f"decide {whole} {len(given)}", work, given, axes, g=wide
        )
        count = 2 * self.model.config.expert_layers
        attended, looked = ActionContext(points, unflatten_cache(made[:count]), valid), made[count:]
        objects = Detections(*looked[SEEN : SEEN + OBJECTS])
        return DecisionOutputs(
            progress, fresh, complete, said, objects, attended, now, action, partial(self._prefix, inputs, looked)
        )

    @torch.no_grad()
    def plan_ar(
        self, prefix: EncodedObservation, start: int, end: int, grammar: TokenTrie | Sequence[TokenTrie] | None = None
    ) -> SubtaskTokens:
        """See :func:`lohovla.model.inference.subtask_decoding.decode_autoregressive`."""
        feed = None if self._passes is None else self._feed
        return subtask_decoding.decode_autoregressive(self.model, prefix, start, end, grammar, feed=feed)

    def _feed(
        self, cache: DynamicCache, layout: SequenceLayout, waiting: list[list[int]], fed: list[int]
    ) -> tuple[Tensor, SequenceLayout]:
        assert self._passes is not None
        words = pick_place_prediction.pad_tokens(waiting, fed, layout.kind.device)
        last = torch.tensor([max(0, len(row) - 1) for row in waiting], device=layout.kind.device)
        given = [*words, last, *vars(layout).values(), *flatten_cache(_pairs_of(cache))]
        width, length = words[0].shape[1], layout.kind.shape[1]
        axes = ["bw", "bw", "bw", "b", *["bl"] * LAYOUT, *["b.l"] * (len(given) - 4 - LAYOUT)]
        logits, *new = self._pass(
            "feed", self._passes.feed, given, axes, w=next_power_of_two(width), l=round_up(length, _LENGTH)
        )
        for number, (k, v) in enumerate(unflatten_cache(new)):
            cache.update(k[:, :, :width], v[:, :, :width], number)
        part = SequenceLayout.of_type(TokenType.TEXT, words[1], 0, words[2])
        return logits, SequenceLayout.concat([layout, part])

    @torch.no_grad()
    def plan_d2f(
        self, prefix: EncodedObservation, start: int, end: int, mask: int, accept: float = 0.9
    ) -> SubtaskTokens:
        """See ``decode_block_diffusion``; a step is one pass, and its end the one thing waited for."""
        if self._passes is None:
            return subtask_decoding.decode_block_diffusion(self.model, prefix, start, end, mask, accept)
        state = list(self._passes.blank(prefix.state.shape[0], end, mask, accept))
        fixed = [prefix.layout.kind != int(TokenType.PAD), *flatten_cache(_pairs_of(prefix.cache))]
        axes, length = [*["b"] * len(state), "bl", *["b.l"] * (len(fixed) - 1)], prefix.layout.kind.shape[1]
        work, forwards, over = partial(self._passes.say, end, mask, accept), 0, False
        while not over:
            *state, done = self._pass(f"say {accept}", work, [*state, *fixed], axes, l=round_up(length, _LENGTH))
            forwards += 1
            over = bool(done.all())
        said = [row[: row.index(end)] if end in row else row for row in state[0].tolist()]
        words = pick_place_prediction.subtask_from_tokens(self.model, prefix, said, start)
        words.forwards = forwards
        return words

    @torch.no_grad()
    def point(self, prefix: EncodedObservation, words: SubtaskTokens) -> PickPlacePrediction:
        """See :func:`lohovla.model.inference.pick_place_prediction.predict_pick_place`."""
        if self._passes is None:
            return pick_place_prediction.predict_pick_place(self.model, prefix, words)
        entered = pick_place_prediction.pad_tokens(
            words.waiting, pick_place_prediction.num_cached_tokens(words), prefix.state.device
        )
        seen = [*vars(prefix.seen).values(), *vars(prefix.objects).values(), prefix.tokens]
        past = flatten_cache(_pairs_of(words.cache))
        given = [*seen, *entered, *vars(words.layout).values(), *past]
        width, length = entered[0].shape[1], words.layout.kind.shape[1]
        axes = [*["b"] * len(seen), *["bw"] * 3, *["bl"] * LAYOUT, *["b.l"] * len(past)]
        points, sure, *made = self._pass(
            "point", self._passes.point, given, axes, w=round_up(width, _WORDS), l=round_up(length, _LENGTH)
        )
        new = unflatten_cache(made[LAYOUT:])
        # Behind the past, which may have been widened: the words, perhaps widened with padding, and the points.
        behind = new[0][0].shape[2]
        layout = SequenceLayout.concat([words.layout, SequenceLayout(*(x[:, -behind:] for x in made[:LAYOUT]))])
        for number, (k, v) in enumerate(new):
            words.cache.update(k, v, number)
        return PickPlacePrediction(
            points, sure, self.model.expert_cache(words.cache), expert_attention_mask(layout, 0), layout, words.cache
        )

    @torch.no_grad()
    def ee(
        self,
        attended: ActionContext,
        state: Tensor,
        motion: Tensor,
        steps: int,
        noise: Tensor,
        prefix: Tensor | None = None,
    ) -> Tensor:
        """See :func:`lohovla.model.inference.action_sampling.ee_chunk`."""
        if self._passes is None:
            return action_sampling.ee_chunk(self.model, attended, state, motion, steps, noise, prefix)
        given, axes = [attended.points, state, motion, noise, attended.valid], ["b", "b", "b", "b", "bl"]
        if prefix is not None and prefix.shape[1]:
            given += _given_actions(prefix, noise)
            axes += ["b", "b"]
        return self._act(f"ee {steps}", partial(self._passes.ee, steps), given, axes, attended)

    @torch.no_grad()
    def pick_place(self, attended: ActionContext, steps: int, noise: Tensor) -> Tensor:
        """See :func:`lohovla.model.inference.action_sampling.pick_place`."""
        if self._passes is None:
            return action_sampling.pick_place(self.model, attended, steps, noise)
        given, axes = [attended.points, noise, attended.valid], ["b", "b", "bl"]
        work = partial(self._passes.pick_place, steps)
        return self._act(f"pick_place {steps}", work, given, axes, attended)

    def _act(self, name: str, work: Pass, given: list[Tensor], axes: list[str], attended: ActionContext) -> Tensor:
        past, length = flatten_cache(attended.cache), attended.valid.shape[1]
        axes = [*axes, *["b.l"] * len(past)]
        return self._pass(f"{name} {len(given)}", work, [*given, *past], axes, l=round_up(length, _LENGTH))[0]

    def _pass(self, name: str, work: Pass, given: Sequence[Tensor], axes: Sequence[str], **sizes: int) -> list[Tensor]:
        """What ``work`` makes of the rows that are given; ``sizes`` are those of axes, beside the rows, to widen to."""
        rows = given[0].shape[0]
        sizes["b"] = next_power_of_two(rows)
        shapes = [padded_shape(x, own, sizes) for x, own in zip(given, axes, strict=True)]
        return [x[:rows] for x in self._run(name, work, given, shapes)]

    def _cache(self, layers: Pairs) -> DynamicCache:
        cache = DynamicCache(config=self.model.decoder.config)
        for number, (k, v) in enumerate(layers):
            cache.update(k, v, number)
        return cache


def _runner(backend: str, device: torch.device) -> EagerRunner:
    if backend == "compile":
        return CompiledRunner()
    return CudaGraphRunner() if device.type == "cuda" else EagerRunner()


def _given_actions(prefix: Tensor, noise: Tensor) -> list[Tensor]:
    """First actions (B, d, A) in a chunk as long as ``noise`` (B, H, A), and which they are (B, H)."""
    count, horizon = prefix.shape[1], noise.shape[1]
    fixed = (torch.arange(horizon, device=noise.device) < count).expand(len(noise), -1)
    return [F.pad(prefix, (0, 0, 0, horizon - count)), fixed]


def _pairs_of(cache: Any) -> Pairs:
    return [(layer.keys, layer.values) for layer in cache.layers]
