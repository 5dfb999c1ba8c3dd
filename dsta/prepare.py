"""A folder of videos → a data set: the joints of every labelled clip, and an index.

python -m dsta.prepare VIDEOS --labels LABELS.csv --out data/NAME     # file,gloss,split[,signer[,source]]
python -m dsta.prepare VIDEOS --wlasl WLASL_v0.3.json --subset 100 --out data/WLASL100
python -m dsta.prepare VIDEOS --msasl DIR --subset 100 --out data/MSASL100

All cores work; or, with `--scheduler ADDRESS`, the workers of a Dask cluster, which have this project and see VIDEOS
at the same path. In the project's folder, `PYTHONPATH=. dask scheduler` starts one, and on each machine
`PYTHONPATH=. dask worker --nthreads 1 --nworkers -1 ADDRESS` starts a worker for each core. Each
finished clip is a file in `OUT/.parts`: after an interruption the same command goes on, and ends as it would have.
Run again with more videos or other labels, it looks at new files only. What cannot be prepared is a row in
`OUT/report.csv`; the others are done, and the exit code is 2.

The data set is what the last list says, and no joints are lost for it: a clip whose file is no longer there stays as it
was found; those of clips that the list does not name go to `OUT/.kept/` and come back when one names them.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from dsta.assemble import Job, Problem, warnings
from dsta.errors import UserError, exit_code
from dsta.keypoints import Pose
from dsta.lists import NO_FILE, SPLITS, Item, Library, Listing, read_msasl, read_table, read_wlasl
from dsta.parts import find_joints
from dsta.prepared import DATASET, REPORT, UPSTREAM, UPSTREAM_FRAMES, Prepared
from dsta.stop import Stop
from dsta.video import FPS
from dsta.workers import Done, Lost, cores, each

Find = Callable[[Item, float], Pose]
"""The joints of a clip, at most so many frames a second. Raises UserError."""


@dataclass
class Speed:
    """What joints were found how fast: frames, seconds, and of each worker the most memory in MB. bugs: clips on which
    something failed that is not the user's doing."""

    frames: int = 0
    seconds: float = 0.0
    bugs: int = 0
    peak_mb: dict[str, float] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Summary:
    """What `prepare` did. problems: (name, sentence) of each clip that is not there; warnings: sentences."""

    prepared: Prepared
    problems: list[Problem]
    warnings: list[str]
    speed: Speed


def measure(videos: Sequence[str | Path], workers: int, fps: float = FPS) -> Speed:
    """Finds the joints in videos with so many processes, writes nothing, and tells how fast; for benchmarks.

    The start of the workers counts. Raises UserError when one of the videos cannot be used.
    """
    items = [Item(str(video), "", "train", Path(video)) for video in videos]
    speed, started = Speed(), time.perf_counter()
    for done in each(partial(_call, find_joints, fps), items, workers):
        if done.problem:
            raise UserError(done.problem)
        _count(speed, done)
    speed.seconds = time.perf_counter() - started
    return speed


def prepare(
    listing: Listing,
    out: str | Path,
    *,
    fps: float = FPS,
    workers: int | None = None,
    scheduler: str = "",
    upstream: bool = False,
    find: Find = find_joints,
    progress: bool = True,
) -> Summary:
    """Makes or completes the prepared folder `out` of the clips in a list.

    fps: at most so many frames a second are looked at. workers: processes, by default one a core. scheduler: address of
    a Dask cluster that works instead. upstream: write `out/upstream/` as well. find: what finds the joints.
    Raises UserError when nothing can be prepared, the folder is another thing's, a worker dies or the disk is full;
    finished clips stay.
    """
    job = Job(listing, Path(out), fps)
    speed = _find(job, partial(_call, find, fps), workers or cores(), scheduler, progress)
    prepared, problems = job.finish(upstream)
    return Summary(prepared, problems, [*job.notes, *warnings(prepared)], speed)


def _find(job: Job, work: Callable[[Item], Pose], workers: int, scheduler: str, progress: bool) -> Speed:
    """Finds the joints of the clips that are not finished, each once."""
    todo, clips = job.todo(), len(set(job.keys) - {""})
    keys, items, speed, started = list(todo), list(todo.values()), Speed(), time.perf_counter()
    bar = tqdm(total=clips, initial=clips - len(todo), unit="clip", disable=not progress, smoothing=0.05)
    try:
        with bar, closing(each(work, items, workers, scheduler)) as finished:
            for done in finished:
                job.parts.add(keys[done.place], done.result, done.problem)
                _tell(done, speed)
                _count(speed, done)
                bar.update()
    except Lost as error:
        names = ", ".join(items[i].clip for i in error.in_work[:8])
        raise UserError(
            f"{error} At work were {names}. What is finished is kept: run the same command again, with fewer --workers "
            "where memory is short; leave out a clip that does it each time."
        ) from error
    speed.seconds = time.perf_counter() - started
    return speed


