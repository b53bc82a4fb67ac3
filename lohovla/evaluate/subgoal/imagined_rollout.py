"""A plan imagined to its end, picture by picture, and what comes of it when the oracle carries it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lohovla.collect.privileged_labels import points_of
from lohovla.envs.errors import EpisodeOver
from lohovla.envs.tasks.entities import DIRECTIONS, QUADRANTS, Area, Scene, free_blocks
from lohovla.envs.tasks.goals import Subtask, name_of, put_aside, put_in, put_in_area, put_on_block
from lohovla.envs.tasks.put_one import put_beside
from lohovla.model.configuration import DEPTH_UNIT
from lohovla.model.inference import pick_place_prediction, subtask_decoding
from lohovla.model.inference.subgoal_generation import SubgoalSamplingConfig, generate_subgoal
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor


@dataclass(frozen=True)
class ImaginedStep:
    """One step of an imagined plan.

    Attributes:
        text: the sub-task.
        points: where the model picks and places (2, 5).
        color: the picture of its end, uint8 (H, W, 3).
        depth: the same, m above the table (H, W).
    """

    text: str
    points: np.ndarray
    color: np.ndarray
    depth: np.ndarray


@dataclass(frozen=True)
class ExecutedStep:
    """What came of a sub-task.

    Attributes:
        note: how it went: ``placed``, another outcome of a pick and place, or why nothing was done.
        score: of the goal, afterwards.
        color: the picture from above, uint8 (H, W, 3).
        depth: the same, m (H, W).
        front: the scene from the front, uint8 (h, w, 3).
    """

    note: str
    score: float
    color: np.ndarray
    depth: np.ndarray
    front: np.ndarray


@torch.no_grad()
def plan_ahead(
    model: LoHoVLA,
    processor: Processor,
    observation: dict[str, Any],
    brush: SubgoalSamplingConfig,
    most: int,
    seed: int,
) -> list[ImaginedStep]:
    """Plan, imagine the end of the sub-task, plan again from what was imagined; until "Done." or ``most`` sub-tasks.

    Args:
        model: the core, its image head trained.
        processor: of the model.
        observation: at the start.
        brush: how to paint.
        most: sub-tasks at most.
        seed: of the noise.
    """
    subtask_constraints, goal = processor.subtask_constraints(), str(observation["instruction"])
    generator = torch.Generator().manual_seed(seed)
    done = processor.tokenizer.encode("Done.", add_special_tokens=False)
    steps: list[ImaginedStep] = []
    for _ in range(most):
        inputs = processor([observation]).to(model.device)
        prefix = model.encode(inputs)
        grammar = subtask_constraints.for_scene(prefix.objects, 0, goal=goal) if subtask_constraints else None
        words = subtask_decoding.decode_autoregressive(model, prefix, processor.start, processor.end, grammar)
        if words.tokens[0] == done or (subtask_constraints and subtask_constraints.is_reason(words.tokens[0])):
            break
        pointed = pick_place_prediction.predict_pick_place(model, prefix, words)
        imagined = generate_subgoal(model, inputs.picture, prefix.seen, pointed, brush, generator)
        color, depth = imagined.color(), (imagined.picture[0, 3].clamp(min=0) * DEPTH_UNIT).cpu().numpy()
        points = pointed.points[0].cpu().numpy()
        steps.append(ImaginedStep(processor.sentence(words.tokens[0]), points, color, depth))
        observation = {**observation, "images.top": color, "depth.top": depth}
    return steps


def execute_plan(env: Any, plan: list[ImaginedStep]) -> list[ExecutedStep]:
    """The oracle carries out a plan in an environment at its start, with ``pick_place`` actions."""
    found = []
    for step in plan:
        note = _carry_out(env, step)
        seen, scene = env.observe(), env.scene()
        score = float(env.problem.goal.score(scene))
        found.append(ExecutedStep(note, score, seen["images.top"], seen["depth.top"], env.picture("film", 480, 360)))
    return found


def _carry_out(env: Any, step: ImaginedStep) -> str:
    scene = env.scene()
    subtask = resolve_subtask(scene, env.problem.goal.next(scene), step.text, step.points)
    if subtask is None:
        return "nothing here is what the words say"
    pick, place = points_of(scene, subtask)[:, :4]
    try:
        *_, info = env.step(np.array([pick, place], np.float32))
    except EpisodeOver:
        return "the episode was over"
    return str(info["outcome"])


def resolve_subtask(scene: Scene, planned: Subtask | None, text: str, points: np.ndarray) -> Subtask | None:
    """The sub-task of a true scene that a sentence means.

    That is the oracle's own if it reads so; else, of all that read so, the one nearest to where the model pointed.

    Args:
        scene: the true scene.
        planned: the oracle's next sub-task in it.
        text: the sentence.
        points: where the model picks and places (2, 5).
    """
    if planned is not None and planned.text == text:
        return planned
    meant = [found for name in _pickable(scene, text) for found in _placings(scene, name) if found.text == text]

    def away(found: Subtask) -> float:
        apart = points_of(scene, found)[:, :2] - points[:, :2]
        return float(np.hypot(*apart.T).sum())

    return min(meant, key=away, default=None)


def _pickable(scene: Scene, text: str) -> list[str]:
    return [name for name in free_blocks(scene) if text.startswith(f"Pick up the {name_of(scene, name)} and")]


def _placings(scene: Scene, pick: str) -> list[Subtask]:
    """Every sub-task that picks a block."""
    found: list[Subtask | None] = [put_in(scene, pick, name) for name in scene.fixtures]
    found += [put_on_block(scene, pick, name) for name in free_blocks(scene) if name != pick]
    found.append(put_aside(scene, pick))
    found += [put_in_area(scene, pick, Area(name)) for name in (*QUADRANTS, "center")]
    found += [
        put_beside(scene, pick, name, relation) for name in scene.blocks if name != pick for relation in DIRECTIONS
    ]
    return [subtask for subtask in found if subtask is not None]
