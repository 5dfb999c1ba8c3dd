"""Where a person is, against values worked out by hand."""

from math import pi

import numpy as np
import pytest
from helpers.media import numbered

from dsta.video.models import lent_models
from dsta.video.person import anchors, best_of, find_person

FIRST_ROW = 28 * 2  # anchors of the finest layer's row: two a place


def test_the_anchors_lie_in_the_middle_of_their_places():
    places = anchors(224)
    assert len(places) == 2 * 28 * 28 + 2 * 14 * 14 + 6 * 7 * 7  # the detector's 2254 boxes
    assert places[:4] == pytest.approx(np.array([[4, 4], [4, 4], [12, 4], [12, 4]]) / 224)
    assert places[FIRST_ROW] == pytest.approx(np.array([4, 12]) / 224)
    assert places[2 * 28 * 28] == pytest.approx(np.array([8, 8]) / 224)
    assert places[-1] == pytest.approx(np.array([208, 208]) / 224)


def test_boxes_of_one_person_are_averaged_by_their_certainty_and_another_is_not():
    boxes, logits = np.zeros((2254, 12)), np.full(2254, -100.0)
    boxes[:, 2:4] = 0.2
    first, second, other = 0, 2, 2253  # anchors at (4, 4), (12, 4) and (208, 208) of 224
    boxes[first, 4:6], boxes[second, 4:6], boxes[other, 4:6] = (0.1, 0.2), (0.1, 0.2), (0.5, 0.5)
    logits[[first, second, other]] = np.log(4), np.log(1.5), np.log(1.1)  # certainties 0.8, 0.6 and 0.52
    points = best_of(boxes, logits)
    x = (0.8 * 4 + 0.6 * 12) / 1.4 / 224
    assert points[0] == pytest.approx([0.1 + x, 0.2 + 4 / 224])
    assert points[1] == pytest.approx([x, 4 / 224])


def test_nobody_is_sure_enough():
    boxes, logits = np.zeros((2254, 12)), np.full(2254, -0.01)
    assert best_of(boxes, logits) is None
    logits[7], boxes[7, 2] = 5.0, -0.1  # a box of negative width is none
    assert best_of(boxes, logits) is None


def test_no_person_is_found_in_grey():
    with lent_models() as models:
        assert find_person(models.person, numbered(1, 160, 120)[0]) is None


def test_a_person_is_found_upright_around_her_shoulders_and_head():
    picture = pytest.importorskip("skimage.data", reason="scikit-image has the test picture").astronaut()
    with lent_models() as models:
        region = find_person(models.person, picture)
        narrow = find_person(models.person, np.pad(picture, ((0, 0), (400, 0), (0, 0))))
    assert abs(region.angle) < pi / 12
    assert region.width == region.height > 300
    assert narrow.x - 400 == pytest.approx(region.x, abs=region.width / 10)  # in pixels of the picture
    assert narrow.y == pytest.approx(region.y, abs=region.width / 10)
