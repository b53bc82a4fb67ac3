"""Move all the blocks of one area to another."""

from __future__ import annotations

from lohovla.envs.tasks.entities import QUADRANTS, Area
from lohovla.envs.tasks.grammar.meaning import Meaning, Place, who
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class MoveBlocksBetweenAbsolutePositions(Task):
    """Three to five blocks in the source area, up to four elsewhere."""

    name = "move-blocks-between-absolute-positions"
    split = Split.UNSEEN
    letter = "J"
    spare = 7

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        source, target = (Area(name) for name in layout.choose(QUADRANTS, 2))
        colors = layout.pick_colors(layout.count(3, 5))
        for color in colors:
            layout.block(color, within=source.contains)
        for color in layout.other_colors(colors)[: layout.count(0, 4)]:
            layout.block(color, within=lambda x, y: not source.contains(x, y))
        return Meaning("place", who(area=source.key), where=Place("area", target.key)), {
            "source": source.name,
            "target": target.name,
        }


TASK = MoveBlocksBetweenAbsolutePositions
