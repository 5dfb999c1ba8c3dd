"""Clips through a network: device, number format, batches, memory, speed."""

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from dsta.checkpoint import Checkpoint
from dsta.devices import chosen_device
from dsta.memory import with_room
from dsta.skeleton import NUM_JOINTS
from dsta.streams import Recipe, Stream, prepare, views

Advance = Callable[[int], Any]


@dataclass(frozen=True)
class Settings:
    """device: `cpu`, `cuda` or `cuda:1`. dtype: `fp32` or `bf16` (autocast). batch: network inputs at once. workers:
    processes that score (CPU) or prepare (GPU); 0 is this one alone."""

    device: str = "cpu"
    dtype: str = "fp32"
    batch: int = 64
    workers: int = 0

    @classmethod
    def choose(cls, device: str = "auto", dtype: str = "auto", workers: int | None = None) -> Self:
        """Fills in `auto`: the GPU where there is one, bf16 where it computes in it. Raises UserError."""
        local, processes = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        device = chosen_device(device)
        on_gpu = device.startswith("cuda")
        if on_gpu:
            torch.backends.cudnn.allow_tf32 = False  # fp32 is what it says, in convolutions too
        if dtype == "auto":
            dtype = "bf16" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
        if device == "cuda":
            device = f"cuda:{local % torch.cuda.device_count()}"
        cores = _cores()
        if workers is None:
            workers = min(cores // processes, 12) if on_gpu else cores if processes == 1 and cores > 1 else 0
        return cls(device, dtype, 512 if on_gpu else 64, workers)

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def device_name(self) -> str:
        if self.on_gpu:
            return torch.cuda.get_device_name(self.device)
        return f"{_cpu_name()} ({_cores()} cores)"


@torch.inference_mode()
def forward(
    checkpoint: Checkpoint, clips: Sequence[np.ndarray], settings: Settings, advance: Advance = lambda clips: None
) -> np.ndarray:
    """(N, K) float32 logits of clips (T, 27, 3), the mean over the recipe's views.

    Without enough memory on the GPU the batch is halved until it fits.
    """
    batch = clips_per_batch(checkpoint, settings)
    rows: list[torch.Tensor] = []
    while sum(map(len, rows)) < len(clips):
        rest = Picked(clips, range(sum(map(len, rows)), len(clips)))
        try:
            for scores in _scores(checkpoint, rest, settings, batch):
                rows.append(scores)
                advance(len(scores))
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2
            torch.cuda.empty_cache()
            print(f"The GPU's memory is too small: going on with batches of {batch} clips.", file=sys.stderr)
    return torch.cat(rows).cpu().numpy()


def _scores(checkpoint: Checkpoint, clips: "Picked", settings: Settings, batch: int) -> Iterator[torch.Tensor]:
    recipe, batches = checkpoint.recipe, -(-len(clips) // batch)
    each = batch * recipe.views * recipe.channels * recipe.window * NUM_JOINTS * 4
    workers = with_room(min(settings.workers, batches), 2, each) if settings.on_gpu else {}
    loader = DataLoader(
        Inputs(checkpoint.stream, recipe, clips),
        batch,
        pin_memory=settings.on_gpu,
        multiprocessing_context="fork" if workers else None,  # the data is shared; workers never touch the GPU
        **workers,
    )
    kind = settings.device.split(":")[0]
    for inputs in loader:
        with torch.autocast(kind, torch.bfloat16, enabled=settings.dtype == "bf16"):
            scores = checkpoint.model(inputs.flatten(0, 1).to(settings.device, non_blocking=True))
        yield scores.float().view(*inputs.shape[:2], -1).mean(1)


class Inputs(Dataset):
    """Network input of clips: (views, C, window, 27) float32 each."""

    def __init__(self, stream: Stream, recipe: Recipe, clips: Sequence[np.ndarray]) -> None:
        self.stream, self.recipe, self.clips = stream, recipe, clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> torch.Tensor:
        inputs = [prepare(view, self.stream, self.recipe) for view in views(self.clips[i], self.recipe)]
        return torch.from_numpy(np.stack(inputs)).float()


class Picked(Sequence):
    """Some of the clips, in an order."""

    def __init__(self, clips: Sequence[np.ndarray], positions: Sequence[int]) -> None:
        self.clips, self.positions = clips, positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, i: Any) -> np.ndarray:
        return self.clips[self.positions[i]]


def latency(checkpoint: Checkpoint, clip: np.ndarray, settings: Settings, repeats: int = 7) -> float:
    """Median milliseconds from the joints of one clip to its logits."""
    alone = replace(settings, workers=0)
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        forward(checkpoint, [clip], alone)
        times.append(1e3 * (time.perf_counter() - started))
    return float(np.median(times[2:]))


def clips_per_batch(checkpoint: Checkpoint, settings: Settings) -> int:
    """A batch counts network inputs, of which a clip has as many as the recipe has views."""
    return max(1, settings.batch // checkpoint.recipe.views)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
