"""Made-up clips, the same every time: for checks and for measuring speed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dsta.data.prepared import UPSTREAM_FRAMES
from dsta.skeleton import LEFT_HAND, NUM_JOINTS, RIGHT_HAND


def wandering_clips(n: int, length: int, seed: int = 0) -> np.ndarray:
    """(n, length, 27, 3) float32 of wandering joints, of which a fifth are unseen, hands for frames on end."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(100, 400, (n, 1, NUM_JOINTS, 2)) + rng.normal(0, 5, (n, length, NUM_JOINTS, 2)).cumsum(1)
    clips = np.concatenate([points, rng.uniform(0.3, 1, (n, length, NUM_JOINTS, 1))], -1).astype(np.float32)
    clips[rng.random((n, length, NUM_JOINTS)) < 0.2] = 0
    for hand in (LEFT_HAND, RIGHT_HAND):
        for clip, start in zip(clips, rng.integers(0, length, n), strict=True):
            clip[start : start + length // 3, hand] = 0
    return clips


class RandomClips(Sequence[np.ndarray]):
    """Clips (150, 27, 3) float32 of a seeded generator, the same every time."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: Any) -> Any:
        clip = np.random.default_rng([7, int(i)]).random((UPSTREAM_FRAMES, NUM_JOINTS, 3), np.float32)
        return clip * np.array([512, 512, 1], np.float32)
