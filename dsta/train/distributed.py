"""Several processes that train as one: who is who, and what must look at the whole batch.

`torchrun` starts the processes; the gradients are averaged by torch's DistributedDataParallel. Batch normalisation and
DropBlock are here, since torch's SyncBatchNorm runs on a GPU only and DropBlock is ours: with them the loss is that of
one process with the same whole batch, up to rounding.
"""

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dsta.common import UserError
from dsta.model import ChannelNorm, DropBlock

GROUP_PATIENCE = datetime.timedelta(minutes=30)  # one machine may read a large data set more slowly than another


@dataclass(frozen=True)
class Group:
    """The processes that train together. rank: this one's number; size: how many."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def part(self, batch: int) -> slice:
        """This process's share of a batch of that many clips. Raises UserError when it cannot be divided."""
        if batch % self.size:
            raise UserError(f"A batch of {batch} cannot be divided over {self.size} processes: change --batch-size.")
        each = batch // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def total(self, values: Tensor) -> Tensor:
        """The sum of every process's values."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def every(self, values: Tensor) -> Tensor:
        """(processes, …) the values of each."""
        if self.size == 1:
            return values[None]
        found = [torch.empty_like(values) for _ in range(self.size)]
        dist.all_gather(found, values)
        return torch.stack(found)

    def from_leader(self, value: Any) -> Any:
        """What the leading process holds: machines need not share a disk."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]


@contextmanager
def joined(device: torch.device) -> Iterator[Group]:
    """The group that `torchrun` describes in the environment, joined; without it, this process alone."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield Group()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=GROUP_PATIENCE)
    yield Group(dist.get_rank(), size)
    dist.destroy_process_group()  # after an error the others may not be there to say goodbye to


def synchronise(model: nn.Module, group: Group) -> None:
    """Makes the network look at the whole batch in training, in place; parameters and their names stay."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm1d):
                setattr(parent, name, SyncedNorm(child, group))
            elif isinstance(child, DropBlock):
                setattr(parent, name, SyncedDropBlock(child, group))


def compiled(network: nn.Module) -> Any:
    """The network through torch.compile, but for what talks to the other processes.

    That is not marked by a decorator, which would import the compiler, for a second, wherever training is imported.
    """
    for module in network.modules():
        if isinstance(module, SyncedNorm | SyncedDropBlock):
            module.forward = torch.compiler.disable(module.forward)  # type: ignore[method-assign]
    return torch.compile(network, dynamic=False)


class SyncedNorm(nn.BatchNorm1d):
    """Batch normalisation over the batches of all processes, of (N, C, T), or (..., C) as ChannelNorm has it."""

    def __init__(self, norm: nn.BatchNorm1d, group: Group) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.channels_last, self.group = isinstance(norm, ChannelNorm), group
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.channels_last else x.transpose(1, 2)
        flat = y.reshape(-1, self.num_features)
        flat = self._over_all(flat) if self.training else super().forward(flat)
        y = flat.view(y.shape)
        return y if self.channels_last else y.transpose(1, 2)

    def _over_all(self, x: Tensor) -> Tensor:
        y, mean, variance = _Normalise.apply(x, self.weight, self.bias, self.eps, self.group)
        count = len(x) * self.group.size
        tracked, means, variances = self.num_batches_tracked, self.running_mean, self.running_var
        assert tracked is not None and means is not None and variances is not None and self.momentum is not None
        with torch.no_grad():
            tracked += 1
            means.lerp_(mean.to(means), self.momentum)
            variances.lerp_(variance.to(variances) * (count / max(count - 1, 1)), self.momentum)
        return y


class _Normalise(torch.autograd.Function):
    """(M, C) normalised by mean and variance over all processes, which hold M rows each.

    Backward sums over the processes what each row's gradient owes to the statistics, as torch's SyncBatchNorm does;
    the gradients of weight and bias are this process's own, since those of parameters are averaged later.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, group: Group
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = x.double() if x.device.type == "cpu" else x.float()
        own = torch.stack(torch.var_mean(wide, 0, correction=0))
        variances, means = group.every(own).unbind(1)
        mean, variance = means.mean(0), variances.mean(0) + means.var(0, correction=0)
        scale = torch.rsqrt(variance + eps)
        normed = ((wide - mean) * scale).to(torch.promote_types(x.dtype, torch.float32))
        ctx.save_for_backward(normed, weight, scale)
        ctx.group = group
        ctx.mark_non_differentiable(mean, variance)
        return (normed * weight + bias).to(x.dtype), mean, variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        normed, weight, scale = ctx.saved_tensors
        wide = grad.to(normed.dtype)
        own = torch.stack([wide.sum(0), (wide * normed).sum(0)])
        mean, slope = ctx.group.total(own) / (len(grad) * ctx.group.size)
        x = (wide - mean - normed * slope) * (weight * scale).to(normed.dtype)
        return x.to(grad.dtype), own[1], own[0], None, None


class SyncedDropBlock(DropBlock):
    """DropBlock of the whole batch: every process draws for all clips and keeps its own clips' numbers."""

    def __init__(self, drop: DropBlock, group: Group) -> None:
        super().__init__()
        self.graph, self.group = drop.graph, group
        self.train(drop.training)

    def batch_mean(self, x: Tensor) -> Tensor:
        return self.group.total(x.mean()) / self.group.size

    def uniform(self, x: Tensor) -> Tensor:
        whole = torch.rand((len(x) * self.group.size, *x.shape[1:]), dtype=x.dtype, device=x.device)
        return whole[self.group.part(len(whole))]
