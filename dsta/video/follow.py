"""One camera's pictures → joints, each at once, for who watches live."""

from contextlib import ExitStack

import numpy as np

from dsta.video.holistic import _joints, _landmarker
from dsta.video.read import Frame


class Follower:
    """Follows the person in pictures whose times rise."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._find = self._stack.enter_context(_landmarker())

    def joints(self, frame: Frame) -> np.ndarray:
        """(27, 3) float32: the joints in the picture's pixels, and scores; (0, 0, 0) where one is not seen."""
        height, width = frame.image.shape[:2]
        return _joints(self._find(frame), width, height)
