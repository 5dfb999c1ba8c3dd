"""Which clips train a network, which choose its epoch, and which must do neither.

The test part of a benchmark is never trained on nor chosen by: a folder or option that would do so is refused.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np

from dsta.checkpoint import Seen
from dsta.common import UserError
from dsta.data import (
    Clip,
    ClipSet,
    DatasetSpec,
    MissingSplit,
    SelectedClips,
    clip_key,
    find_spec,
    official,
    read_clip_set,
    read_skeletons,
)
from dsta.data.clips import fingerprints
from dsta.data.overlap import Fingerprints

HELD_OUT = 0.1  # share of the training clips that choose the epoch where no clips are given for it
_FEWEST_SIGNERS = 5  # of fewer, a tenth cannot be left out


@dataclass(frozen=True)
class Request:
    """What a user asks for. choose: by validation clips (`val`) or not at all (`last`). without_glosses: those whose
    clips neither train nor choose."""

    folders: tuple[Path, ...]
    choose: str = "last"
    train_split: str = "train"
    val_split: str = "val"
    without_folds: tuple[int, ...] = ()
    val_folds: tuple[int, ...] = ()
    without_glosses: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for option, split in (("--train-split", self.train_split), ("--val-split", self.val_split)):
            if "test" in split.lower():
                raise UserError(
                    f"{option} {split}: test clips are there to judge the finished network, never to train it or to "
                    "choose its epoch."
                )
        if self.val_folds and self.choose == "last":
            raise UserError("--val-folds are there to choose the epoch by, and --select last does not choose.")


@dataclass(frozen=True)
class TrainingClips:
    """What a network is made from.

    train, val: labelled clips, val empty where nothing is chosen. glosses: in the order of the logits. selection: how
    the epoch is chosen, in words. notes: what the user should know. kept_back: the clips that choose the epoch or are
    there to judge the network: validation and test clips, and folds left out.
    """

    train: Sequence[Clip]
    val: Sequence[Clip]
    glosses: tuple[str, ...]
    estimator: str
    selection: str = "last epoch"
    notes: tuple[str, ...] = field(default=())
    kept_back: Fingerprints = field(default_factory=Fingerprints.none)

    @cached_property
    def seen(self) -> Seen:
        """What a network sees that is made from these clips."""
        return Seen(fingerprints(self.train), fingerprints(self.val))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the clips: which they are, what they are called, and their joints."""
        found = hashlib.sha256()
        for clips in (self.train, self.val):
            for clip in clips:
                found.update(repr((clip.dataset, clip.name, clip.gloss, clip.fold, clip.joints.shape)).encode())
                found.update(np.ascontiguousarray(clip.joints).data)
            found.update(b"/")
        return found.hexdigest()


def is_skeleton_set(folder: Path) -> bool:
    return (folder / "clips.npz").exists() or not (folder.is_dir() and any(folder.glob("*.npy")))


def read_training_clips(request: Request) -> TrainingClips:
    """The clips that a request means, of all its folders. Of these, what is a validation, test or left-out clip of one
    of them too is left out, with a note. Raises UserError where there are none, or test clips would be used."""
    skeletons = [folder for folder in request.folders if is_skeleton_set(folder)]
    held = [folder for folder in request.folders if folder not in skeletons]
    _check_folds(request, skeletons, held)
    parts = [_from_skeletons(folder, request) for folder in skeletons]
    parts += [_from_held(folder, request, alone=len(request.folders) == 1) for folder in held]
    joined = parts[0] if len(parts) == 1 else _joined(parts)
    if request.without_glosses:
        joined = _without_glosses(joined, request.without_glosses)
    if request.val_folds and not any(clip.fold in request.val_folds for clip in joined.val):
        raise UserError(f"No clip is in the folds {list(request.val_folds)} that are to choose the epoch.")
    if request.choose == "val" and not joined.val:
        raise UserError(f"{request.folders[0]} and those joined to it have no validation part: give --select last.")
    out = np.flatnonzero(fingerprints(joined.train).found_in(joined.kept_back) >= 0).tolist()
    train = _without(joined.train, out)
    if not len(train):
        raise UserError("No clip is left to train on: leave fewer folds out.")
    notes = _untrained(joined.glosses, [clip.gloss for clip in train])
    if out:
        first = joined.train[out[0]]
        example = f"such as {first.name} of {first.dataset}"
        notes.insert(0, f"{len(out)} training clips are validation or test clips too and are left out, {example}.")
    return replace(joined, train=train, notes=tuple(notes))


