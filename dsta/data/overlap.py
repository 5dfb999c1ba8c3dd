"""The same clip in two places: by fingerprints of what is seen in it, and by its official id.

A fingerprint is 12 numbers that another run of an estimator, another frame rate, a re-encoded file or a start some
frames later hardly changes: quantiles over time of where joints are, measured in shoulder widths, projected to where
clips differ most and such changes least (LDAHash, Strecha et al. 2012). `eval/fingerprint.py` fitted the projection
and says how well clips are found again. No clip can be rebuilt from its fingerprint.
"""

import hashlib
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from dsta.data.benchmarks import BENCHMARKS, FACTS, MANY_KNOWN, clip_key, known_share, official
from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND
from dsta.streams import seen

LENGTH = 12
RADIUS = 20.0
"""Fingerprints that lie at most so far apart are of the same clip."""
PROJECTION_FILE = FACTS / "fingerprint.npz"
_QUANTILES = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
_STEP = 1 / 8  # of a number, in standard deviations of what another run of an estimator changes
_FEWEST_WITH_HANDS = 3  # frames
_AT_ONCE = 4096  # clips compared with all others


class Projection(NamedTuple):
    """centre, scale: (F,) of the features; a scaled one is clipped to ±3. axes: (F, 12)."""

    centre: np.ndarray
    scale: np.ndarray
    axes: np.ndarray

    def apply(self, features: np.ndarray) -> np.ndarray:
        """(N, F) features -> (N, 12) int8; a feature that is not there counts as an average one."""
        scaled = np.nan_to_num((features - self.centre) / self.scale).clip(-3, 3)
        return np.rint(scaled @ self.axes / _STEP).clip(-127, 127).astype(np.int8)


@cache
def _projection() -> Projection:
    with np.load(PROJECTION_FILE, allow_pickle=False) as saved:
        return Projection(*(saved[name].astype(np.float64) for name in Projection._fields))


def features(joints: np.ndarray) -> np.ndarray | None:
    """(F,) quantiles of a clip (T, 27, 3), over the frames in which a hand is seen, NaN for joints never seen.

    Body and hands from the middle of the shoulders, fingers from the root of their hand; x in shoulder widths, y in
    heights of the nose over the shoulders, as the picture's aspect may not be known. None where these are not seen.
    """
    finite = np.isfinite(joints).all(-1)
    there = seen(joints) & finite
    hands = there[:, LEFT_HAND + RIGHT_HAND].any(1)
    if hands.sum() >= _FEWEST_WITH_HANDS:
        joints, there = joints[hands], there[hands]
    places = np.where(there[..., None], joints[..., :2].astype(np.float64), np.nan)
    nose, left, right = (places[:, INDEX[name]] for name in ("nose", "left_shoulder", "right_shoulder"))
    middle = (left + right) / 2
    unit = np.array([_median(np.abs(left - right)[:, 0]), _median((middle - nose)[:, 1])])
    if not (unit >= 1).all():
        return None
    body = [INDEX[name] for name in ("nose", "left_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist")]
    roots = [LEFT_HAND[0], RIGHT_HAND[0]]
    parts = [places[:, body + roots] - middle[:, None]]
    parts += [places[:, hand[1:]] - places[:, hand[:1]] for hand in (LEFT_HAND, RIGHT_HAND)]
    return _quantiles(np.concatenate(parts, 1) / unit).ravel()


