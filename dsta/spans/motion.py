"""Where a longer video shows a sign: the hands' motion and rest cut it into spans. Joints alone are looked at."""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from dsta.keypoints import Pose
from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND

_SIDES = (("left_wrist", LEFT_HAND), ("right_wrist", RIGHT_HAND))
_SHOULDERS = [INDEX["left_shoulder"], INDEX["right_shoulder"]]
_ACROSS = 0.1  # seconds before and after a moment between which its speed is measured: joints tremble
_CARRIED = 0.3  # seconds for which a joint that is lost is taken to be between where it was and where it is found again
_FEWEST_WITH_HAND = 2  # frames of a span in which a hand was seen; with fewer, no sign is recognised


class Span(NamedTuple):
    """Where a part of a video begins and ends, in seconds."""

    start: float
    end: float


@dataclass(frozen=True)
class SpanRule:
    """What separates signs. Lengths are shoulder widths, times seconds. The values were chosen with `eval/spans.py` on
    videos made of training clips (docs/log.md).

    low: how far below the shoulders a hand rests, or lower. slow: the speed a second below which it is still.
    rest: how long no hand is raised between two signs, at least. pause: how long no raised hand moves between two
    signs, at least. dip: how far the higher hand sinks between two signs, and rises again, at least.
    shortest, longest: a span shorter than that is none; a longer one is cut where the hands are slowest.
    """

    low: float = 1.0
    slow: float = 0.1
    rest: float = 0.15
    pause: float = 1.0
    dip: float = 0.3
    shortest: float = 0.4
    longest: float = 4.0


def find_spans(pose: Pose, rule: SpanRule = SpanRule()) -> list[Span]:
    """The spans in which the hands sign, in order, none overlapping another.

    A span is the time in which a hand is raised and does not stand still for long. Hands that are low, still or not
    seen separate spans; lost for a moment they do not. Empty where the hands rest all the time or are not there.
    """
    depth, speed = hands_motion(pose)
    with_hand = np.any(pose.keypoints[:, LEFT_HAND + RIGHT_HAND, 2] > 0, 1)
    return [
        Span(round(start / pose.fps, 3), round(end / pose.fps, 3))
        for start, end in frames_of_spans(depth, speed, rule, pose.fps)
        if with_hand[start:end].sum() >= _FEWEST_WITH_HAND
    ]


