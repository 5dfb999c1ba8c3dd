"""Signs of one's own: their names, a few clips of each, and the file that they are kept in.

The file is of safetensors: numbers alone, which nothing in it can make a program of. `about` is JSON in UTF-8 (format,
estimator, names), `joints` (F, 27, 3) float16 the frames of all clips one after the other, `frames` (N,) int32 how many
each clip has, `sign` (N,) int32 the place of its name. No video is in it, and no network: whichever network is asked
looks at the joints anew.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from dsta.common import UserError, composed, replace_file
from dsta.plausible import misfit
from dsta.recognize import FRAMES_PER_SECOND, quality_of
from dsta.skeleton import CANVAS, NUM_JOINTS

SIGNS_SUFFIX = ".signs"
MOST_SIGNS, MOST_CLIPS = 200, 10
_MOST_FRAMES = 600  # of a clip, and of all clips together; a sign takes 15 to 60
_MOST_IN_ALL = 100_000
_MOST_BYTES = 2**25  # of a file; more than all these frames take
_LONGEST_NAME = 60
_FARTHEST = 4096.0  # pixels of the canvas, beyond which half precision is coarse
_FORMAT = "dsta signs 1"
_JOINERS = "\u200c\u200d"  # of letters; they are no printable characters, but words are written with them


@dataclass(frozen=True)
class OwnSigns:
    """Signs by a few examples.

    estimator: what found the joints. clips: name of a sign -> its clips, each (T, 27, 3) float32 in canvas pixels and
    score, as precise as half precision is (an eighth of a pixel on the canvas's left half, a quarter on its right).
    """

    estimator: str
    clips: Mapping[str, tuple[np.ndarray, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.clips)

    @property
    def count(self) -> int:
        """How many clips there are."""
        return sum(map(len, self.clips.values()))

    @property
    def every_clip(self) -> list[np.ndarray]:
        """All clips, sign by sign."""
        return [clip for own in self.clips.values() for clip in own]

    def called(self, name: str) -> str:
        """The name under which a sign of this name is or would be kept: names that differ only in case, in spaces or in
        their form of Unicode are one. Raises UserError for what is no name."""
        name = sign_name(name)
        return next((there for there in self.clips if there.casefold() == name.casefold()), name)

    def with_clip(self, name: str, clip: np.ndarray) -> "OwnSigns":
        """With one clip (T, 27, 3) more, of a sign that is there or a new one; one that is there already counts once.

        Raises UserError for a name that is none, a clip that shows no hand or no person, or one too many.
        """
        name = self.called(name)
        clip = _checked(clip, name)
        own = self.clips.get(name, ())
        if any(np.array_equal(clip, there) for there in own):
            return self
        if len(own) == MOST_CLIPS:
            raise UserError(f"“{name}” has {MOST_CLIPS} clips, which is the most: remove the sign to teach it anew.")
        if not own and len(self) == MOST_SIGNS:
            raise UserError(f"{MOST_SIGNS} signs are the most: remove one first.")
        if sum(map(len, self.every_clip)) + len(clip) > _MOST_IN_ALL:
            raise UserError("All clips together are too long: remove signs, or give shorter clips of one sign each.")
        return OwnSigns(self.estimator, {**self.clips, name: (*own, clip)})

    def without(self, name: str) -> "OwnSigns":
        """Without a sign; as they are where there is none of that name."""
        return OwnSigns(self.estimator, {other: own for other, own in self.clips.items() if other != name})

    def joined(self, others: "OwnSigns") -> "OwnSigns":
        """With the clips of others. Raises UserError as `with_clip` does, and where theirs are of another estimator."""
        if others.estimator != self.estimator:
            raise UserError(
                f"These signs' joints are from {others.estimator}, but here they are from {self.estimator}: "
                "teach them anew from videos."
            )
        joined = self
        for name, own in others.clips.items():
            for clip in own:
                joined = joined.with_clip(name, clip)
        return joined

    def to_bytes(self) -> bytes:
        """As a file's content."""
        about = {"format": _FORMAT, "estimator": self.estimator, "names": list(self.names)}
        clips = self.every_clip
        tensors: dict[str, np.ndarray] = {
            "about": np.frombuffer(json.dumps(about, ensure_ascii=False).encode(), np.uint8),
            "joints": np.concatenate(clips).astype(np.float16) if clips else np.zeros((0, NUM_JOINTS, 3), np.float16),
            "frames": np.array([len(clip) for clip in clips], np.int32),
            "sign": np.repeat(np.arange(len(self), dtype=np.int32), list(map(len, self.clips.values()))),
        }
        return save(tensors)

    def save(self, path: str | Path) -> None:
        """Writes the file, whole or not at all."""
        replace_file(Path(path), self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> "OwnSigns":
        """Reads a file. Raises UserError where it is missing, none of ours, or holds what may not be."""
        path = Path(path)
        try:
            size = path.stat().st_size
            if size > _MOST_BYTES:
                raise UserError(f"{path.name} takes {size / 2**20:.0f} MB, more than any file of signs: {_OURS}.")
            return _read(path.read_bytes(), path.name)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}): check the path.") from error


