"""Many small networks of one shape, trained as one: alone, each would leave a GPU idle.

Parameters are stacked (M, …) and the network is mapped over them (`torch.func`), so that a step of all takes little
longer than a step of one. Each keeps its own clips, epochs, learning rate and clipping of gradients, and becomes what
`fit` makes of it, up to rounding.

One optimiser has one learning rate, but each network wants its own. AdamW's step, weight decay included, is the
learning rate times a direction that does not depend on it. So the optimiser takes the step of rate 1, and each network
keeps the share of that step which its rate is: new = old + rate · (stepped - old).
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, vmap
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
class StackedRun:
    """One network of a stack: what it is trained for, its folder, and what is done with it.

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
        if not isinstance(config, TrainConfig):
            raise ValueError("networks of the reference recipe cannot be stacked")
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

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0; 0 when the network is finished."""
        epoch, done = divmod(step, self.steps)
        return self.config.rate(epoch, done / self.steps) if epoch < self.config.epochs else 0.0


def train_stacked(runs: Sequence[StackedRun], device: torch.device, workers: int = 0, progress: bool = True) -> None:
    """Trains the networks together; as each is through, its log and the checkpoint of its last epoch are written.

    workers: processes that vary clips; 0 is this one. On a GPU numbers are float32 in TF32. What is interrupted begins
    anew, and validation clips are not looked at. The networks must have one shape, recipe, batch size, label smoothing,
    weight decay and clipping, and no moving average, else ValueError. Raises UserError when a loss is no longer a
    number, or the disk is full.
    """
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # streams and graphs are those of the current one
    for run in runs:
        with telling_disk_errors(run.out):
            run.out.mkdir(parents=True, exist_ok=True)
    stack, shared = NetworkStack(runs, device), _shared_batches(runs)
    ends = [run.steps * run.config.epochs for run in runs]
    place_of = {
        id(run): (i, group.streams.index(run.training.stream)) for i, group in enumerate(shared) for run in group.runs
    }
    places = [place_of[id(run)] for run in runs]  # its group in `shared`, and which of the group's streams it sees
    records = torch.zeros(max(ends), 2, len(runs), device=device)
    draws = _draws(shared, workers, pin=device.type == "cuda")
    held: list[tuple[Tensor, Tensor]] = [(torch.empty(0), torch.empty(0))] * len(shared)
    for step in tqdm(range(max(ends)), unit="step", disable=not progress):
        for i, group in enumerate(shared):
            if step % group.steps == 0 and step < group.steps * group.epochs:
                x_epoch, y_epoch = next(draws)
                held[i] = x_epoch.to(device, non_blocking=True), y_epoch.to(device, non_blocking=True)
        at = [step % run.steps for run in runs]
        x = [held[i][0][k, s] for (i, s), k in zip(places, at, strict=True)]
        y = [held[i][1][k] for (i, _), k in zip(places, at, strict=True)]
        records[step] = stack.step(x, y, [run.rate(step) for run in runs])
        for i, run in enumerate(runs):
            epoch, rest = divmod(step + 1, run.steps)
            if rest or step >= ends[i]:
                continue
            if not records[step, 0, i].isfinite():
                raise UserError(f"The loss of {run.out} is not a number after epoch {epoch}: lower --learning-rate.")
            if run.after_epoch and epoch in run.score_at:
                run.after_epoch(epoch, stack.network(i))
            if step + 1 == ends[i]:
                _finish(run, stack.network(i), records[: ends[i], :, i].cpu().numpy())


def _finish(run: StackedRun, model: DSTA, records: np.ndarray) -> None:
    """Writes the log, of losses and accuracies (steps, 2), and the checkpoint, which makes the network finished."""
    means = records.reshape(run.config.epochs, run.steps, 2).mean(1)
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


class NetworkStack:
    """Networks side by side with their optimiser, on one device. On a GPU a step is recorded once and replayed."""

    def __init__(self, runs: Sequence[StackedRun], device: torch.device) -> None:
        self.runs, self.config = runs, _common(runs)
        self.on_gpu = device.type == "cuda"
        models = [run.training.network() for run in runs]
        shape = models[0].config
        if any(model.config != shape for model in models):
            raise ValueError("networks of different shapes cannot be stacked")
        self.count, self.shape = len(models), shape
        self.base = DSTA(shape).to("meta").train()
        if self.on_gpu:
            speed_up(self.base)
        states = [model.state_dict() for model in models]
        whole = {name: torch.stack([state[name] for state in states]).to(device) for name in states[0]}
        names = [name for name, _ in models[0].named_parameters()]
        self.buffers = {name: tensor for name, tensor in whole.items() if name not in set(names)}
        matrices = [name for name in names if states[0][name].ndim > 1]  # they decay, as in `TrainConfig.optimizer`
        self.kinds = (matrices, [name for name in names if name not in set(matrices)])
        self.rows = [torch.cat([whole[name].flatten(1) for name in kind], 1) for kind in self.kinds]
        self.parameters = self._views({name: tensor.shape for name, tensor in whole.items()})
        decays = (self.config.weight_decay, 0.0)
        groups = [{"params": [row], "weight_decay": decay} for row, decay in zip(self.rows, decays, strict=True)]
        # Takes the step of rate 1, see above.
        self.optimizer = torch.optim.AdamW(groups, lr=1.0, fused=True, capturable=self.on_gpu)
        recipe, size = runs[0].training.recipe, self.config.batch_size
        self.x = torch.zeros(self.count, size, recipe.channels, recipe.window, NUM_JOINTS, device=device)
        self.y = torch.zeros(self.count, size, dtype=torch.int64, device=device)
        self.rates = torch.zeros(self.count, device=device)
        self.told = torch.zeros(2, self.count, device=device)
        self.graph = self._recorded() if self.on_gpu else None

    def _views(self, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
        """The parameters, as views into one long row a network and kind: clipping and optimiser take few kernels."""
        found = {}
        for row, kind in zip(self.rows, self.kinds, strict=True):
            pieces = row.split([shapes[name][1:].numel() for name in kind], 1)
            for name, piece in zip(kind, pieces, strict=True):
                found[name] = piece.view(shapes[name]).detach().requires_grad_()
        return found

    def step(self, x: list[Tensor], y: list[Tensor], rates: list[float]) -> Tensor:
        """A step of all networks, each with its batch and learning rate; (2, M) mean loss and accuracy of each."""
        torch.stack(x, out=self.x)
        torch.stack(y, out=self.y)
        self.rates.copy_(torch.tensor(rates), non_blocking=True)
        if self.graph is None:
            self._step()
        else:
            self.graph.replay()
        return self.told

    def network(self, i: int) -> DSTA:
        """A copy of one of the networks, in evaluation mode on the CPU."""
        model = DSTA(self.shape)
        whole = self.parameters | self.buffers
        model.load_state_dict({name: whole[name][i].detach().cpu() for name in model.state_dict()})
        return model.eval()

    def _step(self) -> None:
        """Reads x, y and rates, and leaves what it has to say in `told`: a graph knows tensors by their place."""
        scores = vmap(lambda p, b, x: functional_call(self.base, (p, b), (x,)))(self.parameters, self.buffers, self.x)
        smoothing = self.config.label_smoothing
        losses = F.cross_entropy(scores.flatten(0, 1), self.y.flatten(), label_smoothing=smoothing, reduction="none")
        losses = losses.view(self.y.shape).mean(1)
        gradients = dict(
            zip(self.parameters, torch.autograd.grad(losses.sum(), [*self.parameters.values()]), strict=True)
        )
        with torch.no_grad():
            slopes = [torch.cat([gradients[name].flatten(1) for name in kind], 1) for kind in self.kinds]
            if self.config.clip_norm:
                norm = torch.stack([slope.square().sum(1) for slope in slopes]).sum(0).sqrt()
                share = (self.config.clip_norm / (norm + 1e-6)).clamp(max=1.0)
                slopes = [slope * share[:, None] for slope in slopes]
            for row, slope in zip(self.rows, slopes, strict=True):
                row.grad = slope
            before = [row.clone() for row in self.rows]
            self.optimizer.step()
            for row, old in zip(self.rows, before, strict=True):
                row.copy_(torch.lerp(old, row, self.rates[:, None]))  # old + rate · (stepped - old)
            self.told[0] = losses
            self.told[1] = (scores.argmax(-1) == self.y).float().mean(1)

    def _recorded(self) -> torch.cuda.CUDAGraph:
        """The step as a CUDA graph. What the warm-up changes, statistics and moments, is put back."""
        kept = {name: tensor.clone() for name, tensor in self.buffers.items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        for name, tensor in kept.items():
            self.buffers[name].copy_(tensor)
        for state in self.optimizer.state.values():
            for tensor in state.values():
                tensor.zero_()
        return graph


@dataclass
class SharedBatches:
    """Networks that see the same varied clips, each its own stream of them."""

    runs: list[StackedRun]

    @property
    def steps(self) -> int:
        return self.runs[0].steps

    @property
    def epochs(self) -> int:
        return max(run.config.epochs for run in self.runs)

    @cached_property
    def streams(self) -> list[Any]:
        return sorted({run.training.stream for run in self.runs})

    def epoch(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Network input (steps, streams, N, C, window, 27) and labels (steps, N) of an epoch."""
        xs, ys = zip(*self.runs[0].batches.of_streams(epoch, self.streams), strict=True)
        return torch.stack(xs), torch.stack(ys)


