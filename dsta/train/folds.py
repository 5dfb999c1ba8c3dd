"""The networks of a cross-validation: each trained without some folds, and made to score them.

On a CPU they are trained in processes, on a GPU side by side in one (`beside`). `runs` knows the files.
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

from dsta.checkpoint import WEIGHTS_FILE, Checkpoint, git_commit, origin, saw_folds
from dsta.common import UserError
from dsta.common.loading import loading
from dsta.data import Clip
from dsta.data.clips import fingerprints
from dsta.data.overlap import Fingerprints
from dsta.model import DSTA
from dsta.score import NetworkInputs, score, score_inputs
from dsta.skeleton import NUM_JOINTS
from dsta.streams import Stream
from dsta.train.beside import NetworkRun, train_side_by_side
from dsta.train.config import SMALL_RECIPE, TrainConfig
from dsta.train.fit import TrainingRun, finished_network, fit
from dsta.train.loop import Compute
from dsta.train.runs import NetworkScores
from dsta.train.sampling import capped
from dsta.train.splits import Request, TrainingClips, read_training_clips

LAST_SHARES = (0.8, 0.9, 1.0)  # of the schedule: the epochs among which the inner fold chooses
JUDGED_PER_SOURCE = 10
LICENCE = "research use only (see the card)"
ESTIMATOR = "mediapipe-holistic"
_AT_ONCE = 512  # clips that are scored at once on a GPU


@dataclass(frozen=True)
class FoldRun:
    """One network of a cross-validation.

    without: the folds that it does not see, and scores; a pair of them after several epochs, of which its scores
    choose, and on some clips of each source. out: its folder. selection: how its last epoch was chosen. init: the
    folder of the network from which it begins.
    """

    stream: Stream
    without: tuple[int, ...]
    out: Path
    data: tuple[Path, ...]
    config: TrainConfig
    selection: str = "last epoch"
    init: Path | None = None

    @property
    def inner(self) -> bool:
        """Whether its scores choose epoch, balance and fusion for other networks."""
        return len(self.without) > 1

    @property
    def scores(self) -> NetworkScores:
        return NetworkScores(self.out)

    @property
    def done(self) -> bool:
        """Whether the network is trained and has scored the folds that it has not seen."""
        return (self.scores.file if self.without else self.out / WEIGHTS_FILE).exists()

    @property
    def epochs(self) -> list[int]:
        """Those after which the unseen folds are scored."""
        return judged_epochs(self.config) if self.inner else [self.config.epochs]

    def unseen(self, clips: Sequence[Clip]) -> list[int]:
        """Positions of the clips that the network scores."""
        scored = [clip for clip in clips if clip.fold in self.without]
        if self.inner:
            scored = capped(scored, JUDGED_PER_SOURCE, np.random.default_rng(0))
        names = {(clip.dataset, clip.name) for clip in scored}
        return [i for i, clip in enumerate(clips) if (clip.dataset, clip.name) in names]

    def material(self, clips: Sequence[Clip]) -> TrainingClips:
        """Those of all clips that train the network: not of the unseen folds, nor the same recordings as there. The
        vocabulary is that of all."""
        train = [clip for clip in clips if clip.fold not in self.without]
        found = fingerprints(train).found_in(self._kept_back(clips))
        trained = [clip for clip, place in zip(train, found, strict=True) if place < 0]
        return TrainingClips(trained, (), tuple(sorted({clip.gloss for clip in clips})), ESTIMATOR)

    def _kept_back(self, clips: Sequence[Clip]) -> Fingerprints:
        return fingerprints([clip for clip in clips if clip.fold in self.without])

    def task(self, clips: Sequence[Clip], material: TrainingClips, device: str) -> TrainingRun:
        """What is to be trained, on its `material` of all the clips."""
        made_by = {
            "datasets": [folder.name for folder in self.data],
            "without_folds": list(self.without),
            "selection": self.selection,
            "device": device,
            "commit": git_commit(),
            "licence": LICENCE,
        }
        folded = sorted({clip.dataset for clip in clips if clip.fold >= 0})
        init = _checked_init(self, self.init, folded, self._kept_back(clips)) if self.init else None
        if self.init:
            made_by["init"] = origin(self.init)
        return TrainingRun(material, self.stream, self.config, SMALL_RECIPE, init, made_by)

    def finish(self, clips: Sequence[Clip]) -> None:
        """Joins the scores that were kept, and says that the network is done."""
        if self.without:
            self.scores.join([f"{clips[i].dataset}/{clips[i].name}" for i in self.unseen(clips)], self.epochs)
        print(f"{self.out} done", flush=True)


def fold_clips(data: Sequence[Path]) -> list[Clip]:
    """The clips of the sets: of those with folds all, of others the training split, whose fold is -1."""
    return list(read_training_clips(Request(tuple(data))).train)


def judged_epochs(config: TrainConfig) -> list[int]:
    """The epochs among which an inner fold chooses."""
    return sorted({max(1, round(share * config.schedule)) for share in LAST_SHARES})


def _checked_init(run: FoldRun, folder: Path, sets: Sequence[str], unseen: Fingerprints) -> Checkpoint:
    """What the network begins from. Raises UserError when it is of another stream, or may have seen the unseen."""
    init = Checkpoint.load(folder)
    if init.stream != run.stream:
        raise UserError(f"{folder} is of the stream {init.stream}: it cannot begin {run.out}.")
    why = saw_folds(folder, init.provenance, sets, run.without)
    why = why or (init.seen.why_not(unseen, str(folder)) if init.seen else "")
    if why:
        raise UserError(
            f"{folder} may have seen other folds of {', '.join(sets)}: begin {run.out} from a run of the same folds, "
            f"or from weights of other sets. {why}"
        )
    return init


def train_fold_networks(runs: Sequence[FoldRun], workers: int, device: str = "cpu") -> None:
    """Trains and scores what is not done: on a CPU `workers` at a time, one thread each; on a GPU all at once."""
    if device != "cpu":
        train_folds_beside([run for run in runs if not run.done], torch.device(device), workers)
        return
    with ProcessPoolExecutor(workers) as pool:
        for _ in pool.map(train_and_score, runs):
            pass


def train_and_score(run: FoldRun) -> None:
    """Trains the network on a CPU, and scores the folds that it has not seen; what is done is left alone."""
    if run.done:
        return
    torch.set_num_threads(1)
    clips = fold_clips(run.data)
    unseen = [clips[i].joints for i in run.unseen(clips)]

    def score_unseen(epoch: int, model: DSTA) -> None:
        if unseen and epoch in run.epochs:
            run.scores.keep(epoch, score(model, unseen, run.stream, SMALL_RECIPE).logits)

    task = run.task(clips, run.material(clips), "cpu")
    trained = fit(task, run.out, Compute(progress=False), after_epoch=score_unseen if run.inner else None)
    if not run.inner:
        score_unseen(run.config.epochs, trained.model)
    run.finish(clips)


def train_folds_beside(runs: Sequence[FoldRun], device: torch.device, workers: int) -> None:
    """Trains all networks together on a GPU, and has each score the folds that it has not seen.

    workers: processes that vary and prepare clips. Raises UserError when the GPU's memory does not suffice.
    """
    if not runs:
        return
    clips = fold_clips(runs[0].data)
    materials = {without: run.material(clips) for without, run in {run.without: run for run in runs}.items()}
    inputs = {stream: _network_inputs(clips, stream, workers) for stream in {run.stream for run in runs if run.without}}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)

    def score_unseen(run: FoldRun, epoch: int, model: DSTA) -> None:
        if run.without:
            chunks = inputs[run.stream][run.unseen(clips)].split(_AT_ONCE)
            logits = torch.cat([score_inputs(model.to(device), chunk)[0] for chunk in chunks])
            run.scores.keep(epoch, logits.cpu().numpy())

    def end(run: FoldRun, checkpoint: Checkpoint) -> None:
        if not run.inner:
            score_unseen(run, run.config.epochs, checkpoint.model)
        run.finish(clips)

    left: list[NetworkRun] = []
    try:
        for run in runs:
            task = run.task(clips, materials[run.without], name)
            trained = finished_network(task, run.out)
            if trained and (
                not run.inner or all(run.scores.part(epoch).exists() for epoch in run.epochs)
            ):  # killed before it had scored
                end(run, trained)
                continue
            marks = run.epochs if run.inner else ()
            left.append(NetworkRun(task, run.out, marks, partial(score_unseen, run), partial(end, run)))
        train_side_by_side(left, device, workers, compiled=device.type == "cuda")
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"The GPU's memory is too small for {len(runs)} networks at once: give --device cpu."
        ) from error


def _network_inputs(clips: Sequence[Clip], stream: Stream, workers: int) -> Tensor:
    """(N, views, C, window, 27) network input of all clips, prepared by `workers` processes."""
    each = _AT_ONCE * SMALL_RECIPE.views * SMALL_RECIPE.channels * SMALL_RECIPE.window * NUM_JOINTS * 4
    prepared = NetworkInputs(stream, SMALL_RECIPE, [clip.joints for clip in clips])
    return torch.cat([*DataLoader(prepared, _AT_ONCE, **loading(workers, 2, each))])
