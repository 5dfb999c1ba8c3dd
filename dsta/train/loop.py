"""The training loop: epochs on one process or many, which can be interrupted and continued on the same curve."""

import copy
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from dsta.common import UserError
from dsta.common.device import autocast
from dsta.common.stop import Stop
from dsta.data import Clip
from dsta.model import DSTA
from dsta.score import NetworkInputs, score_inputs
from dsta.skeleton import NUM_JOINTS
from dsta.streams import Recipe, Stream
from dsta.train.config import AnyConfig, ReferenceConfig
from dsta.train.distributed import Group, compiled, synchronise
from dsta.train.state import EpochLog, RunFiles, best_epoch, quality, telling_disk_errors

SCORED_AT_ONCE = 64  # network inputs


@dataclass(frozen=True)
class Compute:
    """Where and how the numbers are computed; on one CPU process none of it changes the curve.

    precision: `fp32`, or `bf16` for autocast. compiled: the network goes through torch.compile.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "fp32"
    compiled: bool = False
    group: Group = field(default_factory=Group)
    stop: Stop = field(default_factory=Stop)
    progress: bool = True
    tensorboard: bool = False


class Batches(Protocol):
    """Training data: `steps` batches an epoch."""

    steps: int

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]: ...


class Validation:
    """Clips that the epoch is chosen by, prepared once as evaluation does; each process scores its share of them.

    every: so many epochs apart the network is scored.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        label_of: dict[str, int],
        stream: Stream,
        recipe: Recipe,
        compute: Compute,
        every: int = 1,
    ) -> None:
        group = compute.group
        self.compute, self.count, self.every = compute, len(clips), every
        mine = [clips[i] for i in range(group.rank, len(clips), group.size)]
        inputs = NetworkInputs(stream, recipe, [clip.joints for clip in mine])
        shape = (0, recipe.views, recipe.channels, recipe.window, NUM_JOINTS)
        self.inputs = (torch.stack([inputs[i] for i in range(len(mine))]) if mine else torch.empty(shape)).to(
            compute.device
        )
        self.labels = torch.tensor([label_of[clip.gloss] for clip in mine], device=compute.device)

    @torch.no_grad()
    def __call__(self, model: DSTA) -> EpochLog:
        """Top-1 per instance and log-loss of the whole."""
        totals = torch.zeros(2, dtype=torch.float64, device=self.compute.device)
        each = max(1, SCORED_AT_ONCE // self.inputs.shape[1])
        for start in range(0, len(self.labels), each):
            labels = self.labels[start : start + each]
            logits, _ = score_inputs(model, self.inputs[start : start + each], self.compute.precision)
            totals[0] += (logits.argmax(1) == labels).sum()
            totals[1] += F.cross_entropy(logits, labels, reduction="sum")
        top1, loss = (self.compute.group.total(totals) / self.count).tolist()
        return {"val_top1": top1, "val_loss": loss}


class Loop:
    """Trains `model` in place, epoch by epoch, and goes on where an earlier call was interrupted.

    files: what is needed to continue, and the log; an unfinished run of another curve there is a UserError.
    validation: scores the network after some epochs and the last; None where the last epoch is taken.
    keep: writes the network as it is after an epoch that is the best so far, or after each where nothing is chosen.
    after_epoch: called with the number of finished epochs and the network in evaluation mode.
    """

    def __init__(
        self,
        model: DSTA,
        batches: Batches,
        config: AnyConfig,
        files: RunFiles,
        compute: Compute | None = None,
        validation: Validation | None = None,
        keep: Callable[[DSTA, int], None] | None = None,
        after_epoch: Callable[[int, DSTA], None] | None = None,
    ) -> None:
        self.batches, self.config, self.files = batches, config, files
        self.compute = compute or Compute()
        self.validation, self.keep, self.after_epoch = validation, keep, after_epoch
        self.model = model.to(self.compute.device)
        if self.compute.device.type == "cuda":
            speed_up(self.model)
        if self.compute.group.size > 1 or self._rounds_badly():
            synchronise(self.model, self.compute.group)
        self.optimizer = config.optimizer(self.model)
        self.averaged = copy.deepcopy(self.model) if config.average else None
        self.history: list[EpochLog] = []
        self._resume()
        self.wrapped = self._wrapped()
        self.stepped: Any = compiled(self.wrapped) if self.compute.compiled else self.wrapped

    @property
    def result(self) -> DSTA:
        """The network that is saved where no validation clips choose."""
        return self.averaged or self.model

    def run(self) -> list[EpochLog]:
        """Runs the epochs that are left; returns the log. Raises UserError when the loss is no longer a number."""
        first, total, steps = len(self.history), self.config.epochs, self.batches.steps
        hidden = not (self.compute.progress and self.compute.group.leads)
        with (
            _tensorboard(self.files.out, self.compute, first) as board,
            tqdm(initial=first * steps, total=total * steps, unit="step", disable=hidden) as bar,
        ):
            if self.compute.compiled and not hidden and first < total:
                tqdm.write("The first step compiles the network, which takes a minute or two.", file=sys.stderr)
            for epoch in range(first, total):
                bar.set_description(f"epoch {epoch + 1}/{total}")
                line = self._epoch(epoch, bar)
                self._finish(epoch, line)
                bar.set_postfix({name: f"{line[name]:.4g}" for name in ("loss", "val_top1") if name in line})
                for name, value in line.items():
                    board(name, value, epoch)
        return self.history

    def _rounds_badly(self) -> bool:
        """Whether one process must normalise as several do. Torch's own normalisation of (M, C) adds up in float32 on a
        CPU: its error of 2e-6 becomes one of 1e-3 in the gradients. Small sets keep it, and their curves to the bit."""
        on_cpu = self.compute.device.type == "cpu" and not self.compute.compiled
        return on_cpu and isinstance(self.config, ReferenceConfig)

    def _epoch(self, epoch: int, bar: tqdm) -> EpochLog:
        """One pass; the log's line: mean loss and accuracy on the training clips as they were varied, and seconds."""
        compute, config = self.compute, self.config
        started = time.perf_counter()
        self.model.train()
        torch.manual_seed(int(np.random.SeedSequence([config.seed, epoch]).generate_state(1, np.uint64)[0]))
        keep: float | Tensor = config.keep(epoch)
        if compute.compiled and config.keep(config.schedule) < 1:
            keep = torch.tensor(keep, device=compute.device)
        losses, correct, count = [], torch.zeros((), dtype=torch.int64, device=compute.device), 0
        for step, (x, y) in enumerate(self.batches.epoch(epoch)):
            rate = config.rate(epoch, step / self.batches.steps)
            x, y = (part.to(compute.device, non_blocking=True) for part in (x, y))
            loss, scores = self._stepping(x, y, keep, rate)
            if self.averaged is not None:
                decay = warmed_up(config.average, epoch * self.batches.steps + step)
                _average(self.averaged, self.model, decay)
            losses.append(loss)  # numbers stay on the device: reading one would wait for it
            correct += (scores.argmax(1) == y).sum()
            count += len(y)
            bar.update()
        sums = compute.group.total(torch.cat([torch.stack(losses).double(), correct.double()[None]]))
        *each, right = (sums / compute.group.size).tolist()
        mean_loss, accuracy = float(np.mean(each)), right / count
        if not math.isfinite(mean_loss):
            raise UserError(
                f"The loss of epoch {epoch + 1} is not a number: lower --learning-rate, or give --clip-norm 5 or "
                f"--precision fp32. {self.files.out} holds what was reached before."
            )
        return {
            "epoch": epoch,
            "loss": mean_loss,
            "accuracy": accuracy,
            "rate": rate,
            "seconds": time.perf_counter() - started,
        }

    def _stepping(self, *batch: Any) -> tuple[Tensor, Tensor]:
        """A step. Where the network cannot be compiled, that is said once and the steps go on without."""
        try:
            return self._step(*batch)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"The GPU's memory is too small for a batch of {self.config.batch_size}: lower --batch-size, or train "
                "on more GPUs with torchrun."
            ) from error
        except RuntimeError as error:
            if not (self.compute.compiled and isinstance(error, torch._dynamo.exc.TorchDynamoException)):
                raise
            reason = " ".join(str(error).split())[:200]
        tqdm.write(f"The network could not be compiled, so training is slower: {reason}", file=sys.stderr)
        self.stepped = self.wrapped
        return self._step(*batch)

    def _step(self, x: Tensor, y: Tensor, keep: float | Tensor, rate: float) -> tuple[Tensor, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with autocast(self.compute.device, self.compute.precision):
            scores = self.stepped(x, keep)
        loss = F.cross_entropy(scores.float(), y, label_smoothing=self.config.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        return loss.detach(), scores.detach()

    def _finish(self, epoch: int, line: EpochLog) -> None:
        """Scores, keeps and writes what an epoch has led to."""
        model = self.result.eval()
        last = epoch + 1 == self.config.epochs
        if self.validation and (last or (epoch + 1) % self.validation.every == 0):
            model, judged = self._better(self.validation)
            line |= judged
        if self.after_epoch:
            self.after_epoch(epoch + 1, model)
        self.history.append(line)
        if self.compute.group.leads:
            with self.compute.stop.held(), telling_disk_errors(self.files.out):
                if self.keep and (not self.validation or best_epoch(self.history) in (-1, epoch)):
                    self.keep(model, epoch + 1)
                self.files.write(self._state(), self.history)

    def _better(self, validation: Validation) -> tuple[DSTA, EpochLog]:
        """The average of the weights or those of the last step, whichever is better on the validation clips, with what
        the log says of it."""
        if self.averaged is None:
            return self.model, validation(self.model.eval())
        averaged, plain = validation(self.averaged.eval()), validation(self.model.eval())
        if quality(plain) > quality(averaged):
            return self.model, plain | {"averaged": 0}
        return self.averaged, averaged | {"averaged": 1}

    def _wrapped(self) -> nn.Module:
        """The network, averaging gradients where there are several processes."""
        if self.compute.group.size == 1:
            return self.model
        device = self.compute.device
        return DistributedDataParallel(
            self.model, [device.index] if device.type == "cuda" else None, broadcast_buffers=False
        )

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged is not None else None,
            "optimizer": self.optimizer.state_dict(),
        }

    def _resume(self) -> None:
        """Restores an interrupted run, which the leading process finds on its disk."""
        group = self.compute.group
        state = group.from_leader(self.files.read() if group.leads else None)
        if state is None:
            return
        self.files.check(state)
        self.model.load_state_dict(state["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, kept in self.optimizer.state.items():  # on a GPU a step wants both laid out alike
            kept |= {k: torch.empty_like(parameter).copy_(v) for k, v in kept.items() if v.shape == parameter.shape}
        self.history = state["history"]


def speed_up(model: nn.Module) -> None:
    """What a GPU needs to be fast: TF32 where numbers are float32, the fastest convolutions for the shapes at hand, and
    their weights with channels last, as the activations are: else torch.compile turns each block's first ones round."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub lacks it


def warmed_up(decay: float, step: int) -> float:
    """The decay of a moving average after so many steps: short at first, or the first weights would stay in it for as
    long as a small set is trained (as TensorFlow's ExponentialMovingAverage with `num_updates`)."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """averaged ← decay · averaged + (1 - decay) · model; statistics of the norms too, whole numbers as they are."""
    pairs = list(zip(averaged.state_dict().values(), model.state_dict().values(), strict=True))
    floating = [pair for pair in pairs if pair[0].is_floating_point()]
    get_ema_multi_avg_fn(decay)([mean for mean, _ in floating], [value for _, value in floating], None)
    for mean, value in pairs:
        if not mean.is_floating_point():
            mean.copy_(value)


@contextmanager
def _tensorboard(out: Path, compute: Compute, first: int) -> Iterator[Callable[[str, float, int], None]]:
    """A function that plots a number, which does nothing unless TensorBoard was asked for."""
    if not (compute.tensorboard and compute.group.leads):
        yield lambda name, value, epoch: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError("--tensorboard needs a package that is not installed: pip install tensorboard") from error
    with SummaryWriter(out / "tensorboard", purge_step=first) as writer:
        yield lambda name, value, epoch: writer.add_scalar(name, value, epoch) if name != "epoch" else None
