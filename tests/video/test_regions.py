"""Regions against values worked out by hand."""

from math import cos, pi, sin

import numpy as np
import pytest

from dsta.video.regions import Region, around, cut, in_region, share_inside, squared, turn


@pytest.mark.parametrize(
    ("vector", "upright", "expected"),
    [
        ((0, -1), pi / 2, 0.0),
        ((1, 0), pi / 2, pi / 2),
        ((0, 1), pi / 2, -pi),
        ((-1, 0), pi / 2, -pi / 2),
        ((0, 1), -pi / 2, 0.0),
        ((-1, 0), -pi / 2, pi / 2),
    ],
)
def test_a_turn_brings_a_vector_upright(vector, upright, expected):
    assert turn(*vector, upright) == pytest.approx(expected)


def test_a_region_around_two_points_is_twice_as_wide_as_they_are_apart():
    # From (10, 20) three right and four up: 5 pixels; that lies 36.87° clockwise from straight up.
    region = around(np.array([[10.0, 20.0], [13.0, 16.0]]), pi / 2)
    assert region == pytest.approx((10, 20, 10, 10, np.arctan2(3, 4)))


def test_a_region_is_made_square_and_moved_along_its_own_down():
    # 8 × 20, turned by 90° clockwise: its down points left.
    assert squared(Region(50, 60, 8, 20, pi / 2), 1.5, 0.1) == pytest.approx((48, 60, 30, 30, pi / 2))
    assert squared(Region(50, 60, 20, 8, 0.0), 2.0, -0.25) == pytest.approx((50, 58, 40, 40, 0))


def test_points_in_a_region_are_points_of_the_picture():
    angle = pi / 6
    region = Region(100, 50, 40, 20, angle)
    right, down = np.array([cos(angle), sin(angle)]), np.array([-sin(angle), cos(angle)])
    corners = [[0, 0], [1, 0], [0.5, 0.5], [1, 1]]
    expected = [[100, 50] + (x - 0.5) * 40 * right + (y - 0.5) * 20 * down for x, y in corners]
    assert in_region(region, np.array(corners)) == pytest.approx(np.array(expected))


def test_a_piece_that_needs_no_scaling_is_the_pictures_own_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    assert (cut(picture, Region(30, 20, 16, 16, 0.0), 16) == picture[12:28, 22:38]).all()
    # A quarter turn clockwise: the piece's right is the picture's down. Corners lie on corners, so that its first
    # column is that of the region's right edge, which is one pixel further on.
    turned = cut(picture, Region(30, 20, 16, 16, pi / 2), 16)
    assert (turned == picture[12:28, 23:39].swapaxes(0, 1)[::-1]).all()


def test_beyond_the_picture_is_its_edge_or_black():
    picture = np.full((10, 10, 3), 200, np.uint8)
    region = Region(0, 5, 10, 10, 0.0)
    assert (cut(picture, region, 10) == 200).all()
    assert (cut(picture, region, 10, beyond_black=True)[:, :5] == 0).all()
    assert (cut(picture, region, 10, beyond_black=True)[:, 5:] == 200).all()


def test_half_a_pixel_is_the_mean_of_two():
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:, 2:] = 100
    assert cut(picture, Region(2.5, 2, 4, 4, 0.0), 4)[0, :, 0].tolist() == [0, 50, 100, 100]


@pytest.mark.parametrize(
    ("region", "share"),
    [
        (Region(50, 20, 40, 40, 0.0), 1.0),
        (Region(100, 20, 40, 40, 0.0), 0.5),  # its right half is outside
        (Region(100, 40, 40, 40, pi / 2), 0.25),  # a corner is left
        (Region(50, 40, 40, 40, pi / 4), 0.5),  # on a corner, cut in half by the picture's edge
        (Region(50, 70, 40, 40, 0.0), 0.0),
    ],
)
def test_how_much_of_a_region_is_in_the_picture(region, share):
    assert share_inside(region, np.zeros((40, 100, 3), np.uint8)) == pytest.approx(share, abs=0.04)
