"""Episodes in a world that does not wait, and what is shown of them."""

import numpy as np
import pytest

from lohovla.control.viz import RerunLog
from lohovla.envs.env import BlocksEnv
from lohovla.errors import UserError
from lohovla.evaluate.realtime_episodes import RealtimeEpisodes, Recorder, environment_rate
from lohovla.evaluate.report.latency_report import write_latency
from lohovla.rerun_recording import check_viewer

WORLD = {"control": "ee", "control_hz": 100.0, "cameras": {}}


def play(task="pick-and-place-primitive", delay=0.2, join="rtc-trained", on_tick=None, seed=10001, **settings):
    loop = {"clock": "simulated", "delay": {"plan": delay, "chunk": delay}, "chunking_mode": join, **settings}
    return RealtimeEpisodes("oracle", task, WORLD, loop).episode(BlocksEnv(task, **WORLD), seed, on_tick)


@pytest.mark.parametrize("join", ["sync", "ensemble", "rtc", "rtc-trained"])
def test_the_oracle_in_chunks_solves_a_task_however_late_its_answers_are(join):
    results = {delay: play(delay=delay, join=join)[0] for delay in (0.0, 0.3)}
    assert all(result.success for result in results.values())
    assert results[0.0].simulated_seconds < results[0.3].simulated_seconds < 10.0
    assert [span.text for span in results[0.3].subtasks][:1] == [
        "Pick up the gray block and place it on the red block."
    ]


def test_what_is_off_the_plan_is_planned_anew():
    """A tower takes several sub-tasks; at a delay of 0.3 s the loop's path is never quite the ghost's."""
    result, loop = play("stack-all-blocks-on-a-zone", delay=0.3)
    assert result.success
    assert len(result.subtasks) >= 2
    assert loop.log.counts["model error"] == 0


def test_the_same_seed_gives_the_same_episode():
    first, second = ([], [])
    for path in (first, second):
        play(on_tick=lambda loop, play, path=path: path.append(loop.last_command.pose))
    assert np.array(first).tobytes() == np.array(second).tobytes()


def test_the_page_of_latency_and_the_numbers_it_is_made_of(tmp_path):
    result, loop = play(delay=0.2)
    summary = write_latency(tmp_path / "latency.html", "a <title>", loop)
    page = (tmp_path / "latency.html").read_text()
    assert summary["commands"]["count"] == pytest.approx(100 * result.simulated_seconds, abs=2)
    assert summary["commands"]["missed"] == 0
    assert summary["stages_ms"]["reply"]["p50"] == pytest.approx(200.0, abs=11.0)
    assert summary["chunks"]["count"] == sum(summary["chunks"]["delay_actions"].values())
    assert "a &lt;title&gt;" in page
    assert f"0 of {summary['commands']['count']}" in page
    assert "simulated clock" in page


def test_the_film_shows_what_the_loop_was_doing():
    kept = []

    def tick(loop, play):
        if not kept:
            kept.append(Recorder(play.env, 10))
        kept[0](loop, play)

    result, _ = play(on_tick=tick)
    frames = kept[0].frames
    assert len(frames) == pytest.approx(10 * result.simulated_seconds, abs=2)
    assert frames[0].score < frames[-1].score + 1.0
    assert any(frame.status[0].startswith("run   rtc-trained   chunk 20") for frame in frames)


COMMAND = ("command/x", "command/rz", "command/gripper", "tool/target", "late_ms")
OF_THE_LOOP = [f"/{name}".encode() for name in (*COMMAND, "events", "mode", "tool/chunk", "chunk/reply_ms")]


def test_a_recording_for_rerun_holds_the_events(tmp_path):
    pytest.importorskip("rerun")
    viewer = RerunLog(tmp_path / "rollout.rrd")
    _, loop = play(delay=0.5, on_tick=lambda loop, play: viewer(loop))
    viewer.close()
    data = (tmp_path / "rollout.rrd").read_bytes()
    assert data[:3] == b"RRF"
    assert len(data) > 20_000
    assert loop.log.counts["hold"]
    assert [name for name in OF_THE_LOOP if name not in data] == []
    assert b"WARN" in data
    with pytest.raises(UserError, match="holodeck"):
        check_viewer("holodeck")


def test_the_world_takes_the_highest_rate_that_it_can():
    assert [environment_rate(hz) for hz in (20, 30, 60, 100, 500)] == [20.0, 25.0, 50.0, 100.0, 100.0]


@pytest.mark.parametrize(
    ("loop", "words"),
    [({"clock": "moon"}, "moon"), ({"worker": "ant"}, "ant"), ({"delay": {"chunk": -1.0}}, "-1"), ({"hop": 1}, "hop")],
)
def test_settings_that_cannot_be_are_named(loop, words):
    with pytest.raises(UserError, match=words):
        RealtimeEpisodes("random-waypoints", "pick-and-place-primitive", WORLD, loop)
