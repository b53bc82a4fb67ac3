"""The passes of a decision as functions of tensors alone, so that each can be a graph; or the whole decision as one.

They compute what ``subtask_decoding`` and ``action_sampling`` do, on the fused decoder. None of them waits for the
device or reads anything from the host; what is padding, masks say. What they take and give are pytrees
(:mod:`lohovla.model.backends.graph_tensors`), whose tensors a runner reaches.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lohovla.d2f import block_state
from lohovla.d2f.block_state import DecodeState, Thresholds
from lohovla.d2f.denoiser import block_causal
from lohovla.kernels.lm_head_argmax import lm_head_argmax
from lohovla.model.action.action_expert import (
    ee_condition,
    ee_waypoints,
    pick_place_condition,
    scale_ee,
    unscale_ee,
    unscale_pick_place,
)
from lohovla.model.action.fused_sampling import denoise_fused
from lohovla.model.attention_mask import SequenceLayout, TokenType, expert_attention_mask
from lohovla.model.backends.fused_decoder import FusedDecoder, Pairs
from lohovla.model.backends.graph_tensors import (
    CanvasTensors,
    DecisionTensors,
    GivenActions,
    ObservationTensors,
    PointTensors,
    WordTensors,
)
from lohovla.model.backends.single_graph import DecisionConfig, DecisionInputs
from lohovla.model.encoders.detector import DetectionMap, Detections
from lohovla.model.inference import pick_place_prediction
from lohovla.model.inference.action_sampling import ActionContext
from lohovla.model.model_inputs import ModelInputs
from lohovla.model.modeling_lohovla import LoHoVLA


class GraphFunctions:
    """The passes of a model, whose weights are taken as they are now.

    Args:
        model: the core.
        implementation: of the kernels, see :func:`lohovla.kernels.runtime.use_triton`.
    """

    def __init__(self, model: LoHoVLA, implementation: str = "auto"):
        self._model, self._implementation = model, implementation
        self._decoder = FusedDecoder(model.decoder, implementation)

    def _run(
        self, tokens: Tensor, layout: SequenceLayout, places: Tensor, past: Pairs | None, keep: Tensor | None
    ) -> tuple[Tensor, Pairs]:
        allowed = layout.attention_mask(slice(layout.kind.shape[1] - tokens.shape[1], None))
        states, made = self._decoder.run(tokens.to(self._model.decoder.dtype), allowed, places, past, keep)
        return states.to(tokens.dtype), made

    def encode(self, inputs: ModelInputs) -> ObservationTensors:
        """Detections, object tokens and the prefix's cache."""
        seen, objects = self._model.detect_objects(inputs)
        tokens, layout, places = self._model.prefix_tokens(inputs, objects)
        # Of the last layer only the objects' states are read (they come first); keys and values are of all.
        keep = torch.arange(objects.cell.shape[1], device=inputs.state.device).expand(len(inputs.state), -1)
        states, made = self._run(tokens, layout, places, None, keep)
        return ObservationTensors(seen, objects, states, layout, made)

    def decode_token(
        self, words: WordTensors, last: Tensor, layout: SequenceLayout, past: Pairs
    ) -> tuple[Tensor, Pairs]:
        """Words behind a layout and its cache: logits after the word ``last`` (B,), and the words' own cache."""
        tokens, part, places = pick_place_prediction.embed_tokens(self._model, words.tokens, words.valid, words.order)
        layout = SequenceLayout.concat([layout, part])
        states, made = self._run(tokens, layout, places, past, last[:, None])
        return self._model.vocabulary_logits(states[:, 0]).float(), made

    def empty_canvas(self, rows: int, end: int, mask: int, accept: float) -> CanvasTensors:
        """The canvas before the first :meth:`diffusion_step`."""
        config, device = self._model.config, self._model.device
        n, zero = config.max_subtask, torch.zeros(rows, dtype=torch.long, device=device)
        full = torch.zeros(rows, n // config.block_size, dtype=torch.bool, device=device)
        tokens = torch.full((rows, n), mask, device=device)
        blank = self._decode_state(end, mask, CanvasTensors(tokens, zero, full, zero, zero > 0))
        return CanvasTensors.from_state(block_state.append_block(blank, Thresholds(accept)))

    def _decode_state(self, end: int, mask: int, canvas: CanvasTensors) -> DecodeState:
        zero, count = torch.zeros_like(canvas.retired), canvas.full.shape[1]
        return DecodeState(
            tokens=canvas.tokens,
            size=self._model.config.block_size,
            mask_id=mask,
            eos_ids=torch.full((1,), end, device=canvas.tokens.device),
            given=zero[:, None].expand(-1, count),
            limit=zero + count,
            open=canvas.open,
            full=canvas.full,
            retired=canvas.retired,
            ended=canvas.ended,
        )

    def diffusion_step(
        self, end: int, mask: int, accept: float, canvas: CanvasTensors, valid: Tensor, past: Pairs
    ) -> tuple[CanvasTensors, Tensor]:
        """A step of block diffusion, all blocks in one window: the canvas after it, and which rows are done (B,).

        No block sees a later one, so that blocks that are decided, or not yet opened, change nothing where they are.

        Args:
            end: token that ends a sentence.
            mask: token that stands for a word not decided.
            accept: confidence above which a word is accepted.
            canvas: before the step.
            valid: which cached positions may be seen (B, L).
            past: the cache of the prefix.
        """
        config, (rows, n), device = self._model.config, canvas.tokens.shape, canvas.tokens.device
        state = self._decode_state(end, mask, canvas)
        place = torch.arange(n, device=device)
        own = block_causal((place // config.block_size).expand(rows, -1))
        allowed = torch.cat([valid[:, None].expand(-1, n, -1), own], 2)[:, None]
        entered = self._model.embed_tokens(canvas.tokens, TokenType.NOISED).to(self._model.decoder.dtype)
        places = (self._model.places.text + 1 + place).expand(rows, -1)
        states = self._decoder.run(entered, allowed, places, past)[0].flatten(0, 1)
        asked = torch.arange(rows * n, device=device, dtype=torch.int32)
        head: Tensor = self._model.decoder.get_input_embeddings().weight  # type: ignore[assignment]
        word, sure = lm_head_argmax(states, asked, head, mask, self._implementation)
        limits = Thresholds(accept=accept)
        state, _ = block_state.unmask(state, word.view(rows, n), sure.view(rows, n), limits)
        state = block_state.append_block(block_state.commit_blocks(state), limits)
        return CanvasTensors.from_state(state), state.done

    def predict_pick_place(
        self,
        seen: DetectionMap,
        objects: Detections,
        states: Tensor,
        words: WordTensors,
        layout: SequenceLayout,
        past: Pairs,
    ) -> PointTensors:
        """Where sub-tasks pick and place.

        Args:
            seen: what the detector says.
            objects: that were chosen as tokens.
            states: of the objects' tokens.
            words: of the sub-tasks that are not in the cache.
            layout: of what is.
            past: the cache.
        """
        known, made = past, []

        def run(tokens: Tensor, layout: SequenceLayout, places: Tensor) -> Tensor:
            nonlocal known
            last = torch.full((tokens.shape[0], 1), tokens.shape[1] - 1, device=tokens.device)
            state, new = self._run(tokens, layout, places, known, last)
            known = concat_caches(known, new)
            made.append(new)
            return state

        entered = pick_place_prediction.embed_tokens(self._model, words.tokens, words.valid, words.order)
        points, confidence, layout = pick_place_prediction.predict_pick_place_by(
            self._model, seen, objects, states, entered, layout, run
        )
        return PointTensors(points, confidence, layout, concat_caches(*made))

    def sample_ee_chunk(
        self,
        steps: int,
        context: ActionContext,
        state: Tensor,
        motion: Tensor,
        noise: Tensor,
        given: GivenActions | None = None,
    ) -> Tensor:
        """Tool poses (B, H, 7), which begin with those that are given."""
        condition = ee_condition(context.points, state, motion)
        chunk = denoise_fused(
            self._model.experts["ee"],
            noise,
            steps,
            condition,
            context.cache,
            context.valid,
            anchors=ee_waypoints(context.points, state, self._model.config.observe_position),
            clean=None if given is None else scale_ee(given.actions, state),
            fixed=None if given is None else given.fixed,
            implementation=self._implementation,
        )
        action = unscale_ee(chunk, state)
        return action if given is None else torch.where(given.fixed[..., None], given.actions, action)

    def sample_pick_place(self, steps: int, context: ActionContext, noise: Tensor) -> Tensor:
        """Pick and place (B, 2, 4)."""
        chunk = denoise_fused(
            self._model.experts["pick_place"],
            noise,
            steps,
            pick_place_condition(context.points),
            context.cache,
            context.valid,
            implementation=self._implementation,
        )
        return unscale_pick_place(chunk, context.points)

    def decide_in_one_pass(
        self,
        config: DecisionConfig,
        waits: bool,
        inputs: ModelInputs,
        asked: DecisionInputs,
        given: GivenActions | None = None,
    ) -> DecisionTensors:
        """All of it, from the picture to the chunk.

        Block diffusion takes ``config.forwards`` steps, whatever the words; those of rows that are done change nothing.

        Args:
            config: what stays the same.
            waits: it may wait for the device: it stops saying where all is said, and leaves out what no row says.
            inputs: the observations.
            asked: what else it is made from; its ``prefix`` is not read.
            given: the first actions that sub-tasks under way go on with.
        """
        observation = self.encode(inputs)
        layout, past, detector = observation.layout, observation.cache, self._model.progress
        now = detector.sample_features(observation.seen, asked.points)
        progress = torch.sigmoid(detector(asked.initial_features, now, asked.points))
        fresh = progress > asked.replan_threshold
        said, complete = self._decode_words(config, waits, fresh, layout.kind != int(TokenType.PAD), past)
        words = torch.where(fresh[:, None], said, asked.previous_tokens)
        tokens, valid = F.pad(words, (1, 0), value=config.start), (words == config.end).cumsum(1) == 0
        valid = F.pad(valid, (1, 0), value=True)
        if waits:
            width = int(valid.sum(1).max())
            tokens, valid = tokens[:, :width], valid[:, :width]
        order = torch.arange(tokens.shape[1], device=tokens.device).expand(len(tokens), -1)
        words_in = WordTensors(tokens, valid, order)
        pointed = self.predict_pick_place(
            observation.seen, observation.objects, observation.tokens, words_in, layout, past
        )
        context = ActionContext(
            points=pointed.points,
            cache=self._model.expert_pairs(concat_caches(past, pointed.cache)),
            valid=expert_attention_mask(pointed.layout, 0),
        )
        if config.control == "ee":
            if given is not None:
                given = GivenActions(given.actions, given.fixed & ~fresh[:, None])
            action = self.sample_ee_chunk(config.steps, context, inputs.state, asked.motion, asked.noise, given)
        else:
            action = self.sample_pick_place(config.steps, context, asked.noise)
        return DecisionTensors(
            progress=progress,
            replanned=fresh,
            complete=complete,
            subtask_tokens=words,
            action_context=context,
            initial_features=detector.sample_features(observation.seen, pointed.points),
            action=action,
            observation=observation,
        )

    def _decode_words(
        self, config: DecisionConfig, waits: bool, fresh: Tensor, valid: Tensor, past: Pairs
    ) -> tuple[Tensor, Tensor]:
        """Words (B, n) of a few steps, and whether they are all decided or not wanted (B,)."""
        canvas, done = self.empty_canvas(len(fresh), config.end, config.mask, config.accept), ~fresh
        for _ in range(config.forwards):
            if waits and bool(done.all()):
                break
            canvas, over = self.diffusion_step(config.end, config.mask, config.accept, canvas, valid, past)
            done = over | ~fresh
        return canvas.tokens, done


def concat_caches(first: Pairs, second: Pairs) -> Pairs:
    """One cache behind the other."""
    return [(torch.cat([a, c], 2), torch.cat([b, d], 2)) for (a, b), (c, d) in zip(first, second, strict=True)]
