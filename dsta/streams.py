"""From a clip to network input: recipes, the four streams, fusion. The only way in.

The default `Recipe()` reproduces the reference's feeder to rounding (arXiv 2403.12519; upstream `feeders/`), its two
known oddities included: the chained bone rule and its sampling index. Other recipes travel with their weights.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Self, get_args, get_type_hints

import numpy as np

from dsta.common import UserError
from dsta.skeleton import BONES, CANVAS, INDEX, LEFT_HAND, MIRROR, NUM_JOINTS, PARENTS, RIGHT_HAND

_HAND_ROOTS = (LEFT_HAND[0], RIGHT_HAND[0])
_LIMB_ROOT = PARENTS.copy()
for _hand in (LEFT_HAND, RIGHT_HAND):
    _LIMB_ROOT[_hand[1:]] = _hand[0]


BoneRule = Literal["chained", "direct"]


class Stream(StrEnum):
    """What the network looks at: positions, bone vectors, or the motion of either."""

    JOINT = "joint"
    BONE = "bone"
    JOINT_MOTION = "joint_motion"
    BONE_MOTION = "bone_motion"

    @property
    def is_bone(self) -> bool:
        return self in (Stream.BONE, Stream.BONE_MOTION)

    @property
    def is_motion(self) -> bool:
        return self in (Stream.JOINT_MOTION, Stream.BONE_MOTION)


@dataclass(frozen=True)
class Recipe:
    """How a clip becomes network input. The defaults are upstream's; a recipe is saved beside its weights.

    window: frames that the network sees.
    bone: `chained` is upstream's in-place rule, in which 14 joints subtract a parent that was already differenced
        (published checkpoints need it); `direct` is joint minus parent.
    normalise: `nose` is upstream's way: motion between neighbouring frames, frames repeated or skipped to fill the
        window, the clip's mean nose subtracted, the scale in pixels. `shoulders` makes clips of all cameras alike: the
        mean shoulder midpoint is subtracted, the median shoulder width is the unit, frames are interpolated, motion is
        between those, a joint that was not seen is zero, and a bone has its joint's score.
    handless: `drop` leaves out frames in which neither hand was seen (`shoulders` only).
    hand_local: two more channels: hand joints relative to the hand's root, other joints relative to the parent
        (`shoulders` only).
    views: forward passes averaged in evaluation: 1, 2 (and mirrored) or 4 (and both cut to their middle 90 %).

    Raises UserError for values that are unknown or do not go together.
    """

    window: int = 120
    bone: BoneRule = "chained"
    normalise: Literal["nose", "shoulders"] = "nose"
    handless: Literal["keep", "drop"] = "keep"
    hand_local: bool = False
    views: Literal[1, 2, 4] = 1

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            allowed = get_args(hint)
            if allowed and getattr(self, name) not in allowed:
                raise UserError(f"The recipe's {name} must be one of {allowed}, not {getattr(self, name)!r}.")
        if not isinstance(self.window, int) or self.window < 1:
            raise UserError(f"The recipe's window must be a number of frames, at least 1, not {self.window!r}.")
        if self.normalise == "nose" and (self.handless == "drop" or self.hand_local):
            raise UserError("The recipe's handless='drop' and hand_local need normalise='shoulders'.")
        if self.normalise == "shoulders" and self.bone != "direct":
            raise UserError("The recipe's normalise='shoulders' needs bone='direct'.")

    @property
    def channels(self) -> int:
        return 5 if self.hand_local else 3

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The recipe written by `to_dict`. Raises UserError when a field is unknown."""
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise UserError(
                f"The recipe has unknown fields ({', '.join(unknown)}): update dsta or retrain the weights."
            )
        return cls(**values)


def prepare(
    clip: np.ndarray, stream: Stream | str, recipe: Recipe | None = None, rng: random.Random | None = None
) -> np.ndarray:
    """Network input of one clip.

    clip: (T, 27, 3) floating; x and y in pixels of the canvas, score. Infinite values become 0.
    rng: None for evaluation. A `random.Random` draws what the reference draws in training, in its order: frames,
        mirror, shift in x, shift in y (upstream's recipe only; `dsta.train.augment` varies clips for every recipe).
    Returns (recipe.channels, recipe.window, 27) in the clip's dtype.
    Raises UserError for a wrong shape, an empty clip or NaN.
    """
    stream, recipe = Stream(stream), recipe or Recipe()
    clip = checked(clip)
    if recipe.normalise == "nose":
        return _prepare_pixels(clip, stream, recipe, rng)
    if rng is not None:
        raise ValueError("the reference's training draws are defined for normalise='nose' only; use dsta.train.augment")
    return _prepare_normalised(clip, stream, recipe)


