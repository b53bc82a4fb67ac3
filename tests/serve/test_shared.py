"""What every server here has: API keys, metrics, health."""

import asyncio
import re

import pytest

from lohovla.errors import UserError
from lohovla.serve.api_keys import ApiKeys, read_keys
from lohovla.serve.lifecycle import Drain, HealthEndpoints
from lohovla.serve.metrics import Registry, resident_bytes

KEY, OTHER = "a" * 16, "b" * 20


def test_keys_let_in_who_has_one():
    keys = ApiKeys([KEY, OTHER])
    assert keys.allows(f"Api-Key {KEY}")
    assert keys.allows(f"Api-Key {OTHER}")
    for header in (
        None,
        "",
        KEY,
        f"Basic {KEY}",
        f"Bearer {KEY}x",
        f"Api-Key {KEY}x",
        "Api-Key ",
        f"api-key {KEY}",
        "Api-Key ä",
    ):
        assert not keys.allows(header)
    assert ApiKeys().allows(None)
    with pytest.raises(UserError, match="fewer than 16"):
        ApiKeys(["short"])


def test_keys_come_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("LOHOVLA_API_KEY", raising=False)
    assert read_keys(None) == []
    monkeypatch.setenv("LOHOVLA_API_KEY", KEY)
    assert read_keys(None) == [KEY]
    (tmp_path / "keys").write_text(f"# robots\n{KEY}\n\n {OTHER}\n")
    assert read_keys(str(tmp_path / "keys")) == [KEY, OTHER]
    (tmp_path / "none").write_text("# nobody\n")
    for name in ("none", "missing"):
        with pytest.raises(UserError):
            read_keys(str(tmp_path / name))


def test_metrics_are_prometheus_text():
    registry = Registry()
    count = registry.counter("things_total", "Things.")
    registry.gauge("level", "Now.", lambda: 1.5, version='1"\n')
    seconds = registry.histogram("seconds", "Time.", (0.1, 1.0))
    count.add(kind="a")
    count.add(2, kind="a")
    for value in (0.1, 0.5, 7.0):
        seconds.observe(value)
    assert registry.text() == (
        "# HELP things_total Things.\n# TYPE things_total counter\n"
        'things_total{kind="a"} 3\n'
        "# HELP level Now.\n# TYPE level gauge\n"
        'level{version="1\\"\\n"} 1.5\n'
        "# HELP seconds Time.\n# TYPE seconds histogram\n"
        'seconds_bucket{le="0.1"} 1\nseconds_bucket{le="1.0"} 2\nseconds_bucket{le="+Inf"} 3\n'
        "seconds_sum 7.6\nseconds_count 3\n"
    )
    line = r'[a-z_]+(\{[a-z]+="[^\n]*"\})? (NaN|[-+.\de]+)'
    assert all(re.fullmatch(line, text) for text in registry.text().splitlines() if not text.startswith("#"))
    assert 10e6 < resident_bytes() < 10e9


def test_health_and_metrics_pages():
    async def look():
        error, drain = [""], Drain()
        pages = HealthEndpoints(ApiKeys([KEY]), Registry(), drain, lambda: error[0])
        assert pages.answer("/", None) is None
        assert pages.answer("/healthz", None).status == 200
        assert pages.answer("/healthz?x=1", None).body == "OK\n"
        assert pages.answer("/metrics", None).status == 401
        assert pages.answer("/metrics", f"Api-Key {KEY}").status == 200
        error[0] = "ill"
        assert pages.answer("/healthz", None).status == 503
        drain.begin()
        assert pages.answer("/healthz", None).body == "draining\n"
        assert not drain.at_once.is_set()
        drain.begin()
        assert drain.at_once.is_set()

    asyncio.run(look())
