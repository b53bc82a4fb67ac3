"""The passes of a decision as functions of tensors alone, so that each can be a graph: look, say, point, act; or all.

They compute what ``subtask_decoding`` and ``action_sampling`` do, on the lean decoder. None of them
waits for the device or reads anything from the host; what is padding, masks say.
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
    ee_action,
    ee_condition,
    ee_scaled,
    ee_waypoints,
    pick_place_action,
    pick_place_condition,
)
from lohovla.model.action.fused_sampling import denoise_fused
from lohovla.model.attention_mask import SequenceLayout, TokenType, expert_attention_mask
from lohovla.model.backends.fused_decoder import FusedDecoder, Pairs
from lohovla.model.backends.single_graph import DecisionConfig
from lohovla.model.encoders.detector import DetectionMap, Detections
from lohovla.model.inference import pick_place_prediction
from lohovla.model.modeling_lohovla import LoHoVLA, ModelInputs

SEEN, OBJECTS, LAYOUT = 3, 4, 3  # tensors of each


class GraphFunctions:
    """The passes of a model, whose weights are taken as they are now.

    Args:
        model: the core.
        implementation: of the kernels, see :func:`lohovla.kernels.runtime.use_triton`.
    """

    def __init__(self, model: LoHoVLA, implementation: str = "auto"):
        self._model, self._implementation = model, implementation
        self._lean = FusedDecoder(model.decoder, implementation)

    def _run(
        self, tokens: Tensor, layout: SequenceLayout, places: Tensor, past: Pairs | None, keep: Tensor | None
    ) -> tuple[Tensor, Pairs]:
        allowed = layout.attention_mask(slice(layout.kind.shape[1] - tokens.shape[1], None))
        states, made = self._lean.run(tokens.to(self._model.decoder.dtype), allowed, places, past, keep)
        return states.to(tokens.dtype), made

    def look(self, picture: Tensor, state: Tensor, goal: Tensor, goal_valid: Tensor) -> tuple[Tensor, ...]:
        """From :class:`ModelInputs`: detections, objects, their states, the layout (kind, group, order), the cache."""
        inputs = ModelInputs(picture, state, goal, goal_valid)
        seen, objects = self._model.see(inputs)
        tokens, layout, places = self._model.prefix_tokens(inputs, objects)
        # Of the last layer only the objects' states are read (they come first); keys and values are of all.
        keep = torch.arange(objects.cell.shape[1], device=state.device).expand(len(state), -1)
        states, made = self._run(tokens, layout, places, None, keep)
        return (*vars(seen).values(), *vars(objects).values(), states, *vars(layout).values(), *flatten_cache(made))

    def feed(
        self,
        words: Tensor,
        valid: Tensor,
        order: Tensor,
        last: Tensor,
        kind: Tensor,
        group: Tensor,
        before: Tensor,
        *past: Tensor,
    ) -> tuple[Tensor, ...]:
        """Words (B, w) behind a layout and its cache: logits after the word ``last`` (B,), and the words' cache."""
        tokens, part, places = pick_place_prediction.embed_tokens(self._model, words, valid, order)
        layout = SequenceLayout.concat([SequenceLayout(kind, group, before), part])
        states, made = self._run(tokens, layout, places, unflatten_cache(past), last[:, None])
        return (self._model.vocabulary_logits(states[:, 0]).float(), *flatten_cache(made))

    def blank(self, rows: int, end: int, mask: int, accept: float) -> tuple[Tensor, ...]:
        """The state of a canvas before the first step of :meth:`say`."""
        config, device = self._model.config, self._model.device
        n, zero = config.max_subtask, torch.zeros(rows, dtype=torch.long, device=device)
        full = torch.zeros(rows, n // config.block_size, dtype=torch.bool, device=device)
        tokens = torch.full((rows, n), mask, device=device)
        return _state(
            block_state.append_block(self._canvas(end, mask, tokens, zero, full, zero, zero > 0), Thresholds(accept))
        )

    def _canvas(
        self, end: int, mask: int, tokens: Tensor, opened: Tensor, full: Tensor, retired: Tensor, ended: Tensor
    ) -> DecodeState:
        zero, count = torch.zeros_like(retired), full.shape[1]
        return DecodeState(
            tokens,
            self._model.config.block_size,
            mask,
            torch.full((1,), end, device=tokens.device),
            zero[:, None].expand(-1, count),
            zero + count,
            opened,
            full,
            retired,
            ended,
        )

    def say(
        self,
        end: int,
        mask: int,
        accept: float,
        tokens: Tensor,
        opened: Tensor,
        full: Tensor,
        retired: Tensor,
        ended: Tensor,
        valid: Tensor,
        *past: Tensor,
    ) -> tuple[Tensor, ...]:
        """A step of block diffusion, all blocks in one window: the canvas's state after it, and which rows are done.

        No block sees a later one, so that blocks that are decided, or not yet opened, change nothing where they are.
        """
        config, (rows, n), device = self._model.config, tokens.shape, tokens.device
        canvas = self._canvas(end, mask, tokens, opened, full, retired, ended)
        place = torch.arange(n, device=device)
        own = block_causal((place // config.block_size).expand(rows, -1))
        allowed = torch.cat([valid[:, None].expand(-1, n, -1), own], 2)[:, None]
        entered = self._model.words(tokens, TokenType.NOISED).to(self._model.decoder.dtype)
        places = (self._model.places.text + 1 + place).expand(rows, -1)
        states = self._lean.run(entered, allowed, places, unflatten_cache(past))[0].flatten(0, 1)
        asked = torch.arange(rows * n, device=device, dtype=torch.int32)
        head: Tensor = self._model.decoder.get_input_embeddings().weight  # type: ignore[assignment]
        word, sure = lm_head_argmax(states, asked, head, mask, self._implementation)
        limits = Thresholds(accept=accept)
        canvas, _ = block_state.unmask(canvas, word.view(rows, n), sure.view(rows, n), limits)
        canvas = block_state.append_block(block_state.commit_blocks(canvas), limits)
        return (*_state(canvas), canvas.done)

    def point(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Points, confidences, the layout of all, and the cache of what was run.

        Args:
            given: what is seen, the objects, their states; words, which are valid, their order; kind, group and order
                of the layout; its cache.
        """
        seen, given = DetectionMap(*given[:SEEN]), given[SEEN:]
        objects, given = Detections(*given[:OBJECTS]), given[OBJECTS:]
        states, words, valid, order, kind, group, before, *past = given
        known, made = unflatten_cache(past), []

        def run(tokens: Tensor, layout: SequenceLayout, places: Tensor) -> Tensor:
            nonlocal known
            last = torch.full((tokens.shape[0], 1), tokens.shape[1] - 1, device=tokens.device)
            state, new = self._run(tokens, layout, places, known, last)
            known = concat_caches(known, new)
            made.append(new)
            return state

        entered = pick_place_prediction.embed_tokens(self._model, words, valid, order)
        points, sure, layout = pick_place_prediction.predict_pick_place_by(
            self._model, seen, objects, states, entered, SequenceLayout(kind, group, before), run
        )
        return (points, sure, *vars(layout).values(), *flatten_cache(concat_caches(*made)))

    def ee(
        self, steps: int, points: Tensor, state: Tensor, motion: Tensor, noise: Tensor, valid: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        """Tool poses (B, H, 7); ``rest`` is the cache, after the clean first actions (B, H, 7) and which they are."""
        clean, fixed, past = None, None, list(rest)
        if len(rest) > 2 * self._model.config.expert_layers:
            prefix, fixed, *past = rest
            clean = ee_scaled(prefix, state)
        condition = ee_condition(points, state, motion)
        anchors = ee_waypoints(points, state, self._model.config.look)
        chunk = denoise_fused(
            self._model.experts["ee"],
            noise,
            steps,
            condition,
            unflatten_cache(past),
            valid,
            anchors,
            clean,
            fixed,
            self._implementation,
        )
        action = ee_action(chunk, state)
        return (action if fixed is None else torch.where(fixed[..., None], rest[0], action),)

    def pick_place(self, steps: int, points: Tensor, noise: Tensor, valid: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """Pick and place (B, 2, 4)."""
        condition = pick_place_condition(points)
        expert = self._model.experts["pick_place"]
        chunk = denoise_fused(
            expert, noise, steps, condition, unflatten_cache(past), valid, implementation=self._implementation
        )
        return (pick_place_action(chunk, points),)

    def decide(
        self,
        whole: DecisionConfig,
        waits: bool,
        picture: Tensor,
        state: Tensor,
        goal: Tensor,
        goal_valid: Tensor,
        kept: Tensor,
        limit: Tensor,
        before: Tensor,
        points: Tensor,
        motion: Tensor,
        noise: Tensor,
        *first: Tensor,
    ) -> tuple[Tensor, ...]:
        """All of it, from the picture to the chunk: ``DecisionOutputs``, then what looking gives.

        Block diffusion takes ``whole.forwards`` steps, whatever the words; those of rows that are done change nothing.

        Args:
            whole: what stays the same.
            waits: it may wait for the device: it stops saying where all is said, and leaves out what no row says.
            picture: of :class:`ModelInputs`, as the next three.
            state: see there.
            goal: see there.
            goal_valid: see there.
            kept: of :class:`lohovla.model.backends.single_graph.DecisionInputs`, as the next five.
            limit: see there.
            before: see there.
            points: see there.
            motion: see there.
            noise: see there.
            first: the clean first actions (B, H, 7) and which they are, where there are any.
        """
        looked = self.look(picture, state, goal, goal_valid)
        at = SEEN + OBJECTS + 1
        seen, objects, layout, past = (
            DetectionMap(*looked[:SEEN]),
            looked[:at],
            looked[at : at + LAYOUT],
            looked[at + LAYOUT :],
        )
        judge = self._model.progress
        progress = torch.sigmoid(judge(before, judge.remember(seen, points), points))
        fresh = progress > limit
        said, complete = self._said(whole, waits, fresh, layout[0] != int(TokenType.PAD), past)
        words = torch.where(fresh[:, None], said, kept)
        fed, real = F.pad(words, (1, 0), value=whole.start), (words == whole.end).cumsum(1) == 0
        real = F.pad(real, (1, 0), value=True)
        if waits:
            width = int(real.sum(1).max())
            fed, real = fed[:, :width], real[:, :width]
        order = torch.arange(fed.shape[1], device=fed.device).expand(len(fed), -1)
        told = self.point(*objects, fed, real, order, *layout, *past)
        points, _, *after = told
        valid = expert_attention_mask(SequenceLayout(*after[:LAYOUT]), 0)
        cache = flatten_cache(
            self._model.expert_pairs(concat_caches(unflatten_cache(past), unflatten_cache(after[LAYOUT:])))
        )
        if whole.control == "ee":
            if first:
                first = first[0], first[1] & ~fresh[:, None]
            (action,) = self.ee(whole.steps, points, state, motion, noise, valid, *first, *cache)
        else:
            (action,) = self.pick_place(whole.steps, points, noise, valid, *cache)
        now = judge.remember(seen, points)
        return (progress, fresh, complete, words, action, points, now, valid, *cache, *looked)

    def _said(
        self, whole: DecisionConfig, waits: bool, fresh: Tensor, valid: Tensor, past: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        """Words (B, n) of a few steps, and whether they are all decided or not wanted (B,)."""
        state, done = self.blank(len(fresh), whole.end, whole.mask, whole.accept), ~fresh
        for _ in range(whole.forwards):
            if waits and bool(done.all()):
                break
            *state, over = self.say(whole.end, whole.mask, whole.accept, *state, valid, *past)
            done = over | ~fresh
        return state[0], done


def _state(canvas: DecodeState) -> tuple[Tensor, ...]:
    return canvas.tokens, canvas.open, canvas.full, canvas.retired, canvas.ended


def flatten_cache(cache: Pairs) -> list[Tensor]:
    """Keys and values in turn."""
    return [x for pair in cache for x in pair]


def unflatten_cache(tensors: tuple[Tensor, ...] | list[Tensor]) -> Pairs:
    """The inverse of :func:`flatten_cache`."""
    return list(zip(tensors[::2], tensors[1::2], strict=True))


def concat_caches(first: Pairs, second: Pairs) -> Pairs:
    """One cache behind the other."""
    return [(torch.cat([a, c], 2), torch.cat([b, d], 2)) for (a, b), (c, d) in zip(first, second, strict=True)]
