"""Stack blocks in alternate colors."""

from __future__ import annotations

from lohovla.envs.tasks.goals import Goal
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler
from lohovla.envs.tasks.stack import Column, Stack


class StackBlocksWithAlternateColor(Task):
    """Three blocks of one colour and two of another; the three are the first, third and fifth layer."""

    name = "stack-blocks-with-alternate-color"
    split = Split.UNSEEN
    letter = "H"
    spare = 3

    def build(self, layout: SceneSampler) -> tuple[Goal, dict[str, str]]:
        often, seldom = layout.pick_colors(2)
        odd = frozenset(layout.block(often) for _ in range(3))
        even = frozenset(layout.block(seldom) for _ in range(2))
        return Stack((Column((odd, even, odd, even, odd)),)), {}


TASK = StackBlocksWithAlternateColor