def _call(find: Find, fps: float, item: Item) -> Pose:
    return find(item, fps)


def _count(speed: Speed, done: Done) -> None:
    speed.frames += len(done.result.keypoints) if done.result else 0
    speed.peak_mb[done.worker] = max(speed.peak_mb.get(done.worker, 0.0), done.peak_mb)


def _tell(done: Done, speed: Speed) -> None:
    """Shows the first traceback of what went wrong without the user's doing; all of them are in the report."""
    if done.bug and not speed.bugs:
        tqdm.write(done.bug, file=sys.stderr)
    speed.bugs += bool(done.bug)


def _describe(summary: Summary) -> str:
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
    if (prepared.folder / UPSTREAM).exists():
        long = sum(row.frames > UPSTREAM_FRAMES for row in prepared.rows)
        lines.append(
            f"{prepared.folder / UPSTREAM}: the reference's arrays, {UPSTREAM_FRAMES} frames a clip: shorter clips are "
            f"repeated to fill it, and of the {long} longer ones frames are left out evenly"
        )
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m dsta.prepare", description="Videos → a data set of joints.")
    add = result.add_argument
    add("videos", type=Path, metavar="VIDEOS", help="the folder with the videos, or .npz and .pose keypoint files")
    lists = result.add_mutually_exclusive_group(required=True)
    lists.add_argument("--labels", type=Path, metavar="CSV", help="columns file,gloss,split[,signer[,source]]")
    lists.add_argument("--wlasl", type=Path, metavar="JSON", help="WLASL_v0.3.json; with --subset")
    lists.add_argument("--msasl", type=Path, metavar="DIR", help="the folder with MSASL_train.json …; with --subset")
    add("--subset", type=int, metavar="N", help="glosses: 100, 300, 1000, 2000 of WLASL; 100, 200, 500, 1000 of MS-ASL")
    add("--out", type=Path, required=True, metavar="DIR", help="the data set; if begun, completed to the list")
    add("--format", choices=["prepared", "upstream"], default="prepared", help="upstream: write DIR/upstream/ as well")
    add("--fps", type=float, default=FPS, help="look at so many frames a second (default %(default)g)")
    add("--workers", type=int, metavar="N", help="processes; by default one a core")
    add("--scheduler", default="", metavar="ADDRESS", help="let a Dask cluster work, such as tcp://host:8786")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, 2 when any clip could not be prepared, 130 after Ctrl-C."""
    args = parser().parse_args(arguments)
    problems: list[Problem] = []
    with Stop() as stop:
        try:
            code = exit_code(lambda: problems.extend(_run(args)))
        except KeyboardInterrupt:
            print("Stopped: finished clips are kept; run the same command to go on.", file=sys.stderr)
            return stop.exit_code
    return code or (2 if problems else 0)


def _run(args: argparse.Namespace) -> list[Problem]:
    if (args.subset is None) != (args.labels is not None):
        raise UserError("--subset N goes with --wlasl and --msasl, which need it: for instance --subset 100.")
    if not 1 <= args.fps <= 60:
        raise UserError(f"--fps must be 1 to 60, not {args.fps:g}.")
    if args.workers is not None and args.workers < 1:
        raise UserError(f"--workers must be at least 1, not {args.workers}.")
    listing = _read_list(args)
    for note in listing.notes:
        print(note, file=sys.stderr)
    if not listing.items and not (args.out / DATASET).exists():  # what is prepared already can do without files
        write = f"None of the {len(listing.missing)} clips in the list has a file in {args.videos}"
        raise UserError(f"{write}, such as {listing.missing[0].clip}: give the folder that holds them.")
    summary = prepare(
        listing,
        args.out,
        fps=args.fps,
        workers=args.workers,
        scheduler=args.scheduler,
        upstream=args.format == "upstream",
    )
    print(_describe(summary))
    for warning in summary.warnings:
        print(warning, file=sys.stderr)
    if listing.unlabelled:
        print(f"{listing.unlabelled} files in {args.videos} have no label and were left out.", file=sys.stderr)
    if summary.problems:
        bad, good = len(summary.problems), len(summary.prepared.rows)
        absent = sum(reason == NO_FILE for _, reason in summary.problems)
        text = (
            f"{bad} of {bad + good} clips could not be prepared ({absent} have no file): {args.out / REPORT} says why."
        )
        print(text, file=sys.stderr)
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
