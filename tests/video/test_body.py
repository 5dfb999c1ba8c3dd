"""The body's landmarks: heat maps worked out by hand; how a person is followed, lost and found."""

import numpy as np
import pytest

from dsta.video.body import BODY, BodyTracker, refined
from dsta.video.models import lent_models

SURE, NOT = 8.0, -100.0  # logits


def heat(*places):
    """One landmark's map of 64 × 64 that is sure at rows and columns."""
    found = np.full((64, 64, 1), NOT)
    for row, column in places:
        found[row, column] = SURE
    return found


def test_a_point_moves_to_the_middle_of_the_heat_near_it():
    points = np.array([[20.5 / 64, 30.9 / 64]])  # column 20, row 30
    assert refined(points, heat((30, 22), (32, 22)), [0]) * 64 == pytest.approx(np.array([[22, 31]]))
    assert refined(points, heat((33, 23), (34, 24)), [0]) * 64 == pytest.approx(np.array([[23, 33]])), "3 on each side"
    assert (refined(points, heat((34, 20)), [0]) == points).all(), "no heat near"
    assert (refined(points, heat((30, 22)), []) == points).all(), "not asked for"


def test_a_point_at_the_edge_looks_at_what_is_there_and_one_outside_stays():
    assert refined(np.array([[0.1, 63.5]]) / 64, heat((62, 1)), [0]) * 64 == pytest.approx(np.array([[1, 62]]))
    for outside in ([-1.0, 5.0], [64.0, 5.0], [5.0, -1.0], [5.0, 80.0]):
        points = np.array([outside]) / 64
        assert (refined(points, heat((5, 1), (5, 62)), [0]) == points).all(), outside


def test_heat_that_is_unsure_moves_nothing():
    points = np.array([[20.5, 30.5]]) / 64
    assert (refined(points, np.full((64, 64, 1), -0.1), [0]) == points).all()


def test_who_leaves_is_lost_and_found_again():
    picture = pytest.importorskip("skimage.data", reason="scikit-image has the test picture").astronaut()
    grey = np.full_like(picture, 128)
    with lent_models() as models:
        tracker, looked = BodyTracker(models), []
        look = models.person.look
        models.person.look = lambda piece: looked.append(True) or look(piece)
        try:
            found = [tracker.find(each, 40 * i) for i, each in enumerate([picture, picture, grey, grey, picture])]
        finally:
            del models.person.look
    assert [each is not None for each in found] == [True, True, False, False, True]
    assert len(looked) == 3  # at the beginning, and where the one before was lost
    nose = BODY["nose"]
    assert found[4][nose, :2] == pytest.approx(found[0][nose, :2], abs=1e-6)  # nothing is left of the time before
