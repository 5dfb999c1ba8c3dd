"""Points and visibilities smoothed from frame to frame, as MediaPipe does."""

from dataclasses import dataclass
from math import pi

import numpy as np

_FREQUENCY = 30.0  # frames a second, until two times are known
_SMALLEST = 1e-6  # of an object: of a smaller one nothing is smoothed


def _share(cutoff: np.ndarray | float, frequency: float) -> np.ndarray | float:
    """How much of a new value is taken."""
    return 1 / (1 + frequency / (2 * pi * cutoff))


@dataclass
class OneEuro:
    """Smooths the more, the slower points move, measured by the size of what they belong to.

    As mediapipe/util/filtering/one_euro_filter.cc and
    mediapipe/calculators/util/landmarks_smoothing_calculator_utils.cc.
    cutoff: Hz at rest. slope: how much the cutoff rises with the speed, in sizes a second.
    """

    cutoff: float
    slope: float
    _time: int | None = None
    _frequency: float = _FREQUENCY
    _raw: np.ndarray | None = None
    _smooth: np.ndarray | None = None
    _speed: np.ndarray | None = None

    def __call__(self, points: np.ndarray, milliseconds: int, size: float) -> np.ndarray:
        """The points, smoothed; not where the time does not rise. The step from the time 0 on counts as 1/30 s, as
        MediaPipe takes 0 for no time."""
        if size < _SMALLEST or (self._time is not None and milliseconds <= self._time):
            return points
        if self._time:
            self._frequency = 1000 / (milliseconds - self._time)
        self._time = milliseconds
        if self._raw is None or self._smooth is None or self._speed is None:
            self._raw, self._smooth, self._speed = points.copy(), points.copy(), np.zeros_like(points)
            return points
        speed = (points - self._raw) / size * self._frequency
        part = _share(1.0, self._frequency)
        self._speed = part * speed + (1 - part) * self._speed
        part = _share(self.cutoff + self.slope * np.abs(self._speed), self._frequency)
        self._smooth = part * points + (1 - part) * self._smooth
        self._raw = points.copy()
        return self._smooth


@dataclass
class LowPass:
    """As mediapipe/util/filtering/low_pass_filter.cc. share: how much of a new value is taken."""

    share: float
    _smooth: np.ndarray | None = None

    def __call__(self, values: np.ndarray) -> np.ndarray:
        if self._smooth is None:
            self._smooth = values.copy()
        self._smooth = self.share * values + (1 - self.share) * self._smooth
        return self._smooth