def views(clip: np.ndarray, recipe: Recipe) -> list[np.ndarray]:
    """The variants of a clip (T, 27, 3) whose logits are averaged in evaluation, the clip itself first."""
    variants = [clip]
    if recipe.views >= 2:
        variants.append(mirror(clip))
    if recipe.views >= 4:
        cut = round(len(clip) / 20)
        variants += [variant[cut : len(clip) - cut] for variant in variants]
    return variants


def fuse(logits: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """Weighted mean Σ w·logits / Σ w of streams' raw logits, each (N, K) -> (N, K) (paper, section 4.3).

    Streams in `weights` that have no logits are an error, and so are weights that do not sum to more than zero.
    """
    missing = sorted(set(weights) - set(logits))
    if missing:
        raise ValueError(f"no logits for the stream(s) {', '.join(missing)}")
    total = float(sum(weights.values()))
    if total <= 0:
        raise ValueError("fusion weights must sum to more than zero")
    return np.sum([weight / total * np.asarray(logits[stream]) for stream, weight in weights.items()], axis=0)


def seen(clip: np.ndarray) -> np.ndarray:
    """(T, 27) bool: the joints that were found, which is to say those whose score is not zero."""
    return clip[..., 2] > 0


def mirror(clip: np.ndarray) -> np.ndarray:
    """The clip seen in a mirror: sides swapped, x reversed on the canvas; unseen joints stay at zero."""
    mirrored = clip[:, MIRROR].copy()
    mirrored[..., 0] = np.where(seen(mirrored), CANVAS - mirrored[..., 0], 0)
    return mirrored


def resample(clip: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The clip at fractional frame positions (W,) in 0..T-1, linear where a joint is seen on both sides.

    Elsewhere the nearer frame's joint is taken, seen or not.
    """
    before = np.clip(np.floor(positions).astype(int), 0, len(clip) - 1)
    after = np.minimum(before + 1, len(clip) - 1)
    share = (positions - before).astype(clip.dtype)[:, None, None]
    a, b = clip[before], clip[after]
    both = (seen(a) & seen(b))[..., None]
    return np.where(both, a + share * (b - a), np.where(share < 0.5, a, b))


def shoulder_frame(clip: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean shoulder midpoint (2,) and median shoulder width of a clip, in pixels of the canvas.

    Without shoulders: the middle of what was seen, and the width of a person who fills the picture.
    """
    found = seen(clip)
    left, right = INDEX["left_shoulder"], INDEX["right_shoulder"]
    both = found[:, left] & found[:, right]
    if both.any():
        shoulders = clip[both][:, [left, right], :2]
        width = float(np.median(np.hypot(*(shoulders[:, 0] - shoulders[:, 1]).T)))
        return shoulders.mean((0, 1)), max(width, 0.04 * CANVAS)
    origin = clip[found][:, :2].mean(0) if found.any() else np.zeros(2, clip.dtype)
    return origin, 0.25 * CANVAS


def kept_frames(clip: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Indices of the frames that the recipe looks at; all of them when no frame shows a hand."""
    if recipe.handless == "drop":
        found = seen(clip)
        with_hand = np.flatnonzero(found[:, LEFT_HAND].any(1) | found[:, RIGHT_HAND].any(1))
        if len(with_hand):
            return with_hand
    return np.arange(len(clip))


def sample_positions(length: int, recipe: Recipe) -> np.ndarray:
    """(window,) frame positions that evaluation looks at, of a clip of `length` frames."""
    if recipe.normalise == "shoulders":
        return np.linspace(0, length - 1, recipe.window)
    if length == recipe.window:
        return np.arange(length)
    step = length / recipe.window  # rounded before it is multiplied, as upstream does: int(i * T / window) differs
    return np.array([int(i * step) for i in range(recipe.window)])


def checked(clip: np.ndarray) -> np.ndarray:
    """The clip with infinite values set to 0. Raises UserError for a wrong shape, an empty clip or NaN."""
    clip = np.asarray(clip)
    if clip.ndim != 3 or clip.shape[1:] != (NUM_JOINTS, 3) or not len(clip):
        raise UserError(
            f"A clip must be (frames, {NUM_JOINTS}, 3) with at least one frame, but this one is {clip.shape}."
        )
    if not np.issubdtype(clip.dtype, np.floating):
        raise UserError(f"A clip must hold floating-point numbers, but this one holds {clip.dtype}.")
    if np.isnan(clip).any():
        raise UserError("The clip holds NaN: set joints that were not found to (0, 0, 0).")
    return np.where(np.isinf(clip), clip.dtype.type(0), clip)


def _bones(clip: np.ndarray, rule: str) -> np.ndarray:
    if rule == "direct":
        bones = clip - clip[:, PARENTS]
        bones[:, INDEX["nose"]] = clip[:, INDEX["nose"]]
        return bones
    # Here we match the reference (upstream `feeders/feeder.py`): it writes each bone into the array from which it still
    # reads parents. Its list begins with the joints that hang on a hand's root, which therefore see the root as it was.
    bones = clip.copy()
    for parent, child in sorted(BONES, key=lambda bone: bone[0] not in _HAND_ROOTS):
        bones[:, child] -= bones[:, parent]
    return bones


def _motion(frames: np.ndarray) -> np.ndarray:
    motion = np.zeros_like(frames)
    motion[:-1] = frames[1:] - frames[:-1]
    return motion


def stream_frames(clip: np.ndarray, stream: Stream, recipe: Recipe) -> np.ndarray:
    """The stream's frames (T, 27, 3) of a checked clip, before any are chosen: the first half of upstream's order."""
    frames = _bones(clip, recipe.bone) if stream.is_bone else clip
    return _motion(frames) if stream.is_motion else frames


class Draw(NamedTuple):
    """What the reference draws for a clip in training: `window` rising frame indices, mirror, shift in x and y."""

    frames: list[int]
    mirrored: bool
    shift: tuple[float, float]


def training_draw(length: int, stream: Stream, recipe: Recipe, rng: random.Random) -> Draw:
    """The draws for a clip of `length` frames, in the reference's order."""
    repeats = math.ceil(recipe.window / length)
    frames = sorted(rng.sample(list(range(length)) * repeats, recipe.window))
    mirrored = rng.random() > 0.5
    shift = (0.0, 0.0) if stream.is_bone else (rng.random() * 20 - 10, rng.random() * 20 - 10)
    return Draw(frames, mirrored, shift)


def _prepare_pixels(clip: np.ndarray, stream: Stream, recipe: Recipe, rng: random.Random | None) -> np.ndarray:
    """Upstream's order: bone, motion, sample, mirror, centre on the nose, shift."""
    frames = stream_frames(clip, stream, recipe)
    draw = None if rng is None else training_draw(len(frames), stream, recipe, rng)
    frames = frames[sample_positions(len(frames), recipe) if draw is None else draw.frames]
    if draw and draw.mirrored:
        frames = frames[:, MIRROR].copy()
        frames[..., 0] = CANVAS - frames[..., 0]
    x = np.ascontiguousarray(frames.transpose(2, 0, 1))
    x[:2] -= x[:2, :, INDEX["nose"]].mean(1)[:, None, None]
    if draw and not stream.is_bone:
        x[0] += draw.shift[0]
        x[1] += draw.shift[1]
    return x


def _prepare_normalised(clip: np.ndarray, stream: Stream, recipe: Recipe) -> np.ndarray:
    """Shoulder-normalised input; a joint, bone or motion of which a part was not seen is zero."""
    clip = clip[kept_frames(clip, recipe)]
    frames = resample(_shoulder_units(clip), sample_positions(len(clip), recipe))
    found, score = seen(frames), frames[..., 2:]
    points = frames[..., :2]
    local = _relative(points, found, _LIMB_ROOT)
    if stream.is_bone:
        points = _relative(points, found, PARENTS)
    if stream.is_motion:
        there = found & found[:, PARENTS] if stream.is_bone else found  # a bone that appears has not moved
        moved = there & np.roll(there, -1, 0)
        points = np.where(moved[..., None], _motion(points), 0)
    channels = [points, score, local] if recipe.hand_local else [points, score]
    return np.ascontiguousarray(np.concatenate(channels, -1).transpose(2, 0, 1), dtype=clip.dtype)


def _shoulder_units(clip: np.ndarray) -> np.ndarray:
    """Origin at the mean shoulder midpoint, unit the median shoulder width; unseen joints zero."""
    found = seen(clip)
    origin, width = shoulder_frame(clip)
    points = np.where(found[..., None], (clip[..., :2] - origin) / clip.dtype.type(width), 0)
    return np.concatenate([points, np.where(found, clip[..., 2], 0)[..., None]], -1)


def _relative(points: np.ndarray, found: np.ndarray, origin: np.ndarray) -> np.ndarray:
    both = found & found[:, origin]
    relative = np.where(both[..., None], points - points[:, origin], 0)
    relative[:, INDEX["nose"]] = points[:, INDEX["nose"]]
    return relative
