"""The networks of a cross-validation: each trained without some folds, and made to score them.

On a CPU they are trained side by side in processes, on a GPU stacked into one (`stacked`).
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dsta.checkpoint import Checkpoint, git_commit, origin, saw_folds
from dsta.common import UserError, write_npz
from dsta.common.machine import with_room
from dsta.data import Clip, read_skeletons
from dsta.model import DSTA
from dsta.score import NetworkInputs, score, score_inputs
from dsta.skeleton import NUM_JOINTS
from dsta.streams import Stream
from dsta.train.config import SMALL_RECIPE, TrainConfig
from dsta.train.fit import TrainingRun, finished_network, fit
from dsta.train.loop import Compute
from dsta.train.sampling import capped
from dsta.train.splits import TrainingClips
from dsta.train.stacked import StackedRun, train_stacked

LAST_SHARES = (0.8, 0.9, 1.0)  # of the schedule: the epochs among which the inner fold chooses
JUDGED_PER_SOURCE = 10
LICENCE = "research use only (see the card)"
ESTIMATOR = "mediapipe-holistic"
_AT_ONCE = 512  # clips that are scored at once on a GPU


@dataclass(frozen=True)
class FoldRun:
    """One network: stream, unseen folds, place, how its last epoch was chosen, and what it begins from."""

    stream: Stream
    without: tuple[int, ...]
    out: Path
    data: tuple[Path, ...]
    config: TrainConfig
    inner: bool
    selection: str = "last epoch"
    init: Path | None = None

    @property
    def done(self) -> bool:
        """Whether the network is trained and has scored the folds that it has not seen."""
        return (self.out / ("scores.npz" if self.without else "model.safetensors")).exists()

    @property
    def epochs(self) -> list[int]:
        """Those after which the unseen folds are scored."""
        return judged_epochs(self.config) if self.inner else [self.config.epochs]

    def unseen(self, clips: Sequence[Clip]) -> list[int]:
        """Places of the clips that the network scores: the unseen folds, for an inner network some of each source."""
        places = [i for i, clip in enumerate(clips) if clip.fold in self.without]
        if not self.inner:
            return places
        few = capped([clips[i] for i in places], JUDGED_PER_SOURCE, np.random.default_rng(0))
        names = {(clip.dataset, clip.name) for clip in few}
        return [i for i in places if (clips[i].dataset, clips[i].name) in names]

    def task(self, clips: Sequence[Clip], shown: Sequence[Clip], device: str) -> TrainingRun:
        """What is to be trained, on the clips of `shown`; `clips` are all, whose glosses are the vocabulary."""
        made_by = {
            "datasets": [folder.name for folder in self.data],
            "without_folds": list(self.without),
            "selection": self.selection,
            "device": device,
            "commit": git_commit(),
            "licence": LICENCE,
        }
        init = _init(self) if self.init else None
        if init:
            made_by["init"] = origin(self.init)
        material = TrainingClips(shown, (), tuple(sorted({clip.gloss for clip in clips})), ESTIMATOR)
        return TrainingRun(material, self.stream, self.config, SMALL_RECIPE, init, made_by)

    def keep_scores(self, epoch: int, scores: np.ndarray) -> None:
        """Keeps what an epoch's network says of the unseen clips: a resumed run finds it on disk."""
        np.save(self.out / f"epoch{epoch}.npy", scores)

    def finish(self, clips: Sequence[Clip]) -> None:
        """Joins the scores that were kept into `scores.npz`."""
        names = [f"{clips[i].dataset}/{clips[i].name}" for i in self.unseen(clips)]
        kept = {epoch: self.out / f"epoch{epoch}.npy" for epoch in self.epochs}
        if self.without:
            scores = {f"epoch{epoch}": np.load(path) for epoch, path in kept.items()}
            write_npz(self.out / "scores.npz", names=np.array(names), **scores)
        for path in kept.values():
            path.unlink(missing_ok=True)
        print(f"{self.out} done", flush=True)


