"""Errors that a person can act on: each has a cause and a remedy, and the commands print them as two lines."""

from __future__ import annotations


class UserError(Exception):
    """Something the caller can put right.

    Attributes:
        cause: one line, what is wrong.
        remedy: one line, what to do about it.
    """

    def __init__(self, cause: str, remedy: str):
        super().__init__(f"{cause}\n{remedy}")
        self.cause = cause
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str]]:
        """Let it come out of a worker process: an exception is built again from what it was made of."""
        return type(self), (self.cause, self.remedy)


class SetupError(UserError):
    """The machine lacks something: a library, a package, a download."""
