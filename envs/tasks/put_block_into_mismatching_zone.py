"""Put the blocks in the zones with mismatching colors."""

from __future__ import annotations

from lohovla.envs.tasks.goals import Goal
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler
from lohovla.envs.tasks.sort import Sort


class PutBlockIntoMismatchingZone(Task):
    """Three to five blocks and a zone of each colour; a zone counts one block."""

    name = "put-block-into-mismatching-zone"
    split = Split.ADDITIONAL

    def build(self, layout: SceneSampler) -> tuple[Goal, dict[str, str]]:
        colors = layout.pick_colors(layout.count(3, 5))
        zones = {layout.zone(color): color for color in colors}
        blocks = {layout.block(color): color for color in colors}
        allowed = {b: tuple(z for z, tint in zones.items() if tint != color) for b, color in blocks.items()}
        return Sort(allowed, exclusive=True), {}


TASK = PutBlockIntoMismatchingZone
