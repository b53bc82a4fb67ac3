"""The live view's page: its requests, and the page itself in a headless Chromium."""

import io
import json
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from lohovla.view.live_episode import HAND, PolicyChoice
from lohovla.view.live_view import LiveView
from lohovla.view.view_page import ViewPage

TASK = "put-block-into-matching-bowl"


@pytest.fixture
def shown():
    made = []

    def begin(control="ee", policy="oracle", **settings):
        choices = {"oracle": PolicyChoice("oracle", {}), "random": PolicyChoice("random", {})}
        view = LiveView({"control": control}, choices, TASK, 10001, policy, **settings)
        page = ViewPage(view, port=0)
        made.append((view, page))
        return view, page

    yield begin
    for view, page in made:
        page.close()
        view.close()


def ask(page, path, body=None, **headers):
    request = urllib.request.Request(page.url + path, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status, answer.read()


def press(page, button, text=""):
    try:
        return ask(page, f"/{button}", text.encode(), **{"X-Lohovla": "1"})[0]
    except urllib.error.HTTPError as error:
        return error.code


def state(page):
    return json.loads(ask(page, "/state")[1])


def until(page, true, limit=60.0):
    end = time.monotonic() + limit
    while not true(state(page)):
        assert time.monotonic() < end, state(page)
        time.sleep(0.02)


def test_requests(shown):
    _, page = shown(playing=False)
    assert np.asarray(Image.open(io.BytesIO(ask(page, "/camera/film")[1]))).shape == (480, 640, 3)
    assert TASK in json.loads(ask(page, "/tasks")[1])
    assert press(page, "goal", "Put the red block in the top left area") == 204
    until(page, lambda now: now["goal"] == "Put the red block in the top left area")
    assert press(page, "policy", "random") == 204
    until(page, lambda now: now["chosen"] == "random")
    assert press(page, "scene", "stack-all-blocks-on-a-zone 10003") == 204
    until(page, lambda now: (now["task"], now["seed"]) == ("stack-all-blocks-on-a-zone", 10003))
    assert press(page, "speed", "2.0") == 204
    assert state(page)["speed"] == 2.0
    assert press(page, "play") == 204
    until(page, lambda now: now["playing"] and now["seconds"] > 0.1)
    assert press(page, "pause") == 204
    assert state(page)["playing"] is False


@pytest.mark.parametrize(
    ("button", "text"),
    [
        ("dance", ""),
        ("speed", "1e9"),
        ("speed", "nan"),
        ("policy", "os:system"),  # nothing is imported that was not offered
        ("policy", "lohovla"),
        ("scene", "dance 1"),
        ("scene", "stack-all-blocks-on-a-zone -1"),
        ("scene", "stack-all-blocks-on-a-zone"),
        ("goal", "  "),
        ("goal", "x" * 301),
        ("move", "1 2 3"),
        ("move", "nan 0 0 0"),
        ("click", "2 0"),
        ("click", "here"),
        ("grip", "perhaps"),
    ],
)
def test_what_is_not_offered_is_refused(shown, button, text):
    view, page = shown(playing=False)
    before = state(page)
    assert press(page, button, text) == 404
    assert not view._requests
    assert state(page) == before


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/play", {}),  # a form of another site's page
        ("/play", {"X-Lohovla": "1", "Origin": "http://evil.example"}),
        ("/play", {"X-Lohovla": "1", "Host": "evil.example"}),
        ("/play", {"X-Lohovla": "1", "Origin": "http://localhost:1"}),
    ],
)
def test_other_sites_are_not_heard(shown, path, headers):
    view, page = shown(playing=False)
    with pytest.raises(urllib.error.HTTPError) as error:
        ask(page, path, b"", **headers)
    assert error.value.code == 403
    assert not view.playing
    with pytest.raises(urllib.error.HTTPError) as error:
        ask(page, "/state", Host="evil.example")
    assert error.value.code == 403


def key(browser, kind, name):
    browser.call("Input.dispatchKeyEvent", type=kind, key=name, **({"text": name} if kind == "char" else {}))


