"""A picture → the region of the person in it who is seen best, as MediaPipe's pose detector finds it."""

from math import pi

import numpy as np

from dsta.video.models import Model
from dsta.video.regions import Region, around, cut, in_region, squared

_STRIDES = {8: 1, 16: 1, 32: 3}  # pixels between anchors, and how many layers have them there
_LEAST = 0.5  # certainty of a person
_SAME = 0.5  # intersection over union of two boxes of the same person
_WIDER = 1.25  # the region than the circle of the body


def anchors(side: int) -> np.ndarray:
    """(A, 2): the anchors' centres, x and y as fractions of a picture of `side` pixels.

    As mediapipe/calculators/tflite/ssd_anchors_calculator.cc with the options of
    mediapipe/tasks/cc/vision/pose_detector/pose_detector_graph.cc: two anchors a place and layer, all of size 1.
    """
    every = []
    for stride, layers in _STRIDES.items():
        places = (np.arange(side // stride) + 0.5) / (side // stride)
        y, x = np.meshgrid(places, places, indexing="ij")
        every.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), 2 * layers, axis=0))
    return np.concatenate(every)


_ANCHORS = anchors(224)


def find_person(model: Model, picture: np.ndarray) -> Region | None:
    """The region in which a body is looked for.

    As mediapipe/tasks/cc/vision/pose_detector/pose_detector_graph.cc and CalculateRoiFromDetections of
    mediapipe/tasks/cc/vision/holistic_landmarker/holistic_pose_tracking.cc.
    """
    height, width = picture.shape[:2]
    whole = Region(width / 2, height / 2, max(width, height), max(width, height), 0.0)
    model.look(cut(picture, whole, model.side, beyond_black=True))
    points = best_of(model.output(0).astype(float) / model.side, model.output(1)[:, 0].astype(float))
    if points is None:
        return None
    return squared(around(in_region(whole, points[:2]), pi / 2), _WIDER)


def best_of(boxes: np.ndarray, logits: np.ndarray) -> np.ndarray | None:
    """(4, 2): the key points of the surest person, as fractions of the picture: the mean of those that mean the same
    person, weighted by certainty; None where nobody is sure enough.

    boxes: (A, 12), relative to the anchors: centre, size and four key points. As
    mediapipe/calculators/tensor/tensors_to_detections_calculator.cc and, with the algorithm WEIGHTED,
    mediapipe/calculators/util/non_max_suppression_calculator.cc.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits, -100, 100)))
    sure = np.flatnonzero((scores >= _LEAST) & (boxes[:, 2:4] >= 0).all(1))
    if not len(sure):
        return None
    boxes, scores, places = boxes[sure], scores[sure], _ANCHORS[sure]
    low, high = boxes[:, :2] + places - boxes[:, 2:4] / 2, boxes[:, :2] + places + boxes[:, 2:4] / 2
    best = scores.argmax()
    common = np.clip(np.minimum(high, high[best]) - np.maximum(low, low[best]), 0, None).prod(1)
    area = (high - low).prod(1)
    weights = scores * (common > _SAME * (area + area[best] - common))
    points = boxes[:, 4:].reshape(-1, 4, 2) + places[:, None]
    return np.einsum("a,akd->kd", weights, points) / weights.sum()
