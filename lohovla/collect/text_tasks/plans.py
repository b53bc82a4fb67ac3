"""Plan writing: a scene and a goal in words, the whole list of sub-tasks out.

    Put the blocks in the bowls with matching colors.
    red block, blue block, blue bowl, red bowl.
    1. Pick up the blue block and place it in the blue bowl.
    2. Pick up the red block and place it in the red bowl.

Problems are those of the world's own tasks. The reference plan takes things by the alphabet of their colours, bigger
before smaller, so that the text alone decides it; any other plan that can be carried out and reaches the goal is right
too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from lohovla.collect.text_tasks import AnswerScore, TextExample
from lohovla.collect.text_tasks.symbolic_executor import Impossible, carry_out
from lohovla.envs.language import place_phrase, subtask_sentence
from lohovla.envs.tasks.entities import Bowl, Scene, is_on, resting_above
from lohovla.envs.tasks.goals import Goal, name_of
from lohovla.envs.tasks.registry import TaskInstance, get_task, initial_scene
from lohovla.envs.tasks.sort import Sort
from lohovla.envs.tasks.stack import Column, Stack

# Tasks with long plans in which every block lies open, ...
OPEN_TASKS = (
    "put-block-into-matching-bowl",
    "put-block-into-mismatching-bowl",
    "put-even-blocks-in-same-color-zone",
    "stack-smaller-over-bigger-with-same-color",
    "stack-smaller-over-bigger-with-same-color-in-same-color-zone",
    "stack-bigger-over-smaller-with-same-color-in-same-color-zone",
)
# ... and all whose scenes can be told in words, those with blocks under others too.
TASKS = (
    *OPEN_TASKS,
    "put-hidden-blocks-in-two-layer-towers-into-matching-bowls",
    "put-hidden-blocks-in-two-layer-towers-into-mismatching-bowls",
    "put-hidden-blocks-in-three-layer-towers-into-matching-bowls",
    "put-hidden-blocks-in-pyramid-into-matching-bowls",
)
# Further ones whose plans are shorter.
SHORT_TASKS = ("put-block-into-mismatching-zone", "stack-all-blocks-on-a-zone")
_DRAWS = 12  # of one task, before another is taken


class Plans:
    """Problems of the block world in text, judged by carrying the plan out.

    Args:
        shortest: sub-tasks in a plan at least.
        longest: and at most.
        tasks: names of the world's tasks.
    """

    def __init__(self, shortest: int = 6, longest: int = 99, tasks: tuple[str, ...] = TASKS):
        self.shortest, self.longest, self.tasks = shortest, longest, tasks

    def draw_problem(self, seed: int) -> TextExample:
        """The problem of a seed, with its reference plan."""
        problem, scene, order = self._problem(seed)
        return TextExample("plan", seed, plan_prompt(problem, scene, order), "\n".join(_plan(problem.goal, scene)))

    def score(self, example: TextExample, answer: str) -> AnswerScore:
        """Right where every step can be carried out and the goal is reached at the end."""
        problem, scene, _ = self._problem(example.seed)
        for number, line in enumerate(answer.removesuffix("\n").split("\n"), 1):
            head, _, sentence = line.partition(". ")
            if head != str(number):
                return AnswerScore(False, False, f"step {number} has no number")
            try:
                scene = carry_out(scene, sentence)
            except Impossible as error:
                return AnswerScore(False, False, f"step {number}: {error}")
        reached = problem.goal.score(scene) > 0.99
        return AnswerScore(reached, True, "" if reached else "the goal is not reached")

    def _problem(self, seed: int) -> tuple[TaskInstance, Scene, list[str]]:
        """The problem, its initial scene, and the order in which the scene is told: blocks first, shuffled.

        Drawn again until the plan has the right length.
        """
        rng = np.random.default_rng([seed, 0])
        while True:
            task = get_task(self.tasks[int(rng.integers(len(self.tasks)))])
            for _ in range(_DRAWS):
                problem = task.sample(rng, "all" if rng.random() < 0.5 else None)
                scene = initial_scene(problem.layout)
                names = [list(scene.blocks), list(scene.fixtures)]
                order = [group[i] for group in names for i in rng.permutation(len(group))]
                if self.shortest <= sum(1 for _ in _sentences(problem.goal, scene)) <= self.longest:
                    return problem, scene, order


def plan_prompt(problem: TaskInstance, scene: Scene, order: list[str]) -> str:
    """The prompt: the goal sentence, and what there is in the order given."""
    told = [_tell(scene, name) for name in order]
    return f"{problem.instruction}\n{', '.join(told)}.\n"


def _tell(scene: Scene, name: str) -> str:
    """One thing in words, with what it stands on."""
    if name in scene.fixtures:
        fixture = scene.fixtures[name]
        return f"{fixture.color} {'bowl' if isinstance(fixture, Bowl) else 'zone'}"
    lower = [name_of(scene, other) for other in scene.blocks if other != name and _stands_on(scene, name, other)]
    return name_of(scene, name) + " and".join(f" on the {other}" for other in lower)


def _stands_on(scene: Scene, upper: str, lower: str) -> bool:
    """Whether ``upper`` rests on ``lower``, squarely or, as in a pyramid, on its edge."""
    rise = (scene.blocks[upper].edge + scene.blocks[lower].edge) / 2
    near = abs(scene.centre(upper)[2] - scene.centre(lower)[2] - rise) < 1e-6
    return is_on(scene, upper, lower) or (near and upper in resting_above(scene, lower))


def _plan(goal: Goal, scene: Scene) -> Iterator[str]:
    """The reference plan's lines, numbered."""
    for number, sentence in enumerate(_sentences(goal, scene), 1):
        yield f"{number}. {sentence}"
    yield ""  # so that the last line ends as the others do


