"""Which tokens end an answer: the end of text, and in chat models the end of a turn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lohovla.d2f.load_checkpoint import read_checkpoint_json

_PROBE = "Zq7"  # said in a turn of the model, to see what its chat template puts behind


def end_token_ids(folder: Path, raw: dict[str, Any], layout_ids: Sequence[int], tokenizer: Any) -> tuple[int, ...]:
    """Every token that ends an answer, of a checkpoint on disk.

    They are named by ``eos_token_id`` in ``config.json`` and in ``generation_config.json`` (a number or a list), by
    the tokenizer, by the family of checkpoints, and by the chat template, which puts one behind the model's turns.

    Args:
        folder: of the checkpoint.
        raw: its ``config.json``.
        layout_ids: end tokens of its family, for a ``config.json`` that names fewer or none.
        tokenizer: of transformers.

    Returns:
        Ids below the size of the vocabulary; those of ``config.json`` come first.
    """
    file = folder / "generation_config.json"
    own = _listed(raw.get("eos_token_id"))
    generation = _listed(read_checkpoint_json(file).get("eos_token_id")) if file.exists() else []
    family = list(layout_ids) if not own or set(own) <= set(layout_ids) else []
    turn = end_of_turn(tokenizer)
    found = [*own, *generation, *_listed(tokenizer.eos_token_id), *family, *([] if turn is None else [turn])]
    mask = raw.get("mask_token_id", raw.get("mask_id"))
    size = int(raw.get("embedding_size") or raw.get("vocab_size") or 2**31)
    return tuple(number for number in dict.fromkeys(found) if number < size and number != mask)


def end_of_turn(tokenizer: Any) -> int | None:
    """The control token that the chat template puts directly behind what the model said; None where it has none."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
    try:
        written = tokenizer.apply_chat_template(turns, tokenize=False)
    except Exception:  # templates refuse in many ways; then there is nothing to learn from this one
        return None
    behind = written.rpartition(_PROBE)[2].lstrip()
    ids = tokenizer(behind, add_special_tokens=False)["input_ids"] if behind else []
    return ids[0] if ids and ids[0] in control_tokens(tokenizer) else None


def control_tokens(tokenizer: Any) -> dict[int, str]:
    """Tokens that are not text but mark its parts: turns, ends, the mask; each with how it is written."""
    found = {k: str(token) for k, token in tokenizer.added_tokens_decoder.items() if token.special}
    for token in tokenizer.all_special_tokens:
        if token:
            found.setdefault(tokenizer.convert_tokens_to_ids(str(token)), str(token))
    return found


def _listed(value: Any) -> list[int]:
    if value is None:
        return []
    return [value] if isinstance(value, int) else list(value)
