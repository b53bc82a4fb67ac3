"""The bytes that a token stands for, which need not be whole characters."""

from __future__ import annotations

import json
import re
from typing import Any

from lohovla.d2f.end_tokens import control_tokens

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def byte_level_alphabet() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for (GPT-2's table)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + k): byte for k, byte in enumerate(others)}


class TokenBytes:
    """Tells a token's bytes, so that those of an answer's tokens, joined, are the answer in UTF-8.

    Args:
        tokenizer: a fast tokenizer of transformers; byte-level and byte-fallback vocabularies have tokens that are a
            part of a character.
    """

    def __init__(self, tokenizer: Any):
        self._tokenizer, self._control = tokenizer, control_tokens(tokenizer)
        self._added = {k: str(token) for k, token in tokenizer.added_tokens_decoder.items()}
        kinds = list(_decoders(json.loads(tokenizer.backend_tokenizer.to_str()).get("decoder")))
        self._alphabet = byte_level_alphabet() if any(kind["type"] == "ByteLevel" for kind in kinds) else None
        self._fallback = any(kind["type"] == "ByteFallback" for kind in kinds)
        self._replaced = [
            (kind["pattern"]["String"], kind["content"])
            for kind in kinds
            if kind["type"] == "Replace" and "String" in kind["pattern"]
        ]
        self._strips = any(kind["type"] == "Strip" and kind.get("start") for kind in kinds)

    def __call__(self, token: int, first: bool = False) -> bytes:
        """The bytes of a token.

        Args:
            token: its id; control tokens are not text and have none.
            first: whether it begins the answer, where some tokenizers drop a space.
        """
        if token in self._control:
            return b""
        if token in self._added:
            return self._added[token].encode()
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None:
            return b""
        if self._alphabet is not None and all(letter in self._alphabet for letter in piece):
            return bytes(self._alphabet[letter] for letter in piece)
        if self._fallback:
            if found := _BYTE.fullmatch(piece):
                return bytes([int(found[1], 16)])
            for old, new in self._replaced:
                piece = piece.replace(old, new)
            return (piece.removeprefix(" ") if first and self._strips else piece).encode()
        return self._tokenizer.decode([token], clean_up_tokenization_spaces=False).encode()


def _decoders(spec: dict[str, Any] | None) -> Any:
    """A tokenizer's decoders, those inside of sequences too."""
    if spec is None:
        return
    if spec["type"] == "Sequence":
        for part in spec["decoders"]:
            yield from _decoders(part)
    else:
        yield spec
