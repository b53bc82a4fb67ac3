"""The load test, small: clients that leave and requests that are none cost no page, no answer and no memory."""

from lohovla.benchmarks.serve import text_load


def test_leaving_and_malformed_clients_cost_nothing(checkpoint):
    record = text_load.run(str(checkpoint), 100, 8, 1, ("cache_mb=1.0",))
    assert record["wrong"] == 0
    assert record["right"] + record["left"] + record["refused"] == record["requests"] == 100
    assert min(record["right"], record["left"], record["refused"]) > 3
    assert (record["pages_held"], record["running"], record["waiting"]) == (0, 0, 0)
    assert (record["alive"], record["exit_code"]) == (True, 0)
    assert record["memory_last_mb"] < record["memory_first_mb"] + 40
    assert record["aborted"] > 0
