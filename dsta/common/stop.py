"""Ctrl-C and SIGTERM while a long job runs: an exception, but never in the middle of writing files."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Within `with Stop() as stop`, the first of the two signals raises KeyboardInterrupt; further ones are ignored.

    Without `with` it changes nothing. number: the signal that came, 0 before.
    """

    def __init__(self) -> None:
        self.number = 0
        self._held = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + (self.number or signal.SIGINT)

    @contextmanager
    def held(self) -> Iterator[None]:
        """A stretch in which a signal waits until its end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self.number:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.number:
            self.number = number
            if not self._held:
                raise KeyboardInterrupt
