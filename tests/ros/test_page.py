"""The web page: its requests, and the page itself in a headless Chromium."""

import base64
import contextlib
import io
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image
from websockets.sync.client import connect

from lohovla.ros.page import Page
from lohovla.ros.trace import Trace

AT_ONCE = 0.1  # s; tried again where other work held it up
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def shown(bench):
    """A run that goes on, and its page."""
    run = bench(enable="page", dry=True)
    trace = Trace()
    run.session.watchers.append(trace)
    page = Page(run.session, run.operator, trace, port=0)
    run.operator.press()
    run.start()
    yield run, page
    page.close()


def ask(page, path, body=None, **headers):
    request = urllib.request.Request(page.url + path, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status, answer.read()


def test_requests(shown):
    run, page = shown
    run.until(lambda: run.robot.eyes.sight.pictures)
    picture = np.asarray(Image.open(io.BytesIO(ask(page, "/camera")[1])))
    assert picture.shape == (160, 320, 3)
    assert json.loads(ask(page, "/state")[1])["goal"] == "wander about"
    assert ask(page, "/goal", b"stack all", **{"X-Lohovla": "1"})[0] == 204
    assert run.operator.goal == "stack all"
    for _ in range(50):
        began = time.monotonic()
        ask(page, "/stop", b"", **{"X-Lohovla": "1"})
        took = time.monotonic() - began
        assert run.operator.emergency == "the page's stop button"
        ask(page, "/release", b"", **{"X-Lohovla": "1"})
        assert not run.operator.emergency
        if took < AT_ONCE:
            break
    assert took < AT_ONCE


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/stop", {}, 403),  # a form of another site's page
        ("/stop", {"X-Lohovla": "1", "Origin": "http://evil.example"}, 403),
        ("/stop", {"X-Lohovla": "1", "Host": "evil.example"}, 403),  # a name of another that leads here
        ("/stop", {"X-Lohovla": "1", "Origin": "http://localhost:1"}, 403),  # another page of this machine
        ("/dance", {"X-Lohovla": "1"}, 404),
        ("/goal", {"X-Lohovla": "1", "Content-Length": "4000"}, 413),
    ],
)
def test_requests_from_elsewhere_are_refused(shown, path, headers, status):
    run, page = shown
    with pytest.raises(urllib.error.HTTPError) as error:
        ask(page, path, b"", **headers)
    assert error.value.code == status
    assert not run.operator.emergency


def test_names_of_this_machine(bench):
    run = bench(enable="page", dry=True)
    page = Page(run.session, run.operator, Trace(), "0.0.0.0", 0, ["robot.lab"])
    try:
        own = socket.gethostname()
        assert page.url == f"http://{own}:{page.port}"
        page.url = f"http://127.0.0.1:{page.port}"
        for name in (f"127.0.0.1:{page.port}", f"{own}:8010", "192.168.1.7:8010", "robot.lab", "localhost:9", "[::1]"):
            assert ask(page, "/state", Host=name)[0] == 200
            assert ask(page, "/pause", b"", Host=name, Origin=f"http://{name}", **{"X-Lohovla": "1"})[0] == 204
        for name in ("evil.example", f"evil.example:{page.port}", f"{own}.evil.example", "[", ""):
            with pytest.raises(urllib.error.HTTPError) as error:
                ask(page, "/state", Host=name)
            assert error.value.code == 403
    finally:
        page.close()


class Browser:
    """A headless Chromium, spoken to by its own protocol."""

    def __init__(self, program, folder):
        options = ["--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={folder}"]
        self._process = subprocess.Popen(
            [program, *options, "--window-size=1200,900", "about:blank"], stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        for line in self._process.stderr:
            if found := re.search(r"DevTools listening on ws://([^/]+)/", line):
                break
        else:
            raise AssertionError("the browser did not start")
        with urllib.request.urlopen(f"http://{found[1]}/json/list") as answer:
            target = next(one for one in json.load(answer) if one["type"] == "page")
        self._open = contextlib.ExitStack()
        self._socket = self._open.enter_context(connect(target["webSocketDebuggerUrl"], max_size=None))
        self._numbers = itertools.count(1)

    def __call__(self, method, **params):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := json.loads(self._socket.recv(timeout=60))).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def value(self, expression):
        return self("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def mouse(self, kind, identity):
        box = f"(() => {{ const r = document.getElementById('{identity}').getBoundingClientRect(); "
        x, y = self.value(box + "return [r.x + r.width / 2, r.y + r.height / 2]; })()")
        self("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def close(self):
        self._open.close()
        os.killpg(self._process.pid, signal.SIGKILL)  # Debian's is a script, and the browser has processes of its own
        self._process.wait()


def test_in_a_browser(shown, tmp_path):
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium here (apt-get install chromium-headless-shell)")
    run, page = shown
    browser = Browser(program, tmp_path / "profile")
    try:
        browser("Page.navigate", url=page.url)
        run.until(lambda: browser.value("document.getElementById('camera').naturalWidth") == 320)
        run.until(lambda: browser.value("document.getElementById('enable').offsetWidth") > 0)
        browser.mouse("mousePressed", "enable")  # held: it moves
        run.until(lambda: run.operator.enabled(time.monotonic()) and run.session.phase == "running")
        run.until(lambda: browser.value("document.getElementById('subtask').textContent") in ("Go left.", "Go right."))
        run.until(lambda: browser.value("document.getElementById('subgoal').naturalWidth") == 64)
        run.until(lambda: "50" in browser.value("document.getElementById('bar').getAttribute('aria-valuenow')"))
        picture = base64.b64decode(browser("Page.captureScreenshot", format="png")["data"])
        (tmp_path / "page.png").write_bytes(picture)
        assert np.asarray(Image.open(io.BytesIO(picture)).convert("L")).std() > 10.0
        browser.mouse("mouseReleased", "enable")
        run.until(lambda: not run.operator.enabled(time.monotonic()))
        for _ in range(50):
            began = time.monotonic()
            browser.mouse("mousePressed", "stop")
            run.until(lambda: run.session.loop.mode == "emergency")
            took = time.monotonic() - began
            browser.mouse("mouseReleased", "stop")
            run.operator.release()
            run.operator.start()
            run.until(lambda: run.operator.press() or run.session.loop.mode == "run")
            if took < AT_ONCE:
                break
        assert took < AT_ONCE  # from the press to the command that brakes
        assert any("stop button" in event.cause for event in run.session.log.events)
    finally:
        browser.close()
