"""What a planner's words can mean in a scene of which everything is known: the moves that a sentence allows."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from lohovla.envs.language import vocabulary
from lohovla.envs.tasks.entities import Area, Bowl, Scene, Zone, free_blocks, resting_above
from lohovla.envs.tasks.goals import Subtask, put_aside, put_in, put_in_area, put_on_block
from lohovla.envs.tasks.put_one import put_beside


def moves_of(text: str, scene: Scene) -> list[Subtask]:
    """Every move that a sub-task's sentence may mean: none where it names what is not there, or is no sub-task.

    A block can be picked whose middle nothing covers, and be put on if nothing lies on it at all.
    """
    match = _sentence().fullmatch(text)
    if match is None:
        return []
    picks = _alike(scene, list(scene.blocks), match["pick_size"], match["pick_color"])
    picks = [pick for pick in picks if not _middle_covered(scene, pick)]
    found = [move for pick in picks for move in _placings(scene, pick, match["place"])]
    return [move for move in found if move.pick != move.target]


def kind_of_place(text: str) -> str:
    """What kind of place a sub-task's sentence names (``bowl``, ``block``, ``zone``, ...); "" if it is none."""
    match = _sentence().fullmatch(text)
    if match is None:
        return ""
    return next((kind for kind, pattern in _places().items() if pattern.fullmatch(match["place"])), "")


@functools.cache
def _sentence() -> re.Pattern[str]:
    words = vocabulary()
    pick = words["pick"]["block"].format(
        size=rf"(?:(?P<pick_size>{_sizes()}) )?", color=rf"(?P<pick_color>{_colors()})"
    )
    before, middle, after = re.split(r"\{pick\}|\{place\}", words["subtask"])
    return re.compile(f"{re.escape(before)}{pick}{re.escape(middle)}(?P<place>.+){re.escape(after)}")


@functools.cache
def _places() -> dict[str, re.Pattern[str]]:
    """The pattern of each kind of place."""
    fields = {
        "size": rf"(?:(?P<size>{_sizes()}) )?",
        "color": rf"(?P<color>{_colors()})",
        "area": rf"(?P<area>{'|'.join(vocabulary()['areas'])})",
        "relation": rf"(?P<relation>{'|'.join(vocabulary()['relations'])})",
    }
    return {kind: re.compile(phrase.format(**fields)) for kind, phrase in vocabulary()["place"].items()}


def _sizes() -> str:
    return "|".join(vocabulary()["sizes"])


def _colors() -> str:
    return "|".join(vocabulary()["colors"])


def _alike(scene: Scene, among: list[str], size: str | None, color: str) -> list[str]:
    """Those of some blocks that a colour and, where it is said, a size fit."""
    return [b for b in among if scene.blocks[b].color == color and size in (None, scene.blocks[b].size)]


def _middle_covered(scene: Scene, block: str) -> bool:
    """Whether another block lies over the middle of this one, where the cup must touch."""
    x, y, _ = scene.centre(block)
    above = [(scene.centre(name), scene.blocks[name].edge / 2) for name in resting_above(scene, block)]
    return any(max(abs(u - x), abs(v - y)) < half for (u, v, _), half in above)


def _placings(scene: Scene, pick: str, place: str) -> Iterator[Subtask]:
    """The moves of one block to where words say."""
    for kind, pattern in _places().items():
        match = pattern.fullmatch(place)
        if match is None:
            continue
        said = match.groupdict()
        if kind in ("bowl", "zone"):
            sort = Bowl if kind == "bowl" else Zone
            things = [
                n for n, thing in scene.fixtures.items() if isinstance(thing, sort) and thing.color == said["color"]
            ]
            yield from (put_in(scene, pick, name) for name in things)
        elif kind in ("block", "relation"):
            for other in _alike(scene, free_blocks(scene), said["size"], said["color"]):
                if other != pick and kind == "block":
                    yield put_on_block(scene, pick, other)
                elif other != pick:
                    yield put_beside(scene, pick, other, said["relation"])
        else:
            area = Area(said["area"]) if kind == "area" else None
            move = put_in_area(scene, pick, area, area.inset) if area else put_aside(scene, pick)
            yield from [move] if move else []
