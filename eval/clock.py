"""Measuring: time of something done again and again, the memory that it takes, and what was measured in one run."""

import ctypes
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dsta.common.device import DeviceSettings
from dsta.common.machine import peak_mb


class NotMeasurable(Exception):
    """A section cannot be measured here; the sentence says why."""


@dataclass
class Measurements:
    """What one run has measured.

    figures: name, `section/what/…` -> value and unit. ratios: of each its name, the figures `of` and `to`, and the
    value `of / to`.
    """

    figures: dict[str, tuple[float, str]] = field(default_factory=dict)
    ratios: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, value: float, unit: str) -> None:
        self.figures[name] = value, unit

    def compare(self, name: str, of: str, to: str) -> None:
        """Adds a ratio of two figures; without either, which was not measured, there is none."""
        if of not in self.figures or to not in self.figures:
            return
        (value, unit), (other, other_unit) = self.figures[of], self.figures[to]
        if unit != other_unit:
            raise ValueError(f"{of} is in {unit}, but {to} in {other_unit}")
        self.ratios.append({"name": name, "of": of, "to": to, "value": value / other})


def seconds_each(work: Callable[[], Any], settings: DeviceSettings, budget: float) -> float:
    """Median seconds of a call after two that warm up, over at least three and about `budget` seconds of calls."""
    times: list[float] = []
    for _ in range(2):
        work()
    wait_for_gpu(settings)
    while len(times) < 3 or (sum(times) < budget and len(times) < 1000):
        started = time.perf_counter()
        work()
        wait_for_gpu(settings)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


class Peak:
    """Most memory in MB between entering and leaving: of the GPU, else resident memory of this process.

    mb is None where the system cannot tell the peak of a part of a process (only Linux can).
    """

    def __init__(self, settings: DeviceSettings) -> None:
        self.settings = settings
        self.mb: float | None = None

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


def largest(peaks: Iterable[float | None]) -> float | None:
    """The largest, unless one is not known."""
    found = list(peaks)
    return None if None in found else max(peak for peak in found if peak is not None)


def wait_for_gpu(settings: DeviceSettings) -> None:
    """Waits for what a GPU has to do still."""
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
