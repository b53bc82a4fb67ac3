"""Sentences in tokens and back: what every processor of the core does, whatever it reads beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lohovla.errors import UserError
from lohovla.model.language.byte_tokenizer import BYTE_SPECIAL, PROGRAM, as_read, is_byte_level
from lohovla.model.language.tokenizer import sentence_of, spells_words

PROCESSOR_FILE = "processor_config.json"
Made = TypeVar("Made")


class TextProcessor:
    """Tokenises goals and sub-tasks.

    Args:
        tokenizer: with tokens that begin and end a sentence, pad it, and stand for a masked word.
        max_goal: most tokens of a goal.
        max_subtask: most tokens of a sub-task, the end included.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_goal: int, max_subtask: int):
        self.tokenizer, self.max_goal, self.max_subtask = tokenizer, max_goal, max_subtask

    @property
    def start(self) -> int:
        """The token that begins a sentence."""
        return int(self.tokenizer.bos_token_id)  # type: ignore[arg-type]

    @property
    def end(self) -> int:
        """The token that ends one."""
        return int(self.tokenizer.eos_token_id)  # type: ignore[arg-type]

    @property
    def mask(self) -> int:
        """The token that stands for a word not decided."""
        return int(self.tokenizer.mask_token_id)  # type: ignore[arg-type]

    def goals(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens (B, G) of goal sentences and which are real (B, G), padded to the longest."""
        reads = as_read if is_byte_level(self.tokenizer) else str
        rows = [self._tokens(reads(text), self.max_goal, "goal") for text in sentences]
        return self._pad(rows)

    @property
    def program_start(self) -> int | None:
        """The token that begins a goal's meaning in the notation of the goal grammar; None where there is none."""
        return BYTE_SPECIAL.index(PROGRAM) if is_byte_level(self.tokenizer) else None

    def programs(self, notations: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens (B, P) of meanings, the end included, and which are real (B, P); a row of "" has none."""
        return self._pad([[*self._encode(text), self.end] if text else [] for text in notations])

    def subtasks(self, sentences: Sequence[str]) -> Tensor:
        """Tokens (B, max_subtask) of sub-task sentences, the end included and repeated to the full length."""
        end = self.tokenizer.eos_token_id
        rows = [self._tokens(text, self.max_subtask - 1, "sub-task") for text in sentences]
        return torch.tensor([row + [end] * (self.max_subtask - len(row)) for row in rows])

    def words(self, text: str) -> list[int]:
        """Tokens of a sub-task, without start and end; none for ""."""
        return self._tokens(text, self.max_subtask - 1, "sub-task") if text else []

    def sentence(self, tokens: Sequence[int] | Tensor) -> str:
        """The sentence of tokens, up to the end."""
        row = [int(token) for token in tokens]
        if spells_words(self.tokenizer):
            return sentence_of(self.tokenizer, row)
        end = self.tokenizer.eos_token_id
        row = row[: row.index(end)] if end in row else row
        return str(self.tokenizer.decode(row, skip_special_tokens=True)).strip()

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _tokens(self, text: str, most: int, what: str) -> list[int]:
        # A goal of ten thousand characters is refused before it is tokenised.
        tokens = self.tokenizer.encode(text, add_special_tokens=False) if len(text) < 40 * most else None
        if tokens is None or len(tokens) > most:
            count = len(tokens) if tokens is not None else f"{len(text)} characters"
            raise UserError(f"the {what} is too long: {count} for {most} tokens", "say it in fewer words")
        if not tokens:
            raise UserError(f"the {what} is empty", "say what is to be done")
        return tokens

    def _pad(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        longest = max(map(len, rows))
        fill = self.tokenizer.pad_token_id
        tokens = torch.tensor([row + [fill] * (longest - len(row)) for row in rows])
        valid = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows])
        return tokens, valid

    def save_settings(self, folder: Path | str, settings: Mapping[str, Any]) -> None:
        """Write the tokenizer and ``processor_config.json``."""
        self.tokenizer.save_pretrained(str(folder))
        (Path(folder) / PROCESSOR_FILE).write_text(json.dumps(dict(settings), indent=2), encoding="utf-8")


def read_processor(
    folder: Path | str, make: Callable[[PreTrainedTokenizerBase, dict[str, Any]], Made], what: str, remedy: str
) -> Made:
    """A processor of what :meth:`TextProcessor.save_settings` wrote.

    Args:
        folder: of the checkpoint.
        make: the processor of a tokenizer and its settings.
        what: it is, for the message.
        remedy: of the error.

    Raises:
        UserError: something is missing or damaged.
    """
    try:
        settings = json.loads((Path(folder) / PROCESSOR_FILE).read_text(encoding="utf-8"))
        return make(PreTrainedTokenizerFast.from_pretrained(str(folder)), settings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} has no readable {what}: {str(error).splitlines()[0]}", remedy) from None
