"""Which device a command line means, and how numbers are computed on it."""

import os
import re
import time
from dataclasses import dataclass
from functools import cache
from typing import Self

import torch

from dsta.common.errors import UserError
from dsta.common.machine import cores, cpu_name


def chosen_device(asked: str, gpus: int | None = None) -> str:
    """`cpu`, `cuda` or `cuda:N`, as asked for; `auto` is a GPU where there is one.

    gpus: how many there are; by default those that can be used here.
    Raises UserError for any other name, and for a GPU that is not there.
    """
    if gpus is None:
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked == "auto":
        return "cuda" if gpus else "cpu"
    found = re.fullmatch(r"cpu|cuda(?::(\d+))?", asked)
    if not found:
        raise UserError(f"--device {asked} is not known: give auto, cpu, cuda or cuda:1.")
    if asked != "cpu" and not gpus:
        raise UserError("No GPU was found: run with --device cpu.")
    if found[1] and int(found[1]) >= gpus:
        raise UserError(f"There is no GPU {asked}: the last one here is cuda:{gpus - 1}.")
    return asked


def own_device(asked: str) -> torch.device:
    """As `chosen_device`; of several processes that torchrun started on this machine, each has its own GPU."""
    device = torch.device(chosen_device(asked))
    if device.type == "cpu":
        return device
    local = int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count()
    device = torch.device("cuda", device.index if device.index is not None else local)
    torch.cuda.set_device(device)  # else each process would take memory of the first GPU too
    return device


def chosen_dtype(asked: str, device: str | torch.device) -> str:
    """`fp32` or `bf16`, as asked for; `auto` is bf16 on a GPU that computes in it."""
    if asked != "auto":
        return asked
    on_gpu = torch.device(device).type == "cuda"
    return "bf16" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def quickest_dtype(device: str | torch.device) -> str:
    """`bf16` where a wide network runs much faster in it, else `fp32`. A CPU is asked once in a process, by a probe of
    some milliseconds: some compute in bf16, others can but are slower."""
    return ("bf16" if _bf16_pays() else "fp32") if torch.device(device).type == "cpu" else chosen_dtype("auto", device)


@cache
def _bf16_pays() -> bool:
    def seconds(dtype: torch.dtype) -> float:
        a, times = torch.ones(256, 256, dtype=dtype), []
        for _ in range(5):
            started = time.perf_counter()
            torch.mm(a, a)
            times.append(time.perf_counter() - started)
        return min(times)

    return 2 * seconds(torch.bfloat16) < seconds(torch.float32)


def autocast(device: str | torch.device, dtype: str) -> torch.autocast:
    """The context in which a network computes in `dtype`: `fp32` or `bf16`."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=dtype == "bf16")


@dataclass(frozen=True)
class DeviceSettings:
    """device: `cpu`, `cuda` or `cuda:1`. dtype: of products, `fp32`, `bf16` or `quickest`, which is what suits network
    and machine, and nothing for results that are kept. batch: network inputs at once. workers: processes that score
    (CPU) or prepare (GPU); 0 is this one alone."""

    device: str = "cpu"
    dtype: str = "fp32"
    batch: int = 64
    workers: int = 0

    @classmethod
    def choose(cls, device: str = "auto", dtype: str = "auto", workers: int | None = None) -> Self:
        """Fills in `auto`: the GPU where there is one, bf16 where it computes in it. Raises UserError."""
        processes, here = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), cores()
        device = str(own_device(device))
        on_gpu = device.startswith("cuda")
        if on_gpu:
            torch.backends.cudnn.allow_tf32 = False  # fp32 is what it says, in convolutions too
        if workers is None:
            workers = min(here // processes, 12) if on_gpu else here if processes == 1 and here > 1 else 0
        return cls(device, chosen_dtype(dtype, device), 512 if on_gpu else 64, workers)

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def device_name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.on_gpu else f"{cpu_name()} ({cores()} cores)"
