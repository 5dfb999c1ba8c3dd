"""A made-up signer whose hands move when they are told to."""

import numpy as np
from helpers.clips import signer

from dsta.keypoints import Pose
from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND

WIDTH = 100  # pixels between the shoulders
ARMS = {"left": [INDEX["left_wrist"], *LEFT_HAND], "right": [INDEX["right_wrist"], *RIGHT_HAND]}


def signing(parts, seconds, fps=15, sides=("right",), up=0.3, down=1.5, pace=1.5):
    """A Pose (seconds · fps frames) of somebody whose hands rest `down` shoulder widths below the shoulders, and are
    `up` below them and move from side to side in the parts (start, end) in seconds. pace: shoulder widths a second."""
    times = np.arange(round(seconds * fps)) / fps
    keypoints = np.repeat(signer(frames=1), len(times), 0)
    busy = np.any([(times >= start) & (times < end) for start, end in parts], 0) if parts else times < 0
    for side, arm in ARMS.items():
        shoulder, wrist = keypoints[0, INDEX["left_shoulder"], 1], keypoints[0, arm[0], 1]
        keypoints[:, arm, 1] += shoulder + down * WIDTH - wrist
        if side in sides:
            keypoints[np.ix_(busy, arm, [1])] -= (down - up) * WIDTH
            sway = np.abs((times * pace / 0.5) % 2 - 1) * 0.5 * WIDTH  # to and fro at an even pace
            keypoints[np.ix_(busy, arm, [0])] += sway[busy, None, None]
    return Pose(keypoints, fps, 512, 512, "mediapipe-holistic")