def _median(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else np.nan


def _quantiles(values: np.ndarray) -> np.ndarray:
    """(5, …) quantiles over the first axis of (T, …), NaN left out; as np.nanquantile, but fast."""
    ordered, known = np.sort(values, 0), (~np.isnan(values)).sum(0)
    place = _QUANTILES.reshape(-1, *[1] * known.ndim) * (known - 1).clip(0)
    below = place.astype(int)
    low, high = (np.take_along_axis(ordered, np.minimum(at, len(values) - 1), 0) for at in (below, below + 1))
    return low + np.where(place > below, (high - low) * (place - below), 0)


@dataclass(frozen=True)
class Fingerprints:
    """What clips are known again by.

    codes: (N, 12) int8. ids: (N,) uint64, hashes of their official ids, such as WLASL's; 0 where there is none.
    """

    codes: np.ndarray
    ids: np.ndarray

    @classmethod
    def of(cls, clips: Iterable[np.ndarray], names: Sequence[str] = (), glosses: Sequence[str] = ()) -> "Fingerprints":
        """Those of clips (T, 27, 3), with their names and glosses where these are known."""
        codes = np.array([_code(clip) for clip in clips], np.int8).reshape(-1, LENGTH)
        return cls(codes, _official_ids(names, glosses) if names else np.zeros(len(codes), np.uint64))

    @classmethod
    def none(cls) -> "Fingerprints":
        return cls(np.zeros((0, LENGTH), np.int8), np.zeros(0, np.uint64))

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, chosen: Sequence[int] | np.ndarray) -> "Fingerprints":
        """Those at some positions, or under a mask."""
        at = np.asarray(chosen) if len(chosen) else np.array([], int)
        return Fingerprints(self.codes[at], self.ids[at])

    def __or__(self, other: "Fingerprints") -> "Fingerprints":
        """Those of both, each once, sorted."""
        codes, ids = (np.concatenate(pair) for pair in ((self.codes, other.codes), (self.ids, other.ids)))
        order = np.lexsort((*codes.T, ids))
        kept = np.ones(len(order), bool)
        kept[1:] = (np.diff(codes[order], axis=0) != 0).any(1) | (np.diff(ids[order]) != 0)
        return Fingerprints(codes[order][kept], ids[order][kept])

    def found_in(self, others: "Fingerprints") -> np.ndarray:
        """(N,) for each the position of the same clip among the others, the nearest of several; -1 for none."""
        found = np.full(len(self), -1)
        if not len(others):
            return found
        for start in range(0, len(self), _AT_ONCE):
            apart = distances(self.codes[start : start + _AT_ONCE], others.codes)
            nearest = apart.argmin(1)
            near = apart[np.arange(len(apart)), nearest] <= RADIUS
            found[start : start + _AT_ONCE] = np.where(near, nearest, -1)
        place = {content: j for j, content in reversed(list(enumerate(others.ids.tolist()))) if content}
        by_id = np.array([place.get(own, -1) for own in self.ids.tolist()], int)
        return np.where(by_id >= 0, by_id, found)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) between codes (N, 12) and (M, 12)."""
    own, theirs = a.astype(np.float32), b.astype(np.float32)
    squared = (own**2).sum(1)[:, None] + (theirs**2).sum(1) - 2 * own @ theirs.T  # whole numbers below 2^24: exact
    return np.sqrt(squared)


def _code(joints: np.ndarray) -> np.ndarray:
    """(12,) int8; of a clip without shoulders a hash, which only the same numbers share."""
    found = features(joints)
    if found is None:
        content = np.ascontiguousarray(joints, np.float32).data
        return np.frombuffer(hashlib.blake2b(content, digest_size=LENGTH).digest(), np.int8)
    return _projection().apply(found[None])[0]


def _official_ids(names: Sequence[str], glosses: Sequence[str]) -> np.ndarray:
    """(N,) uint64 hashes of the ids by which an official list knows the clips, 0 for others.

    Others may bear the same numbers: the list must have a clip under the same gloss, or, where glosses are not known,
    know most of the names.
    """
    ids = np.zeros(len(names), np.uint64)
    for name in ("WLASL2000", "MSASL1000"):
        known, facts = official(name), BENCHMARKS[name].facts
        if not glosses and known_share(names, BENCHMARKS[name]) < MANY_KNOWN:
            continue
        for i, key in enumerate(map(clip_key, names)):
            if key in known and (not glosses or known[key].gloss == glosses[i]):
                ids[i] = int.from_bytes(hashlib.blake2b(f"{facts}/{key}".encode(), digest_size=8).digest())
    return ids


def in_another_group(clips: Fingerprints, groups: Sequence[Hashable]) -> np.ndarray:
    """(N,) bool: the clips that are in another group too, such as another fold."""
    kinds = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    group = np.array([kinds[each] for each in groups], int)
    found = np.zeros(len(clips), bool)
    for kind in kinds.values():
        found[group == kind] = clips[group == kind].found_in(clips[group != kind]) >= 0
    return found
