"""JSON by a schema as a constraint on tokens, by llguidance (MIT), which also other engines use."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from lohovla.errors import UserError

# One way of writing: a model that may put any white space between values can put it there forever.
_LAYOUT: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_MOST = 64 * 1024  # characters of a schema


class JsonGrammar:
    """Makes constraints for the texts of one tokenizer.

    Args:
        tokenizer: of transformers.
        vocabulary: tokens that the model has.
        ends: tokens that end an answer.

    Raises:
        UserError: llguidance is not installed, or the tokenizer cannot write any JSON.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, ends: Sequence[int]):
        if importlib.util.find_spec("llguidance") is None:
            raise UserError("response_format needs llguidance on the server", "pip install 'lohovla[serve]'")
        from llguidance.hf import from_tokenizer

        self._vocabulary, self._ends = vocabulary, list(ends)
        try:
            self._tokenizer = from_tokenizer(tokenizer, eos_token=list(ends))
        except Exception as error:  # of Rust, in many ways
            cause = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"this model's tokenizer cannot be constrained: {cause[:160]}", "leave response_format out"
            ) from None

    def constraint(self, schema: dict[str, Any]) -> JsonConstraint:
        """What allows the JSON texts of a schema.

        Raises:
            UserError: the schema cannot be carried out.
        """
        from llguidance import LLMatcher

        if len(json.dumps(schema)) > _MOST:
            raise UserError(f"response_format: a schema of more than {_MOST} characters", "give a smaller one")
        try:
            grammar = LLMatcher.grammar_from_json_schema(schema, defaults=_LAYOUT)
            matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
            cause = matcher.get_error()
        except Exception as error:
            cause = str(error) or type(error).__name__
        if cause:
            raise UserError(f"response_format: {str(cause).splitlines()[0][:200]}", "change the schema")
        made = JsonConstraint(matcher, self._vocabulary, self._ends)
        try:
            possible = bool(made.allowed([]).any())
        except RuntimeError:
            possible = False
        if not possible:
            raise UserError("response_format: no text fits this schema", "change the schema")
        return made


class JsonConstraint:
    """A :class:`~lohovla.d2f.token_constraint.TokenConstraint` for one answer.

    Args:
        matcher: of llguidance, at the beginning of a text.
        vocabulary: tokens that the model has.
        ends: tokens that end an answer.
    """

    def __init__(self, matcher: Any, vocabulary: int, ends: Sequence[int]):
        self._matcher, self._vocabulary, self._ends = matcher, vocabulary, list(ends)
        self._text: list[int] = []  # what the matcher has seen

    def copy(self) -> JsonConstraint:
        """The same for another answer."""
        made = JsonConstraint(self._matcher.deep_copy(), self._vocabulary, self._ends)
        made._text = list(self._text)
        return made

    def allowed(self, tokens: Sequence[int]) -> np.ndarray:
        """Which tokens may follow; see :class:`~lohovla.d2f.token_constraint.TokenConstraint`.

        Raises:
            RuntimeError: ``tokens`` are not allowed themselves, or the schema is more than the parser's limits bear.
        """
        common = 0
        while common < min(len(tokens), len(self._text)) and tokens[common] == self._text[common]:
            common += 1
        if len(self._text) > common:
            self._matcher.rollback(len(self._text) - common)
            del self._text[common:]
        further = [int(token) for token in tokens[common:]]
        if further and not self._matcher.consume_tokens(further):
            raise RuntimeError(f"the text is not allowed: {self._cause() or 'it leaves the schema'}")
        self._text += further
        whole = self._matcher.is_accepting()
        may = np.zeros(self._vocabulary, bool)
        if not self._matcher.is_stopped():
            bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
            count = min(self._vocabulary, len(bits))
            may[:count] = bits[:count]
        if self._matcher.is_error():
            raise RuntimeError(f"the schema cannot be followed: {self._cause()}")
        may[self._ends] = whole
        return may

    def _cause(self) -> str:
        """What the matcher says is wrong, without its state, which has many lines."""
        return (self._matcher.get_error() or "").partition("\n")[0][:200]
