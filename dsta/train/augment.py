"""Training-time variation of a clip, before `prepare`: other cameras, bodies, speeds, and lost joints."""

from dataclasses import dataclass

import numpy as np

from dsta.skeleton import LEFT_HAND, RIGHT_HAND
from dsta.streams import mirror, resample, seen, shoulder_frame


@dataclass(frozen=True)
class Augmentation:
    """How much a clip varies. Lengths are in shoulder widths, spreads are standard deviations unless said otherwise.

    crop: most that is cut from each end, as a share of the clip. warp: of the smooth time warp, as a share of the clip.
    mirror: probability. rotation: degrees. scale, stretch: of the logarithm, for both axes and for x alone.
    shift: half-width of a uniform distribution. noise: per joint and frame.
    hand_drop: probability for each hand to be lost during a run of up to half the clip.
    joint_drop: most of the single joints that are lost, as a share; every second clip loses none.
    """

    crop: float = 0.10
    warp: float = 0.03
    mirror: float = 0.5
    rotation: float = 6.0
    scale: float = 0.08
    stretch: float = 0.10
    shear: float = 0.06
    shift: float = 0.10
    noise: float = 0.01
    hand_drop: float = 0.2
    joint_drop: float = 0.2


def augment(clip: np.ndarray, rng: np.random.Generator, by: Augmentation) -> np.ndarray:
    """A variation of `clip` (T, 27, 3), canvas pixels and score; the number of frames may fall, never below 1.

    Joints that were not seen stay (0, 0, 0).
    """
    clip = resample(clip, _positions(len(clip), rng, by))
    if rng.random() < by.mirror:
        clip = mirror(clip)
    clip = _drop_hands(clip, rng, by)
    origin, width = shoulder_frame(clip)
    points = (clip[..., :2] - origin) @ _camera(rng, by).T
    points += rng.uniform(-by.shift, by.shift, 2) * width
    points += rng.normal(0, by.noise * width, points.shape)
    varied = np.concatenate([points + origin, clip[..., 2:]], -1).astype(clip.dtype)
    found = seen(clip)
    if rng.random() < 0.5:
        found &= rng.random(found.shape) >= rng.uniform(0, by.joint_drop)
    return np.where(found[..., None], varied, 0).astype(clip.dtype)


def _positions(length: int, rng: np.random.Generator, by: Augmentation) -> np.ndarray:
    """Frame positions after the ends are cropped and time is bent smoothly; increasing."""
    start, end = rng.uniform(0, by.crop, 2) * (length - 1)
    count = max(1, round(length - start - end))
    time = np.linspace(0, 1, count)
    bend = sum(rng.normal(0, by.warp / k) * np.sin(np.pi * k * time) for k in (1, 2))
    return np.clip(np.maximum.accumulate(start + (time + bend) * (length - 1 - start - end)), 0, length - 1)


def _camera(rng: np.random.Generator, by: Augmentation) -> np.ndarray:
    """(2, 2) map that rotates, scales, stretches and shears."""
    angle = np.deg2rad(rng.normal(0, by.rotation))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1, rng.normal(0, by.shear)], [0, 1]])
    stretch = np.diag([np.exp(rng.normal(0, by.stretch)), 1])
    return turn @ shear @ stretch * np.exp(rng.normal(0, by.scale))


def _drop_hands(clip: np.ndarray, rng: np.random.Generator, by: Augmentation) -> np.ndarray:
    dropped = clip.copy()
    for hand in (LEFT_HAND, RIGHT_HAND):
        if rng.random() < by.hand_drop:
            length = rng.integers(1, max(2, len(clip) // 2 + 1))
            start = rng.integers(0, len(clip) - length + 1)
            dropped[start : start + length, hand] = 0
    return dropped
