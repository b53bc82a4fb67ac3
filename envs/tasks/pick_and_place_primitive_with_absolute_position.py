"""Put a block in a named area."""

from __future__ import annotations

from lohovla.envs.language import block_phrase, place_phrase, vocabulary
from lohovla.envs.tasks.entities import Area
from lohovla.envs.tasks.grammar.meaning import Meaning, Place, who
from lohovla.envs.tasks.put_one import draw_clutter
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class PickAndPlacePrimitiveWithAbsolutePosition(Task):
    """The area is a quadrant, or the square of 0.08 m in the centre, which is then kept clear."""

    name = "pick-and-place-primitive-with-absolute-position"
    split = Split.PRIMITIVE
    palette = "all"

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        area = Area(layout.choose(vocabulary()["areas"])[0])
        if area.name == "center":
            layout.keep_clear(0.5, 0.0, 0.08)
        blocks, _, _ = draw_clutter(layout, layout.count(2, 3), layout.count(2, 3), layout.count(1, 2))
        color = layout.entities[blocks[0]].color
        fields = {"pick": block_phrase(color), "place": place_phrase("area", area=area.name)}
        return Meaning("place", who(color=color), where=Place("area", area.key)), fields


TASK = PickAndPlacePrimitiveWithAbsolutePosition
