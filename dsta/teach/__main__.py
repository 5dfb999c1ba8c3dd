"""The command line of teaching.

python -m dsta.teach CLIPS --labels labels.csv --out weights/mine [--with-vocabulary] [--weights DIR]
python -m dsta.recognize VIDEO --weights weights/mine
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from dsta.checkpoint import CONFIG_FILE, DEFAULT_WEIGHTS, ENSEMBLE_FILE, Ensemble, git_commit, origin
from dsta.common import UserError, exit_code, read_csv
from dsta.data import ClipSet, MissingSplit, read_clip_set
from dsta.prepare.library import Library
from dsta.recognize import Recognizer
from dsta.teach.signs import MOST_CLIPS, SIGNS_SUFFIX, OwnSigns, lookalike_names
from dsta.teach.taught import SIGNS_FILE, is_probe, save_taught, taught_ensemble


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dsta.teach", description="Teach signs by a few clips of each.")
    add = parser.add_argument
    clips = f"a folder of videos or skeleton files, a data set, or a file {SIGNS_SUFFIX} that the page saved"
    add("clips", type=Path, metavar="CLIPS", help=clips)
    labels = "file,gloss of each clip in a folder of files; where it has a column split, its train rows count"
    add("--labels", type=Path, metavar="CSV", help=labels)
    out = "the weights folder to write; it may be one that was taught before, and no other weights"
    add("--out", type=Path, required=True, metavar="DIR", help=out)
    add("--weights", type=Path, default=DEFAULT_WEIGHTS, metavar="DIR", help="what they are taught to; default: asl118")
    add("--with-vocabulary", action="store_true", help="recognise them together with the signs of --weights")
    args = parser.parse_args(arguments)
    return exit_code(lambda: _teach(args))


def _teach(args: argparse.Namespace) -> None:
    if args.out.resolve() == args.weights.resolve():
        raise UserError(f"{args.out} holds the weights that are taught from: give another --out.")
    with _folder(args.out):
        _teach_into(args)


@contextmanager
def _folder(out: Path) -> Iterator[None]:
    """The folder to write, made and tried before the work; what was made is gone again where nothing comes of it.

    Raises UserError where it cannot be written, or holds weights that were not taught.
    """
    missing: list[Path] = []
    try:
        try:
            if _holds_other_weights(out):
                raise UserError(f"{out} holds weights already: give another --out, or delete it.")
            missing += [folder for folder in (out, *out.parents) if not folder.exists()]
            out.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=out):
                pass
        except OSError as error:
            raise UserError(f"{out} cannot be written ({error.strerror}): give another --out.") from error
        yield
    except BaseException:
        for folder in missing:
            with suppress(OSError):  # something is in it, or it could not be made
                folder.rmdir()
        raise


def _holds_other_weights(out: Path) -> bool:
    """Whether a folder holds weights, of one stream or several, that teaching did not write."""
    if (out / CONFIG_FILE).exists():  # teaching writes none there, and one that is there would still be read
        return True
    there = (out / ENSEMBLE_FILE).exists() or any(out.glob(f"*/{CONFIG_FILE}"))
    return there and not (out / SIGNS_FILE).exists()


def _teach_into(args: argparse.Namespace) -> None:
    recognizer = Recognizer.load(args.weights)
    signs, missed = _signs(args.clips, args.labels, recognizer)
    ensemble = taught_ensemble(recognizer.ensemble, signs, args.with_vocabulary)
    about = _provenance(args, recognizer.ensemble, signs)
    save_taught(args.out, ensemble, signs, about, args.weights.resolve().name)
    beside = f", beside {len(ensemble.glosses) - len(signs)} of {args.weights}" if args.with_vocabulary else ""
    way = "a linear probe" if is_probe(signs) else "prototypes"
    print(f"{args.out}: {len(signs)} signs by {signs.count} clips{beside}, by {way}.")
    if missed:
        raise UserError(f"{missed} clips could not be used; the others were.")


def _provenance(args: argparse.Namespace, base: Ensemble, signs: OwnSigns) -> dict[str, dict[str, Any]]:
    """Where each stream's taught network is from."""
    about = {}
    for stream, checkpoint in base.checkpoints.items():
        folder = args.weights if (args.weights / CONFIG_FILE).exists() else args.weights / stream
        about[stream] = {
            "datasets": [args.clips.resolve().name],
            "selection": f"taught by {signs.count} clips; no epoch was chosen",
            "recipe_selection": checkpoint.provenance.get("recipe_selection", "that of the weights taught from"),
            "licence": checkpoint.provenance.get("licence", ""),
            "commit": git_commit(),
            "init": origin(folder),
        }
    return about


def _signs(clips: Path, labels: Path | None, recognizer: Recognizer) -> tuple[OwnSigns, int]:
    """The signs in a folder, data set or file of signs, and how many clips could not be used, which stderr names."""
    if clips.is_file():
        return OwnSigns.load(clips), 0
    if labels is None:
        return _of_set(_read_set(clips), recognizer.ensemble.estimator)
    rows = [cells for _, cells in read_csv(labels, ("file", "gloss"))]
    rows = [row for row in rows if row.get("split") in (None, "", "train")]
    if not rows:
        raise UserError(f"{labels} has no rows to teach by: write file and gloss of each clip, one a line.")
    for note in lookalike_names(row["gloss"] for row in rows):
        print(note, file=sys.stderr)
    library, signs, missed = Library(clips), OwnSigns(recognizer.ensemble.estimator), 0
    for i, row in enumerate(rows, 1):
        if sys.stderr.isatty():
            print(f"\r{i} of {len(rows)} clips", end="" if i < len(rows) else "\n", file=sys.stderr)
        try:
            _, clip, _ = recognizer.look_at(library.find(row["file"]))
            signs = signs.with_clip(row["gloss"], clip)
        except UserError as error:
            missed += 1
            print(f"{row['file']}: {error}", file=sys.stderr)
    return signs, missed


def _read_set(folder: Path) -> ClipSet:
    try:
        return read_clip_set(folder, "train")
    except MissingSplit:
        raise
    except UserError as error:
        raise UserError(f"{error} Of a folder of videos or skeleton files, give --labels file.csv.") from error


def _of_set(clips: ClipSet, estimator: str) -> tuple[OwnSigns, int]:
    """At most ten clips of each gloss of a data set, of as many signers as there are."""
    signs, missed = OwnSigns(clips.estimator), 0
    if clips.estimator != estimator:
        raise UserError(
            f"{clips.folder} holds joints of {clips.estimator}, but these weights know those of {estimator}."
        )
    if not clips.glosses:
        raise UserError(f"{clips.folder} does not name its glosses: prepare it with python -m dsta.prepare.")
    for label, gloss in enumerate(clips.glosses):
        for i in _of_many_people(clips, label):
            try:
                signs = signs.with_clip(gloss, np.asarray(clips.joints[i]))
            except UserError as error:
                missed += 1
                print(f"{clips.names[i]}: {error}", file=sys.stderr)
    return signs, missed


def _of_many_people(clips: ClipSet, label: int) -> list[int]:
    """At most ten positions of a gloss's clips: one of each source, then a second of each, and so on."""
    taken: dict[str, int] = {}
    order = []
    for i in np.flatnonzero(clips.labels == label).tolist():
        source = clips.sources[i] if clips.sources else ""
        taken[source] = taken.get(source, 0) + 1
        order.append((taken[source], i))
    return [i for _, i in sorted(order)[:MOST_CLIPS]]


if __name__ == "__main__":
    sys.exit(main())
