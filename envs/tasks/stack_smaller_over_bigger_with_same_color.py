"""Stack smaller blocks over bigger blocks of the same color."""

from __future__ import annotations

from lohovla.envs.tasks.entities import BIG, SMALL
from lohovla.envs.tasks.goals import Goal
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler
from lohovla.envs.tasks.stack import Column, Stack


class StackSmallerOverBiggerWithSameColor(Task):
    """Five to seven colours, one big and one small block each, and up to two distractors."""

    name = "stack-smaller-over-bigger-with-same-color"
    split = Split.SEEN
    letter = "C"

    def build(self, layout: SceneSampler) -> tuple[Goal, dict[str, str]]:
        colors = layout.pick_colors(layout.count(5, 7))
        columns = [
            Column((frozenset({layout.block(color, BIG)}), frozenset({layout.block(color, SMALL)}))) for color in colors
        ]
        layout.distractors(2, used=colors, kinds=("block", "big"))
        return Stack(tuple(columns)), {}


TASK = StackSmallerOverBiggerWithSameColor
