"""How much other work runs on the machine: ours is not counted, with its child processes."""

import subprocess
import sys
import time

import pytest

from eval import load
from eval.load import Others

BURN = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass\n"


def feed(monkeypatch, *seconds):
    """Others' seconds of processor time, and the clock, as they are read one after the other."""
    clock, busy = iter(seconds[::2]), iter(seconds[1::2])
    monkeypatch.setattr(load.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(load, "_seconds_of_others", lambda: next(busy))


def test_cores_of_others_are_their_seconds_over_ours(monkeypatch):
    feed(monkeypatch, 10.0, 500.0, 14.0, 506.0)
    with Others() as others:
        pass
    assert others.cores == pytest.approx(1.5)


@pytest.mark.parametrize("seconds", [(10.0, None, 14.0, None), (10.0, 500.0, 10.1, 500.2)])
def test_what_cannot_be_told_is_none(monkeypatch, seconds):
    feed(monkeypatch, *seconds)
    with Others() as others:
        pass
    assert others.cores is None


def test_a_little_less_than_nothing_is_nothing(monkeypatch):
    feed(monkeypatch, 0.0, 500.0, 1.0, 499.99)
    with Others() as others:
        pass
    assert others.cores == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_child_processes_are_ours_while_they_run_and_after():
    before = load._ticks_of_ours()
    child = subprocess.Popen([sys.executable, "-c", BURN.format(0.5) + "time.sleep(60)"])
    try:
        deadline = time.monotonic() + 50
        while load._ticks_of_ours() < before + 40 and time.monotonic() < deadline:
            time.sleep(0.1)
        running = load._ticks_of_ours()
    finally:
        child.kill()
        child.wait()
    assert running >= before + 40  # ticks of ten milliseconds
    assert load._ticks_of_ours() >= running


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_a_process_of_nobody_here_is_not_ours():
    """One that a shell left behind before it ended has another parent."""
    burn = f"{sys.executable} -c '{BURN.format(1.0)}' >/dev/null 2>&1 & echo $!"
    before, others = load._ticks_of_ours(), load._seconds_of_others()
    pid = int(subprocess.run(["sh", "-c", burn], capture_output=True, text=True, check=True).stdout)
    deadline = time.monotonic() + 50
    while load.Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert load._seconds_of_others() >= others + 0.9
    assert load._ticks_of_ours() < before + 90
