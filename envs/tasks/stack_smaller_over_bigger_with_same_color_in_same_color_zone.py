"""Stack blocks of the same color in the zone with same color, with the bigger blocks underneath."""

from __future__ import annotations

from lohovla.envs.tasks.entities import BIG, SMALL
from lohovla.envs.tasks.grammar.meaning import Meaning, Place
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class StackSmallerOverBiggerWithSameColorInSameColorZone(Task):
    """Three to five colours, each with a zone, a big and a small block."""

    name = "stack-smaller-over-bigger-with-same-color-in-same-color-zone"
    split = Split.UNSEEN
    letter = "I"
    spare = 3
    order, sizes = "bigger-first", (BIG, SMALL)

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        colors = layout.pick_colors(layout.count(3, 5))
        for color in colors:
            layout.zone(color, 0.15)
        for color in colors:
            for edge in self.sizes:
                layout.block(color, edge)
        return Meaning("tower", by="color", order=self.order, where=Place("zone", "same")), {}


TASK = StackSmallerOverBiggerWithSameColorInSameColorZone
