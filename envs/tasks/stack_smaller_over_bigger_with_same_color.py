"""Stack smaller blocks over bigger blocks of the same color."""

from __future__ import annotations

from lohovla.envs.tasks.entities import BIG, SMALL
from lohovla.envs.tasks.grammar.meaning import Meaning
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class StackSmallerOverBiggerWithSameColor(Task):
    """Five to seven colours, one big and one small block each, and up to two distractors."""

    name = "stack-smaller-over-bigger-with-same-color"
    split = Split.SEEN
    letter = "C"

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        colors = layout.pick_colors(layout.count(5, 7))
        for color in colors:
            for edge in (BIG, SMALL):
                layout.block(color, edge)
        layout.distractors(2, used=colors, kinds=("block", "big"))
        return Meaning("tower", by="color", order="bigger-first"), {}


TASK = StackSmallerOverBiggerWithSameColor