_OURS = "give a file that the page saved, or that python -m dsta.teach wrote"


def _read(content: bytes, file: str) -> OwnSigns:
    """A file's content; nothing in it is larger than the file itself."""
    try:
        tensors = load(content)
        about = json.loads(tensors["about"].tobytes())
        if about["format"] != _FORMAT:
            raise ValueError(f"its format is {about['format']!r}")
        names, estimator = about["names"], about["estimator"]
        if not all(isinstance(text, str) for text in (estimator, *names)):
            raise ValueError("a name is no text")
        joints, frames, sign = (tensors[name] for name in ("joints", "frames", "sign"))
        shapes = joints.shape[1:] == (NUM_JOINTS, 3) and frames.ndim == 1 and frames.shape == sign.shape
        if not shapes or joints.dtype != np.float16 or {frames.dtype, sign.dtype} != {np.dtype(np.int32)}:
            raise ValueError("its tensors have other shapes or types")
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is no file of signs ({str(error)[:200]}): {_OURS}.") from error
    if len(names) > MOST_SIGNS:
        raise UserError(f"{file} holds {len(names)} signs; {MOST_SIGNS} are the most: {_OURS}.")
    fits = (frames > 0).all() and frames.sum(dtype=np.int64) == len(joints)
    if not fits or set(sign.tolist()) != set(range(len(names))):
        raise UserError(f"{file} is damaged, its clips and names do not fit each other: {_OURS}.")
    signs = OwnSigns(estimator)
    for name, clip in zip(sign, np.split(joints, np.cumsum(frames)[:-1]) if len(frames) else (), strict=True):
        try:
            signs = signs.with_clip(names[name], clip)
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
    return signs


def sign_name(text: str) -> str:
    """A name as people see it: composed (Unicode NFC), single spaces, no invisible characters. Raises UserError."""
    seen = "".join(letter for letter in " ".join(text.split()) if letter.isprintable() or letter in _JOINERS)
    name = composed(seen.strip())
    if not name.strip(_JOINERS):
        raise UserError("The sign has no name: type the word that it stands for.")
    if len(name) > _LONGEST_NAME:
        raise UserError(f"The name “{name[:20]}…” is too long: {_LONGEST_NAME} letters are the most.")
    return name


def _checked(clip: np.ndarray, name: str) -> np.ndarray:
    """A clip in half precision's values. Raises UserError where it is none of a signer."""
    which = f"The clip of “{name}”"
    if clip.ndim != 3 or clip.shape[1:] != (NUM_JOINTS, 3) or not len(clip) or not np.isfinite(clip).all():
        raise UserError(f"{which} does not hold {NUM_JOINTS} joints in each frame: look for them again in the video.")
    if len(clip) > _MOST_FRAMES:
        raise UserError(f"{which} has {len(clip)} frames; {_MOST_FRAMES} are the most: cut it to one sign, 1 to 4 s.")
    if not (clip[..., 2].min() >= 0 and clip[..., 2].max() <= 1):
        raise UserError(f"{which} has scores outside 0 to 1: look for the joints again in the video.")
    fault = misfit(clip, CANVAS, CANVAS)
    if fault:
        raise UserError(f"{which} {fault}")
    quality_of(clip, FRAMES_PER_SECOND, f"the clip of “{name}”")  # which refuses one without hands
    kept = clip.astype(np.float32)
    kept[..., :2] = kept[..., :2].clip(-_FARTHEST, _FARTHEST)
    return kept.astype(np.float16).astype(np.float32)


def lookalike_names(names: Iterable[str]) -> list[str]:
    """A sentence on each group of names that are one sign here, though they are written differently."""
    groups: dict[str, dict[str, None]] = {}
    for name in names:
        groups.setdefault(sign_name(name).casefold(), {})[name] = None
    alike = [list(group) for group in groups.values() if len(group) > 1]
    return [f"{', '.join(map(repr, group))} are one sign here, {group[0]!r}." for group in alike]
