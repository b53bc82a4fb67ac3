"""Stack blocks of the same size."""

from __future__ import annotations

from lohovla.envs.tasks.entities import BIG, SMALL
from lohovla.envs.tasks.grammar.meaning import Meaning
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class StackBlocksOfSameSize(Task):
    """One to four big blocks and one to four small ones; a tower of each size, on any of its blocks."""

    name = "stack-blocks-of-same-size"
    split = Split.UNSEEN
    letter = "G"

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        for edge in (BIG, SMALL):
            for color in layout.pick_colors(layout.count(1, 4)):
                layout.block(color, edge)
        return Meaning("tower", by="size"), {}  # one of each is nothing to stack, and drawn again


TASK = StackBlocksOfSameSize
