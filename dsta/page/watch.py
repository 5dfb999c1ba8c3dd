"""What a camera shows, picture by picture: how to stand, whether the hands rest, and when a sign has ended."""

from dataclasses import dataclass, field

import numpy as np

from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND
from dsta.streams import resample

RATE = 12.0
"""Frames a second of the clips of signs."""
_FAST = 0.7  # shoulder widths a second: a hand that is faster moves
_REST = 0.4  # seconds without movement that end a sign
_SHORTEST, _LONGEST = 0.4, 5.0  # seconds of a sign
_KEPT = 8.0  # seconds of pictures that are kept
_WIDE, _NARROW = 0.5, 0.12  # of the picture's width, between the shoulders
_LOW = 0.9  # of the picture's height: shoulders below it
_EDGE = 0.02  # of the picture: a finger nearer than that to a side leaves it
_SHOULDERS = [INDEX["left_shoulder"], INDEX["right_shoulder"]]


@dataclass(frozen=True)
class Look:
    """hint: how to stand, or nothing. moving: whether a hand moves just now; resting: that none has for a while. sign:
    (T, 27, 3) in canvas pixels at RATE, of a sign that has just ended."""

    hint: str
    moving: bool
    resting: bool
    sign: np.ndarray | None = None


@dataclass
class Watch:
    """Pictures of one camera, with rising times. The last seconds of them are kept."""

    times: list[float] = field(default_factory=list)
    joints: list[np.ndarray] = field(default_factory=list)
    _moved: float = -np.inf  # when a hand moved last
    _begun: float | None = None  # when the movement began that is not over

    def add(self, seconds: float, joints: np.ndarray, size: tuple[float, float]) -> Look:
        """One picture more. joints: (27, 3) in canvas pixels. size: width and height of the picture on the canvas."""
        if self.times and seconds <= self.times[-1]:
            seconds = self.times[-1] + 0.001
        moving = bool(self.times) and self._speed(seconds, joints) > _FAST
        self.times.append(seconds)
        self.joints.append(joints)
        if moving:
            self._moved = seconds
            if self._begun is None:
                self._begun = self.times[-2]
        resting = seconds - self._moved >= _REST
        look = Look(_hint(joints, size), moving, resting, self._ended(seconds, resting))
        while self.times[-1] - self.times[0] > _KEPT:
            del self.times[0], self.joints[0]
        return look

    def _speed(self, seconds: float, joints: np.ndarray) -> float:
        """Of the faster hand, in shoulder widths a second, by what is seen in this picture and the last one."""
        before = self.joints[-1]
        width = np.hypot(*(joints[_SHOULDERS[0], :2] - joints[_SHOULDERS[1], :2]))
        if not (joints[_SHOULDERS, 2] > 0).all() or width < 1:
            return 0.0
        speeds = [0.0]
        for hand in (LEFT_HAND, RIGHT_HAND):
            both = (joints[hand, 2] > 0) & (before[hand, 2] > 0)
            if both.any():
                steps = joints[hand, :2][both] - before[hand, :2][both]
                speeds.append(float(np.hypot(*steps.T).mean() / width / (seconds - self.times[-1])))
        return max(speeds)

    def _ended(self, seconds: float, resting: bool) -> np.ndarray | None:
        """The clip of a movement that is over, or goes on for too long."""
        if self._begun is None or not (resting or seconds - self._begun > _LONGEST):
            return None
        begun, ended, self._begun = self._begun, min(self._moved + _REST / 2, seconds), None
        if self._moved - begun < _SHORTEST:
            return None
        times = np.array(self.times)
        ticks = np.arange(begun, ended, 1 / RATE)
        return resample(np.stack(self.joints).astype(np.float32), np.interp(ticks, times, np.arange(len(times))))


def _hint(joints: np.ndarray, size: tuple[float, float]) -> str:
    """What to change, in a few words."""
    width, height = size
    seen = joints[:, 2] > 0
    if not seen[_SHOULDERS].all():
        return "You are not seen: sit before the camera, from head to hips, in good light."
    apart = abs(joints[_SHOULDERS[0], 0] - joints[_SHOULDERS[1], 0])
    if apart > _WIDE * width:
        return "Step back a little."
    if apart < _NARROW * width:
        return "Come closer."
    if joints[_SHOULDERS, 1].mean() > _LOW * height:
        return "Tilt the camera down: your hands must be seen."
    hands = joints[[*LEFT_HAND, *RIGHT_HAND]]
    hands = hands[hands[:, 2] > 0, :2] / size
    if len(hands) and ((hands < _EDGE) | (hands > 1 - _EDGE)).any():
        return "Keep both hands in view."
    return ""
