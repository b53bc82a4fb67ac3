"""Put the blocks in the bowls with matching colors."""

from __future__ import annotations

from lohovla.envs.tasks.grammar.meaning import Meaning, Place
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class PutBlockIntoMatchingBowl(Task):
    """Five to seven bowls, a block for most of them; distractors have colours that nothing else has."""

    name = "put-block-into-matching-bowl"
    split = Split.SEEN
    letter = "B"

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        colors = layout.pick_colors(layout.count(5, 7))
        for color in colors:
            layout.bowl(color)
        for color in colors[: layout.count(5, len(colors))]:
            layout.block(color)
        layout.distractors(6, used=colors, kinds=("block", "bowl"))
        return Meaning("place", where=Place("bowl", "same")), {}


TASK = PutBlockIntoMatchingBowl
