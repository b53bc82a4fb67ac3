"""The page at / in a real browser without a screen."""

import base64
import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from websockets.sync.client import connect

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((found for found in map(shutil.which, NAMES) if found), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no browser here: apt-get install -y {NAMES[0]}")


class Browser:
    """A page, driven over its debugging protocol."""

    def __init__(self, url, folder, width=1200, height=820):
        self.process = subprocess.Popen(
            [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
             f"--user-data-dir={folder}", f"--window-size={width},{height}", url],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        for line in self.process.stderr:
            if found := re.search(r"ws://([^/]+)/", line):
                break
        self._numbers = itertools.count(1)
        self.complaints = []
        self._open = contextlib.ExitStack()
        place = found[0] + "devtools/browser/" + line.rsplit("/", 1)[1].strip()
        self._socket = self._open.enter_context(connect(place, max_size=None))
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        self.call("Runtime.enable")
        self.call("Log.enable")

    _session = None

    def call(self, method, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(json.dumps(answer["params"]))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def value(self, expression):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def until(self, expression):
        for _ in range(1200):
            if self.value(expression):
                return
            time.sleep(0.05)
        raise AssertionError(f"{expression}: {self.value('document.body.innerText')} {self.complaints}")

    def picture(self, file):
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        self._open.close()
        self.process.terminate()
        self.process.wait(20)
        self.process.stderr.close()


@pytest.fixture
def browse(tmp_path):
    made = []

    def begin(url, **size):
        made.append(Browser(url, tmp_path / str(len(made)), **size))
        return made[-1]

    yield begin
    for browser in made:
        browser.close()


def test_both_sides_are_denoised_and_end_with_the_servers_text(tiny, browse):
    pictures = Path(os.environ["LOHOVLA_PICTURES"]) if "LOHOVLA_PICTURES" in os.environ else None
    page = browse(tiny.url)
    page.until("document.getElementById('mode').options.length == 5")
    assert page.value("getComputedStyle(document.getElementById('keyed')).display") == "none"
    page.value("document.getElementById('prompt').value = 'The arm lifts the block.'")
    page.value("document.getElementById('tokens').value = 40; document.getElementById('pace').value = 60; 1")
    page.value("document.getElementById('go').click()")
    page.until(
        "document.querySelectorAll('#text0 .mask').length > 3 && document.querySelectorAll('#text1 .new').length"
    )
    assert page.value("document.querySelectorAll('#text0 .even, #text0 .odd, #text0 .new').length") > 0
    if pictures:
        page.until("document.querySelectorAll('#text0 .odd').length > 2")
        page.picture(pictures / "page-during.png")
    page.until("document.body.dataset.state == 'done'")
    if pictures:
        page.picture(pictures / "page-after.png")
    for number, mode in enumerate(("d2f", "ar")):
        from lohovla.d2f.sampling import Sampling

        answer = tiny.service.text.generate("The arm lifts the block.", mode, Sampling(max_tokens=40, seed=1))[0].answer
        shown = page.value(f"document.getElementById('text{number}').textContent")
        assert shown == "".join(tiny.service.decode([token]) for token in answer.tokens)
        count = page.value(f"document.getElementById('count{number}').textContent")
        assert count.startswith(f"40 tokens, {answer.forwards} calls,")
    assert page.complaints == []
    assert page.value("performance.getEntriesByType('resource').every(r => r.name.startsWith(location.origin))")


def test_a_refusal_is_shown_and_a_key_is_asked_for(serve, browse):
    key = "a-key-of-thirty-two-characters-00"
    running = serve(keys=(key,))
    page = browse(running.url, width=420, height=900)
    page.until("!document.getElementById('keyed').hidden")
    page.value(f"document.getElementById('key').value = '{key}'")
    page.value("document.getElementById('prompt').value = 'say <|mask|>'; document.getElementById('go').click()")
    page.until("document.getElementById('text0').textContent.includes('holds the mask token')")
    assert page.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
