"""Stack blocks of the same size."""

from __future__ import annotations

from lohovla.envs.tasks.entities import BIG, SMALL
from lohovla.envs.tasks.goals import Goal
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import NoRoom, SceneSampler
from lohovla.envs.tasks.stack import Stack, any_order


class StackBlocksOfSameSize(Task):
    """One to four big blocks and one to four small ones; a tower of each size, on any of its blocks."""

    name = "stack-blocks-of-same-size"
    split = Split.UNSEEN
    letter = "G"

    def build(self, layout: SceneSampler) -> tuple[Goal, dict[str, str]]:
        groups = [
            [layout.block(color, edge) for color in layout.pick_colors(layout.count(1, 4))] for edge in (BIG, SMALL)
        ]
        columns = tuple(any_order(group) for group in groups if len(group) > 1)
        if not columns:  # one of each: nothing to stack
            raise NoRoom
        return Stack(columns), {}


TASK = StackBlocksOfSameSize
