"""Put the blocks in the zones with mismatching colors."""

from __future__ import annotations

from lohovla.envs.tasks.grammar.meaning import Meaning, Place
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class PutBlockIntoMismatchingZone(Task):
    """Three to five blocks and a zone of each colour; a zone counts one block."""

    name = "put-block-into-mismatching-zone"
    split = Split.ADDITIONAL

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        colors = layout.pick_colors(layout.count(3, 5))
        for color in colors:
            layout.zone(color)
        for color in colors:
            layout.block(color)
        return Meaning("each", where=Place("zone", "other")), {}


TASK = PutBlockIntoMismatchingZone
