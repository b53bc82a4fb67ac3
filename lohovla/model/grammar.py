"""The sub-tasks that can be said, as a tree of tokens: for planning that never says anything else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class Grammar:
    """A set of sentences in tokens.

    Args:
        sentences: each without start and end.
        end: the token that ends a sentence.
    """

    def __init__(self, sentences: Iterable[Sequence[int]], end: int):
        self._end = end
        self._root: dict[int, dict] = {}
        for sentence in sentences:
            node = self._root
            for token in [*sentence, end]:
                node = node.setdefault(token, {})

    def after(self, tokens: Sequence[int]) -> list[int]:
        """What may follow ``tokens``; the end alone after anything that is no beginning of a sentence.

        >>> Grammar([[1, 2], [1, 3]], end=0).after([1])
        [2, 3]
        """
        node = self._root
        for token in tokens:
            node = node.get(token, {})
        return list(node) or [self._end]

    def __contains__(self, tokens: Sequence[int]) -> bool:
        node = self._root
        for token in tokens:
            if token not in node:
                return False
            node = node[token]
        return self._end in node
