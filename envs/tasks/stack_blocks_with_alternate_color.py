"""Stack blocks in alternate colors."""

from __future__ import annotations

from lohovla.envs.tasks.grammar.meaning import Meaning
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class StackBlocksWithAlternateColor(Task):
    """Three blocks of one colour and two of another; the three are the first, third and fifth layer."""

    name = "stack-blocks-with-alternate-color"
    split = Split.UNSEEN
    letter = "H"
    spare = 3

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        often, seldom = layout.pick_colors(2)
        for color, count in ((often, 3), (seldom, 2)):
            for _ in range(count):
                layout.block(color)
        return Meaning("tower", order="alternating"), {}


TASK = StackBlocksWithAlternateColor