def hands_motion(pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Of each frame and side, left and right (T, 2): how far below the shoulders the wrist is, in shoulder widths,
    infinite where it was not seen, and how fast the hand moves, in shoulder widths a second: the wrist, or the fingers
    around it where they are faster."""
    places = pose.keypoints[..., :2].astype(np.float64)
    places[pose.keypoints[..., 2] == 0] = np.nan
    places = _carried(places, round(_CARRIED * pose.fps))
    line, width = _shoulders(places[:, _SHOULDERS], pose)
    depth, speed = [], []
    for wrist, hand in _SIDES:
        there = np.isfinite(places[:, INDEX[wrist]])
        wrists = np.where(there, places[:, INDEX[wrist]], places[:, hand[0]])
        depth.append(np.nan_to_num((wrists[:, 1] - line) / width, nan=np.inf))
        fingers = _speed(places[:, hand[1:]] - places[:, hand[:1]], pose.fps)
        count = np.isfinite(fingers).sum(1)
        finger = np.nansum(fingers, 1) / np.maximum(count, 1)
        speed.append(np.maximum(np.nan_to_num(_speed(wrists, pose.fps)), finger) / width)
    return np.stack(depth, 1), np.stack(speed, 1)


def _shoulders(places: np.ndarray, pose: Pose) -> tuple[np.ndarray, float]:
    """(T,) y of the middle of the shoulders (T, 2, 2), and their median distance, in pixels."""
    widths = np.hypot(*(places[:, 0] - places[:, 1]).T)
    if not np.isfinite(widths).any():  # a person who fills the picture
        return np.full(len(places), 0.4 * pose.height), 0.25 * max(pose.width, pose.height)
    middle = places[..., 1].mean(1)
    return np.where(np.isfinite(middle), middle, np.nanmedian(middle)), max(float(np.nanmedian(widths)), 1.0)


def _carried(places: np.ndarray, most: int) -> np.ndarray:
    """The places (T, V, 2) with holes of at most `most` frames filled evenly; longer ones stay NaN."""
    filled, time = places.copy(), np.arange(len(places))
    for joint in range(places.shape[1]):
        there = np.flatnonzero(np.isfinite(places[:, joint, 0]))
        if len(there) < 2:
            continue
        after = np.searchsorted(there, time).clip(1, len(there) - 1)
        hole = (there[after] - there[after - 1] <= most + 1) & (time > there[0]) & (time < there[-1])
        for axis in range(2):
            filled[hole, joint, axis] = np.interp(time[hole], there, places[there, joint, axis])
    return filled


def _speed(places: np.ndarray, fps: float) -> np.ndarray:
    """(T, …) pixels a second of places (T, …, 2), from a moment before to one after; NaN where either is unknown."""
    step, time = max(1, round(_ACROSS * fps)), np.arange(len(places))
    before, after = np.maximum(time - step, 0), np.minimum(time + step, len(places) - 1)
    far = np.linalg.norm(places[after] - places[before], axis=-1)
    return np.asarray(far * (fps / np.maximum(after - before, 1)).reshape(-1, *[1] * (far.ndim - 1)))


def frames_of_spans(depth: np.ndarray, speed: np.ndarray, rule: SpanRule, fps: float) -> list[tuple[int, int]]:
    """First frame of each span and the one after its last, of what `hands_motion` tells."""
    raised, higher = depth < rule.low, np.minimum(depth.min(1), rule.low)
    moving = np.any(raised & (speed > rule.slow), 1)
    signing = _without_gaps(moving, np.any(raised, 1), rule, fps)
    at_dips = [part for run in _runs(signing) for part in _cut_at_dips(*run, higher, rule, fps)]
    parts = [part for run in at_dips for part in _cut_to_length(*run, speed.max(1), rule, fps)]
    return [(start, end) for start, end in parts if (end - start) / fps >= rule.shortest]


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """First frame and the one after the last of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _without_gaps(moving: np.ndarray, raised: np.ndarray, rule: SpanRule, fps: float) -> np.ndarray:
    """(T,) where somebody signs: where a raised hand moves, and gaps between that are too short to separate signs.

    moving, raised: (T,) whether a raised hand moves, and whether one is raised at all.
    """
    signing = moving.copy()
    for (_, end), (start, _) in pairwise(_runs(signing)):
        lowered = max((b - a for a, b in _runs(~raised[end:start])), default=0)
        if (start - end) / fps < rule.pause and lowered / fps < rule.rest:
            signing[end:start] = True
    return signing


def _cut_at_dips(start: int, end: int, depth: np.ndarray, rule: SpanRule, fps: float) -> list[tuple[int, int]]:
    """A run of frames, cut where the higher hand sinks and rises again."""
    from scipy.signal import find_peaks  # here: the page's process that looks for joints needs no more than `Span`

    apart = max(1, round(rule.shortest * fps))
    dips, _ = find_peaks(depth[start:end], prominence=rule.dip, distance=apart)
    return list(pairwise([start, *(start + dips).tolist(), end]))


def _cut_to_length(start: int, end: int, speed: np.ndarray, rule: SpanRule, fps: float) -> list[tuple[int, int]]:
    """A run of frames, in parts of at most the longest span, cut where the hands are slowest, rather in the middle: at
    its ends a place counts as a shoulder width a second faster than there. One of too few frames to cut stays whole."""
    margin, moment = (max(1, round(seconds * fps)) for seconds in (rule.shortest, 2 * _ACROSS))
    if (end - start) / fps <= rule.longest or end - start <= 2 * margin:
        return [(start, end)]
    around = np.convolve(speed[start:end], np.ones(moment) / moment, "same")  # a turn of the hand is not quiet
    around += np.linspace(-1, 1, end - start) ** 2
    at = start + margin + int(np.argmin(around[margin:-margin]))
    return _cut_to_length(start, at, speed, rule, fps) + _cut_to_length(at, end, speed, rule, fps)
