"""The sub-tasks that can be said of a scene and a goal: those that name what is seen, and what is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lohovla.model.encoders.detector import Detections
from lohovla.model.encoders.object_schema import FACT, KINDS, N_COLORS, SUPPORTS
from lohovla.model.language.token_trie import TokenTrie

_SEEN = 0.3  # score from which something is there
_DOUBT = 0.2  # chance from which a colour or size may be the right one
_ANYWHERE = ("table", "area")  # places that need nothing to be there
_BLOCKS = ("block", "relation")  # places that a block makes
_RAISED = "raised block"
_SCORE, _BIG, _TABLE = FACT["score"].start, FACT["big"].start, FACT["support"].start + SUPPORTS.index("table")


class SubtaskConstraints:
    """All sub-tasks, and of a scene those that can be carried out in it.

    Args:
        picks: phrases, each with ``color`` (an index of the stem's) and ``size`` ("", smaller, bigger).
        places: the same, with ``kind``: block, relation (to a block), bowl, zone, area or table. Those of older
            checkpoints have ``goal``: words that the goal must say, if there are any, for this place to be meant.
        sentences: tokens of each pick with each place, a row a pick.
        others: tokens of sentences that name nothing.
        end: the token that ends a sentence.
        missing: sentences that say why nothing can be done, each with ``tokens``, and ``kind``, ``color`` and ``size``
            of the one thing that it says is not there (kind "" where it is not one thing).
    """

    def __init__(
        self,
        picks: Sequence[Mapping[str, Any]],
        places: Sequence[Mapping[str, Any]],
        sentences: Sequence[Sequence[Sequence[int]]],
        others: Sequence[Sequence[int]],
        end: int,
        missing: Sequence[Mapping[str, Any]] = (),
    ):
        self._picks, self._places, self._sentences, self._others, self._end = picks, places, sentences, others, end
        self._missing = missing
        self._reasons = {tuple(reason["tokens"]) for reason in missing}
        endings = [*others, *(reason["tokens"] for reason in missing)]
        self.everything = TokenTrie([said for row in sentences for said in row], end, endings)

    def for_scene(
        self, objects: Detections, row: int, without: Iterable[Sequence[int]] = (), goal: str | None = None
    ) -> TokenTrie:
        """The sub-tasks of one scene.

        A block is picked, or put on, only if one of that look is seen; bowls and zones likewise. Where both sizes are
        seen blocks are named with theirs. What is seen is not said to be missing. Where nothing can be said so, what
        names nothing ("Done.") is left; where that may not be said either, everything can.

        Older checkpoints, whose places have ``goal``, name areas and sides of a block only where the goal does, and
        put on the table only what stands on something.

        Args:
            objects: as the stem chose them, of a batch.
            row: which of the batch.
            without: sentences in tokens that shall not be said again.
            goal: in words; None lets every area and side be named.
        """
        there = _looks(objects, row)
        mixed = there["mixed"] > 0
        asked = None if goal is None else goal.lower()
        picks = [(i, pick) for i, pick in enumerate(self._picks) if _is_there(there, "block", pick, mixed)]
        places = [
            (k, place)
            for k, place in enumerate(self._places)
            if self._can_hold(there, place, mixed) and (asked is None or place.get("goal", "") in asked)
        ]
        said = [
            self._sentences[i][k] for i, pick in picks for k, place in places if self._fit(there, pick, place, asked)
        ]
        if refused := {tuple(words) for words in without}:
            said = [words for words in said if tuple(words) not in refused]
        endings = [*self._others, *(reason["tokens"] for reason in self._missing if not _is_seen(there, reason))]
        return TokenTrie(said, self._end, endings) if said or endings else self.everything

    def ends(self, words: Sequence[int], grammar: TokenTrie) -> str:
        """How what was said ends an episode: ``done``; ``nothing`` if no move was left or a reason was given; or ""."""
        if tuple(words) in self._reasons:
            return "nothing"
        if list(words) not in [list(other) for other in self._others]:
            return ""
        return "nothing" if not grammar.count else "done"

    def is_reason(self, words: Sequence[int]) -> bool:
        """Whether a sentence in tokens says why nothing can be done."""
        return tuple(words) in self._reasons

    @staticmethod
    def _can_hold(there: Counter, place: Mapping[str, Any], mixed: bool) -> bool:
        kind = place["kind"]
        if kind in _ANYWHERE:
            return True
        if kind in _BLOCKS:
            return _is_there(there, "block", place, mixed)
        return there[kind, place["color"], ""] > 0

    @staticmethod
    def _fit(there: Counter, pick: Mapping[str, Any], place: Mapping[str, Any], asked: str | None) -> bool:
        """Whether a move makes sense: a block is put on its like only where there are two."""
        kind = place["kind"]
        if kind == "table":
            freely = "goal" not in place or place["text"] in (asked or "")
            return freely or there[_RAISED, pick["color"], pick["size"]] > 0
        if kind not in _BLOCKS or place["color"] != pick["color"] or place["size"] != pick["size"]:
            return True
        return there["block", pick["color"], pick["size"]] > 1


def _is_there(there: Counter, kind: str, phrase: Mapping[str, Any], mixed: bool) -> bool:
    size = phrase["size"]
    return bool(size or not mixed) and there[kind, phrase["color"], size] > 0


def _is_seen(there: Counter, reason: Mapping[str, Any]) -> bool:
    """Whether the one thing that is said to be missing is there."""
    kind, color, size = reason["kind"], reason["color"], reason["size"]
    if not kind:
        return False
    colors = [color] if color >= 0 else range(N_COLORS)
    return any(there[kind, one, size] > 0 for one in colors)


def _looks(objects: Detections, row: int) -> Counter:
    """How many things of each kind, colour and size ("" is any) may be there; ``mixed``: both sizes surely are."""
    there: Counter = Counter()
    sure = set()
    for facts in objects.facts[row].tolist():
        if facts[_SCORE] <= _SEEN:
            continue
        kind = KINDS[max(range(len(KINDS)), key=facts.__getitem__)]
        big = facts[_BIG]
        sizes = [size for size, chance in (("bigger", big), ("smaller", 1 - big)) if chance > _DOUBT]
        sure.update(sizes if kind == "block" and len(sizes) == 1 else [])
        kinds = [kind, _RAISED] if kind == "block" and facts[_TABLE] < 1 - _DOUBT else [kind]
        for color, chance in enumerate(facts[FACT["color"]]):
            if chance > _DOUBT:
                there.update((kind, color, size) for size in ("", *sizes) for kind in kinds)
    there["mixed"] = int(len(sure) == len(("bigger", "smaller")))
    return there
