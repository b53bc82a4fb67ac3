"""The report is one page that needs nothing but itself and shows every task and failure."""

import dataclasses
import re
from html.parser import HTMLParser

import pytest

from lohovla.envs.tasks.names import TASKS
from lohovla.evaluate.episode_files import chosen_for_films
from lohovla.evaluate.protocol import Protocol
from lohovla.evaluate.report.evaluation_report import write_report
from lohovla.evaluate.report.result_table import markdown, percent, results_of, results_table, summary_json
from lohovla.evaluate.report.svg_plots import Bar, bars, curve, narrow_bars
from lohovla.evaluate.run_evaluation import evaluate, film_some


class _Page(HTMLParser):
    """Checks that tags close in order, and keeps what the page refers to."""

    def __init__(self):
        super().__init__()
        self.open, self.refers, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.refers += [value for key, value in attrs if key in ("src", "href", "poster", "data", "srcset", "action")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(path):
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page, path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def report(protocol, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    rows, _ = evaluate(protocol, folder, workers=1)
    films = film_some(protocol, folder, rows, 1, "local", 1)
    write_report(folder, protocol, rows, results_of(rows), films)
    return rows, *read(folder / "report.html")


def test_it_asks_for_nothing_outside(report):
    _, page, text = report
    assert page.refers
    assert all(value.startswith("data:") for value in page.refers)
    words = re.sub(r"base64,[\w+/=]+", "", text)
    assert not re.search(r"https?:|//\w|@import|url\(|<script|<link|<iframe", words)


def test_it_shows_each_task_and_each_failure(report, protocol):
    rows, page, text = report
    failed = [row for row in rows if not row["success"]]
    for task in protocol.tasks:
        assert f"<td>{task}</td>" in text
        assert len(re.findall(task, text)) >= 4  # two plots, the table, the curve
    for row in failed:
        assert f"seed {row['seed']}" in text
        assert row["failure"].split(";")[0] in text
    assert page.tags.count("img") == len(failed)
    assert page.tags.count("video") == 1
    assert f"{len(failed)} of {len(rows)} episodes failed" in text
    assert "97.8 / 91.5" in text  # LoHoVLA on B


def test_it_shows_the_diagnosis_that_was_asked_for(row, protocol, tmp_path):
    found = {"plans": 7, "as_oracle": 3, "right": 6, "missed": 0, "progress_right": 1, "progress_wrong": 0}
    found |= {"pick_mm": [1.5], "place_mm": []}
    rows = [row(protocol.tasks[0], diagnosis=found), row(protocol.tasks[0], seed=10003, diagnosis=None)]
    for asked in (False, True):
        write_report(tmp_path, dataclasses.replace(protocol, diagnose=asked), rows, results_of(rows), [])
        _, text = read(tmp_path / "report.html")
        assert ("<h2>Diagnosis</h2>" in text) is asked
        assert ("in 1 of 2 episodes" in text) is asked
        assert (f"<td>A</td><td>{protocol.tasks[0]}</td><td>7</td><td>85.7%</td><td>42.9%</td>" in text) is asked


def test_it_shows_planned_against_right_subtasks(row, protocol, tmp_path):
    bowl, block = (
        "Pick up the red block and place it in the {} bowl.",
        "Pick up the red block and place it on the {} block.",
    )
    said = [
        (bowl.format("red"), bowl.format("red"), True),
        (bowl.format("blue"), bowl.format("red"), False),
        (bowl.format("blue"), bowl.format("red"), False),
        (block.format("blue"), bowl.format("red"), False),
        ("Dance <now>.", "", False),
    ]
    found = {
        "plans": 5,
        "as_oracle": 1,
        "right": 1,
        "said": said,
        "missed": 0,
        "progress_right": 0,
        "progress_wrong": 0,
    }
    rows = [row(protocol.tasks[0], diagnosis={**found, "pick_mm": [], "place_mm": []})]
    write_report(tmp_path, dataclasses.replace(protocol, diagnose=True), rows, results_of(rows), [])
    _, text = read(tmp_path / "report.html")
    header = ["planned: bowl", "planned: block", "planned: other words", "right", "wrong, right kind"]
    assert "".join(f"<th>{cell}</th>" for cell in header) in text
    assert "<td>bowl</td><td>3</td><td>1</td><td>-</td><td>1</td><td>2</td>" in text
    assert "<td>nothing to do</td><td>-</td><td>-</td><td>1</td><td>0</td><td>0</td>" in text
    assert f"<td>{bowl.format('red')}</td><td>{bowl.format('blue')}</td><td>2</td>" in text
    assert "<td>nothing to do</td><td>Dance &lt;now&gt;.</td><td>1</td>" in text


def test_a_tasks_films_open_at_a_click(row, protocol, tmp_path):
    film = tmp_path / "film.mp4"
    film.write_bytes(b"a film")
    (tmp_path / "failures").mkdir()
    for task in protocol.tasks:
        (tmp_path / "failures" / f"{task}-10003.jpg").write_bytes(b"a picture")
    rows = [row(task, seed, success=seed == 10001) for task in protocol.tasks for seed in (10001, 10003)]
    films = [(one, film) for one in chosen_for_films(rows, 1, 2)]
    assert [(one["task"], one["seed"]) for one, _ in films] == [
        (protocol.tasks[0], 10003),
        (protocol.tasks[0], 10001),
        (protocol.tasks[1], 10003),
        (protocol.tasks[1], 10001),
    ]
    write_report(tmp_path, protocol, rows, results_of(rows), films)
    _, text = read(tmp_path / "report.html")
    assert text.count(" 1 of 2 solved; 2 films</summary>") == 2
    assert text.count('preload="none"') == 4
    assert "<details open>" not in text
    write_report(tmp_path, protocol, rows[:2], results_of(rows[:2]), films[:2])
    assert "<details open><summary><b>" in read(tmp_path / "report.html")[1]  # of the only task


def test_bars_fit_a_narrow_page_with_each_label_above_its_bar():
    entries = [Bar("a-name-" * 9, 0.5, (0.25, 0.75), (None, 1.0)), Bar("all", 1.0)]
    drawn = narrow_bars(entries)
    width = float(re.search(r'viewBox="0 0 (\d+)', drawn).group(1))
    assert width <= 390
    middles = [float(y) for y in re.findall(r'class="point" cx="[\d.]+" cy="([\d.]+)"', drawn)]
    labels = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"( textLength="(\d+)"[^>]*)?>(a-name|all)', drawn)
    for (x, y, _, length, _), middle in zip(labels, middles, strict=True):
        assert float(y) < middle - 8
        assert float(x) + float(length or 0) <= width
    assert labels[0][3]  # a long name is set as long as there is room, no longer
    assert not labels[1][3]
    ends = [float(x) + float(w) for x, w in re.findall(r'<rect class="bar" x="([\d.]+)"[^>]* width="([\d.]+)"', drawn)]
    assert max(ends) < width


def test_the_page_shows_one_of_both_charts(report):
    _, _, text = report
    assert text.count('<svg class="spread"') == text.count('<svg class="narrow"') == 2
    assert ".bars > svg.narrow { display: none;" in text
    assert re.search(r"@media \(max-width: \d+px\) {[^@]*svg.spread { display: none; }[^@]*svg.narrow", text)


def test_words_from_outside_are_escaped(row, tmp_path):
    rows = [row(success=False, instruction="<b>&", failure="<script>alert(1)</script>")]
    (tmp_path / "failures").mkdir()
    (tmp_path / "failures" / f"{rows[0]['task']}-10001.jpg").write_bytes(b"x")
    protocol = Protocol((rows[0]["task"],), (10001,), "<i>", {"control": "ee"})
    write_report(tmp_path, protocol, rows, results_of(rows), [])
    _, text = read(tmp_path / "report.html")
    assert "<script" not in text
    assert "“&lt;b&gt;&amp;”" in text


def test_a_run_without_failures_says_so_for_every_task(row, tmp_path):
    protocol = Protocol(TASKS, (10001,), "oracle", {"control": "ee"})
    rows = [row(task) for task in TASKS]
    write_report(tmp_path, protocol, rows, results_of(rows), [])
    _, text = read(tmp_path / "report.html")
    assert "No episode failed." in text
    assert "<h2>Films</h2>" not in text
    (tmp_path / "film.mp4").write_bytes(b"x")
    write_report(tmp_path, protocol, rows, results_of(rows), [(rows[0], tmp_path / "film.mp4")])
    page, text = read(tmp_path / "report.html")
    assert page.tags.count("video") == 1
    assert "played again: 1 solved." in text
    assert "solved after 2 actions, 4.0 s" in text
    assert all(f"<td>{task}</td>" in text for task in TASKS)


def test_bars_and_whiskers_are_as_long_as_their_values():
    drawn = bars([Bar("half", 0.5, (0.25, 0.75), (None, 1.0)), Bar("all", 1.0)])
    half, whole = (float(width) for width in re.findall(r'<rect class="bar"[^>]* width="([\d.]+)"', drawn))
    assert half == pytest.approx(whole / 2, abs=0.2)
    start = float(re.findall(r'<rect class="bar" x="([\d.]+)"', drawn)[0])
    low, high = re.search(r'class="whisker" d="M([\d.]+) .*?M[\d.]+ [\d.]+H([\d.]+)', drawn).groups()
    assert float(low) == pytest.approx(start + whole / 4, abs=0.2)
    assert float(high) == pytest.approx(start + whole * 3 / 4, abs=0.2)
    assert "mark-1" in drawn
    assert "mark-0" not in drawn


def test_a_curve_steps_at_its_points():
    path = re.search(r'class="line" d="([^"]+)"', curve([(0.0, 0.0), (2.0, 1.0)], 4.0, "s")).group(1)
    numbers = [float(number) for number in re.findall(r"[\d.]+", path)]
    left, right = numbers[0], numbers[-1]
    assert numbers[4] == pytest.approx((left + right) / 2, abs=0.2)  # half of the way to the right
    assert numbers[5] < numbers[1]  # and up


def test_what_is_not_all_never_reads_a_hundred():
    assert [percent(share) for share in (0.0, 0.99949, 2199 / 2200, 1.0)] == ["0.0", "99.9", "99.9", "100.0"]


def test_the_table_has_published_results_beside_ours(row):
    rows = [row("stack-blocks-of-same-color", seed, seed != 3) for seed in (1, 3, 5, 7)]
    rows += [row("stack-all-blocks-on-a-zone", 1)]
    header, lines = results_table(results_of(rows))
    assert lines[0][:5] == ["K", "stack-blocks-of-same-color", "75.0", "30.1 to 95.4", "87.5"]
    assert dict(zip(header, lines[0], strict=True))["LoHoVLA"] == "73.8 / 54.5"
    assert dict(zip(header, lines[1], strict=True))["LoHoVLA"] == ""
    assert lines[2][1:3] == ["all 5 episodes", "80.0"]
    assert dict(zip(header, lines[2], strict=True))["LoHoVLA"] == ""  # no mean without every task
    text = markdown(header, lines).splitlines()
    assert len({len(line) for line in text}) == 1
    record = summary_json(results_of(rows))
    assert record["overall"]["success_rate"] == 0.8
    assert record["tasks"]["stack-blocks-of-same-color"]["published"]["explicit"] == {"score": 4.0, "success": None}
