"""Hold-to-run from the command line: the space bar, or a pipe that something writes to."""

from __future__ import annotations

import math
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from lohovla.errors import UserError

KEYBOARD = "keyboard"
_FIRST = 0.7  # s, a terminal's pause between a key's first character and the ones of holding it
_REPEATED = 0.1  # s, the longest between those
_MOST = 1 << 16  # bytes read at once: all that a pipe holds, so that nothing old counts later


class DeadmanInput:
    """Says from moment to moment whether somebody holds the arm's permission to move. It never waits.

    Every byte is a press. A terminal repeats the character of a key that is held, after a pause: the first press
    of a hold counts for ``first`` seconds, each further one for ``repeated``. With the keyboard, any key but the
    space bar is an emergency stop.

    Args:
        file: descriptor of what is read, non-blocking.
        keys: whether the bytes are keys, and not just signs of life.
        first: s.
        repeated: s.
    """

    def __init__(self, file: int, keys: bool, first: float = _FIRST, repeated: float = _REPEATED):
        self._file, self._keys = file, keys
        self._first, self._repeated = first, repeated
        self._until = -math.inf
        self._undo: Callable[[], None] = lambda: os.close(file)

    @classmethod
    def from_source(cls, where: str) -> DeadmanInput:
        """Of ``keyboard``, or of a named pipe, which is made if it is not there.

        Raises:
            UserError: standard input is not a terminal, or the path is something else than a pipe.
        """
        if where == KEYBOARD:
            return cls._keyboard()
        path = Path(where)
        try:
            if not path.exists():
                os.mkfifo(path, 0o600)
            if not stat.S_ISFIFO(path.stat().st_mode):
                raise UserError(f"{where} is not a named pipe", "deadman=keyboard, or a path that mkfifo made")
            return cls(os.open(path, os.O_RDONLY | os.O_NONBLOCK), keys=False, first=_REPEATED)
        except OSError as error:
            raise UserError(f"{where}: {error.strerror}", "deadman=keyboard, or a path that mkfifo made") from None

    @classmethod
    def _keyboard(cls) -> DeadmanInput:
        import termios
        import tty

        if not sys.stdin.isatty():
            raise UserError("there is no keyboard: standard input is not a terminal", "give deadman a named pipe")
        file = sys.stdin.fileno()
        before, blocking = termios.tcgetattr(file), os.get_blocking(file)
        tty.setcbreak(file)
        os.set_blocking(file, False)
        hold = cls(file, keys=True)

        def undo() -> None:
            os.set_blocking(file, blocking)
            termios.tcsetattr(file, termios.TCSADRAIN, before)

        hold._undo = undo
        return hold

    def held(self, now: float) -> bool:
        """Whether it is held at this moment, s.

        Raises:
            EmergencyKey: another key was pressed.
        """
        try:
            given = os.read(self._file, _MOST)
        except BlockingIOError:
            given = b""
        if self._keys and (others := given.strip(b" ")):
            raise EmergencyKey(f"the key {others[:1]!r} was pressed")
        if given:
            going_on = now <= self._until or len(given) > 1
            self._until = now + (self._repeated if going_on else self._first)
        return now <= self._until

    def close(self) -> None:
        """Give the terminal back as it was, or close the pipe."""
        self._undo()


class EmergencyKey(Exception):
    """A key that stops everything."""
