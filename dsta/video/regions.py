"""Turned rectangles of a picture: from points, made larger and square, cut out, and points in them back in the picture.

All in pixels of the picture, where MediaPipe has fractions of its width and height.
"""

from functools import cache
from math import atan2, cos, hypot, pi, sin
from types import ModuleType
from typing import NamedTuple

import numpy as np

_GRID = np.stack(np.meshgrid(*[(np.arange(16) + 0.5) / 16] * 2), -1).reshape(-1, 2)  # places in a region


class Region(NamedTuple):
    """A rectangle: its centre, its sides, and the angle by which it is turned clockwise, in radians."""

    x: float
    y: float
    width: float
    height: float
    angle: float


def turn(x: float, y: float, upright: float) -> float:
    """The angle of a region that makes the vector (x, y) point to `upright` (radians, counter-clockwise from the right;
    y is down), between -π and π. As DetectionsToRectsCalculator::ComputeRotation,
    mediapipe/calculators/util/detections_to_rects_calculator.cc."""
    return (upright - atan2(-y, x) + pi) % (2 * pi) - pi


def around(points: np.ndarray, upright: float) -> Region:
    """A square by its centre and the middle of an edge, turned so that the latter lies at `upright`; (2, 2).

    As mediapipe/calculators/util/alignment_points_to_rects_calculator.cc.
    """
    (x, y), (dx, dy) = points[0].tolist(), (points[1] - points[0]).tolist()
    side = 2 * hypot(dx, dy)
    return Region(x, y, side, side, turn(dx, dy, upright))


def squared(region: Region, scale: float, down: float = 0.0) -> Region:
    """The square of the longer side, scaled, after the centre was moved by `down` of the height, along the region.

    As mediapipe/calculators/util/rect_transformation_calculator.cc with square_long.
    """
    move, side = region.height * down, max(region.width, region.height) * scale
    x, y = region.x - move * sin(region.angle), region.y + move * cos(region.angle)
    return Region(x, y, side, side, region.angle)


def in_region(region: Region, points: np.ndarray) -> np.ndarray:
    """(N, 2) points of the picture, in pixels, of points in a region, as fractions of its width and height.

    As mediapipe/calculators/util/landmark_projection_calculator.cc.
    """
    return points @ _axes(region).T + _corner(region)


def share_inside(region: Region, picture: np.ndarray) -> float:
    """How much of a region lies in the picture, 0..1, by 256 points of it."""
    x, y = in_region(region, _GRID).T
    height, width = picture.shape[:2]
    return float(((x >= 0) & (x < width) & (y >= 0) & (y < height)).mean())


def cut(picture: np.ndarray, region: Region, side: int, beyond_black: bool = False) -> np.ndarray:
    """A region as (side, side, 3) uint8. Beyond the picture lie its edge's pixels again, or black ones.

    As mediapipe/calculators/tensor/image_to_tensor_converter_opencv.cc: bilinear, and the corners, not the middles, of
    the corner pixels lie on the region's corners. MediaPipe's OpenCV is of version 4, where places between pixels are
    rounded to 1/32; version 5 is finer, which alone moves joints by 0.5 % of the shoulders' width. So they are rounded.
    """
    (across_x, down_x), (across_y, down_y) = (_axes(region) / side).astype(np.float32)
    left, top = _corner(region).astype(np.float32)
    steps = np.arange(side, dtype=np.float32)
    x, y = np.add.outer(down_x * steps + left, across_x * steps), np.add.outer(down_y * steps + top, across_y * steps)
    cv2 = _opencv()
    border = cv2.BORDER_CONSTANT if beyond_black else cv2.BORDER_REPLICATE
    try:
        whole, parts = cv2.convertMaps(x, y, cv2.CV_16SC2)
        return cv2.remap(np.ascontiguousarray(picture), whole, parts, cv2.INTER_LINEAR, borderMode=border)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError("There is not enough memory to cut out a part of the picture.") from error
        raise


@cache
def _opencv() -> ModuleType:
    """OpenCV, loaded where the first piece is cut, with no threads of its own: the pieces are small."""
    import cv2

    cv2.setNumThreads(1)
    return cv2


def _axes(region: Region) -> np.ndarray:
    """(2, 2): the region's right and down edges, as columns."""
    c, s = cos(region.angle), sin(region.angle)
    return np.array([[region.width * c, -region.height * s], [region.width * s, region.height * c]])


def _corner(region: Region) -> np.ndarray:
    """(2,): the region's upper left corner."""
    return np.array([region.x, region.y]) - _axes(region).sum(1) / 2
