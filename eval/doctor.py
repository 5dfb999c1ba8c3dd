"""The doctor: is this data what it says it is, and is this figure chance level, and why?

    python eval/doctor.py [NAMES …] [--data data …]

Before scoring: clips and classes against the official sizes, labels against the official list, the same clip in
training and evaluation, by name and by content, NaN and infinity, joints that cannot be a person's, missing and
exchanged hands, glosses that look alike. After it: chance level, and whether the classes are merely in another order.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from dsta.common import UserError, exit_code, lookalikes_note
from dsta.data import (
    BENCHMARKS,
    SMALL_SETS,
    ClipSet,
    DatasetSpec,
    MissingSplit,
    clip_key,
    dataset,
    official,
    read_clip_set,
)
from dsta.data.benchmarks import MANY_KNOWN, known_share, spellings
from dsta.data.overlap import in_another_group
from dsta.data.prepared import DATASET_FILE, read_about
from dsta.metrics import renamed_hits, wilson
from dsta.plausible import hands_exchanged, misfit
from dsta.skeleton import CANVAS, LEFT_HAND, RIGHT_HAND
from dsta.streams import seen

STOPS = ("error", "mismatch")
MANY_NAMES = 8  # clips that a sentence names


@dataclass(frozen=True)
class Finding:
    """level: `error` or `mismatch` (cannot be scored; the row's status), `warning`, or `fine`; a sentence."""

    level: str
    text: str


class Content(NamedTuple):
    """What one look at every clip found: how many hold NaN and infinity, the share of frames in which neither hand was
    seen, the share of clips without any hand; the clips, by position, whose joints cannot be a person's, and why, and
    those whose hands lie at each other's wrist."""

    with_nan: int
    with_inf: int
    handless_frames: float
    handless_clips: float
    misfits: dict[int, str]
    exchanged: list[int]


def read_content(joints: Sequence[np.ndarray]) -> Content:
    """Reads all clips once."""
    with_nan, with_inf, handless, frames = 0, 0, [], []
    misfits: dict[int, str] = {}
    exchanged = []
    for i, clip in enumerate(joints):
        with_nan += bool(np.isnan(clip).any())
        with_inf += bool(np.isinf(clip).any())
        handless.append(int((~seen(clip)[:, LEFT_HAND + RIGHT_HAND].any(1)).sum()))
        frames.append(len(clip))
        if np.isfinite(clip).all():
            misfits |= {i: why} if (why := misfit(clip, CANVAS, CANVAS)) else {}
            exchanged += [i] if hands_exchanged(clip) else []
    without = np.equal(handless, frames)
    return Content(with_nan, with_inf, sum(handless) / sum(frames), float(without.mean()), misfits, exchanged)


def examine(clips: ClipSet, spec: DatasetSpec) -> list[Finding]:
    """All findings on a data set before it is scored."""
    content = read_content(clips.joints)
    of_content = [*_values(clips, content), *_joints(clips, content)]
    return [*_counts(clips, spec), *of_content, *_names(clips, spec), *_duplicates(clips)]


def _counts(clips: ClipSet, spec: DatasetSpec) -> Iterator[Finding]:
    expected = spec.size(spec.released)
    if expected is not None and len(clips) != expected:
        yield Finding("warning", f"{len(clips)} clips, where the official lists have {expected} ({spec.released}).")
    classes, top, known = len(np.unique(clips.labels)), int(clips.labels.max()), spec.num_classes
    if top >= known:
        yield Finding("mismatch", f"The labels go up to {top}, but {spec.name} has {known} classes, 0 to {known - 1}.")
    elif classes < known:
        yield Finding("warning", f"{known - classes} of {known} classes have no clip.")
    if expected in (None, len(clips)) and classes == known:
        yield Finding("fine", f"{len(clips)} clips of {classes} classes, as it should be.")


def _values(clips: ClipSet, content: Content) -> Iterator[Finding]:
    if content.with_nan:
        text = f"{content.with_nan} of {len(clips)} clips hold NaN: set joints that were not found to (0, 0, 0)."
        yield Finding("error", text)
    if content.with_inf:
        yield Finding("warning", f"{content.with_inf} of {len(clips)} clips hold infinity, which counts as 0.")
    level = "warning" if content.handless_frames > 0.3 or content.handless_clips > 0.02 else "fine"
    yield Finding(
        level,
        f"No hand was seen in {content.handless_frames:.1%} of the frames, and in {content.handless_clips:.1%} of the "
        "clips none at all.",
    )


def _joints(clips: ClipSet, content: Content) -> Iterator[Finding]:
    if content.misfits:
        first, why = next(iter(content.misfits.items()))
        count = f"In {len(content.misfits)} of {len(clips)} clips the joints cannot be a person's"
        yield Finding("warning", f"{count}: {clips.names[first]} {why}")
    if content.exchanged:
        count = f"In {len(content.exchanged)} of {len(clips)} clips each hand lies at the other one's wrist"
        such = clips.names[content.exchanged[0]]
        yield Finding("warning", f"{count}, such as {such}: left and right were exchanged where they were found.")


def _names(clips: ClipSet, spec: DatasetSpec) -> Iterator[Finding]:
    alike = lookalikes_note(clips.glosses)
    if alike:
        yield Finding("warning", alike)
    repeated = [name for name, count in Counter(clips.names).items() if count > 1]
    if repeated:
        yield Finding("warning", f"{len(repeated)} clip names occur more than once, such as {repeated[0]}.")
    if not spec.facts:
        return
    known = official(spec.name)
    share = known_share(clips.names, spec)
    if share < MANY_KNOWN:
        yield Finding("warning", f"Only {share:.0%} of the clip names are in the official list: no protocol `test`.")
        return
    found = [
        (known[clip_key(name)], label)
        for name, label in zip(clips.names, clips.labels, strict=True)
        if clip_key(name) in known
    ]
    training = sum(entry.split == "train" for entry, _ in found)
    if training:
        yield Finding("warning", f"{training} of the clips to score are training clips by the official list.")
    if clips.glosses:  # the folder has its own order of classes, and networks are asked by name
        other = sum(entry.gloss != clips.glosses[label] for entry, label in found)
    else:
        other = sum(entry.label != label for entry, label in found)
    if other:
        pairs = {(entry.label, int(label)) for entry, label in found}
        renamed = len(pairs) == len({label for _, label in pairs}) == len({label for label, _ in pairs})
        how = "one to one, so the classes are in another order" if renamed else "not one to one: labels are wrong"
        yield Finding("warning", f"{other} of {len(found)} labels are not those of the official list ({how}).")


def _duplicates(clips: ClipSet) -> Iterator[Finding]:
    if (clips.folds >= 0).any():
        yield from _shared("another fold", clips, in_another_group(clips.fingerprints, clips.folds.tolist()))
        return
    try:
        train = read_clip_set(clips.folder, "train")
    except MissingSplit:
        yield Finding("fine", "There are no training clips here to compare with.")
        return
    names = set(map(clip_key, train.names))
    shared = sum(clip_key(name) in names for name in clips.names)
    if shared:
        yield Finding("warning", f"{shared} of the clips to score are in training too, by name.")
    yield from _shared("training", clips, clips.fingerprints.found_in(train.fingerprints) >= 0)


def _shared(where: str, clips: ClipSet, found: np.ndarray) -> Iterator[Finding]:
    """found: (N,) bool."""
    if found.any():
        names = ", ".join(clips.names[i] for i in np.flatnonzero(found)[:MANY_NAMES])
        more = ", …" if found.sum() > MANY_NAMES else ""
        text = f"{found.sum()} of the clips to score are in {where} too, or nearly the same recording: {names}{more}."
        yield Finding("warning", text)
    else:
        yield Finding("fine", f"No clip to score is in {where} too, nor nearly the same recording.")


def verdict(scores: np.ndarray, labels: np.ndarray) -> str:
    """What the doctor says of logits (N, K) after scoring: nothing, or that this is chance level, and usual causes."""
    right, n, k = int((scores.argmax(1) == labels).sum()), len(labels), scores.shape[1]
    chance = max(1 / k, np.bincount(labels).max() / n)
    if wilson(right, n)[0] > chance:
        return ""
    text = f"Top-1 {right / n:.1%} is at chance level ({chance:.1%}). "
    renamed = renamed_hits(scores, labels).mean()
    if renamed > 3 * chance and renamed > 0.2:
        return text + f"With the classes renamed to fit it would be {renamed:.0%}: the classes are in another order."
    return text + (
        "Usual causes: a file of another stream than its name says (python -m dsta.identify tells), classes in "
        "another order, keypoints of another estimator, or coordinates that are not pixels of a 512 x 512 picture."
    )


def find_folder(roots: Sequence[Path], spec: DatasetSpec) -> Path | None:
    """The data set's folder below one of the roots, by any of its spellings; a root may be the folder itself."""
    names = spellings(spec.name)
    places = (place for root in roots for name in names for place in (root / name, root) if place.name == name)
    return next((place for place in places if place.is_dir()), None)


def named_dataset(name: str, roots: Sequence[Path]) -> DatasetSpec:
    """The benchmark or small set of that name; or one's own below the roots, a prepared folder or a skeleton set with
    folds. Raises UserError."""
    try:
        return dataset(name)
    except UserError:
        own = DatasetSpec(name, 0, "", released="folds")
        folder = find_folder(roots, own)
        if folder is not None and (folder / DATASET_FILE).exists():
            return replace(own, num_classes=len(read_about(folder / DATASET_FILE)["glosses"]), released="val+test")
        if folder is None or not (folder / "clips.npz").exists():
            raise
        return replace(own, num_classes=len(read_clip_set(folder).glosses))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the findings; returns 0, or 1 when a data set cannot be scored, or 2 for a wrong name."""
    parser = argparse.ArgumentParser(prog="python eval/doctor.py", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="data sets; by default all that are there")
    parser.add_argument("--data", nargs="+", type=Path, default=[Path("data")], metavar="DIR")
    args = parser.parse_args(arguments)
    return exit_code(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    code = 0
    for name in args.names or [*BENCHMARKS, *SMALL_SETS]:
        spec = named_dataset(name, args.data)
        folder = find_folder(args.data, spec)
        if folder is None:
            if args.names:
                print(f"{name}\n  no data  It is not in {', '.join(map(str, args.data))}.")
                code = 1
            continue
        try:
            findings = examine(read_clip_set(folder, "val+test"), spec)
        except UserError as error:
            findings = [Finding("error", str(error))]
        code = max(code, int(any(finding.level in STOPS for finding in findings)))
        print("\n  ".join([name, *(f"{finding.level:8} {finding.text}" for finding in findings)]))
    return code


if __name__ == "__main__":
    sys.exit(main())