def _check_folds(request: Request, skeletons: Sequence[Path], held: Sequence[Path]) -> None:
    """Raises UserError when the folds or validation clips that are asked for cannot be."""
    if not skeletons and (request.without_folds or request.val_folds):
        raise UserError(f"{held[0]} has no folds: leave --without-folds and --val-folds out.")
    if not held and request.choose == "val" and not request.val_folds:
        raise UserError("A skeleton set has no validation part: name folds with --val-folds, or give --select last.")
    both = sorted(set(request.without_folds) & set(request.val_folds))
    if both:
        raise UserError(f"Fold {both[0]} is left out with --without-folds, so it cannot choose the epoch.")


def _joined(parts: Sequence[TrainingClips]) -> TrainingClips:
    """Several folders' clips as one. Raises UserError when their keypoints are of several estimators."""
    estimators = sorted({part.estimator for part in parts})
    if len(estimators) > 1:
        raise UserError(f"Keypoints of {' and '.join(estimators)} cannot be joined: prepare all with one estimator.")
    return TrainingClips(
        [clip for part in parts for clip in part.train],
        [clip for part in parts for clip in part.val],
        tuple(sorted({gloss for part in parts for gloss in part.glosses})),
        estimators[0],
        "; ".join(dict.fromkeys(part.selection for part in parts if part.val)) or "last epoch",
        kept_back=reduce(or_, (part.kept_back for part in parts)),
    )


def _without_glosses(clips: TrainingClips, out: Sequence[str]) -> TrainingClips:
    """Raises UserError for a gloss that is not there."""
    foreign = sorted(set(out) - set(clips.glosses))
    if foreign:
        raise UserError(f"--without-glosses {foreign[0]}: there is no such gloss among the {len(clips.glosses)}.")
    train, val = ([clip for clip in part if clip.gloss not in out] for part in (clips.train, clips.val))
    return replace(clips, train=train, val=val, glosses=tuple(g for g in clips.glosses if g not in out))


def _without(clips: Sequence[Clip], out: Sequence[int]) -> Sequence[Clip]:
    """The other clips; those of one folder still read when asked for."""
    kept = sorted(set(range(len(clips))) - set(out))
    if isinstance(clips, SelectedClips):
        return SelectedClips(clips.held, [clips.positions[i] for i in kept], clips.glosses)
    return [clips[i] for i in kept]


def _from_skeletons(folder: Path, request: Request) -> TrainingClips:
    every = read_skeletons(folder)
    out = {*request.without_folds, *request.val_folds}
    train = [clip for clip in every if clip.fold not in out]
    val = [clip for clip in every if clip.fold in request.val_folds]
    glosses = tuple(sorted({clip.gloss for clip in every}))
    selection = f"best top-1 on folds {list(request.val_folds)}" if val else "last epoch"
    kept_back = fingerprints([clip for clip in every if clip.fold in out])
    return TrainingClips(train, val, glosses, "mediapipe-holistic", selection, kept_back=kept_back)


def _from_held(folder: Path, request: Request, alone: bool) -> TrainingClips:
    """alone: whether clips that choose the epoch are held out of training where the folder gives none."""
    spec = find_spec(folder)
    train = read_clip_set(folder, request.train_split)
    given = _given_validation(folder, spec, request)
    glosses = _glosses(train, given, spec)
    judged = None
    with suppress(MissingSplit):
        judged = read_clip_set(folder, "val+test")
    _refuse_test_clips(train, judged, folder, spec)
    positions: Sequence[int] = range(len(train))
    val: Sequence[Clip] = []
    selection = "last epoch"
    if request.choose == "val" and given is not None:
        held, chosen, selection = given
        val = SelectedClips(held, chosen, glosses)
    elif request.choose == "val" and alone:
        mask, how = hold_out(train.labels, train.sources or [""] * len(train), request.seed)
        positions = np.flatnonzero(~mask).tolist()
        val, selection = (
            SelectedClips(train, np.flatnonzero(mask).tolist(), glosses),
            f"best top-1 on {how}, held out of training",
        )
    kept_back = fingerprints(val) | (judged.fingerprints if judged else Fingerprints.none())
    clips = SelectedClips(train, positions, glosses)
    return TrainingClips(clips, val, glosses, train.estimator, selection, kept_back=kept_back)


