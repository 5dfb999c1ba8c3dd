"""The command line of preparation.

python -m dsta.prepare VIDEOS --labels LABELS.csv --out data/NAME     # file,gloss,split[,signer[,source]]
python -m dsta.prepare VIDEOS --wlasl WLASL_v0.3.json --subset 100 --out data/WLASL100
python -m dsta.prepare VIDEOS --msasl DIR --subset 100 --out data/MSASL100
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dsta.common import UserError, exit_code
from dsta.common.stop import Stop
from dsta.data.prepared import DATASET_FILE, REPORT_FILE, UPSTREAM_FOLDER, UPSTREAM_FRAMES
from dsta.prepare.assemble import Problem
from dsta.prepare.build import BuildSummary, build_dataset
from dsta.prepare.library import NO_FILE, SPLITS, Library, Listing
from dsta.prepare.lists import read_msasl, read_table, read_wlasl
from dsta.video import FPS


def _describe(summary: BuildSummary) -> str:
    """What was made, in a few lines."""
    prepared, speed = summary.prepared, summary.speed
    counts = ", ".join(f"{split} {prepared.about['clips'].get(split, 0)}" for split in SPLITS)
    glosses, frames = len({row.gloss for row in prepared.rows}), prepared.about["frames"]
    clips = f"{len(prepared.rows)} clips ({counts}) of {glosses} glosses"
    lines = [f"{prepared.folder}: {clips}, {frames} frames, {prepared.estimator}"]
    if speed.frames:
        lines.append(
            f"Found joints in {speed.frames} frames in {speed.seconds:.0f} s: {speed.fps:.1f} frames/s, "
            f"{len(speed.peak_mb)} workers, at most {max(speed.peak_mb.values()):.0f} MB in one"
        )
    if (prepared.folder / UPSTREAM_FOLDER).exists():
        long = sum(row.frames > UPSTREAM_FRAMES for row in prepared.rows)
        lines.append(
            f"{prepared.folder / UPSTREAM_FOLDER}: the reference's arrays, {UPSTREAM_FRAMES} frames a clip: shorter "
            f"clips are repeated to fill it, and of the {long} longer ones frames are left out evenly"
        )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m dsta.prepare", description="Make a data set out of videos.")
    add = result.add_argument
    add("videos", type=Path, metavar="VIDEOS", help="the folder with the videos, or .npz and .pose keypoint files")
    lists = result.add_mutually_exclusive_group(required=True)
    lists.add_argument("--labels", type=Path, metavar="CSV", help="columns file,gloss,split[,signer[,source]]")
    lists.add_argument("--wlasl", type=Path, metavar="JSON", help="WLASL_v0.3.json; with --subset")
    lists.add_argument("--msasl", type=Path, metavar="DIR", help="the folder with MSASL_train.json etc.; with --subset")
    add("--subset", type=int, metavar="N", help="glosses: 100, 300, 1000, 2000 of WLASL; 100, 200, 500, 1000 of MS-ASL")
    add("--out", type=Path, required=True, metavar="DIR", help="the data set; if begun, completed to the list")
    add("--format", choices=["prepared", "upstream"], default="prepared", help="upstream: write DIR/upstream/ as well")
    add("--fps", type=float, default=FPS, help="look at so many frames a second (default %(default)g)")
    add("--workers", type=int, metavar="N", help="processes; by default one a core")
    add("--scheduler", default="", metavar="ADDRESS", help="let a Dask cluster work, such as tcp://host:8786")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, 2 when any clip could not be prepared, 130 after Ctrl-C."""
    args = _parser().parse_args(arguments)
    problems: list[Problem] = []
    with Stop() as stop:
        try:
            code = exit_code(lambda: problems.extend(_run(args)))
        except KeyboardInterrupt:
            print("Stopped: finished clips are kept; run the same command to go on.", file=sys.stderr)
            return stop.exit_code
    return code or (2 if problems else 0)


def _run(args: argparse.Namespace) -> list[Problem]:
    """Does what the command line asks for, and tells what came of it; returns what could not be prepared."""
    if (args.subset is None) != (args.labels is not None):
        raise UserError("--subset N goes with --wlasl and --msasl, which need it: for instance --subset 100.")
    if not 1 <= args.fps <= 60:
        raise UserError(f"--fps must be 1 to 60, not {args.fps:g}.")
    if args.workers is not None and args.workers < 1:
        raise UserError(f"--workers must be at least 1, not {args.workers}.")
    listing = _read_list(args)
    for note in listing.notes:
        print(note, file=sys.stderr)
    if not listing.available and not (args.out / DATASET_FILE).exists():  # clips that were found before need no file
        raise UserError(
            f"None of the {len(listing.missing)} clips in the list has a file in {args.videos}, such as "
            f"{listing.missing[0].clip}: give the folder that holds them."
        )
    how = {"fps": args.fps, "workers": args.workers, "scheduler": args.scheduler}
    summary = build_dataset(listing, args.out, upstream=args.format == "upstream", **how)
    print(_describe(summary))
    for warning in summary.warnings:
        print(warning, file=sys.stderr)
    if listing.unlabelled:
        print(f"{listing.unlabelled} files in {args.videos} have no label and were left out.", file=sys.stderr)
    if summary.problems:
        bad, good = len(summary.problems), len(summary.prepared.rows)
        absent = sum(reason == NO_FILE for _, reason in summary.problems)
        counts = f"{bad} of {bad + good} clips could not be prepared ({absent} have no file)"
        print(f"{counts}: {args.out / REPORT_FILE} says why.", file=sys.stderr)
    return summary.problems


def _read_list(args: argparse.Namespace) -> Listing:
    library = Library(args.videos.resolve())  # other machines start in other folders
    if args.labels:
        return read_table(args.labels, library)
    if args.wlasl:
        return read_wlasl(args.wlasl, args.subset, library)
    return read_msasl(args.msasl, args.subset, library)


if __name__ == "__main__":
    sys.exit(main())
