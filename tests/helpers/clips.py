"""Made-up clips, and the recipe that normalises one."""

import numpy as np

from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND
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


def signer(frames=12, exchanged=False):
    """(frames, 27, 3): somebody 100 px wide in a picture of 512 × 512, both hands moving up; exchanged: each hand at
    the other one's wrist."""
    places = {"nose": (256, 120), "left_shoulder": (306, 200), "right_shoulder": (206, 200)}
    places |= {"left_elbow": (330, 280), "right_elbow": (182, 280), "left_wrist": (320, 340), "right_wrist": (192, 340)}
    clip = np.zeros((frames, 27, 3), np.float32)
    for name, place in places.items():
        clip[:, INDEX[name]] = (*place, 0.9)
    spread = np.arange(10)[:, None] * [2, 3]
    for side, hand in (("left", LEFT_HAND), ("right", RIGHT_HAND)):
        wrist = {"left": "right", "right": "left"}[side] if exchanged else side
        clip[:, hand, :2], clip[:, hand, 2] = spread + places[f"{wrist}_wrist"], 1
    moving = [INDEX["left_wrist"], INDEX["right_wrist"], *LEFT_HAND, *RIGHT_HAND]
    clip[:, moving, 1] -= np.linspace(0, 60, frames)[:, None]
    return clip
