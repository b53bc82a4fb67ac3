"""API keys: who may use a server. Keys come from a file or the environment, never from a setting that is logged."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable
from pathlib import Path

from lohovla.errors import UserError

VARIABLE = "LOHOVLA_API_KEY"
_SCHEMES = ("Api-Key ", "Bearer ")  # openpi's and OpenAI's clients


class ApiKeys:
    """The keys that a server accepts; with none it is open to everybody who reaches it.

    Args:
        keys: each of at least 16 characters; several allow for changing them without an interruption.

    Raises:
        UserError: a key is too short to be one.
    """

    def __init__(self, keys: Iterable[str] = ()):
        self._keys = [key.encode() for key in keys]
        if any(len(key) < 16 for key in self._keys):
            raise UserError("an API key has fewer than 16 characters", "make one with `openssl rand -hex 24`")

    def __bool__(self) -> bool:
        return bool(self._keys)

    def allows(self, authorization: str | None) -> bool:
        """Whether an ``Authorization`` header (``Api-Key ...`` or ``Bearer ...``) lets its sender in."""
        if not self._keys:
            return True
        scheme = next((scheme for scheme in _SCHEMES if (authorization or "").startswith(scheme)), None)
        if authorization is None or scheme is None:
            return False
        given = authorization.removeprefix(scheme).strip().encode()
        # Every key is compared, in constant time, so that the time taken tells nothing.
        return max([hmac.compare_digest(given, key) for key in self._keys])


def read_keys(file: str | None) -> list[str]:
    """The keys of a file, one a line (``#`` begins a comment), or else that of ``LOHOVLA_API_KEY``.

    Raises:
        UserError: the file cannot be read or holds none.
    """
    if file is None:
        return [key] if (key := os.environ.get(VARIABLE)) else []
    try:
        lines = Path(file).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read API keys from {file}: {error}", "it is a text file with a key a line") from None
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise UserError(f"there is no API key in {file}", "it is a text file with a key a line")
    return keys
