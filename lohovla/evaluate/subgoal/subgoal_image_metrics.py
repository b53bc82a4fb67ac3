"""Sub-goal pictures against what really came: on the patches that change, and in the eyes of the stem."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lohovla.collect.rendered_scenes import rollout_states, scene_env
from lohovla.collect.training_stream import FailureInjection
from lohovla.model.configuration import DEPTH_UNIT
from lohovla.model.encoders.detector import top_detections
from lohovla.model.encoders.object_schema import FACT, N_COLORS
from lohovla.model.inference import pick_place_prediction
from lohovla.model.inference.subgoal_generation import (
    SubgoalSamplingConfig,
    generate_subgoal,
    move_of,
    render_subgoal,
    require_subgoal_generator,
)
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor, picture_of
from lohovla.model.subgoal.autoencoder import downsample
from lohovla.model.subgoal.pixel_transport import transport_pixels

_PATCH = 32  # pixels: those of a token
_DIFFERS, _SHARE = 0.1, 0.01  # of [-1, 1], in which share of a patch's pixels: then it has changed
_SEEN = 0.3  # score from which the stem sees something
_NEAR = 0.015  # m
NAMES = ("copy", "moved", "coded")


@dataclass(frozen=True)
class SubgoalCase:
    """A sub-task of the oracle and what came of it.

    Attributes:
        observation: before.
        text: the sub-task.
        points: its pick and place (2, 5).
        after: colour (H, W, 3) and depth (H, W) afterwards.
    """

    observation: dict[str, Any]
    text: str
    points: np.ndarray
    after: tuple[np.ndarray, np.ndarray]


def cases(tasks: Sequence[str], seeds: Sequence[int]) -> Iterator[SubgoalCase]:
    """Every sub-task of some episodes, as the oracle plans them and as they succeed."""
    never = FailureInjection(0.0, 0.0, 0.0)
    for task in tasks:
        env = scene_env(task)
        for seed in seeds:
            for frame in rollout_states(env, seed, np.random.default_rng(seed), 0, never):
                if frame["next.reached"] > 0.5 and np.isfinite(frame["points"]).all():
                    after = frame["next.images.top"], frame["next.depth.top"]
                    yield SubgoalCase(frame, frame["subtask"], frame["points"], after)


def changed_patches(now: Tensor, after: Tensor) -> Tensor:
    """The pixels (B, 1, H, W), as 0 and 1, of patches of 32 x 32 in which two pictures (B, 4, H, W) differ."""
    differs = ((now - after)[:, :3].abs().amax(1, keepdim=True) > _DIFFERS).float()
    patches = (F.avg_pool2d(differs, _PATCH) > _SHARE).float()
    return F.interpolate(patches, scale_factor=_PATCH)


def psnr(square: float) -> float:
    """Decibels of a mean square error of values in [0, 1]."""
    return float(-10 * np.log10(max(square, 1e-12)))


@dataclass
class SubgoalScore:
    """How near pictures of one kind come to the truth, summed over cases.

    Attributes:
        squares: of each case the mean squared error of colours in [0, 1] on its changed patches.
        depths: the same of depth, m.
        placed: cases in which the stem sees the moved block where it sees it in the true picture.
        gone: cases in which it sees no block that is not in the true picture where the block was.
        agreed: cases in which it sees both.
        judged: cases in which the stem sees the block in the true picture.
        weights: changed pixels of each case.
        ms: milliseconds of one picture, by batch.
    """

    squares: list[float] = field(default_factory=list)
    depths: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    placed: int = 0
    gone: int = 0
    agreed: int = 0
    judged: int = 0
    ms: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """PSNR in dB and depth error in mm over all changed patches; shares of agreement."""
        weights = np.array(self.weights)
        judged = max(1, self.judged)
        found = {
            "psnr": psnr(float((np.array(self.squares) * weights).sum() / weights.sum())),
            "depth_mm": 1e3 * float(np.sqrt((np.array(self.depths) * weights).sum() / weights.sum())),
            "placed": self.placed / judged,
            "gone": self.gone / judged,
            "agreed": self.agreed / judged,
        }
        return found | ({"ms": float(np.median(self.ms))} if self.ms else {})


def blocks_seen(model: LoHoVLA, picture: Tensor) -> list[list[tuple[float, float, int]]]:
    """Of each picture (B, 4, H, W) the blocks that the stem sees: x, y (m), colour."""
    objects = top_detections(model.stem(picture), model.config)
    kind, score = objects.facts[..., FACT["kind"]].argmax(-1), objects.facts[..., FACT["score"].start]
    color = objects.facts[..., FACT["color"]].argmax(-1)
    assert color.max() < N_COLORS
    return [
        [
            (*map(float, objects.xy[row, k]), int(color[row, k]))
            for k in ((kind[row] == 0) & (score[row] > _SEEN)).nonzero()[:, 0].tolist()
        ]
        for row in range(len(picture))
    ]  # type: ignore[misc]


def blocks_near(blocks: Sequence[tuple[float, float, int]], xy: np.ndarray) -> list[tuple[float, float, int]]:
    """The blocks within 15 mm of a place."""
    return [block for block in blocks if np.hypot(block[0] - xy[0], block[1] - xy[1]) < _NEAR]


def judge_picture(score: SubgoalScore, said: Sequence[Any], true: Sequence[Any], points: np.ndarray) -> None:
    """Note whether the stem sees in a picture (``said``) what it sees in the true one, at the pick and at the place."""
    here = blocks_near(true, points[1, :2])
    if not here:
        return
    placed = any(block[2] == here[0][2] for block in blocks_near(said, points[1, :2]))
    left = {block[2] for block in blocks_near(true, points[0, :2])}
    gone = all(block[2] in left for block in blocks_near(said, points[0, :2]))
    score.judged += 1
    score.placed += placed
    score.gone += gone
    score.agreed += placed and gone


@torch.no_grad()
def compare_subgoals(
    model: LoHoVLA,
    processor: Processor,
    found: Sequence[SubgoalCase],
    brushes: dict[str, SubgoalSamplingConfig],
    batch: int = 8,
    progress: Callable[[int], object] = lambda count: None,
) -> dict[str, dict[str, float]]:
    """Figures of the pictures that each brush paints, beside those of :data:`NAMES`.

    ``copy`` is the picture now, ``moved`` the same with the picked pixels at the place (nothing is learned in it
    beside the points), ``coded`` the true picture through the autoencoder: what a perfect image head would reach.

    Raises:
        UserError: the image head was not trained.
    """
    require_subgoal_generator(model)
    scores: dict[str, SubgoalScore] = defaultdict(SubgoalScore)
    for first in range(0, len(found), batch):
        some = found[first : first + batch]
        inputs = processor([case.observation for case in some]).to(model.device)
        colors, depths = (torch.from_numpy(np.stack([case.after[k] for case in some])) for k in range(2))
        after = picture_of(colors, depths).to(model.device)
        prefix = model.encode(inputs)
        tokens = [processor.tokenizer.encode(case.text, add_special_tokens=False) for case in some]
        pointed = pick_place_prediction.predict_pick_place(
            model, prefix, pick_place_prediction.subtask_from_tokens(model, prefix, tokens, processor.start)
        )
        now, observed = inputs.picture, move_of(model, inputs.picture, prefix.seen, pointed.points).observed
        truth = model.painter.tokens(model.autoencoder.encode(downsample(after)).mode())
        pictures = {
            "copy": now,
            "moved": transport_pixels(now, pointed.points, model.config),
            "coded": render_subgoal(model, now, observed, truth),
        }
        for name, brush in brushes.items():
            began = time.perf_counter()
            noise = torch.Generator().manual_seed(first)
            pictures[name] = generate_subgoal(model, now, prefix.seen, pointed, brush, noise).picture
            scores[name].ms.append((time.perf_counter() - began) * 1e3 / len(some))
        where, true = changed_patches(now, after), blocks_seen(model, after)
        for name, picture in pictures.items():
            _measure(scores[name], model, picture, after, where, some, true)
        progress(len(some))
    return {name: score.figures() for name, score in scores.items()}


def _measure(
    score: SubgoalScore,
    model: LoHoVLA,
    picture: Tensor,
    after: Tensor,
    where: Tensor,
    some: Sequence[SubgoalCase],
    true: list[Any],
) -> None:
    error = picture - after
    color = (error[:, :3].clamp(-2, 2) / 2).square().mean(1)
    depth = (error[:, 3] * DEPTH_UNIT).square()
    for row, (case, said) in enumerate(zip(some, blocks_seen(model, picture), strict=True)):
        weight = where[row, 0]
        if not weight.any():
            continue
        score.squares.append(float((color[row] * weight).sum() / weight.sum()))
        score.depths.append(float((depth[row] * weight).sum() / weight.sum()))
        score.weights.append(float(weight.sum()))
        judge_picture(score, said, true[row], case.points)
