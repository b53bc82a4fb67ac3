"""The load test, small: clients that leave and requests that are none cost no page, no answer and no memory."""

import asyncio
import json
import random

import torch

from lohovla.benchmarks.serve import text_load, text_mixed
from lohovla.benchmarks.serve.plain_d2f import decode_plainly
from lohovla.benchmarks.serve.text_load_requests import TextLoadRequest, draw_request, harmful_requests
from lohovla.d2f.sampling import Sampling
from lohovla.d2f.text_model import TextModel


def test_leaving_and_malformed_clients_cost_nothing(checkpoint):
    record = text_load.run(str(checkpoint), 150, 8, 1, 60, ("cache_mb=1.0", "max_connections=40"))
    assert record["wrong"] == 0
    answered = record["right"] + record["left"] + record["refused"] + record["harmful"]
    assert answered == record["requests"] == 150
    assert record["silent"] == 60
    assert min(record["right"], record["left"], record["refused"]) > 3
    assert (record["pages_held"], record["running"], record["waiting"]) == (0, 0, 0)
    assert (record["alive"], record["exit_code"]) == (True, 0)
    assert record["memory_last_mb"] < record["memory_first_mb"] + 40
    assert record["aborted"] > 0


def test_every_harmful_request_is_answered_or_refused(tiny):
    """Each by itself, and a plain one beside it has the answer that it has alone."""

    class Here:
        host, port = "127.0.0.1", tiny.port

    async def all_of_them():
        tally = text_load.TextRequestCounts()
        plain = TextLoadRequest(json.dumps({"model": "tiny", "prompt": "Hello", "max_tokens": 8}).encode(), greedy=True)
        await text_load._one(Here(), plain, tally)
        for body in harmful_requests(["tiny", "tiny:d2f+branch"]):
            both = (TextLoadRequest(body, harmful=True), plain)
            await asyncio.gather(*(text_load._one(Here(), ask, tally) for ask in both))
        return tally

    tally = asyncio.run(all_of_them())
    assert tally.wrong == []
    assert tally.harmful == tally.right - 1 > 10
    assert tiny.engine.stats.failed == 0
    drawn = [draw_request(random.Random(k), ["tiny"], ["x"], [b"harm"]) for k in range(2000)]
    assert 5 < sum(ask.harmful for ask in drawn) < 45


def test_first_tokens_among_long_prompts(checkpoint):
    threads = torch.get_num_threads()
    record = text_mixed.run(str(checkpoint), 20, 3, 200)
    torch.set_num_threads(threads)
    assert 0 < record["baseline"] < 10
    assert record["p99_s"] >= record["p50_s"] > 0
    assert record["long_p50_s"] > record["baseline"]


def test_the_plain_loop_of_the_comparison_gives_the_same_tokens():
    text = TextModel.load()
    for prompt in ("7480+1100-1691=", "0478+9127-3055="):
        wanted = text.generate(prompt, "d2f", Sampling(112))[0].answer.tokens
        assert decode_plainly(text.student, text.encode(prompt), text.size, text.limits(), 112) == wanted
