"""A Chromium without a screen, spoken to by its own debugging protocol: what the tests of web pages look through."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
PROGRAM = next((found for found in map(shutil.which, NAMES) if found), None)
NONE_HERE = f"no browser here: apt-get install -y {NAMES[0]}"
_START, _ANSWER = 90.0, 60.0  # s, on a busy machine


class Browser:
    """A page of a browser that was started for it.

    Args:
        program: of the browser.
        folder: for its profile.
        url: of the page.
        width: of the window, CSS pixels.
        height: of the window, CSS pixels.
    """

    def __init__(self, program: str, folder: Path, url: str, width: int = 1200, height: int = 900):
        folder.mkdir(parents=True, exist_ok=True)
        # "=new": since version 132 the ordinary browser has no other headless mode; the headless shell has only that.
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        self._words = folder / "stderr.txt"  # a file: a pipe that nobody empties stops the browser
        with self._words.open("wb") as words:
            self._process = subprocess.Popen(
                [program, *options, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                start_new_session=True,
            )
        from websockets.sync.client import connect

        self._open, self._numbers, self._session = contextlib.ExitStack(), itertools.count(1), None
        self.complaints: list[str] = []
        try:
            self._socket = self._open.enter_context(connect(self._endpoint(), max_size=None))
            target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
            self._session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
            self.call("Runtime.enable")
            self.call("Log.enable")
            self.call("Page.enable")
            self.resize(width, height)
            self.call("Page.navigate", url=url)
        except BaseException:
            self.close()
            raise

    def _endpoint(self) -> str:
        end = time.monotonic() + _START
        while time.monotonic() < end and self._process.poll() is None:
            if found := re.search(r"DevTools listening on (ws://\S+)", self._words.read_text(errors="replace")):
                return found[1]
            time.sleep(0.05)
        raise AssertionError(f"the browser did not start: {self._words.read_text(errors='replace')[-2000:]}")

    def call(self, method: str, **parameters: Any) -> Any:
        """Ask the browser, and wait."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        while True:
            answer = json.loads(self._socket.recv(timeout=_ANSWER))
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(json.dumps(answer["params"]))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def resize(self, width: int, height: int) -> None:
        """Have the page that wide and high, CSS pixels; windows have a least width of their own."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def until(self, expression: str, limit: float = 60.0) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + limit
        while not self.value(expression):
            if time.monotonic() > end:
                raise AssertionError(f"{expression}: {self.value('document.body.innerText')} {self.complaints}")
            time.sleep(0.05)

    def middle(self, identity: str) -> tuple[float, float]:
        """The middle of an element, CSS pixels of the window."""
        box = f"(() => {{ const r = document.getElementById('{identity}').getBoundingClientRect(); "
        x, y = self.value(box + "return [r.x + r.width / 2, r.y + r.height / 2]; })()")
        return x, y

    def mouse(self, kind: str, identity: str) -> None:
        """``mousePressed`` or ``mouseReleased`` on the middle of an element."""
        x, y = self.middle(identity)
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, file: Path) -> None:
        """What the window shows, as a PNG."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """End the browser."""
        self._open.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # Debian's is a script, and the browser has more processes
        self._process.wait(20)
