"""A signal to `lohovla ros`: before there is a bridge it ends the program, afterwards the run."""

import os
import signal
from types import SimpleNamespace

import pytest

from lohovla.commands import ros
from lohovla.settings.hydra_config import compose


@pytest.fixture
def ends(tmp_path, monkeypatch):
    """Runs the command with a bridge that sends its process a signal while it is made, or while it runs."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def run(number, making):
        stops, closed = [], []

        class Bridge:
            operator = SimpleNamespace(stop=stops.append)

            def __init__(self, config, profile):
                if making:
                    os.kill(os.getpid(), number)

            def run(self):
                os.kill(os.getpid(), number)
                return 0

            def close(self):
                closed.append(self)

        monkeypatch.setattr(ros, "_Bridge", Bridge)
        return ros.run(compose("ros", ["enable=always", f"output={tmp_path / 'run'}"])), stops, closed

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_model_is_loaded_ends_the_program(ends, number):
    """With SIGINT ignored too, as a shell has it for what it begins in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises(SystemExit) as ended:
        ends(number, making=True)
    assert ended.value.code == 128 + number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_runs_ends_the_run(ends, number):
    code, stops, closed = ends(number, making=False)
    assert (code, len(closed)) == (0, 1)
    assert stops == [f"signal {signal.Signals(number).name}"]
