"""Stack the blocks on one side of a block in a zone."""

from __future__ import annotations

from lohovla.envs.language import block_phrase, vocabulary
from lohovla.envs.tasks.entities import APART, DIRECTIONS
from lohovla.envs.tasks.grammar.meaning import Condition, Meaning, Noun, Place
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import NoRoom, SceneSampler


class StackBlocksByRelativePosition(Task):
    """Four to seven blocks; two to five lie more than 5 cm to one side of the first, and none just beside that line."""

    name = "stack-blocks-by-relative-position"
    split = Split.ADDITIONAL

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        relation = layout.choose(vocabulary()["relations"])[0]
        zone_color = layout.pick_colors(1)[0]
        layout.zone(zone_color)
        colors = layout.pick_colors(layout.count(4, 7))
        reference, *others = (layout.block(color) for color in colors)
        dx, dy = DIRECTIONS[relation]
        origin = layout.poses[reference]
        ahead = {
            name: dx * (layout.poses[name].x - origin.x) + dy * (layout.poses[name].y - origin.y) for name in others
        }
        chosen = [name for name, distance in ahead.items() if distance > APART]
        unclear = any(APART - 0.03 < distance <= APART for distance in ahead.values())
        if unclear or not 2 <= len(chosen) <= 5:
            raise NoRoom
        fields = {"relation": relation, "reference": block_phrase(colors[0]), "color": zone_color}
        meant = frozenset({Condition(f"{relation}-of", str(Noun("block", colors[0])))})
        return Meaning("tower", meant, where=Place("zone", zone_color)), fields


TASK = StackBlocksByRelativePosition
