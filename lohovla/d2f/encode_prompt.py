"""Token ids of a prompt, or one clear line about what the tokenizer does not know."""

from __future__ import annotations

import re
from typing import Any

from lohovla.errors import UserError

WORD_PIECE = r" ?[A-Za-z]+|[0-9]|[^A-Za-z0-9]"


def encode_prompt(tokenizer: Any, text: str, special: bool = False) -> list[int]:
    """Token ids of a prompt.

    Args:
        tokenizer: of transformers.
        text: the prompt.
        special: add what the tokenizer puts around a text by itself, such as a token that begins it.

    Raises:
        UserError: it has a word that the tokenizer does not know, or the mask token itself.
    """
    ids = tokenizer(text, add_special_tokens=special)["input_ids"]
    if tokenizer.mask_token_id is not None and tokenizer.mask_token_id in ids:
        raise UserError(f"the prompt holds the mask token {tokenizer.mask_token!r}", "leave it out")
    if knows_words_only(tokenizer) and tokenizer.unk_token_id in ids:
        known = tokenizer.get_vocab()
        piece = next((piece for piece in re.findall(WORD_PIECE, text) if piece not in known), text[:20])
        raise UserError(
            f"the text model does not know {piece.strip() or piece!r}",
            "it was trained on plans and arithmetic only: `lohovla generate --help` has prompts that work",
        )
    return ids


def knows_words_only(tokenizer: Any) -> bool:
    """Whether the vocabulary is a list of words, as in the small models that are trained here."""
    inner = getattr(tokenizer, "backend_tokenizer", None)
    return inner is not None and type(inner.model).__name__ == "WordLevel" and tokenizer.unk_token_id is not None


def longest_piece(tokenizer: Any) -> int:
    """Characters of the longest token, so that a text of ``n`` times as many has more than ``n`` tokens."""
    return max((len(piece) for piece in tokenizer.get_vocab()), default=1)
