"""Stack all the blocks in a named area."""

from __future__ import annotations

from lohovla.envs.tasks.entities import BIG, QUADRANTS, SMALL, Area
from lohovla.envs.tasks.grammar.meaning import Meaning, Place, who
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import NoRoom, SceneSampler


class StackBlockInAbsoluteArea(Task):
    """Five to seven colours, a small and a big block each; three to six of the blocks lie in the area.

    They make one tower, on any of them and in any order.
    """

    name = "stack-block-in-absolute-area"
    split = Split.SEEN
    letter = "D"

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        area = Area(layout.choose(QUADRANTS)[0])
        colors = layout.pick_colors(layout.count(5, 7))
        blocks = [layout.block(color, edge) for color in colors for edge in (SMALL, BIG)]
        inside = [name for name in blocks if area.contains(layout.poses[name].x, layout.poses[name].y)]
        if not 3 <= len(inside) <= 6:
            raise NoRoom
        return Meaning("tower", who(area=area.key), where=Place("area", area.key)), {"area": area.name}


TASK = StackBlockInAbsoluteArea
