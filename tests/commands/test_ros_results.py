"""What `lohovla ros` keeps and says of a run."""

from pathlib import Path
from types import SimpleNamespace

from lohovla.commands.ros_results import print_run, save_recording
from lohovla.errors import UserError

RECORD = {
    "goal": "Sort the blocks.",
    "seed": 3,
    "ending": "done",
    "cause": "the policy says that all is done",
    "seconds": 12.5,
    "subtasks": [(0.4, "Pick the red block.")],
    "events": {"hold": 2},
}


def test_a_run_on_a_robot_is_a_success_where_the_policy_says_done(monkeypatch):
    kept = []
    monkeypatch.setattr("lohovla.ros.record.run_recorder.save_run", lambda *given: kept.append(given) or 7)
    robot, simulator = SimpleNamespace(world=None), SimpleNamespace(world="/sim/world")
    assert save_recording(None, Path("set"), robot, RECORD, "ur5e", "lohovla") == 7
    save_recording(None, Path("set"), robot, {**RECORD, "ending": "time"}, "ur5e", "lohovla")
    save_recording(None, Path("set"), simulator, {**RECORD, "success": False, "score": 0.5}, "sort", "lohovla")
    told = [attributes for *_, attributes in kept]
    assert [one["success"] for one in told] == [True, False, False]
    assert [one["final_score"] for one in told] == [1.0, 0.0, 0.5]
    assert [one["judged_by"] for one in told] == ["policy", "policy", "simulator"]


def test_a_run_that_cannot_be_recorded_is_told_in_a_line(monkeypatch, capsys):
    def full(*_):
        raise UserError("the disk is full", "make room")

    monkeypatch.setattr("lohovla.ros.record.run_recorder.save_run", full)
    assert save_recording(None, Path("set"), SimpleNamespace(world=None), RECORD, "ur5e", "lohovla") is None
    assert capsys.readouterr().err == "not recorded: the disk is full\n"


def test_a_run_is_told_in_lines(capsys):
    print_run(RECORD)
    assert capsys.readouterr().out.splitlines() == [
        "Sort the blocks.",
        "    0.40 s  Pick the red block.",
        "   12.50 s  the policy says that all is done",
        "  events: hold 2",
    ]
