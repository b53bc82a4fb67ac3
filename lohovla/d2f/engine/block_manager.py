"""Pages of the cache: who holds them, and which can be shared because their content is known.

The keys and values of a token depend on everything that it sees. A prompt that is read bidirectionally is therefore
shared only by requests that begin with the same whole prompt, and the chain below is over groups of tokens that see
each other, not over pages.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Sequence

import numpy as np


class OutOfBlocks(Exception):
    """The pool has not so many pages left."""


class PrefixHash:
    """Names for the whole pages of a growing text, equal only where their keys and values are equal.

    Args:
        size: tokens a page.

    Attributes:
        keys: of each page whose tokens and all that these see are known.
        tokens: how many tokens are known.
    """

    def __init__(self, size: int):
        self.size, self.tokens = size, 0
        self.keys: list[bytes] = []
        self._digest = b"\0" * 32

    def extend(self, group: Sequence[int] | np.ndarray) -> None:
        """Add tokens that see all before them and each other."""
        # The digest before has a fixed length, so the borders between groups are part of what is hashed.
        self._digest = hashlib.sha256(self._digest + np.asarray(group, np.int64).tobytes()).digest()
        self.tokens += len(group)
        while (len(self.keys) + 1) * self.size <= self.tokens:
            self.keys.append(hashlib.sha256(self._digest + len(self.keys).to_bytes(8, "little")).digest())


class BlockManager:
    """Counts the holders of each page, and keeps pages that nobody holds for as long as nobody needs the room.

    Args:
        count: pages.
        size: tokens a page.
    """

    def __init__(self, count: int, size: int):
        self.count, self.size = count, size
        self._free = deque(range(count))
        self._holders = [0] * count
        self._key: dict[int, bytes] = {}
        self._page: dict[bytes, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()  # known content, no holder; the longest unused first

    @property
    def num_free_blocks(self) -> int:
        """Pages that :meth:`allocate_blocks` could give."""
        return len(self._free) + len(self._idle)

    @property
    def num_held_blocks(self) -> int:
        """Pages that somebody holds."""
        return self.count - self.num_free_blocks

    @property
    def num_cached_blocks(self) -> int:
        """Pages without a holder whose content may be used again."""
        return len(self._idle)

    def allocate_blocks(self, number: int) -> list[int]:
        """Pages for one's own use; OutOfBlocks (and none taken) if there are not so many."""
        if number > self.num_free_blocks:
            raise OutOfBlocks
        taken = []
        for _ in range(number):
            if not self._free:
                page, _ = self._idle.popitem(last=False)
                del self._page[self._key.pop(page)]
                self._free.append(page)
            page = self._free.popleft()
            self._holders[page] = 1
            taken.append(page)
        return taken

    def count_cached_prefix(self, keys: Sequence[bytes]) -> int:
        """How many of the leading ``keys`` have a page."""
        return next((k for k, key in enumerate(keys) if key not in self._page), len(keys))

    def share_cached_prefix(self, keys: Sequence[bytes]) -> list[int]:
        """Hold the pages of the leading ``keys`` that have one."""
        pages = [self._page[key] for key in keys[: self.count_cached_prefix(keys)]]
        for page in pages:
            self._holders[page] += 1
            self._idle.pop(page, None)
        return pages

    def register_block(self, page: int, key: bytes) -> None:
        """Let others share a page that is complete; where its content has a page already, that one stays."""
        if key not in self._page and page not in self._key:
            self._page[key], self._key[page] = page, key

    def free_blocks(self, pages: Sequence[int]) -> None:
        """Stop holding pages; of a text's pages the last ones are forgotten first."""
        for page in reversed(pages):
            self._holders[page] -= 1
            if self._holders[page] < 0:
                raise ValueError(f"page {page} was given back twice")
            if self._holders[page] == 0:
                if page in self._key:
                    self._idle[page] = None
                else:
                    self._free.append(page)

    def clear_cached_blocks(self) -> None:
        """Drop what is remembered."""
        while self._idle:
            page, _ = self._idle.popitem()
            del self._page[self._key.pop(page)]
            self._free.append(page)
