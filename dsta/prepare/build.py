"""A folder of videos → a data set: the joints of every labelled clip, and an index.

All cores work; or, with `--scheduler ADDRESS`, the workers of a Dask cluster, which have this project and see VIDEOS
at the same path. In the project's folder, `PYTHONPATH=. dask scheduler` starts one, and on each machine
`PYTHONPATH=. dask worker --nthreads 1 --nworkers -1 ADDRESS` starts a worker for each core.

Each finished clip is a file in `OUT/.parts` until the data set is written: after an interruption the same command goes
on, and ends as it would have. Run again with more videos or other labels, it looks at new files only. What cannot be
prepared is a row in `OUT/report.csv`; the others are done, and the exit code is 2.

The data set is what the last list says, and no joints are lost for it: a clip whose file is no longer there stays as it
was found, and clips that the list does not name wait in `OUT/unlisted.npy` until a list names them. A folder that is
damaged is refused and left as it is.
"""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from dsta.common import UserError
from dsta.common.machine import cores
from dsta.data.prepared import Prepared
from dsta.keypoints import Pose
from dsta.prepare.assemble import DatasetBuild, Problem, content_warnings, overlap_warnings
from dsta.prepare.joints import find_joints
from dsta.prepare.library import ListedClip, Listing
from dsta.prepare.workers import WorkerLost, WorkResult, run_on_workers
from dsta.video import FPS


@dataclass
class PoseSpeed:
    """What joints were found how fast: frames, seconds, and of each worker the most memory in MB."""

    frames: int = 0
    seconds: float = 0.0
    peak_mb: dict[str, float] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds if self.seconds else 0.0

    def count(self, done: WorkResult) -> None:
        """Adds a finished clip; the time is for the caller to add."""
        self.frames += len(done.result.keypoints) if done.result else 0
        self.peak_mb[done.worker] = max(self.peak_mb.get(done.worker, 0.0), done.peak_mb)


@dataclass(frozen=True)
class BuildSummary:
    """What `build_dataset` did. problems: (name, sentence) of each clip that is not there; warnings: sentences."""

    prepared: Prepared
    problems: list[Problem]
    warnings: list[str]
    speed: PoseSpeed


def measure(videos: Sequence[str | Path], workers: int, fps: float = FPS) -> PoseSpeed:
    """Finds the joints in videos with so many processes, writes nothing, and tells how fast; for benchmarks.

    The start of the workers counts. Raises UserError when one of the videos cannot be used.
    """
    clips = [ListedClip(str(video), "", "train", Path(video)) for video in videos]
    speed, started = PoseSpeed(), time.perf_counter()
    for done in run_on_workers(partial(find_joints, fps=fps), clips, workers):
        if done.problem:
            raise UserError(done.problem)
        speed.count(done)
    speed.seconds = time.perf_counter() - started
    return speed


def build_dataset(
    listing: Listing,
    out: str | Path,
    *,
    fps: float = FPS,
    workers: int | None = None,
    scheduler: str = "",
    upstream: bool = False,
    find: Callable[..., Pose] = find_joints,
) -> BuildSummary:
    """Makes or completes the prepared folder `out` of the clips in a list.

    fps: at most so many frames a second are looked at. workers: processes, by default one a core. scheduler: address of
    a Dask cluster that works instead. upstream: write `out/upstream/` as well. find: what finds a clip's joints,
    called with it and `fps`.
    Raises UserError when nothing can be prepared, the folder is another thing's or damaged, a worker dies or the disk
    is full; finished clips stay.
    """
    build = DatasetBuild(listing, Path(out), fps)
    speed = _find_missing(build, partial(find, fps=fps), workers or cores(), scheduler)
    prepared, problems, notes = build.finish(upstream)
    return BuildSummary(prepared, problems, [*notes, *content_warnings(prepared), *overlap_warnings(prepared)], speed)


def _find_missing(build: DatasetBuild, work: Callable[[ListedClip], Pose], workers: int, scheduler: str) -> PoseSpeed:
    """Finds the joints that are still to find, and puts them into the build's cache."""
    todo, total = build.todo(), len(set(build.keys) - {""})
    keys, clips, speed, started = list(todo), list(todo.values()), PoseSpeed(), time.perf_counter()
    bugs = 0
    bar = tqdm(total=total, initial=total - len(todo), unit="clip", smoothing=0.05)
    try:
        with bar, closing(run_on_workers(work, clips, workers, scheduler)) as finished:
            for done in finished:
                build.cache.add(keys[done.index], done.result, done.problem)
                bugs += bool(done.bug)
                if done.bug and bugs == 1:
                    tqdm.write(done.bug, file=sys.stderr)  # the first one; the report has all, without tracebacks
                speed.count(done)
                bar.update()
    except WorkerLost as error:
        names = ", ".join(clips[i].clip for i in error.in_work[:8])
        raise UserError(
            f"{error} At work were {names}. What is finished is kept: run the same command again, with fewer --workers "
            "where memory is short; leave out a clip that does it each time."
        ) from error
    speed.seconds = time.perf_counter() - started
    return speed
