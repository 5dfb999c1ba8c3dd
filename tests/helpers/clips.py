"""A made-up clip, and the recipe that normalises it."""

import numpy as np

from dsta.skeleton import INDEX, LEFT_HAND
from dsta.streams import Recipe

NORMALISED = Recipe(window=16, bone="direct", normalise="shoulders", handless="drop", hand_local=True)
LEFT, RIGHT = INDEX["left_shoulder"], INDEX["right_shoulder"]


def made_clip():
    """(40, 27, 3): a person 120 px wide; the left hand is unseen in frames 10 to 19."""
    rng = np.random.default_rng(0)
    points = rng.uniform(150, 350, (1, 27, 2)) + rng.normal(0, 6, (40, 27, 2)).cumsum(0)
    points[:, LEFT], points[:, RIGHT] = (316, 220), (196, 224)
    made = np.dstack([points, rng.uniform(0.5, 1, (40, 27))]).astype(np.float32)
    made[10:20, LEFT_HAND] = 0
    return made
