"""Move the blocks of a group of colours from one area to another."""

from __future__ import annotations

from lohovla.envs.language import vocabulary
from lohovla.envs.tasks.entities import QUADRANTS, Area
from lohovla.envs.tasks.grammar.meaning import Meaning, Place, who
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import NoRoom, SceneSampler


class MoveBlocksBetweenAbsolutePositionsByColor(Task):
    """Blocks of cool, warm, primary or secondary colours move; others in the same area stay."""

    name = "move-blocks-between-absolute-positions-by-color"
    split = Split.ADDITIONAL
    spare = 7

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        source, target = (Area(name) for name in layout.choose(QUADRANTS, 2))
        category = layout.choose(list(vocabulary()["color_categories"]))[0]
        members = [c for c in layout.palette if c in vocabulary()["color_categories"][category]]
        others = [c for c in layout.palette if c not in members]
        if len(members) < 2 or not others:  # the palette has too few: draw another group
            raise NoRoom
        wanted = layout.choose(members, layout.count(2, 4))
        for color in wanted:
            layout.block(color, within=source.contains)
        for color in layout.choose(others, layout.count(1, 2)):
            layout.block(color, within=source.contains)
        for color in layout.other_colors([*wanted])[: layout.count(0, 3)]:
            layout.block(color, within=lambda x, y: not source.contains(x, y))
        meant = who(category=category, area=source.key)
        return Meaning("place", meant, where=Place("area", target.key)), {
            "category": category,
            "source": source.name,
            "target": target.name,
        }


TASK = MoveBlocksBetweenAbsolutePositionsByColor
