"""Sections that reports share: films by task, failures with their last state, the settings of the run."""

import pytest

from lohovla.evaluate.confusion import pair_table
from lohovla.evaluate.report import html, report_sections
from lohovla.evaluate.report.report_sections import count_of, failures_section, films_section, settings_section


def row(task="stack", seed=1, success=True, reason="time"):
    return {"task": task, "seed": seed, "success": success, "reason": reason}


def caption(one):
    return f"<figcaption>{one['task']} {one['seed']}</figcaption>"


def films(tmp_path, filmed, rows):
    made = []
    for number, one in enumerate(filmed):
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(b"film")
        made.append((one, path))
    return "\n".join(films_section(made, rows, lambda task: f"<i>{task}</i>", caption))


def test_without_films_there_is_no_section(tmp_path):
    assert films(tmp_path, [], [row()]) == ""


def test_films_open_by_task(tmp_path):
    rows = [row("stack", 1), row("stack", 3, False), row("sort", 1), row("hide", 1)]
    page = films(tmp_path, [rows[1], rows[0], rows[2]], rows)
    assert "1 failure and 2 solved." in page
    assert "A click on a task opens its films." in page
    assert "<summary><b><i>stack</i></b> 1 of 2 solved; 2 films</summary>" in page
    assert "<summary><b><i>sort</i></b> 1 of 1 solved; 1 film</summary>" in page
    assert "<i>hide</i>" not in page
    assert "<details open>" not in page
    assert page.count('<video controls muted preload="none" src="data:video/mp4;base64,ZmlsbQ==">') == 3
    assert page.index("stack 3") < page.index("stack 1") < page.index("sort 1")


def test_the_films_of_a_single_task_are_open(tmp_path):
    page = films(tmp_path, [row()], [row()])
    assert "<details open>" in page
    assert "click" not in page
    assert "played again: 1 solved." in page


def test_a_run_without_failures_says_so(tmp_path):
    page = "\n".join(failures_section(tmp_path, [row()], caption))
    assert "No episode failed." in page
    assert "<img" not in page


def last_states(folder, rows):
    for one in (failed for failed in rows if not failed["success"]):
        path = report_sections.picture_path(folder, one)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"state")
    return "\n".join(failures_section(folder, rows, caption))


def test_failures_are_counted_by_reason_and_shown(tmp_path):
    rows = [row(seed=1, success=False), row("sort", 3, False), row(seed=5, success=False, reason="plan"), row(seed=7)]
    page = last_states(tmp_path, rows)
    assert "3 of 4 episodes failed: 2 by time, 1 by plan." in page
    assert "The last state of each:" in page
    assert page.count("data:image/jpeg;base64,c3RhdGU=") == 3
    assert page.index("stack 1") < page.index("sort 3") < page.index("stack 5"), "each task's first, then the second"


def test_of_many_failures_some_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(report_sections, "_GALLERY", 2)
    page = last_states(tmp_path, [row(seed=seed, success=False) for seed in (1, 3, 5)])
    assert "The last state of the first 2:" in page
    assert page.count("<img") == 2


def test_the_settings_of_the_run_are_listed_as_text(tmp_path):
    config = "version: 0.1.0\nsettings:\n  task: <b>\n  env: {control: ee, noise: {color: 0.5}}\n"
    (tmp_path / "config.yaml").write_text(config)
    page = "\n".join(settings_section(tmp_path, ("version", "commit")))
    listed = page[page.index("<pre>") + 5 : page.index("</pre>")].splitlines()
    assert listed == ["version: 0.1.0", "commit: None", "task: &lt;b&gt;", "env.control: ee", "env.noise.color: 0.5"]


@pytest.mark.parametrize(("number", "said"), [(0, "0 films"), (1, "1 film"), (2, "2 films")])
def test_a_number_of_things_in_words(number, said):
    assert count_of(number, "film") == said


def test_a_table_of_sentences_fits_a_telephone(browse, tmp_path):
    """Sentences in columns that do not break are wider than 400 pixels, and have to be scrolled sideways."""
    long = "Pick up the big yellow block on the purple block and place it in the area between the zones."
    header, lines = pair_table([(long, long.replace("yellow", "gray"), False)] * 5)
    path = tmp_path / "report.html"
    path.write_text(html.page("A report", [html.table(header, lines, sentences=True)]))
    page = browse(path.as_uri(), width=400)
    page.until("document.querySelector('.wide') !== null")
    assert page.value("document.querySelector('.wide').scrollWidth <= document.querySelector('.wide').clientWidth")
