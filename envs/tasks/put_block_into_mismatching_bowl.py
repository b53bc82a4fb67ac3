"""Put the blocks in the bowls with mismatching colors."""

from __future__ import annotations

from lohovla.envs.tasks.grammar.meaning import Meaning, Place
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class PutBlockIntoMismatchingBowl(Task):
    """The rule: a block counts in any bowl of another colour, and a bowl counts one block.

    Distractors are bowls, and legal like any other.
    """

    name = "put-block-into-mismatching-bowl"
    split = Split.UNSEEN
    letter = "F"

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        colors = layout.pick_colors(layout.count(5, 7))
        for color in colors:
            layout.bowl(color)
        for color in colors[: layout.count(5, len(colors))]:
            layout.block(color)
        layout.distractors(6, used=colors, kinds=("bowl",))
        return Meaning("each", where=Place("bowl", "other")), {}


TASK = PutBlockIntoMismatchingBowl
