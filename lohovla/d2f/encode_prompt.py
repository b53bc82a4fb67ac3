"""Token ids of a prompt, or one clear line about what the tokenizer does not know."""

from __future__ import annotations

import re

from lohovla.errors import UserError

WORD_PIECE = r" ?[A-Za-z]+|[0-9]|[^A-Za-z0-9]"


def encode_prompt(tokenizer, text: str) -> list[int]:
    """Token ids of a prompt.

    Raises:
        UserError: it has a word that the tokenizer does not know, or the mask token itself.
    """
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if tokenizer.mask_token_id is not None and tokenizer.mask_token_id in ids:
        raise UserError(f"the prompt holds the mask token {tokenizer.mask_token!r}", "leave it out")
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
        known = tokenizer.get_vocab()
        piece = next(piece for piece in re.findall(WORD_PIECE, text) if piece not in known)
        raise UserError(
            f"the text model does not know {piece.strip() or piece!r}",
            "it was trained on plans and arithmetic only: `lohovla generate --help` has prompts that work",
        )
    return ids
