"""Stack blocks of the same color."""

from __future__ import annotations

from lohovla.envs.tasks.grammar.meaning import Meaning
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class StackBlocksOfSameColor(Task):
    """One to three colours with two or more blocks each, and up to two distractors; a tower a colour."""

    name = "stack-blocks-of-same-color"
    split = Split.UNSEEN
    letter = "K"

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        colors = layout.pick_colors(layout.count(1, 3))
        total = layout.count(*{1: (2, 3), 2: (4, 6), 3: (6, 9)}[len(colors)])
        for index in range(total):
            layout.block(colors[index % len(colors)])
        layout.distractors(2, used=colors, kinds=("block",))
        return Meaning("tower", by="color"), {}


TASK = StackBlocksOfSameColor
