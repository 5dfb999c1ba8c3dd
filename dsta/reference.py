"""Reference skeletons: how a sign looks on average, over several signers, and how a clip goes in step with it.

The average is DTW barycenter averaging (Petitjean et al. 2011): each clip is aligned in time to the average so far, and
what meets there is averaged anew.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from dsta.skeleton import CANVAS, INDEX, LEFT_HAND, NUM_JOINTS, RIGHT_HAND
from dsta.streams import mirror, resample, seen, shoulder_frame

FRAMES = 32
"""Of an average."""
_ROUNDS = 4
_FROM = 0.5  # share of the signers that must show a joint, for it to be shown
_MOST_A_SIGNER = 3  # clips of one; further takes of the same person add little
_MOST_SIGNERS = 24
_SHOULDERS = 110.0, (256.0, 190.0)  # width and place of an average's, in canvas pixels: head to hips fit


def average(clips: Sequence[np.ndarray], signers: Sequence[str]) -> tuple[np.ndarray, int] | None:
    """Clips (T, 27, 3) of one sign, in canvas pixels -> (FRAMES, 27, 3) on the canvas and how many signers it is of.

    signers: of each clip; each counts the same, whose left and right are exchanged where the sign is made with the
    other hand. A joint's score is the share of signers in whom it was seen, 0 where that is less than a half. None
    where no clip shows shoulders and a hand.
    """
    placed, owners = _chosen(clips, signers)
    if not len(placed):
        return None
    names, owner = np.unique(owners, return_inverse=True)
    weight = 1 / np.bincount(owner)[owner] / len(names)
    found = placed[_most_typical(placed)]
    for _ in range(_ROUNDS):
        steps = []
        for one in placed:
            ways = [(warping(found, turned), turned) for turned in (one, mirror(one))]
            (path, _), turned = min(ways, key=lambda way: way[0][1])
            steps.append((path, turned))
        found = _mean(steps, weight)
    found[found[..., 2] < _FROM] = 0
    return _smooth(found), len(names)


def warping(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, float]:
    """The cheapest way to align two clips (T, 27, 3) and (T', 27, 3) in time, after their shoulders were laid upon each
    other -> (S, 2) frames that meet, and the cost of one such pair in shoulder widths (Sakoe and Chiba 1978, steps of
    one in either or both)."""
    apart = _distances(on_shoulders(one), on_shoulders(other))
    times, other_times = apart.shape
    cost = np.full((times + 1, other_times + 1), np.inf)
    cost[0, 0] = 0
    for i in range(times):
        for j in range(other_times):
            cost[i + 1, j + 1] = apart[i, j] + min(cost[i, j], cost[i, j + 1], cost[i + 1, j])
    i, j, path = times - 1, other_times - 1, []
    while i >= 0 and j >= 0:
        path.append((i, j))
        before = {(i - 1, j - 1): cost[i, j], (i - 1, j): cost[i, j + 1], (i, j - 1): cost[i + 1, j]}
        i, j = min(before, key=lambda at: before[at])
    return np.array(path[::-1]), float(cost[-1, -1] / len(path) / _SHOULDERS[0])


def in_step(clip: np.ndarray, reference: np.ndarray) -> tuple[list[int], bool]:
    """For each frame of a clip (T, 27, 3) the frame of a reference (T', 27, 3) that goes with it; and whether the
    reference goes better seen in a mirror, of a signer who uses the other hand."""
    ways = [warping(clip, turned) for turned in (reference, mirror(reference))]
    mirrored = ways[1][1] < ways[0][1]
    path = ways[mirrored][0]
    return [round(float(path[path[:, 0] == frame, 1].mean())) for frame in range(len(clip))], mirrored


def on_shoulders(clip: np.ndarray) -> np.ndarray:
    """The clip moved and scaled, so that its shoulders lie where an average's do."""
    (x, y), width = shoulder_frame(clip)
    size, centre = _SHOULDERS
    placed = clip.astype(np.float32)
    placed[..., :2] = (placed[..., :2] - (x, y)) * (size / width) + centre
    placed[~seen(clip)] = 0
    return placed


def _chosen(clips: Sequence[np.ndarray], signers: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(N, FRAMES, 27, 3) of at most three clips of each signer, the frames with a hand, right-handed as far as can be
    told; and (N,) their signers."""
    placed: list[np.ndarray] = []
    owners: list[str] = []
    for clip, signer in zip(clips, signers, strict=True):
        there = seen(clip)
        hand = there[:, LEFT_HAND].any(1) | there[:, RIGHT_HAND].any(1)
        enough = hand.sum() >= 4 and there[:, [INDEX["left_shoulder"], INDEX["right_shoulder"]]].all(1).any()
        if not enough or owners.count(signer) >= _MOST_A_SIGNER:
            continue
        if signer not in owners and len(set(owners)) >= _MOST_SIGNERS:
            continue
        even = resample(on_shoulders(clip[hand]), np.linspace(0, hand.sum() - 1, FRAMES))
        moved = [_travelled(even[:, side]) for side in (LEFT_HAND, RIGHT_HAND)]
        placed.append(mirror(even) if moved[0] > moved[1] else even)
        owners.append(signer)
    return np.array(placed, np.float32).reshape(-1, FRAMES, NUM_JOINTS, 3), np.array(owners)


def _travelled(hand: np.ndarray) -> float:
    """How far a hand (T, 10, 3) goes while it is seen, in pixels, more where it is seen longer."""
    steps = [np.abs(b[:, :2] - a[:, :2]).mean() for a, b in pairwise(hand) if a[:, 2].any() and b[:, 2].any()]
    return float(np.sum(steps)) + len(steps)


def _most_typical(placed: np.ndarray) -> int:
    """The clip that is nearest to the others, frame by frame."""
    apart = [np.mean([_distances(one[None, t], other[None, t])[0, 0] for t in range(0, FRAMES, 4) for other in placed])
             for one in placed]  # fmt: skip
    return int(np.argmin(apart))


def _distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(T, T') mean distance in pixels of the joints that are seen in both frames; a hand that only one shows counts as
    a shoulder's width."""
    both = (seen(one)[:, None] & seen(other)[None]).astype(np.float32)
    either = (seen(one)[:, None] | seen(other)[None]).astype(np.float32)
    apart = np.sqrt(((one[:, None, :, :2] - other[None, :, :, :2]) ** 2).sum(-1))
    total = (apart * both + _SHOULDERS[0] * (either - both)).sum(-1)
    return np.asarray(total / np.maximum(either.sum(-1), 1))


def _mean(steps: Sequence[tuple[np.ndarray, np.ndarray]], weight: np.ndarray) -> np.ndarray:
    """(FRAMES, 27, 3) of clips and the frames in which each meets the average so far."""
    total, count = np.zeros((FRAMES, NUM_JOINTS, 2)), np.zeros((FRAMES, NUM_JOINTS))
    for (path, clip), share in zip(steps, weight, strict=True):
        there = seen(clip)[path[:, 1]] * (share / np.bincount(path[:, 0])[path[:, 0]])[:, None]
        np.add.at(total, path[:, 0], there[..., None] * clip[path[:, 1], :, :2])
        np.add.at(count, path[:, 0], there)
    found = np.zeros((FRAMES, NUM_JOINTS, 3), np.float32)
    found[..., :2] = np.where(count[..., None] > 0, total / np.maximum(count, 1e-9)[..., None], 0)
    found[..., 2] = np.clip(count, 0, 1)
    return found


def _smooth(clip: np.ndarray) -> np.ndarray:
    """Each joint's place averaged with the frames beside it, where it is seen in all three."""
    there, out = seen(clip), clip.copy()
    inner = (there[:-2] & there[1:-1] & there[2:])[..., None]
    smooth = (clip[:-2, :, :2] + 2 * clip[1:-1, :, :2] + clip[2:, :, :2]) / 4
    out[1:-1, :, :2] = np.where(inner, smooth, clip[1:-1, :, :2])
    out[..., 0] = np.clip(out[..., 0], 0, CANVAS)
    return out
