"""Lines of native libraries kept off stderr."""

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


class _NativeLogs:
    """Keeps lines that TensorFlow Lite's native code writes to file descriptor 2 off stderr.

    No setting silences them all. Descriptor 2 belongs to the whole process, so it is swapped for a temporary file only
    while native code runs, once for all threads, and what others wrote meanwhile is passed on.
    """

    _LINE = re.compile(
        rb"[IWEF]\d{4} [\d:. ]+\S+:\d+\] |(INFO|WARNING): .*(TensorFlow|XNNPACK|absl::)|Matplotlib is building the font"
    )

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._stderr = -1
        self._caught: IO[bytes] | None = None

    @contextmanager
    def hidden(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._begin()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._end()

    def _begin(self) -> None:
        try:
            self._stderr = os.dup(2)
        except OSError:  # a process without stderr has nothing to keep clean
            return
        try:
            self._caught = tempfile.TemporaryFile()  # noqa: SIM115 (closed in _end)
        except OSError:  # of a full disk: better a line too many than no answer
            os.close(self._stderr)
            return
        os.dup2(self._caught.fileno(), 2)

    def _end(self) -> None:
        if self._caught is None:
            return
        os.dup2(self._stderr, 2)
        os.close(self._stderr)
        with self._caught as file:
            file.seek(0)
            others = b"".join(line for line in file if not self._LINE.match(line))
        self._caught = None
        if others:
            os.write(2, others)


native_logs = _NativeLogs()