def train_and_score(job: FoldRun) -> None:
    """Trains the network on a CPU, and scores the folds that it has not seen; a finished job is left alone."""
    if job.done:
        return
    torch.set_num_threads(1)
    clips = [clip for folder in job.data for clip in read_skeletons(folder)]
    unseen = [clips[i].joints for i in job.unseen(clips)]

    def score_unseen(epoch: int, model: DSTA) -> None:
        if unseen and epoch in job.epochs:
            job.keep_scores(epoch, score(model, unseen, job.stream, SMALL_RECIPE).logits)

    task = job.task(clips, [clip for clip in clips if clip.fold not in job.without], "cpu")
    trained = fit(task, job.out, Compute(progress=False), after_epoch=score_unseen if job.inner else None)
    if not job.inner:
        score_unseen(job.config.epochs, trained.model)
    job.finish(clips)


def train_fold_networks(jobs: Sequence[FoldRun], workers: int, device: str = "cpu") -> None:
    """Runs the jobs: on a CPU `workers` at a time, one thread each; on a GPU all at once."""
    if device != "cpu":
        train_folds_stacked([job for job in jobs if not job.done], torch.device(device), workers)
        return
    with ProcessPoolExecutor(workers) as pool:
        for _ in pool.map(train_and_score, jobs):
            pass


def train_folds_stacked(jobs: Sequence[FoldRun], device: torch.device, workers: int) -> None:
    """Trains the networks of all jobs together on a GPU, and has each score the folds that it has not seen.

    workers: processes that vary and prepare clips. Raises UserError when the GPU's memory does not suffice.
    """
    if not jobs:
        return
    clips = [clip for folder in jobs[0].data for clip in read_skeletons(folder)]
    seen_by = {without: [c for c in clips if c.fold not in without] for without in {job.without for job in jobs}}
    inputs = {stream: _inputs(clips, stream, workers) for stream in {job.stream for job in jobs if job.without}}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)

    def score_unseen(job: FoldRun, epoch: int, model: DSTA) -> None:
        if job.without:
            chunks = inputs[job.stream][job.unseen(clips)].split(_AT_ONCE)
            logits = torch.cat([score_inputs(model.to(device), chunk)[0] for chunk in chunks])
            job.keep_scores(epoch, logits.cpu().numpy())

    def end(job: FoldRun, checkpoint: Checkpoint) -> None:
        if not job.inner:
            score_unseen(job, job.config.epochs, checkpoint.model)
        job.finish(clips)

    courses: dict[str, list[StackedRun]] = {}  # networks that begin from others may have several sizes
    try:
        for job in jobs:
            task = job.task(clips, seen_by[job.without], name)
            trained = finished_network(task, job.out)
            if trained and all((job.out / f"epoch{epoch}.npy").exists() for epoch in job.epochs if job.inner):
                end(job, trained)  # killed before it had scored
                continue
            course = StackedRun(
                task, job.out, job.epochs if job.inner else (), partial(score_unseen, job), partial(end, job)
            )
            courses.setdefault(repr(task.init and task.init.model.config), []).append(course)
        for stack in courses.values():
            train_stacked(stack, device, workers)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"The GPU's memory is too small for {len(jobs)} networks at once: give --device cpu."
        ) from error


def _inputs(clips: Sequence[Clip], stream: Stream, workers: int) -> Tensor:
    """(N, views, C, window, 27) network input of all clips, prepared by `workers` processes."""
    each = _AT_ONCE * SMALL_RECIPE.views * SMALL_RECIPE.channels * SMALL_RECIPE.window * NUM_JOINTS * 4
    room = with_room(workers, 2, each) if workers else {}
    forked = {"multiprocessing_context": "fork"} if room else {}
    prepared = NetworkInputs(stream, SMALL_RECIPE, [clip.joints for clip in clips])
    return torch.cat([*DataLoader(prepared, _AT_ONCE, generator=torch.Generator(), **room, **forked)])


def _init(job: FoldRun) -> Checkpoint:
    """What the network begins from. Raises UserError when it is of another stream, or may have seen the unseen."""
    init = Checkpoint.load(job.init)
    if init.stream != job.stream:
        raise UserError(f"{job.init} is of the stream {init.stream}: it cannot begin {job.out}.")
    sets = [folder.name for folder in job.data]
    why = saw_folds(job.init, init.provenance, sets, job.without)
    if why:
        raise UserError(
            f"{job.init} may have seen other folds of {', '.join(sets)}: begin {job.out} from a run of the same folds, "
            f"or from weights of other sets. {why}"
        )
    return init


def judged_epochs(config: TrainConfig) -> list[int]:
    """The epochs among which an inner fold chooses."""
    return sorted({max(1, round(share * config.schedule)) for share in LAST_SHARES})
