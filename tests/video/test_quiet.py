"""Lines of native libraries stay off stderr, and only those."""

import os
import sys

import pytest

from dsta.video.quiet import native_logs


def test_only_native_lines_are_kept_off_stderr(capfd):
    with native_logs.hidden(), native_logs.hidden():
        os.write(2, b"W0000 00:00:1795366328.870682    5239 inference_feedback_manager.cc:114] Feedback manager\n")
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n")
        os.write(2, b"INFO:     a server's line\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "INFO:     a server's line\nafter\n"


def test_exceptions_pass_and_stderr_comes_back(capfd):
    with pytest.raises(ZeroDivisionError), native_logs.hidden():
        print("a traceback's line", file=sys.stderr)
        raise ZeroDivisionError
    sys.stderr.flush()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "a traceback's line\nafter\n"


def test_a_full_disk_shows_the_lines_and_stops_nothing(capfd, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with native_logs.hidden():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nafter\n"