def _sentences(goal: Goal, scene: Scene) -> Iterator[str]:
    order = sorted(scene.blocks, key=lambda name: (scene.blocks[name].color, scene.blocks[name].size))
    if isinstance(goal, Stack):
        yield from _stack(goal, scene, order)
    elif isinstance(goal, Sort):
        yield from _sort(goal, scene, order)
    else:
        raise TypeError(f"no plans for {type(goal).__name__}")


def _sort(goal: Sort, scene: Scene, order: list[str]) -> Iterator[str]:
    """Each block into its container, what lies over it first onto the table."""
    blocks = [name for name in order if name in goal.allowed]
    moved: set[str] = set()
    for block, container in _containers(goal, scene, blocks).items():
        for above in _over(scene, block):
            if above not in moved:
                moved.add(above)
                yield subtask_sentence(name_of(scene, above), place_phrase("table"))
        moved.add(block)
        fixture = scene.fixtures[container]
        kind = "bowl" if isinstance(fixture, Bowl) else "zone"
        yield subtask_sentence(name_of(scene, block), place_phrase(kind, color=fixture.color))


def _over(scene: Scene, block: str) -> list[str]:
    """What has to go before a block can be picked, in that order: what lies over it, and what lies over that."""
    found: list[str] = []
    for above in resting_above(scene, block):
        found += [name for name in [*_over(scene, above), above] if name not in found]
    return found


def _containers(goal: Sort, scene: Scene, blocks: list[str]) -> Mapping[str, str]:
    """Where each block goes. Where a container takes one block, each goes to the colour of the next."""
    if not goal.exclusive:
        return {block: goal.allowed[block][0] for block in blocks}
    colors = [scene.blocks[block].color for block in blocks]
    following = dict(zip(blocks, colors[1:] + colors[:1], strict=True))
    return {
        block: next(c for c in goal.allowed[block] if scene.fixtures[c].color == following[block]) for block in blocks
    }


def _stack(goal: Stack, scene: Scene, order: list[str]) -> Iterator[str]:
    """Tower by tower, in the order of their first blocks; each from its foot up."""
    for column in sorted(goal.columns, key=lambda c: min(order.index(block) for block in c.blocks)):
        tower = _tower(column, order)
        if column.zone is not None:
            zone = place_phrase("zone", color=scene.fixtures[column.zone].color)
            yield subtask_sentence(name_of(scene, tower[0]), zone)
        for lower, upper in itertools.pairwise(tower):
            entity = scene.blocks[lower]
            size = entity.size if scene.mixed_sizes else None
            yield subtask_sentence(name_of(scene, upper), place_phrase("block", color=entity.color, size=size))


def _tower(column: Column, order: list[str]) -> list[str]:
    """The blocks of a tower from the foot up, each layer the first that it allows."""
    tower: list[str] = []
    for layer in column.layers:
        tower.append(next(name for name in order if name in layer and name not in tower))
    return tower
