"""The log of events."""

from lohovla.control.event_log import EventLog


def test_a_state_that_comes_and_goes_many_times_a_second_is_logged_once():
    log = EventLog()
    for tick in range(500):
        log.set_condition(tick * 0.02, "not enabled", tick % 2 == 0, "by turns")
    assert log.counts["not enabled"] == 1


def test_a_state_that_begins_again_later_is_logged_again():
    log = EventLog()
    for now, standing in (
        (0.0, True),
        (3.0, True),
        (3.02, False),
        (3.7, True),
        (9.0, True),
        (9.1, False),
        (20.0, True),
    ):
        log.set_condition(now, "state lost", standing)
    assert log.counts["state lost"] == 3
    assert [event.time for event in log.events] == [0.0, 3.7, 20.0]


def test_a_state_that_comes_back_soon_and_lasts_is_logged():
    log = EventLog()
    for tick in range(200):
        log.set_condition(tick * 0.02, "state lost", tick < 10 or tick > 20)
    assert [round(event.time, 2) for event in log.events] == [0.0, 0.94]