def _shared_batches(runs: Sequence[StackedRun]) -> list[SharedBatches]:
    found: dict[str, SharedBatches] = {}
    for run in runs:
        clips, config = run.training.clips, run.config
        drawn = (config.batch_size, config.per_gloss, config.spread, config.augmentation, config.seed)
        key = repr((id(clips.train), clips.glosses, drawn))
        found.setdefault(key, SharedBatches([])).runs.append(run)
    return list(found.values())


class _Drawn(Dataset[tuple[Tensor, Tensor]]):
    """Epochs of varied clips, in the order in which `train_stacked` wants them."""

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
    drawn = _Drawn(shared)
    first = shared[0]
    recipe, config = first.runs[0].training.recipe, first.runs[0].config
    clip = recipe.channels * recipe.window * NUM_JOINTS * 4
    each = max(group.steps * len(group.streams) for group in shared) * config.batch_size * clip
    return iter(DataLoader(drawn, None, **loading(workers, _AHEAD, each, pin)))


def _common(runs: Sequence[StackedRun]) -> TrainConfig:
    """The settings that all networks of a stack share. Raises ValueError where they do not."""
    config = runs[0].config
    for run in runs:
        for name in ("batch_size", "label_smoothing", "weight_decay", "clip_norm"):
            if getattr(run.config, name) != getattr(config, name):
                raise ValueError(f"networks with another {name} cannot be stacked")
        if run.config.average or run.training.recipe != runs[0].training.recipe:
            raise ValueError("networks with a moving average, or with different recipes, cannot be stacked")
    return config
