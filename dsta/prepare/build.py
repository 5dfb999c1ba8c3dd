"""A folder of videos → a data set: the joints of every labelled clip, and an index.

All cores work; or, with `--scheduler ADDRESS`, the workers of a Dask cluster, which have this project and see VIDEOS
at the same path. In the project's folder, `PYTHONPATH=. dask scheduler` starts one, and on each machine
`PYTHONPATH=. dask worker --nthreads 1 --nworkers -1 ADDRESS` starts a worker for each core. Each
finished clip is a file in `OUT/.parts`: after an interruption the same command goes on, and ends as it would have.
Run again with more videos or other labels, it looks at new files only. What cannot be prepared is a row in
`OUT/report.csv`; the others are done, and the exit code is 2.

The data set is what the last list says, and no joints are lost for it: a clip whose file is no longer there stays as it
was found; those of clips that the list does not name go to `OUT/.kept/` and come back when one names them.
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
from dsta.prepare.assemble import DatasetBuild, Problem, warnings
from dsta.prepare.joints import find_joints
from dsta.prepare.library import ListedClip, Listing
from dsta.prepare.workers import WorkerLost, WorkResult, run_each
from dsta.video import FPS

Find = Callable[[ListedClip, float], Pose]
"""The joints of a clip, at most so many frames a second. Raises UserError."""


@dataclass
class PoseSpeed:
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
class BuildSummary:
    """What `prepare` did. problems: (name, sentence) of each clip that is not there; warnings: sentences."""

    prepared: Prepared
    problems: list[Problem]
    warnings: list[str]
    speed: PoseSpeed


def measure(videos: Sequence[str | Path], workers: int, fps: float = FPS) -> PoseSpeed:
    """Finds the joints in videos with so many processes, writes nothing, and tells how fast; for benchmarks.

    The start of the workers counts. Raises UserError when one of the videos cannot be used.
    """
    items = [ListedClip(str(video), "", "train", Path(video)) for video in videos]
    speed, started = PoseSpeed(), time.perf_counter()
    for done in run_each(partial(_call, find_joints, fps), items, workers):
        if done.problem:
            raise UserError(done.problem)
        _count(speed, done)
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
    find: Find = find_joints,
    progress: bool = True,
) -> BuildSummary:
    """Makes or completes the prepared folder `out` of the clips in a list.

    fps: at most so many frames a second are looked at. workers: processes, by default one a core. scheduler: address of
    a Dask cluster that works instead. upstream: write `out/upstream/` as well. find: what finds the joints.
    Raises UserError when nothing can be prepared, the folder is another thing's, a worker dies or the disk is full;
    finished clips stay.
    """
    job = DatasetBuild(listing, Path(out), fps)
    speed = _find(job, partial(_call, find, fps), workers or cores(), scheduler, progress)
    prepared, problems = job.finish(upstream)
    return BuildSummary(prepared, problems, [*job.notes, *warnings(prepared)], speed)


def _find(
    job: DatasetBuild, work: Callable[[ListedClip], Pose], workers: int, scheduler: str, progress: bool
) -> PoseSpeed:
    """Finds the joints of the clips that are not finished, each once."""
    todo, clips = job.todo(), len(set(job.keys) - {""})
    keys, items, speed, started = list(todo), list(todo.values()), PoseSpeed(), time.perf_counter()
    bar = tqdm(total=clips, initial=clips - len(todo), unit="clip", disable=not progress, smoothing=0.05)
    try:
        with bar, closing(run_each(work, items, workers, scheduler)) as finished:
            for done in finished:
                job.parts.add(keys[done.place], done.result, done.problem)
                _tell(done, speed)
                _count(speed, done)
                bar.update()
    except WorkerLost as error:
        names = ", ".join(items[i].clip for i in error.in_work[:8])
        raise UserError(
            f"{error} At work were {names}. What is finished is kept: run the same command again, with fewer --workers "
            "where memory is short; leave out a clip that does it each time."
        ) from error
    speed.seconds = time.perf_counter() - started
    return speed


def _call(find: Find, fps: float, item: ListedClip) -> Pose:
    return find(item, fps)


def _count(speed: PoseSpeed, done: WorkResult) -> None:
    speed.frames += len(done.result.keypoints) if done.result else 0
    speed.peak_mb[done.worker] = max(speed.peak_mb.get(done.worker, 0.0), done.peak_mb)


def _tell(done: WorkResult, speed: PoseSpeed) -> None:
    """Shows the first traceback of what went wrong without the user's doing; all of them are in the report."""
    if done.bug and not speed.bugs:
        tqdm.write(done.bug, file=sys.stderr)
    speed.bugs += bool(done.bug)
