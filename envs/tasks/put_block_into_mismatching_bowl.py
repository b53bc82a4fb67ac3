"""Put the blocks in the bowls with mismatching colors."""

from __future__ import annotations

from lohovla.envs.tasks.goals import Goal
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler
from lohovla.envs.tasks.sort import Sort


class PutBlockIntoMismatchingBowl(Task):
    """The rule: a block counts in any bowl of another colour, and a bowl counts one block.

    Distractors are bowls, and legal like any other.
    """

    name = "put-block-into-mismatching-bowl"
    split = Split.UNSEEN
    letter = "F"

    def build(self, layout: SceneSampler) -> tuple[Goal, dict[str, str]]:
        colors = layout.pick_colors(layout.count(5, 7))
        bowls = {layout.bowl(color): color for color in colors}
        blocks = {layout.block(color): color for color in colors[: layout.count(5, len(colors))]}
        for name in layout.distractors(6, used=colors, kinds=("bowl",)):
            bowls[name] = layout.entities[name].color
        allowed = {b: tuple(w for w, tint in bowls.items() if tint != color) for b, color in blocks.items()}
        return Sort(allowed, exclusive=True), {}


TASK = PutBlockIntoMismatchingBowl
