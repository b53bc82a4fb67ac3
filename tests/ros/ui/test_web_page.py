"""The web page: its requests, and the page itself in a headless Chromium."""

import io
import json
import socket
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from lohovla.ros.ui.command_log import CommandLog
from lohovla.ros.ui.web_page import WebPage

AT_ONCE = 0.1  # s; tried again where other work held it up
PRESS_TO_BRAKE = 0.15  # s


@pytest.fixture
def shown(bench):
    """A run that goes on, and its page."""
    run = bench(enable="page", dry=True)
    trace = CommandLog()
    run.session.watchers.append(trace)
    page = WebPage(run.session, run.operator, trace, port=0)
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
    page = WebPage(run.session, run.operator, CommandLog(), "0.0.0.0", 0, ["robot.lab"])
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


def brakes_after(run, press):
    """Seconds from ``press`` to the first command of the brake, and to the first that asks for rest."""
    modes = []
    run.until(lambda: run.session.phase == "running" and run.session.loop.mode == "run" and speed(run) > 0.03)
    run.session.watchers.append(lambda session: modes.append((time.monotonic(), session.commanded.mode)))
    began = time.monotonic()
    press()
    run.until(lambda: run.session.loop.mode == "emergency" and run.session.loop.limiter.resting and speed(run) == 0.0)
    run.session.watchers.pop()
    braked = next(at for at, mode in modes if mode == "emergency")
    return braked - began, run.arm.twists[-1][0] - began


def speed(run):
    """m/s, of the last command that the arm heard."""
    return float(np.abs(run.arm.twists[-1][1][:3]).max()) if run.arm.twists else 0.0


def go_on(run):
    run.operator.release()
    run.operator.start()
    run.until(lambda: run.operator.press() or run.session.loop.mode == "run")


def test_a_press_of_stop_brakes_the_arm_at_once(bench):
    run = bench(twist=True)
    page = WebPage(run.session, run.operator, CommandLog(), port=0)
    run.start()
    try:
        for _ in range(30):
            braked, rested = brakes_after(run, lambda: ask(page, "/stop", b"", **{"X-Lohovla": "1"}))
            if braked < PRESS_TO_BRAKE:
                break
            go_on(run)
        assert braked < PRESS_TO_BRAKE
        assert rested < PRESS_TO_BRAKE + 0.5  # 0.25 m/s within the profile's limits
    finally:
        page.close()


def test_in_a_browser(shown, browse, tmp_path):
    run, page = shown
    browser = browse(page.url)
    browser.until("document.getElementById('camera').naturalWidth == 320")
    browser.until("document.getElementById('enable').offsetWidth > 0")
    browser.mouse("mousePressed", "enable")  # held: it moves
    run.until(lambda: run.operator.enabled(time.monotonic()) and run.session.phase == "running")
    browser.until("['Go left.', 'Go right.'].includes(document.getElementById('subtask').textContent)")
    browser.until("document.getElementById('subgoal').naturalWidth == 64")
    browser.until("document.getElementById('bar').getAttribute('aria-valuenow').includes('50')")
    browser.picture(tmp_path / "page.png")
    assert np.asarray(Image.open(tmp_path / "page.png").convert("L")).std() > 10.0
    browser.mouse("mouseReleased", "enable")
    run.until(lambda: not run.operator.enabled(time.monotonic()))
    for _ in range(50):
        began = time.monotonic()
        browser.mouse("mousePressed", "stop")
        run.until(lambda: run.session.loop.mode == "emergency")
        took = time.monotonic() - began
        browser.mouse("mouseReleased", "stop")
        go_on(run)
        if took < AT_ONCE:
            break
    assert took < AT_ONCE  # from the press to the command that brakes
    assert any("stop button" in event.cause for event in run.session.log.events)
    assert [one for one in browser.complaints if "/camera" not in one] == []  # 404 until the first picture


REACHED = """(() => {
  const shown = [...document.querySelectorAll('footer button')].filter(one => !one.hidden);
  const least = 40;  // CSS pixels that a finger hits
  return shown.filter(one => {
    const box = one.getBoundingClientRect();
    const inside = box.left >= 0 && box.top >= 0 && box.right <= innerWidth && box.bottom <= innerHeight;
    const hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    return inside && hit === one && box.width >= least && box.height >= least;
  }).map(one => one.id).join(' ');
})()"""


@pytest.mark.parametrize("width", [320, 400, 1200])
def test_every_button_can_be_reached(shown, browse, tmp_path, width):
    run, page = shown
    browser = browse(page.url, width=width, height=800)
    browser.until("document.getElementById('camera').naturalWidth == 320")
    browser.until("document.getElementById('enable').offsetWidth > 0")
    assert browser.value(REACHED) == "stop enable start pause release"
    assert browser.value("document.documentElement.scrollWidth") <= width
    # What lies last can be scrolled above the buttons.
    below = "document.getElementById('events').getBoundingClientRect().bottom"
    above = f"{below} <= document.querySelector('footer').getBoundingClientRect().top"
    # Until it is so: the page may grow between the scrolling and the look.
    browser.until(f"(scrollTo(0, document.documentElement.scrollHeight), {above})")
    for button, wanted in (("pause", lambda: run.operator.paused), ("start", lambda: not run.operator.paused)):
        click(browser, button)
        run.until(wanted)
    click(browser, "stop")
    browser.until("!document.getElementById('release').disabled")
    assert browser.value("document.getElementById('waits').textContent").startswith("EMERGENCY STOP")
    browser.picture(tmp_path / f"page-{width}.png")
    click(browser, "release")
    run.until(lambda: not run.operator.emergency)


def click(browser, button):
    browser.mouse("mousePressed", button)
    browser.mouse("mouseReleased", button)


def test_stop_has_a_connection_however_many_pages_are_open(shown, browse):
    run, page = shown
    browser = browse(page.url)
    browser.until("document.getElementById('camera').naturalWidth == 320")
    more = "document.body.append(Object.assign(document.createElement('iframe'), {src: location.href}))"
    for _ in range(7):  # a browser has six connections to a server, all its pages together
        browser.value(more)
    goals = "[...document.querySelectorAll('iframe')].map(one => one.contentDocument.getElementById('goal'))"
    browser.until(f"{goals}.filter(one => one && one.textContent == 'wander about').length == 7")
    browser.mouse("mousePressed", "stop")
    run.until(lambda: run.operator.emergency)
