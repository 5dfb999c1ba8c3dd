"""Where a hand is looked for, against values worked out by hand."""

from math import pi
from types import SimpleNamespace

import numpy as np
import pytest

from dsta.video.hands import HandTracker, around_hand, goes_on, near_palm
from dsta.video.regions import Region


def test_a_hand_is_near_the_palm_that_the_body_has():
    """Fingers straight up: the middle finger at (100, 60), 30 above the wrist. A square of 60, grown 2.7 times, moved
    up by a tenth of 60."""
    region = near_palm(np.array([100.0, 90.0]), np.array([110.0, 60.0]), np.array([95.0, 60.0]))
    assert region == pytest.approx((100, 54, 162, 162, 0))


def hand(length=40.0):
    """(21, 2): the wrist at (100, 100); thumb and knuckles above it; the finger tips far away, as they do not count."""
    points = np.full((21, 2), 100.0)
    for base, x in ((5, 90), (9, 100), (13, 110), (17, 120)):
        points[base] = x, 100 - length
        points[base + 1] = x, 100 - length - 10
        points[base + 2 : base + 4] = 500.0
    points[1:4] = [[95, 90], [85, 80], [80, 70]]
    points[4] = 500.0
    return points


def test_the_next_region_holds_palm_and_knuckles():
    # Index, middle and ring finger's knuckles lie around (100, 60), straight above the wrist: it is not turned.
    # From x 80 to 120, y 50 to 100: 40 × 50, moved up by 5, twice the longer side.
    assert around_hand(hand()) == pytest.approx((100, 70, 100, 100, 0))


def test_a_hand_that_points_right_is_turned():
    points = hand() - 100
    turned = np.column_stack([-points[:, 1], points[:, 0]]) + 100  # a quarter clockwise: up becomes right
    assert around_hand(turned) == pytest.approx((130, 100, 100, 100, pi / 2))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"x": 119.0}, True),
        ({"x": 121.0}, False),
        ({"y": 79.0}, False),
        ({"width": 139.0, "height": 139.0}, True),
        ({"width": 59.0, "height": 59.0}, False),
        ({"angle": 0.69}, True),  # 39.5°
        ({"angle": 0.71}, False),
        ({"angle": 2 * pi - 0.1}, True),
    ],
)
def test_a_hand_is_followed_while_its_region_changes_little(change, expected):
    new = Region(100, 100, 100, 100, 0.0)
    assert goes_on(new._replace(**change), new, np.array([[100.0, 100.0]])) is expected


def test_a_hand_that_leaves_the_new_region_is_not_followed():
    new = Region(100, 100, 100, 100, pi / 4)
    assert goes_on(new, new, np.array([[100.0, 100.0 + 44 * 2**0.5]]))  # along the diagonal, within 45 on each side
    assert not goes_on(new, new, np.array([[100.0, 100.0 + 46 * 2**0.5]]))
    assert not goes_on(new, new, np.array([[132.5, 132.5]])), "straight to the side, 45.96 away"


@pytest.mark.parametrize(("wrist", "looks"), [(60.0, 1), (130.0, 0)])
def test_a_hand_that_cannot_be_in_the_picture_is_not_looked_for(wrist, looks):
    """Fingers straight down, 20 long: the region is 108 wide, its middle 24 below the wrist."""
    asked = []

    class Palm:
        side = 4

        def look(self, picture):
            asked.append(picture.shape)

        def output(self, number):
            return np.array([2.0, 2.0, 2.0, 3.0])

    class Hand(Palm):
        def output(self, number):
            return np.zeros(63)  # no hand is there

    models = SimpleNamespace(palm=Palm(), hand=Hand())
    body = np.zeros((33, 3))
    body[[15, 17, 19]] = [[50, wrist, 1], [45, wrist + 20, 1], [55, wrist + 20, 1]]
    tracker = HandTracker(models, (15, 17, 19))
    assert tracker.find(np.zeros((120, 100, 3), np.uint8), body) is None and len(asked) == 2 * looks
