"""Stack all the blocks on a zone."""

from __future__ import annotations

from lohovla.envs.tasks.goals import Goal
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler
from lohovla.envs.tasks.stack import Stack, any_order


class StackAllBlocksOnAZone(Task):
    """Three to five blocks of different colours, one zone, one tower in any order."""

    name = "stack-all-blocks-on-a-zone"
    split = Split.ADDITIONAL

    def build(self, layout: SceneSampler) -> tuple[Goal, dict[str, str]]:
        color = layout.pick_colors(1)[0]
        zone = layout.zone(color)
        blocks = [layout.block(tint) for tint in layout.pick_colors(layout.count(3, 5))]
        return Stack((any_order(blocks, zone=zone),)), {"color": color}


TASK = StackAllBlocksOnAZone
