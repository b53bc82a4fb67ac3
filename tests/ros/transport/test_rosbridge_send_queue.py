"""What a rosbridge client sends: operations in order, and only the newest message of a topic; answers to its calls."""

import threading

import pytest

from lohovla.ros.transport.rosbridge_send_queue import PendingCalls, SendQueue
from lohovla.ros.transport.transport import ServiceFailed


def test_operations_go_first_and_of_a_topic_the_newest_message():
    queue, ended = SendQueue(), threading.Event()
    queue.put_newest("/pose", {"x": 1})
    queue.put({"op": "advertise"})
    queue.put_newest("/pose", {"x": 2})
    assert queue.take(ended) == (None, {"op": "advertise"})
    assert queue.take(ended) == ("/pose", {"x": 2})
    assert not queue.empty  # it is not sent yet
    queue.sent()
    assert queue.empty
    ended.set()
    assert queue.take(ended) is None


def test_what_is_for_a_connection_that_has_ended_is_not_kept():
    queue, ended = SendQueue(), threading.Event()
    assert queue.put_all([{"op": "subscribe"}], unless=ended)
    queue.clear()
    ended.set()
    assert not queue.put_all([{"op": "subscribe"}], unless=ended)
    assert queue.empty


def test_the_oldest_operation_is_dropped_when_too_many_wait():
    queue, ended = SendQueue(), threading.Event()
    for number in range(201):
        queue.put({"id": number})
    assert queue.take(ended) == (None, {"id": 1})


def test_calls_end_with_their_answer_or_why_there_is_none():
    calls = PendingCalls()
    answers = {"id": "a", "result": True, "values": {"time": 5}}
    assert calls.call("/time", "a", lambda: calls.answer(answers), 1.0) == {"time": 5}
    with pytest.raises(ServiceFailed, match="the connection was lost"):
        calls.call("/time", "b", lambda: calls.fail_all("the connection was lost"), 1.0)
    with pytest.raises(ServiceFailed, match="did not answer in 0 s"):
        calls.call("/time", "c", lambda: calls.answer(answers), 0.0)
