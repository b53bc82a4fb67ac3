"""Stack all the blocks on a zone."""

from __future__ import annotations

from lohovla.envs.tasks.grammar.meaning import Meaning, Place
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class StackAllBlocksOnAZone(Task):
    """Three to five blocks of different colours, one zone, one tower in any order."""

    name = "stack-all-blocks-on-a-zone"
    split = Split.ADDITIONAL

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        color = layout.pick_colors(1)[0]
        layout.zone(color)
        for tint in layout.pick_colors(layout.count(3, 5)):
            layout.block(tint)
        return Meaning("tower", where=Place("zone", color)), {"color": color}


TASK = StackAllBlocksOnAZone
