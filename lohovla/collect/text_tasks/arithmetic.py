"""Arithmetic with working: three numbers of four digits, added and subtracted column by column.

    0478+9127-3055=
    0478+9127:8+7+0=15,7+2+1=10,4+1+1=06,0+9+0=09=9605
    9605-3055:5-5-0=00,0-5-0=15,6-0-1=05,9-3-0=06=6550

A column holds the two digits, what is carried or borrowed from the column before, and the result as carry and digit.
"""

from __future__ import annotations

import re

import numpy as np

from lohovla.collect.text_tasks import AnswerScore, TextExample

_DIGITS = 4
_LIMIT = 10**_DIGITS
_PROMPT = re.compile(rf"(\d{{{_DIGITS}}})([+-])(\d{{{_DIGITS}}})([+-])(\d{{{_DIGITS}}})=\n")


class Arithmetic:
    """``a+b-c`` and its like, every intermediate result between 0 and 9999."""

    def draw_problem(self, seed: int) -> TextExample:
        """The problem of a seed."""
        rng = np.random.default_rng([seed, 1])
        total = int(rng.integers(_LIMIT))
        text, lines = f"{total:04d}", []
        for _ in range(2):
            sign = "+-"[int(rng.integers(2))]
            term = int(rng.integers(_LIMIT - total if sign == "+" else total + 1))
            text += f"{sign}{term:04d}"
            lines.append(_line(total, sign, term))
            total += term if sign == "+" else -term
        return TextExample("arithmetic", seed, f"{text}=\n", "\n".join(lines) + "\n")

    def score(self, example: TextExample, answer: str) -> AnswerScore:
        """Right where the last result is right; valid where the whole working is."""
        found = _PROMPT.fullmatch(example.prompt)
        if found is None:
            raise ValueError(f"not a problem of this task: {example.prompt!r}")
        first, sign, second, other, third = found.groups()
        middle = _apply(int(first), sign, int(second))
        total = _apply(middle, other, int(third))
        wanted = [_line(int(first), sign, int(second)), _line(middle, other, int(third))]
        written = answer.removesuffix("\n").split("\n")
        right = len(written) == 2 and written[1].rpartition("=")[2] == f"{total:04d}"
        wrong = [k for k, (line, true) in enumerate(zip(written, wanted, strict=False)) if line != true]
        if len(written) != 2:
            return AnswerScore(False, False, f"{len(written)} lines of working instead of 2")
        return AnswerScore(right, not wrong, f"line {wrong[0] + 1} is wrong" if wrong else "")


def _apply(a: int, sign: str, b: int) -> int:
    return a + b if sign == "+" else a - b


def _line(a: int, sign: str, b: int) -> str:
    """One operation with its columns, from the last digit on."""
    columns, carry = [], 0
    for place in range(_DIGITS):
        upper, lower = a // 10**place % 10, b // 10**place % 10
        value = _apply(upper, sign, lower + carry if sign == "-" else lower) + (carry if sign == "+" else 0)
        next_carry = int(value > 9 or value < 0)
        columns.append(f"{upper}{sign}{lower}{sign}{carry}={next_carry}{value % 10}")
        carry = next_carry
    return f"{a:04d}{sign}{b:04d}:{','.join(columns)}={_apply(a, sign, b):04d}"
