"""Small networks trained side by side on one GPU: alone, each would leave it idle.

A step of a small network is some thousand short kernels, and starting them takes longer than they do. So the step of
each network is recorded once as a CUDA graph, which one call replays, and each graph runs on a stream of its own, so
that the networks share the GPU. Networks may differ in all things; those that see the same clips share their draws.
On a CPU the steps are done one after the other. Each network becomes what `fit` makes of it.
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from dsta.checkpoint import Checkpoint
from dsta.common import UserError, replace_file
from dsta.common.loading import loading
from dsta.model import DSTA
from dsta.skeleton import NUM_JOINTS
from dsta.train.batches import SmallBatches, Workers
from dsta.train.config import TrainConfig
from dsta.train.fit import TrainingRun
from dsta.train.loop import speed_up
from dsta.train.state import LOG_FILE, RESUME_FILE, telling_disk_errors

WARM_UP = 3  # steps before one is recorded, as torch's notes on CUDA graphs ask for
_AHEAD = 2  # epochs of a group that a worker has ready


@dataclass(frozen=True)
class NetworkRun:
    """One of the networks: what it is trained for, its folder, and what is done with it.

    score_at: the numbers of finished epochs at which `after_epoch` is called, with the number and the network in
    evaluation mode. at_end: called with the checkpoint once that is written.
    """

    training: TrainingRun
    out: Path
    score_at: Collection[int] = ()
    after_epoch: Callable[[int, DSTA], None] | None = None
    at_end: Callable[[Checkpoint], None] | None = None

    @property
    def config(self) -> TrainConfig:
        config = self.training.config
        if not isinstance(config, TrainConfig) or config.average:
            raise ValueError("side by side goes the recipe for small sets, without a moving average")
        return config

    @cached_property
    def batches(self) -> SmallBatches:
        training = self.training
        label_of = {gloss: i for i, gloss in enumerate(training.clips.glosses)}
        return SmallBatches(training.clips.train, label_of, training.stream, training.recipe, self.config, Workers())

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.batches.steps

    @property
    def end(self) -> int:
        """Steps in all."""
        return self.steps * self.config.epochs

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        epoch, done = divmod(step, self.steps)
        return self.config.rate(epoch, done / self.steps)


def train_side_by_side(
    runs: Sequence[NetworkRun],
    device: torch.device,
    workers: int = 0,
    progress: bool = True,
    compiled: bool = False,
) -> None:
    """Trains the networks together; as each is through, its log and the checkpoint of its last epoch are written.

    workers: processes that vary clips; 0 is this one. compiled: the networks go through torch.compile, which takes a
    minute or so for each shape and batch size among them. On a GPU numbers are float32 in TF32. What is interrupted
    begins anew, and validation clips are not looked at. Raises UserError when a loss is no longer a number, or the disk
    is full; ValueError for networks of the reference recipe or with a moving average.
    """
    if not runs:
        return
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # streams and graphs are those of the current one
    for run in runs:
        with telling_disk_errors(run.out):
            run.out.mkdir(parents=True, exist_ok=True)
    shared = _shared_batches(runs)
    networks = [RecordedNetwork(run, device, compiled) for run in runs]
    draws = _draws(shared, workers, pin=device.type == "cuda")
    for step in tqdm(range(max(run.end for run in runs)), unit="step", disable=not progress):
        for group in shared:
            if step % group.steps == 0 and step < group.steps * group.epochs:
                _wait(device)  # the epoch that is let go may still be read
                group.held = tuple(part.to(device, non_blocking=True) for part in next(draws))
                _wait(device)
        for group in shared:
            for place, run in group.runs:
                if step < run.end:
                    x, y = group.held
                    networks[place].step(x[step % run.steps, group.stream_of(run)], y[step % run.steps], step)
        for run, network in zip(runs, networks, strict=True):
            epoch, rest = divmod(step + 1, run.steps)
            if rest or step >= run.end:
                continue
            _wait(device)
            if not network.told[: step + 1].isfinite().all():
                raise UserError(f"The loss of {run.out} is not a number after epoch {epoch}: lower --learning-rate.")
            if run.after_epoch and epoch in run.score_at:
                run.after_epoch(epoch, network.copy())
            if step + 1 == run.end:
                _finish(run, network.copy(), network.told.cpu().numpy())


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _finish(run: NetworkRun, model: DSTA, told: np.ndarray) -> None:
    """Writes the log, of losses and accuracies (steps, 2), and the checkpoint, which makes the network finished."""
    means = told.reshape(run.config.epochs, run.steps, 2).mean(1)
    lines = []
    for epoch, (loss, accuracy) in enumerate(means.tolist()):
        rate = run.rate((epoch + 1) * run.steps - 1)
        lines.append(json.dumps({"epoch": epoch, "loss": loss, "accuracy": accuracy, "rate": rate}) + "\n")
    checkpoint = run.training.checkpoint(model)
    with telling_disk_errors(run.out):
        replace_file(run.out / LOG_FILE, "".join(lines).encode())
        checkpoint.save(run.out)
        (run.out / RESUME_FILE).unlink(missing_ok=True)  # of a run on a CPU that was not brought to its end
    if run.at_end:
        run.at_end(checkpoint)


class RecordedNetwork:
    """A network with its optimiser. On a GPU its step is recorded, and replayed on a stream of its own.

    told: (steps, 2) mean loss and accuracy of each step that was done.
    """

    def __init__(self, run: NetworkRun, device: torch.device, compiled: bool = False) -> None:
        self.run, self.device, self.on_gpu = run, device, device.type == "cuda"
        self.model = run.training.network().to(device).train()
        if self.on_gpu:
            speed_up(self.model)
        # Without the classifier, so that vocabularies of all sizes share what is compiled.
        self.embed: Any = torch.compile(self.model.embed, dynamic=False) if compiled else self.model.embed
        self.optimizer = run.config.optimizer(self.model)
        self.rate = torch.zeros((), device=device)
        for group in self.optimizer.param_groups:
            group |= {"lr": self.rate, "capturable": self.on_gpu}
        recipe, size = run.training.recipe, run.config.batch_size
        self.x = torch.zeros(size, recipe.channels, recipe.window, NUM_JOINTS, device=device)
        self.y = torch.zeros(size, dtype=torch.int64, device=device)
        self.latest = torch.zeros(2, device=device)
        self.told = torch.zeros(run.end, 2, device=device)
        self.stream = torch.cuda.Stream() if self.on_gpu else None
        self.graph = self._recorded() if self.stream else None

    def step(self, x: Tensor, y: Tensor, step: int) -> None:
        """A step with a batch, at the learning rate of its number; a GPU does it later."""
        with torch.cuda.stream(self.stream) if self.stream else nullcontext():
            self.x.copy_(x, non_blocking=True)
            self.y.copy_(y, non_blocking=True)
            self.rate.fill_(self.run.rate(step))
            if self.graph is None:
                self._step()
            else:
                self.graph.replay()
            self.told[step].copy_(self.latest)

    def copy(self) -> DSTA:
        """The network as it is now, on the CPU and in evaluation mode."""
        model = DSTA(self.model.config)
        model.load_state_dict(self.model.state_dict())
        return model.eval()

    def _step(self) -> None:
        """Reads x, y and rate, and leaves what it has to say in `latest`: a graph knows tensors by their place."""
        config = self.run.config
        scores = self.model.classifier(self.embed(self.x))
        loss = F.cross_entropy(scores, self.y, label_smoothing=config.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimizer.step()
        self.latest[0] = loss.detach()
        self.latest[1] = (scores.detach().argmax(1) == self.y).float().mean()

    def _recorded(self) -> torch.cuda.CUDAGraph:
        """The step as a CUDA graph. What the warm-up changes, weights and moments, is put back."""
        before = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        torch.cuda.synchronize()
        with torch.cuda.stream(self.stream):
            for _ in range(WARM_UP):
                self._step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):  # its own stream, and so its own workspaces of libraries
            self._step()
        for name, tensor in self.model.state_dict().items():
            tensor.copy_(before[name])
        for state in self.optimizer.state.values():
            for tensor in state.values():
                tensor.zero_()
        torch.cuda.synchronize()
        return graph


class SharedBatches:
    """Networks that see the same varied clips, each its own stream of them.

    runs: with their places among all. held: network input (steps, streams, N, C, window, 27) and labels (steps, N) of
    the epoch that goes on.
    """

    def __init__(self) -> None:
        self.runs: list[tuple[int, NetworkRun]] = []
        self.held: Any = ()

    @property
    def steps(self) -> int:
        return self.runs[0][1].steps

    @property
    def epochs(self) -> int:
        return max(run.config.epochs for _, run in self.runs)

    @cached_property
    def streams(self) -> list[Any]:
        return sorted({run.training.stream for _, run in self.runs})

    def stream_of(self, run: NetworkRun) -> int:
        """The place of its stream in `held`."""
        return self.streams.index(run.training.stream)

    def epoch(self, epoch: int) -> tuple[Tensor, Tensor]:
        """What is held of an epoch."""
        xs, ys = zip(*self.runs[0][1].batches.of_streams(epoch, self.streams), strict=True)
        return torch.stack(xs), torch.stack(ys)


def _shared_batches(runs: Sequence[NetworkRun]) -> list[SharedBatches]:
    found: dict[str, SharedBatches] = {}
    for i, run in enumerate(runs):
        clips, config = run.training.clips, run.config
        drawn = (config.batch_size, config.per_gloss, config.spread, config.augmentation, config.seed)
        key = repr((clips.fingerprint, clips.glosses, run.training.recipe, drawn))
        found.setdefault(key, SharedBatches()).runs.append((i, run))
    return list(found.values())


class _Drawn(Dataset[tuple[Tensor, Tensor]]):
    """Epochs of varied clips, in the order in which `train_side_by_side` wants them."""

    def __init__(self, shared: Sequence[SharedBatches]) -> None:
        self.shared = shared
        wanted = [(e * group.steps, i, e) for i, group in enumerate(shared) for e in range(group.epochs)]
        self.order = [(i, e) for _, i, e in sorted(wanted)]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, at: int) -> tuple[Tensor, Tensor]:
        place, epoch = self.order[at]
        return self.shared[place].epoch(epoch)


def _draws(shared: Sequence[SharedBatches], workers: int, pin: bool) -> Iterator[tuple[Tensor, Tensor]]:
    each = 0
    for group in shared:
        recipe, config = group.runs[0][1].training.recipe, group.runs[0][1].config
        clip = recipe.channels * recipe.window * NUM_JOINTS * 4
        each = max(each, group.steps * len(group.streams) * config.batch_size * clip)
    return iter(DataLoader(_Drawn(shared), None, **loading(workers, _AHEAD, each, pin)))
