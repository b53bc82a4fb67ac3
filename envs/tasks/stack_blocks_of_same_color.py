"""Stack blocks of the same color."""

from __future__ import annotations

from lohovla.envs.tasks.goals import Goal
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler
from lohovla.envs.tasks.stack import Stack, any_order


class StackBlocksOfSameColor(Task):
    """One to three colours with two or more blocks each, and up to two distractors; a tower a colour."""

    name = "stack-blocks-of-same-color"
    split = Split.UNSEEN
    letter = "K"

    def build(self, layout: SceneSampler) -> tuple[Goal, dict[str, str]]:
        colors = layout.pick_colors(layout.count(1, 3))
        total = layout.count(*{1: (2, 3), 2: (4, 6), 3: (6, 9)}[len(colors)])
        groups: list[list[str]] = [[] for _ in colors]
        for index in range(total):
            turn = index % len(colors)
            groups[turn].append(layout.block(colors[turn]))
        layout.distractors(2, used=colors, kinds=("block",))
        return Stack(tuple(any_order(group) for group in groups)), {}


TASK = StackBlocksOfSameColor
