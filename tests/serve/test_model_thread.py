"""The thread that a model belongs to."""

import asyncio
import threading

from lohovla.serve.model_thread import ModelThread


def test_it_sleeps_until_it_is_woken_and_tells_the_loop():
    async def look():
        work, told, heard = [], asyncio.Event(), []

        def turn():
            if not work:
                return False
            owner.call_in_loop(
                lambda item: (heard.append((item, threading.current_thread().name)), told.set()), work.pop()
            )
            return True

        owner = ModelThread("model", turn)
        for item in ("first", "second"):
            work.append(item)
            owner.wake()
            await told.wait()
            told.clear()
        assert heard == [("first", threading.current_thread().name), ("second", threading.current_thread().name)]
        assert owner.health_error() == ""
        assert await asyncio.to_thread(owner.stop, 10.0)

    asyncio.run(look())


def test_a_turn_that_hangs_is_a_health_error_and_stops_nobody(monkeypatch):
    monkeypatch.setattr("lohovla.serve.model_thread.HUNG", -1.0)
    inside, gate = threading.Event(), threading.Event()

    async def look():
        owner = ModelThread("model", lambda: bool(inside.set()) or gate.wait(30))
        await asyncio.to_thread(inside.wait, 10.0)
        assert owner.health_error() == "the model has not answered for 0 s"
        assert not await asyncio.to_thread(owner.stop, 0.0)
        gate.set()
        assert await asyncio.to_thread(owner.stop, 10.0)

    asyncio.run(look())


def test_it_ends_where_nobody_listens_any_more():
    closed, gate = threading.Event(), threading.Event()
    owners = []

    def turn():
        gate.wait(30)
        owners[0].call_in_loop(print)
        closed.set()
        return True

    async def begin():
        owners.append(ModelThread("model", turn))

    asyncio.run(begin())
    gate.set()
    assert closed.wait(10)
    assert owners[0].stop(10.0)
