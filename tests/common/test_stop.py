"""Signals become one exception, at a moment when nothing is being written."""

import os
import signal

import pytest

from dsta.common.stop import Stop


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_an_exception_with_its_exit_code(number, code):
    with Stop() as stop, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    assert stop.exit_code == code


def test_a_signal_waits_for_the_end_of_writing():
    written = []
    with Stop() as stop, pytest.raises(KeyboardInterrupt), stop.held():
        os.kill(os.getpid(), signal.SIGTERM)
        written.append("whole")
    assert written == ["whole"]


def test_further_signals_are_ignored_and_the_old_handlers_come_back():
    before = signal.getsignal(signal.SIGINT)
    with Stop():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_while_writing_is_told_before_the_signal():
    with Stop() as stop, pytest.raises(OSError, match="full"), stop.held():
        os.kill(os.getpid(), signal.SIGINT)
        raise OSError("full")


def test_it_does_nothing_unless_entered():
    before = signal.getsignal(signal.SIGTERM)
    with Stop().held():
        pass
    assert signal.getsignal(signal.SIGTERM) is before