def click(browser, identity, across=0.5, down=0.5):
    box = f"(() => {{ const one = document.getElementById('{identity}'); one.scrollIntoView({{block: 'center'}});"
    x, y, wide, high = browser.value(
        box + " const r = one.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })()"
    )
    where = {"x": x + across * wide, "y": y + down * high, "button": "left", "clickCount": 1}
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, **where)


def select(browser, identity, value):
    browser.value(
        f"(() => {{ const one = document.getElementById('{identity}'); one.focus(); one.value = '{value}';"
        " one.dispatchEvent(new Event('change')); })()"
    )


def test_in_a_browser(shown, browse, tmp_path):
    view, page = shown(speed=4.0)
    browser = browse(page.url, width=1280, height=900)
    browser.until("document.getElementById('film').naturalWidth == 640")
    browser.until("document.getElementById('subtask').textContent.startsWith('Pick up the ')")
    browser.until("document.getElementById('task').options.length > 20")
    # A goal is typed in words, as a person types it.
    click(browser, "words")
    for letter in "Put the red block in the top left area":
        key(browser, "char", letter)
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", text="\r")
    browser.until("document.getElementById('goal').textContent == 'Put the red block in the top left area'")
    # Another policy, while it runs; then the person's own hand, by keys.
    select(browser, "chosen", "random")
    until(page, lambda now: now["chosen"] == "random" and now["seconds"] > 0)
    select(browser, "chosen", HAND)
    browser.until("document.getElementById('hands').offsetHeight > 0")
    before = view.episode.env.observe_state()[:3]
    key(browser, "keyDown", "ArrowLeft")
    until(page, lambda now: view.episode.env.observe_state()[1] < before[1] - 0.05)
    key(browser, "keyUp", "ArrowLeft")
    key(browser, "keyDown", " ")
    browser.until("document.getElementById('grip').getAttribute('aria-pressed') == 'true'")
    click(browser, "top", 0.75, 0.5)  # y = 0.25 m
    until(page, lambda now: view.episode.env.observe_state()[1] == pytest.approx(0.25, abs=0.01))
    click(browser, "play")
    browser.until("document.getElementById('play').textContent == 'Play'")
    assert not view.playing
    browser.picture(tmp_path / "page.png")
    assert np.asarray(Image.open(tmp_path / "page.png").convert("L")).std() > 10.0
    assert browser.complaints == []


def test_picking_and_placing_by_clicks(shown, browse):
    view, page = shown("pick_place", HAND, speed=20.0)
    browser = browse(page.url, width=400, height=800)
    browser.until("document.getElementById('top').naturalWidth == 320")
    goal = view.episode.env.problem.goal.next(view.episode.env.scene())
    x, y, _ = view.episode.env.scene().centre(goal.pick)
    browser.until("document.getElementById('topsaid').textContent == 'from above: click where to pick'")
    click(browser, "top", y + 0.5, (x - 0.25) / 0.5)
    browser.until("document.getElementById('mark').offsetWidth > 0")
    click(browser, "top", goal.place.y + 0.5, (goal.place.x - 0.25) / 0.5)
    until(page, lambda now: now["score"] > 0.0)


REACHED = """[...document.querySelectorAll('button, select, input')].filter(one => one.offsetWidth).filter(one => {
  one.scrollIntoView({block: 'center'});
  const box = one.getBoundingClientRect();
  const hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  return box.left < 0 || box.right > innerWidth || box.width < 40 || box.height < 40 || !(hit === one);
}).map(one => one.id || one.textContent).join(' ')"""


@pytest.mark.parametrize("width", [400, 1280])
def test_everything_can_be_reached(shown, browse, tmp_path, width):
    _, page = shown(policy=HAND)
    browser = browse(page.url, width=width, height=900)
    browser.until("document.getElementById('film').naturalWidth == 640")
    browser.until("document.getElementById('hands').offsetHeight > 0")
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value(REACHED) == ""
    browser.picture(tmp_path / f"page-{width}.png")
