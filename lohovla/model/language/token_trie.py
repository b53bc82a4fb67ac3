"""The sub-tasks that can be said, as a tree of tokens: for planning that never says anything else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class TokenTrie:
    """A set of sentences in tokens.

    The tree grows where it is walked: a plan goes down one path of it, and most sentences part from that early.

    Args:
        sentences: each without start and end.
        end: the token that ends a sentence.
        endings: further sentences, which name no move.

    Attributes:
        count: how many sentences there are beside the endings.
    """

    def __init__(self, sentences: Iterable[Sequence[int]], end: int, endings: Iterable[Sequence[int]] = ()):
        self._end = end
        known = list(sentences)
        self.count = len(known)
        self._root = _Node([*known, *endings], 0)

    def allowed_next(self, tokens: Sequence[int]) -> list[int]:
        """What may follow ``tokens``; the end alone after anything that is no beginning of a sentence.

        >>> TokenTrie([[1, 2], [1, 3]], end=0).allowed_next([1])
        [2, 3]
        """
        node = self._at(tokens)
        return (node and list(node.children(self._end))) or [self._end]

    def __contains__(self, tokens: Sequence[int]) -> bool:
        node = self._at(tokens)
        return node is not None and self._end in node.children(self._end)

    def _at(self, tokens: Sequence[int]) -> _Node | None:
        node = self._root
        for token in tokens:
            if token == self._end or (child := node.children(self._end).get(token)) is None:
                return None
            node = child
        return node


class _Node:
    """The sentences that begin alike, up to a length."""

    __slots__ = ("_children", "_length", "_sentences")

    def __init__(self, sentences: list[Sequence[int]], length: int):
        self._sentences, self._length = sentences, length
        self._children: dict[int, _Node] | None = None

    def children(self, end: int) -> dict[int, _Node]:
        """By the token that comes next."""
        if self._children is None:
            groups: dict[int, list[Sequence[int]]] = {}
            for sentence in self._sentences:
                token = sentence[self._length] if len(sentence) > self._length else end
                groups.setdefault(token, []).append(sentence)
            self._children = {token: _Node(group, self._length + 1) for token, group in groups.items()}
        return self._children
