"""The doctor: is this data what it says it is, and is this figure chance level, and why?

    python eval/doctor.py [NAMES …] [--data data …]

Before scoring: clips and classes against the official sizes, labels against the official list, the same clip in
training and evaluation, by name and by content, NaN and infinity, missing hands. After it: chance level, and whether
the classes are merely in another order.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from dsta.common import UserError
from dsta.data import BENCHMARKS, SMALL_SETS, ClipSet, DatasetSpec, clip_key, dataset, official, read_clip_set
from dsta.data.benchmarks import MANY_KNOWN, known_share, spellings
from dsta.data.overlap import content_hash, content_hashes, same_clips, shared_between_groups
from dsta.metrics import wilson
from dsta.skeleton import LEFT_HAND, RIGHT_HAND
from dsta.streams import seen

STOPS = ("error", "mismatch")


@dataclass(frozen=True)
class Finding:
    """level: `error` or `mismatch` (cannot be scored; the row's status), `warning`, or `fine`; a sentence."""

    level: str
    text: str


@dataclass(frozen=True)
class Content:
    """What one look at every clip found: a hash of each, clips with NaN and with infinity, share of frames in which
    neither hand was seen, share of clips without any hand."""

    hashes: list[int]
    with_nan: int
    with_inf: int
    handless_frames: float
    handless_clips: float


def read_content(joints: Sequence[np.ndarray]) -> Content:
    """Reads all clips once."""
    hashes, with_nan, with_inf, frames, handless, without = [], 0, 0, 0, 0, 0
    for clip in joints:
        hashes.append(content_hash(clip))
        if not np.isfinite(clip).all():
            with_nan += bool(np.isnan(clip).any())
            with_inf += bool(np.isinf(clip).any())
        hand = seen(clip)[:, LEFT_HAND + RIGHT_HAND].any(1)
        frames, handless, without = frames + len(clip), handless + int((~hand).sum()), without + (not hand.any())
    return Content(hashes, with_nan, with_inf, handless / frames, without / len(hashes))


def examine(held: ClipSet, spec: DatasetSpec) -> list[Finding]:
    """All findings on a data set before it is scored."""
    content = read_content(held.joints)
    return [*_counts(held, spec), *_values(held, content), *_names(held, spec), *_duplicates(held, content)]


def _counts(held: ClipSet, spec: DatasetSpec) -> Iterator[Finding]:
    expected = spec.size(spec.released)
    if expected is not None and len(held) != expected:
        yield Finding("warning", f"{len(held)} clips, where the official lists have {expected} ({spec.released}).")
    classes = len(np.unique(held.labels))
    top = int(held.labels.max())
    if top >= spec.num_classes:
        text = (
            f"The labels go up to {top}, but {spec.name} has {spec.num_classes} classes, 0 to {spec.num_classes - 1}."
        )
        yield Finding("mismatch", text)
    elif classes < spec.num_classes:
        yield Finding("warning", f"{spec.num_classes - classes} of {spec.num_classes} classes have no clip.")
    if expected in (None, len(held)) and classes == spec.num_classes:
        yield Finding("fine", f"{len(held)} clips of {classes} classes, as it should be.")


def _values(held: ClipSet, content: Content) -> Iterator[Finding]:
    if content.with_nan:
        text = f"{content.with_nan} of {len(held)} clips hold NaN: set joints that were not found to (0, 0, 0)."
        yield Finding("error", text)
    if content.with_inf:
        yield Finding("warning", f"{content.with_inf} of {len(held)} clips hold infinity, which counts as 0.")
    level = "warning" if content.handless_frames > 0.3 or content.handless_clips > 0.02 else "fine"
    yield Finding(
        level,
        f"No hand was seen in {content.handless_frames:.1%} of the frames, and in {content.handless_clips:.1%} of the "
        "clips none at all.",
    )


def _names(held: ClipSet, spec: DatasetSpec) -> Iterator[Finding]:
    repeated = [name for name, count in Counter(held.names).items() if count > 1]
    if repeated:
        yield Finding("warning", f"{len(repeated)} clip names occur more than once, such as {repeated[0]}.")
    known = official(spec.name)
    if not known:
        return
    share = known_share(held.names, spec)
    if share < MANY_KNOWN:
        yield Finding("warning", f"Only {share:.0%} of the clip names are in the official list: no protocol `test`.")
        return
    found = [
        (known[clip_key(name)], label)
        for name, label in zip(held.names, held.labels, strict=True)
        if clip_key(name) in known
    ]
    training = sum(entry.split == "train" for entry, _ in found)
    if training:
        yield Finding("warning", f"{training} of the clips to score are training clips by the official list.")
    if held.glosses:  # the folder has its own order of classes, and networks are asked by name
        other = sum(entry.gloss != held.glosses[label] for entry, label in found)
    else:
        other = sum(entry.label != label for entry, label in found)
    if other:
        pairs = {(entry.label, int(label)) for entry, label in found}
        renamed = len(pairs) == len({label for _, label in pairs}) == len({label for label, _ in pairs})
        how = "one to one, so the classes are in another order" if renamed else "not one to one: labels are wrong"
        yield Finding("warning", f"{other} of {len(found)} labels are not those of the official list ({how}).")


def _duplicates(held: ClipSet, content: Content) -> Iterator[Finding]:
    if (held.folds >= 0).any():
        yield from _shared("another fold", shared_between_groups(content.hashes, held.folds.tolist()))
        return
    try:
        train = read_clip_set(held.folder, "train")
    except UserError:
        yield Finding("fine", "There are no training clips here to compare with.")
        return
    names = set(map(clip_key, train.names))
    shared = sum(clip_key(name) in names for name in held.names)
    if shared:
        yield Finding("warning", f"{shared} of the clips to score are in training too, by name.")
    yield from _shared("training", len(same_clips(content.hashes, content_hashes(train.joints))))


def _shared(where: str, count: int) -> Iterator[Finding]:
    if count:
        yield Finding("warning", f"{count} of the clips to score are in {where} too, number for number.")
    else:
        yield Finding("fine", f"No clip to score is in {where} too, number for number.")


def verdict(scores: np.ndarray, labels: np.ndarray) -> str:
    """What the doctor says of logits (N, K) after scoring: nothing, or that this is chance level, and usual causes."""
    predicted = scores.argmax(1)
    right, n, k = int((predicted == labels).sum()), len(labels), scores.shape[1]
    chance = max(1 / k, np.bincount(labels).max() / n)
    if wilson(right, n)[0] > chance:
        return ""
    text = f"Top-1 {right / n:.1%} is at chance level ({chance:.1%}). "
    renamed = _renamed(predicted, labels)
    if renamed > 3 * chance and renamed > 0.2:
        return text + f"With the classes renamed to fit it would be {renamed:.0%}: the classes are in another order."
    return text + (
        "Usual causes: a file of another stream than its name says (python -m dsta.identify tells), classes in "
        "another order, keypoints of another estimator, or coordinates that are not pixels of a 512 x 512 picture."
    )


def _renamed(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy on every second clip when each predicted class is read as it was mostly meant in the other half."""
    order = np.argsort(labels, kind="stable")  # so that each class is in both halves
    learn, test = order[::2], order[1::2]
    meant = {
        int(value): int(np.bincount(labels[learn][predicted[learn] == value]).argmax())
        for value in np.unique(predicted[learn])
    }
    if not len(test):
        return 0.0
    return float(
        np.mean([meant.get(int(p), -1) == label for p, label in zip(predicted[test], labels[test], strict=True)])
    )


def find_folder(roots: Sequence[Path], spec: DatasetSpec) -> Path | None:
    """The data set's folder below one of the roots, by any of its spellings; a root may be the folder itself."""
    for root in roots:
        for name in spellings(spec.name):
            if (root / name).is_dir():
                return root / name
            if root.name == name and root.is_dir():
                return root
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the findings; returns 0, or 1 when a data set cannot be scored, or 2 for a wrong name."""
    parser = argparse.ArgumentParser(prog="python eval/doctor.py", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="data sets; by default all that are there")
    parser.add_argument("--data", nargs="+", type=Path, default=[Path("data")], metavar="DIR")
    args = parser.parse_args(arguments)
    code = 0
    for name in args.names or [*BENCHMARKS, *SMALL_SETS]:
        try:
            spec = dataset(name)
        except UserError as error:
            print(error, file=sys.stderr)
            return 2
        folder = find_folder(args.data, spec)
        if folder is None:
            if args.names:
                print(f"{name}\n  no data  It is not in {', '.join(map(str, args.data))}.")
                code = 1
            continue
        findings = _examined(folder, spec)
        code = max(code, int(any(finding.level in STOPS for finding in findings)))
        print("\n  ".join([name, *(f"{finding.level:8} {finding.text}" for finding in findings)]))
    return code


def _examined(folder: Path, spec: DatasetSpec) -> list[Finding]:
    try:
        return examine(read_clip_set(folder, "val+test"), spec)
    except UserError as error:
        return [Finding("error", str(error))]


if __name__ == "__main__":
    sys.exit(main())
