"""Pictures of a video and the body in them → the landmarks of one hand."""

from math import cos, degrees, pi, sin

import numpy as np

from dsta.video.models import HandModels
from dsta.video.regions import Region, around, cut, in_region, share_inside, squared, turn

HAND = {"hand_root": 0, "thumb_tip": 4, "index_base": 5, "index_tip": 8, "middle_base": 9, "middle_tip": 12}
HAND |= {"ring_base": 13, "ring_tip": 16, "little_base": 17, "little_tip": 20}
"""MediaPipe's numbers of our joints."""

_KNUCKLES = (5, 9, 13)  # of index, middle and ring finger
_STEADY = [0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]  # landmarks that move little: no finger tips

_LEAST_WRIST = 0.1  # visibility of a wrist near which a hand is looked for
_LEAST_INSIDE = 0.3  # of the place near a wrist; of hands that MediaPipe found, none had less (docs/log.md)
_LEAST = 0.5  # certainty of a hand in the region
_DOWN = -0.1  # of the region's height: it lies nearer to the finger tips than its points
_MOST_TURN, _MOST_MOVE, _MOST_GROWTH = 40.0, 0.2, 0.4  # degrees and fractions, from one picture to the next
_INSIDE = 0.9  # of the new region: the hand of the last picture must lie in it


class HandTracker:
    """Follows one hand through a video. As
    mediapipe/tasks/cc/vision/holistic_landmarker/holistic_hand_tracking.cc."""

    def __init__(self, models: HandModels, palm: tuple[int, int, int]) -> None:
        """palm: MediaPipe's numbers of wrist, little finger and index finger of the body."""
        self._models, self._palm = models, list(palm)
        self._last: np.ndarray | None = None

    def find(self, picture: np.ndarray, body: np.ndarray | None) -> np.ndarray | None:
        """(21, 2): x and y in pixels; None where the hand is not seen. body: (33, 3) as BodyTracker finds it."""
        region, last, self._last = self._place(picture, body), self._last, None
        if region is None:
            return None
        if last is not None and goes_on(around_hand(last), region, last):
            region = around_hand(last)
        model = self._models.hand
        model.look(cut(picture, region, model.side))
        if model.output(1)[0] > _LEAST:
            self._last = in_region(region, model.output(0).astype(float).reshape(-1, 3)[:, :2] / model.side)
        return self._last

    def _place(self, picture: np.ndarray, body: np.ndarray | None) -> Region | None:
        """Where the hand may be, by this picture alone; None where too little of it is in the picture, which MediaPipe
        looks at in vain.

        As mediapipe/tasks/cc/vision/hand_landmarker/hand_roi_refinement_graph.cc.
        """
        if body is None or not body[self._palm[0], 2] > _LEAST_WRIST:
            return None
        region, model = near_palm(*body[self._palm, :2]), self._models.palm
        if share_inside(region, picture) < _LEAST_INSIDE:
            return None
        model.look(cut(picture, region, model.side))
        points = model.output(0).astype(float).reshape(2, 2) / model.side
        return squared(around(in_region(region, points), -pi / 2), 1.0, _DOWN)


def near_palm(wrist: np.ndarray, little: np.ndarray, index: np.ndarray) -> Region:
    """Where a hand may be, by the body's landmarks.

    As mediapipe/modules/holistic_landmark/calculators/hand_detections_from_pose_to_rects_calculator.cc.
    """
    middle = (2 * index + little) / 3
    edge = np.stack([middle, 2 * middle - wrist])  # as far from the middle as the wrist, on the other side
    return squared(around(edge, pi / 2), 2.7, _DOWN)


def around_hand(hand: np.ndarray) -> Region:
    """The region in which the hand of the last picture is looked for in the next one.

    As mediapipe/modules/hand_landmark/calculators/hand_landmarks_to_rect_calculator.cc.
    """
    x, y = (((hand[_KNUCKLES[0]] + hand[_KNUCKLES[2]]) / 2 + hand[_KNUCKLES[1]]) / 2 - hand[0]).tolist()
    angle = turn(x, y, pi / 2)
    c, s = cos(angle), sin(angle)
    along = np.array([[c, -s], [s, c]])  # columns: the region's right and down
    turned = hand[_STEADY] @ along
    low, high = turned.min(0), turned.max(0)
    (x, y), (width, height) = (along @ (low + high) / 2).tolist(), (high - low).tolist()
    return squared(Region(x, y, width, height, angle), 2.0, _DOWN)


def goes_on(last: Region, new: Region, hand: np.ndarray) -> bool:
    """Whether a hand is followed: the new region differs little from the last one, and holds all its landmarks.

    As mediapipe/modules/holistic_landmark/calculators/roi_tracking_calculator.cc.
    """
    c, s = cos(new.angle), sin(new.angle)
    along = np.array([[c, -s], [s, c]])
    turned = abs(degrees(last.angle - new.angle))
    moved = np.abs(np.array([last.x - new.x, last.y - new.y]) @ along)
    alike = (
        min(turned, 360 - turned) <= _MOST_TURN
        and bool((moved <= _MOST_MOVE * new.width).all())
        and abs(last.width - new.width) <= _MOST_GROWTH * new.width
    )
    away = np.abs((hand - [new.x, new.y]) @ along)
    return alike and bool((away < _INSIDE * new.width / 2).all())
