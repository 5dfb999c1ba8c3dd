"""A camera's pictures → joints, each at once, for who watches live."""

from contextlib import ExitStack

import numpy as np

from dsta.video.body import PALMS, BodyTracker
from dsta.video.hands import HandTracker
from dsta.video.holistic import placed
from dsta.video.models import lent_models
from dsta.video.read import Frame


class Follower:
    """Follows the person in pictures whose times rise. One thread at a time."""

    def __init__(self) -> None:
        self._lent = ExitStack()  # they go back when this one is forgotten
        self._models = self._lent.enter_context(lent_models())
        self.begin()

    def begin(self) -> None:
        """Another camera's pictures follow."""
        self._body = BodyTracker(self._models)
        self._hands = {side: HandTracker(self._models.hands[side], palm) for side, palm in PALMS.items()}
        self._last = -1

    def joints(self, frame: Frame) -> np.ndarray:
        """(27, 3): the joints in the picture's pixels, and scores; (0, 0, 0) where one is not seen."""
        self._last = max(self._last + 1, round(frame.time * 1000))
        marks = self._body.find(frame.image, self._last)
        return placed(marks, {side: hand.find(frame.image, marks) for side, hand in self._hands.items()})
