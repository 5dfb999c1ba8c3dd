"""What a recogniser withstands: clips with joints missing, hands dropped, noise, half the frame rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsta.skeleton import LEFT_HAND, NUM_JOINTS, RIGHT_HAND


@dataclass(frozen=True)
class Disturbance:
    """kind and level: `joints missing` (share of joints, drawn anew in each frame), `hands dropped` (share of frames
    without hands), `noise` (standard deviation in canvas pixels), `frame rate` (share of frames kept)."""

    kind: str
    level: float


DISTURBANCES = (
    *(Disturbance("joints missing", level) for level in (0.1, 0.2, 0.3)),
    *(Disturbance("hands dropped", level) for level in (0.5, 1.0)),
    *(Disturbance("noise", level) for level in (2.0, 5.0)),
    Disturbance("frame rate", 0.5),
)


def disturb(clip: np.ndarray, disturbance: Disturbance, rng: np.random.Generator) -> np.ndarray:
    """The clip (T, 27, 3), disturbed; a joint that goes missing becomes (0, 0, 0), as an estimator leaves it."""
    level = disturbance.level
    if disturbance.kind == "frame rate":
        return clip[:: round(1 / level)]
    clip = clip.copy()
    if disturbance.kind == "joints missing":
        clip[rng.random((len(clip), NUM_JOINTS)) < level] = 0
    elif disturbance.kind == "hands dropped":
        frames = rng.permutation(len(clip))[: round(level * len(clip))]
        clip[frames[:, None], LEFT_HAND + RIGHT_HAND] = 0
    elif disturbance.kind == "noise":
        shifts = rng.normal(0, level, (*clip.shape[:2], 2)).astype(clip.dtype)
        clip[..., :2] += np.where(clip[..., 2:] > 0, shifts, 0)
    else:
        raise ValueError(f"no disturbance is called {disturbance.kind}")
    return clip


class Disturbed(Sequence[np.ndarray]):
    """Clips, each disturbed by draws of its own that are the same every time and for every stream."""

    def __init__(self, clips: Sequence[np.ndarray], disturbance: Disturbance) -> None:
        self.clips, self.disturbance = clips, disturbance

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: Any) -> Any:
        return disturb(self.clips[i], self.disturbance, np.random.default_rng([2024, int(i)]))
