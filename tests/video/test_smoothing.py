"""The filters against values worked out by hand, and against the formula of the One Euro filter's paper."""

from math import pi

import numpy as np
import pytest

from dsta.video.smoothing import LowPass, OneEuro


def test_a_low_pass_begins_with_the_first_value():
    low = LowPass(0.25)
    assert [float(low(np.array([value]))[0]) for value in (4.0, 8.0, 8.0)] == [4.0, 5.0, 5.75]


def by_the_paper(values, times, size, cutoff, slope):
    """Casiez, Roussel, Vogel 2012, appendix, one value at a time, its rate 30 until two times are known."""

    def share(at, rate):
        return 1 / (1 + rate / (2 * pi * at))

    out, speed, rate = [values[0]], 0.0, 30.0
    for i in range(1, len(values)):
        rate = 1 / (times[i] - times[i - 1]) if times[i - 1] else rate
        part = share(1.0, rate)
        speed = part * (values[i] - values[i - 1]) / size * rate + (1 - part) * speed
        part = share(cutoff + slope * abs(speed), rate)
        out.append(part * values[i] + (1 - part) * out[-1])
    return out


@pytest.mark.parametrize("first", [0, 500])
def test_points_are_smoothed_by_the_one_euro_filter(first):
    rng = np.random.default_rng(1)
    values, times = rng.normal(100, 5, (8, 3, 2)), first + np.array([0, 40, 80, 125, 160, 200, 280, 320])
    smooth = OneEuro(cutoff=0.05, slope=80.0)
    found = np.array([smooth(points, time, 50.0) for points, time in zip(values, times.tolist(), strict=True)])
    for place in np.ndindex(3, 2):
        expected = by_the_paper(values[(slice(None), *place)], times / 1000, 50.0, 0.05, 80.0)
        assert found[(slice(None), *place)] == pytest.approx(expected), place


def test_one_step_by_hand():
    """From 0 to 10 pixels in 1/30 s, of an object of 100 pixels: 3 sizes a second, of which the speed's own filter
    takes 1 / (1 + 30 / 2π) = 0.1732: 0.5195. Cutoff 1 + 2 · 0.5195 = 2.039 Hz, of the step 1 / (1 + 30 / (2π · 2.039))
    = 0.2993."""
    smooth = OneEuro(cutoff=1.0, slope=2.0)
    smooth(np.zeros((1, 2)), 0, 100.0)
    assert smooth(np.array([[10.0, 0.0]]), 33, 100.0) == pytest.approx(np.array([[2.993, 0.0]]), abs=1e-3)


def test_a_time_that_stands_still_or_an_object_without_size_is_not_smoothed():
    smooth = OneEuro(cutoff=0.01, slope=0.0)
    smooth(np.zeros((1, 2)), 10, 50.0)
    jump = np.array([[9.0, 9.0]])
    assert (smooth(jump, 10, 50.0) == jump).all()
    assert (smooth(jump, 50, 0.0) == jump).all()
    assert (smooth(jump, 50, 50.0) < 1).all()


def test_what_was_given_is_neither_changed_nor_kept():
    smooth, points = OneEuro(cutoff=1.0, slope=0.0), np.zeros((1, 2))
    smooth(points, 0, 1.0)
    points += 100  # the caller's own array
    assert (smooth(np.zeros((1, 2)), 40, 1.0) == 0).all()
