"""Measuring: time of something done again and again, the memory that it takes, and a sheet of figures and ratios."""

import ctypes
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dsta.common.device import DeviceSettings
from dsta.common.machine import peak_mb


class Skipped(Exception):
    """A section, or a part of one, that cannot be measured here; the sentence says why."""


@dataclass(frozen=True)
class Figure:
    """What was measured. name: `section/what/…`."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True)
class Ratio:
    """The figure named `of` divided by the figure named `to`, both of this run and in the same unit."""

    name: str
    of: str
    to: str
    value: float


@dataclass
class Sheet:
    """What one run has measured."""

    figures: dict[str, Figure] = field(default_factory=dict)
    ratios: list[Ratio] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, value: float, unit: str) -> None:
        self.figures[name] = Figure(name, value, unit)

    def compare(self, name: str, of: str, to: str) -> None:
        """Adds a ratio of two figures; without either, which was not measured, there is none."""
        if of in self.figures and to in self.figures:
            a, b = self.figures[of], self.figures[to]
            if a.unit != b.unit:
                raise ValueError(f"{of} is in {a.unit}, but {to} in {b.unit}")
            self.ratios.append(Ratio(name, of, to, a.value / b.value))


def seconds_each(work: Callable[[], Any], settings: DeviceSettings, budget: float) -> float:
    """Median seconds of a call after two that warm up, over at least three and about `budget` seconds of calls."""
    times: list[float] = []
    for _ in range(2):
        work()
    _wait(settings)
    while len(times) < 3 or (sum(times) < budget and len(times) < 1000):
        started = time.perf_counter()
        work()
        _wait(settings)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


class Peak:
    """Most memory in MB between entering and leaving: of the GPU, else resident memory of this process.

    mb is None where the system cannot tell the peak of a part of a process (only Linux can).
    """

    def __init__(self, settings: DeviceSettings) -> None:
        self.settings, self.mb = settings, None

    def __enter__(self) -> "Peak":
        if self.settings.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.settings.device)
        else:
            self.started = _forget_peak()
        return self

    def __exit__(self, *error: object) -> None:
        if self.settings.on_gpu:
            self.mb = torch.cuda.max_memory_allocated(self.settings.device) / 2**20
        elif self.started:
            self.mb = peak_mb()


def _wait(settings: DeviceSettings) -> None:
    if settings.on_gpu:
        torch.cuda.synchronize(settings.device)


def _forget_peak() -> bool:
    """Begins the count of the most resident memory anew (proc(5), clear_refs); returns whether the system can.

    Memory that was freed but not given back yet goes first: it belongs to what was done before.
    """
    with suppress(OSError, AttributeError):  # another C library than glibc: the peak is a little high
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
