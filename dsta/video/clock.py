"""What time it is in a video: seconds that rise, whatever its stamps do; and how long it lasts, measured."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush, heappushpop
from math import inf
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from dsta.video.container import RESET, open_video, packet_stamp

RATES = (1.0, 240.0)
"""Believable frame rates; MediaRecorder's webm says 1000 when it means "unknown"."""

_MAX_GAP = 5.0  # seconds between two frames; a longer gap is a jump of the clock, not a pause
_SHORTEST = 1 / RATES[1] / 2  # seconds that a frame lasts at least
_HELD_BACK = 16  # packets at most between a frame's place in the file and its place in time


class Clock:
    """Seconds since the first frame, always rising, whatever the container's stamps do.

    step: of one frame at the usual rate. origin: the stamp of time 0; by default the first one.

    A stamp that is missing, stands still or, twice running, moves by less than any frame lasts counts as one frame at
    the usual rate, and what the clock is ahead by then is taken off what follows: in the end it agrees with the stamps
    again. Where they jump or begin anew (concatenated or live-recorded files), the time between is one frame, and the
    origin moves.
    """

    def __init__(self, rate: float, origin: float | None = None) -> None:
        self.step = 1 / rate
        self._now, self._origin, self._stamp, self._stood = -self.step, origin, origin, False

    def read(self, stamp: float | None) -> float:
        """The time of the next frame, whose stamp is this."""
        if stamp is None:
            self._now += self.step
            return self._now
        passed = 0.0 if self._stamp is None else stamp - self._stamp
        sought = self._now < 0 and self._origin is not None  # the first frame may lie anywhere
        if self._origin is None or not (sought or -RESET <= passed <= _MAX_GAP):
            self._origin = stamp - self._now - self.step
        time, stands = stamp - self._origin, self._stamp is not None and passed < _SHORTEST
        if time > self._now and not (stands and self._stood):
            self._now = time
        else:
            self._now += self.step if stands else min(passed, self.step) / 2
        self._stamp, self._stood = stamp, stands
        return self._now


@dataclass(frozen=True)
class Measured:
    """What the stamps of a video say, or those up to where measuring ended.

    seconds: how long its frames are shown, jumps of the clock left out. span: from the first stamp to the last.
    rate: frames per second. steady: whether the clock never jumps, so that a stamp is a place in the video.
    """

    seconds: float
    span: float
    rate: float | None
    steady: bool


def measure_video(path: Path, until: float = inf) -> Measured:
    """Measures a video by its packets, at most until so many seconds have passed; nothing is decoded."""
    with open_video(path) as (container, stream):
        stamps = np.fromiter(_in_order(container, stream, until), float)
    gaps = np.diff(stamps)
    usual = gaps[(gaps >= 0) & (gaps <= _MAX_GAP)]
    rate = float(np.clip(len(usual) / usual.sum(), *RATES)) if usual.sum() > 0 else None
    jumps = len(gaps) - len(usual)
    seconds = usual.sum() + (1 + jumps) / rate if rate else 0.0
    return Measured(float(seconds), float(np.ptp(stamps)) if len(stamps) else 0.0, rate, not jumps)


def _in_order(container: InputContainer, stream: VideoStream, until: float) -> Iterator[float]:
    """The stamps in the order in which frames are shown; a clock that begins anew stays where it does."""
    held: list[float] = []
    last, passed = None, 0.0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            packet = None
        stamp = packet_stamp(packet) if packet is not None else None
        placed = None if packet is None else packet.dts  # in the file's order it rises, however far B-frames step back
        if packet is None or (placed is not None and last is not None and placed < last):
            while held:
                yield heappop(held)
        if packet is None:
            return
        if placed is not None and packet.time_base is not None:
            step = float((placed - last) * packet.time_base) if last is not None else 0.0
            passed, last = passed + (step if 0 < step <= _MAX_GAP else 0.0), placed
        if stamp is None:
            continue
        if passed > until:
            yield from sorted([*held, stamp])
            return
        if len(held) < _HELD_BACK:
            heappush(held, stamp)
        else:
            yield heappushpop(held, stamp)
