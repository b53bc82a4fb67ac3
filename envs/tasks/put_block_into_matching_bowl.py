"""Put the blocks in the bowls with matching colors."""

from __future__ import annotations

from lohovla.envs.tasks.goals import Goal
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler
from lohovla.envs.tasks.sort import Sort


class PutBlockIntoMatchingBowl(Task):
    """Five to seven bowls, a block for most of them; distractors have colours that nothing else has."""

    name = "put-block-into-matching-bowl"
    split = Split.SEEN
    letter = "B"

    def build(self, layout: SceneSampler) -> tuple[Goal, dict[str, str]]:
        colors = layout.pick_colors(layout.count(5, 7))
        bowls = [layout.bowl(color) for color in colors]
        blocks = [layout.block(color) for color in colors[: layout.count(5, len(colors))]]
        layout.distractors(6, used=colors, kinds=("block", "bowl"))
        return Sort({block: (bowl,) for block, bowl in zip(blocks, bowls, strict=False)}), {}


TASK = PutBlockIntoMatchingBowl