def _given_validation(
    folder: Path, spec: DatasetSpec | None, request: Request
) -> tuple[ClipSet, Sequence[int], str] | None:
    """The clips that a folder has for choosing by, and how they are called; None where it has none.

    Upstream's released "val" is validation and test joined, or test alone: of it, the official validation part.
    """
    try:
        held = read_clip_set(folder, request.val_split)
    except MissingSplit:
        if request.val_split != "val":
            raise
        return None
    known = official(spec.name) if spec else {}
    if not spec or held.splits or (folder / "test_data_joint.npy").exists():
        chosen = [i for i, name in enumerate(held.names) if _split(known, name) != "test"]
        how = f"the split {request.val_split}"
    else:
        chosen = [i for i, name in enumerate(held.names) if _split(known, name) == "val"]
        how = f"the official validation part of {spec.name}"
    return (held, chosen, f"best top-1 on {how}, {len(chosen)} clips") if chosen else None


def _split(known: dict[str, Any], name: str) -> str:
    entry = known.get(clip_key(name))
    return entry.split if entry else ""


def _glosses(
    train: ClipSet, given: tuple[ClipSet, Sequence[int], str] | None, spec: DatasetSpec | None
) -> tuple[str, ...]:
    """Names of the classes in the order of the labels: the folder's own, the official ones, or numbers."""
    if train.glosses:
        return train.glosses
    top = int(max(held.labels.max() for held in (train, *(given or ())[:1])))
    if spec and top >= spec.num_classes:
        raise UserError(f"The labels in {train.folder} go up to {top}, but {spec.name} has {spec.num_classes} classes.")
    names = {entry.label: entry.gloss for entry in official(spec.name).values()} if spec else {}
    return tuple(names.get(label, str(label)) for label in range(spec.num_classes if spec else top + 1))


def _refuse_test_clips(train: ClipSet, judged: ClipSet | None, folder: Path, spec: DatasetSpec | None) -> None:
    """Raises UserError when a training clip is a test clip by the official list or by name. judged: the folder's
    validation and test clips."""
    known = official(spec.name) if spec else {}
    found = [name for name in train.names if _split(known, name) == "test"]
    if spec and found:
        raise UserError(
            f"{len(found)} training clips of {folder} are test clips by the official list of {spec.name}, such as "
            f"{found[0]}: take them out."
        )
    names = _test_names(judged, spec, known) if judged else set()
    both = [name for name in train.names if clip_key(name) in names]
    if both:
        raise UserError(f"Training clip {both[0]} of {folder} is among its test clips too: take it out.")


def _test_names(held: ClipSet, spec: DatasetSpec | None, known: dict[str, Any]) -> set[str]:
    """Keys of the test clips among those held out: the split test, or those of upstream's "val" that are test clips."""
    keys = [clip_key(name) for name in held.names]
    if held.splits:
        return {key for key, split in zip(keys, held.splits, strict=True) if split == "test"}
    if known:
        return {key for key in keys if _split(known, key) == "test"}
    return set(keys) if spec else set()  # what upstream released of a set without official list is test alone


def hold_out(labels: np.ndarray, sources: Sequence[str], seed: int) -> tuple[np.ndarray, str]:
    """(N,) bool, which clips to hold out of training, and in words: whole signers where they are known, else a share
    of every gloss that has enough clips. Raises UserError when nothing can be held out."""
    rng = np.random.default_rng([seed, len(labels)])
    signers = sorted(set(sources))
    if "" not in signers and len(signers) >= _FEWEST_SIGNERS:
        chosen: set[str] = set()
        counts = Counter(sources)
        for signer in rng.permutation(signers).tolist():
            if sum(counts[s] for s in chosen) >= HELD_OUT * len(labels):
                break
            chosen.add(signer)
        return np.array([s in chosen for s in sources]), f"{len(chosen)} of {len(signers)} signers (seed {seed})"
    mask = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        of_gloss = rng.permutation(np.flatnonzero(labels == label))
        mask[of_gloss[: round(HELD_OUT * len(of_gloss))]] = True
    if not mask.any():
        raise UserError("There are too few clips to hold some out for choosing the epoch: give --select last.")
    return mask, f"{HELD_OUT:.0%} of each gloss (seed {seed})"


def _untrained(glosses: Sequence[str], present: Iterable[str]) -> list[str]:
    missing = sorted(set(glosses) - set(present))
    if not missing:
        return []
    return [f"{len(missing)} of {len(glosses)} glosses have no training clip, such as {missing[0]}: never predicted."]


def print_notes(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"Note: {note}", file=sys.stderr)
