"""Pictures of a video, one after another → the landmarks of the body of the one person who is followed."""

from math import pi

import numpy as np

from dsta.video.models import Models
from dsta.video.person import find_person
from dsta.video.regions import Region, around, cut, in_region, squared
from dsta.video.smoothing import LowPass, OneEuro

BODY = {"nose": 0, "left_shoulder": 11, "right_shoulder": 12, "left_elbow": 13, "right_elbow": 14}
BODY |= {"left_wrist": 15, "right_wrist": 16}
"""MediaPipe's numbers of our joints. Its left is the person's left, as is ours."""
PALMS = {"left": (15, 17, 19), "right": (16, 18, 20)}
"""MediaPipe's numbers of wrist, little finger and index finger."""

_MARKS = 33  # of the body; two more, its centre and a point on the circle round it, say where it is
_USED = sorted({*BODY.values(), *PALMS["left"], *PALMS["right"], _MARKS, _MARKS + 1})
_LEAST = 0.5  # certainty of a body in the region, and of a heat map's point
_WIDER = 1.25  # the next picture's region than the circle of the body
_REACH = 3  # pixels of the heat map that are looked at on each side of a point


class BodyTracker:
    """Follows one person through a video. As
    mediapipe/tasks/cc/vision/holistic_landmarker/holistic_pose_tracking.cc."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._region: Region | None = None
        self._visibility = LowPass(0.1)  # goes on when the person is lost, as MediaPipe's does
        self._begin()

    def _begin(self) -> None:
        self._marks = OneEuro(cutoff=0.05, slope=80.0)
        self._circle = OneEuro(cutoff=0.01, slope=10.0)

    def find(self, picture: np.ndarray, milliseconds: int) -> np.ndarray | None:
        """(33, 3): x and y in pixels and visibility 0..1, of those landmarks that are used here, the others nought;
        None where nobody is seen. milliseconds: the picture's time, which rises."""
        region = self._region or find_person(self._models.person, picture)
        found = self._look(picture, region) if region else None
        if found is None:
            self._region = None
            self._begin()
            return None
        circle = found[_MARKS:, :2]
        size = around(circle, pi / 2).width
        self._region = squared(around(self._circle(circle, milliseconds, size), pi / 2), _WIDER)
        points = self._marks(found[:_MARKS, :2], milliseconds, size)
        return np.column_stack([points, self._visibility(found[:_MARKS, 2])])

    def _look(self, picture: np.ndarray, region: Region) -> np.ndarray | None:
        """(35, 3): the landmarks before smoothing; None where no body is in the region.

        As mediapipe/tasks/cc/vision/pose_landmarker/pose_landmarks_detector_graph.cc.
        """
        model = self._models.body
        model.look(cut(picture, region, model.side))
        if not model.output(1)[0] > _LEAST:
            return None
        values = model.output(0).astype(float).reshape(-1, 5)  # x, y, z in pixels, logits of visibility and presence
        points = refined(values[:, :2] / model.side, model.output(2), _USED)
        found = np.zeros((_MARKS + 2, 3))
        found[_USED, :2] = in_region(region, points[_USED])
        found[_USED, 2] = 1 / (1 + np.exp(-values[_USED, 3]))
        return found


def refined(points: np.ndarray, heat: np.ndarray, used: list[int]) -> np.ndarray:
    """Points moved to the middle of the heat near them, where it is sure enough.

    points: (L, 2), fractions of the picture. heat: (H, W, L) logits. used: which points. As
    mediapipe/calculators/util/refine_landmarks_from_heatmap_calculator.cc, whose test of the row is one of the column.
    """
    height, width = heat.shape[:2]
    points = points.copy()
    for i in used:
        column, row = int(points[i, 0] * width), int(points[i, 1] * height)
        if not (0 <= column < width and 0 <= row < height + _REACH):
            continue
        left, top = max(0, column - _REACH), max(0, row - _REACH)
        near = heat[top : row + _REACH + 1, left : column + _REACH + 1, i].astype(float)
        near = 1 / (1 + np.exp(-near))
        if near.max() >= _LEAST:
            total = near.sum()
            points[i, 0] = left / width + near.sum(0) @ np.arange(near.shape[1]) / total / width
            points[i, 1] = top / height + near.sum(1) @ np.arange(near.shape[0]) / total / height
    return points
