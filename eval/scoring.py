"""Logits of clips by networks: each batch in this process, in worker processes, or shared among those of torchrun.

On a CPU, batches go to worker processes of one thread each; on a GPU, workers prepare what the network scores. Started
by torchrun, each process scores every so-many-th batch. Batches are the same however the work is shared, and so, on a
CPU, is every bit of the result.
"""

import os
import time
import traceback
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache, partial
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist

from dsta.checkpoint import Checkpoint, git_commit
from dsta.common import UserError
from dsta.common.device import DeviceSettings
from dsta.data import ClipSet, read_clip_set
from dsta.data.clips import PickedClips
from dsta.score import Advance, clips_per_batch, score
from eval.cache import LogitsCache, Scored, ScoringWork
from eval.clock import Peak, largest, seconds_each
from eval.robustness import Disturbed
from leaderboard.results import now

IN_PROCESS = 1000  # so few clips are scored sooner than worker processes start


class BatchScores(NamedTuple):
    """Logits (n, K) of some batches, and the most memory in MB that one process used for one of them, if known."""

    logits: np.ndarray
    peak_mb: float | None


class ScoringEngine:
    """Scores works, each once: what is in the cache is not scored again."""

    def __init__(self, settings: DeviceSettings, cache: str | Path) -> None:
        self.settings, self.cache = settings, LogitsCache(cache, settings)
        self.processes, self.pool = TorchrunProcesses(), ScoringPool(settings.workers)
        self.commit = git_commit()  # now: the files may change while the loaded code scores
        self._clips: dict[Path, ClipSet] = {}
        if not settings.on_gpu:
            torch.set_num_threads(1)  # one thread a process: small networks gain nothing from more, and bits stay

    def clips(self, folder: Path) -> ClipSet:
        """The clips in a folder that are not for training, read once."""
        if folder not in self._clips:
            self._clips[folder] = read_clip_set(folder, "val+test")
        return self._clips[folder]

    def expect(self, clips: int) -> None:
        """So many clips are to be scored in all: for few, worker processes are not worth their start."""
        if clips <= IN_PROCESS and not self.settings.on_gpu:
            self.settings = replace(self.settings, workers=0)

    @property
    def pooled(self) -> bool:
        """Whether worker processes score."""
        return not self.settings.on_gpu and self.settings.workers > 1

    def cached(self, work: ScoringWork) -> bool:
        return self.cache.file(work, self.clips(work.data)).exists()

    def score(self, work: ScoringWork, advance: Advance = lambda clips: None) -> Scored:
        """What a work gives, from the cache where it is there. Raises UserError for weights that do not fit."""
        file = self.cache.file(work, self.clips(work.data))
        kept = self.cache.read(file)
        if kept is not None:
            return kept
        self.processes.announce(work)
        if self.pooled:
            self.pool.start()  # before the clock starts
        started = time.perf_counter()
        parts = self.processes.collect(self._own_part(work, advance))
        scored = self._joined(work, parts, time.perf_counter() - started)
        self.cache.write(file, scored)
        return scored

    def serve(self) -> None:
        """What the processes other than the first do: their part of each work, until the first one closes."""
        while (work := self.processes.announce(None)) is not None:
            self.processes.collect(self._own_part(work, lambda clips: None))

    def close(self) -> None:
        """Ends the other processes."""
        self.pool.close()
        self.processes.announce(None)

    def _joined(self, work: ScoringWork, parts: Sequence[BatchScores | Exception], seconds: float) -> Scored:
        """The parts of all processes as one. Raises what went wrong in one of them."""
        for part in parts:
            if isinstance(part, Exception):
                raise part
        done = [part for part in parts if isinstance(part, BatchScores)]
        checkpoint = _loaded(work.weights, work.weights_sha256, self.settings.device)
        per_batch = clips_per_batch(checkpoint.recipe, self.settings)
        some_clip = self._joints(work)[work.positions[len(work.positions) // 2]]
        return Scored(
            interleaved([part.logits for part in done], len(work.positions), per_batch),
            seconds,
            largest(part.peak_mb for part in done),
            latency(checkpoint, some_clip, self.settings),
            sum(p.numel() for p in checkpoint.model.parameters()),
            self.settings.device_name,
            self.settings.dtype,
            torch.__version__,
            self.commit,
            now(),
        )

    def _own_part(self, work: ScoringWork, advance: Advance) -> BatchScores | Exception:
        """The scores of this process's batches. A failure is told, not raised, as other processes wait."""
        size = self.processes.size
        try:
            return self._score_part(work, lambda clips: advance(clips * size))
        except Exception as error:  # the first process raises it, and the data set's row says it
            if size == 1 or isinstance(error, UserError):
                return error
            return RuntimeError(f"process {self.processes.rank} of {size} failed: {traceback.format_exc()}")

    def _score_part(self, work: ScoringWork, advance: Advance) -> BatchScores:
        checkpoint = _loaded(work.weights, work.weights_sha256, self.settings.device)
        joints, per_batch = self._joints(work), clips_per_batch(checkpoint.recipe, self.settings)
        batches = batches_of(work.positions, per_batch)[self.processes.rank :: self.processes.size]
        if not batches:
            return BatchScores(np.zeros((0, len(checkpoint.glosses)), np.float32), 0.0)
        if self.pooled:
            return self.pool.score(work, ([joints[i] for i in batch] for batch in batches), self.settings, advance)
        return _measured(checkpoint, PickedClips(joints, tuple(chain(*batches))), self.settings, advance)

    def _joints(self, work: ScoringWork) -> Sequence[np.ndarray]:
        joints = self.clips(work.data).joints
        return Disturbed(joints, work.disturbance) if work.disturbance else joints


class TorchrunProcesses:
    """The processes that torchrun started, of which the first leads; without it, this one alone.

    Only works and logits travel, so gloo does on any machine. rank: this process's number. size: how many.
    """

    def __init__(self) -> None:
        self.rank, self.size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("gloo", timeout=timedelta(days=2))  # the first may be busy with figures for long

    def announce(self, work: ScoringWork | None) -> ScoringWork | None:
        """The first process's work, told to all; None is the end."""
        box = [work]
        if self.size > 1:
            dist.broadcast_object_list(box, src=0)
            if box == [None]:
                dist.destroy_process_group()
        return box[0]

    def collect(self, part: BatchScores | Exception) -> list[BatchScores | Exception]:
        """The parts of all, in order of rank."""
        parts = [part] * self.size
        if self.size > 1:
            dist.all_gather_object(parts, part)
        return parts


class ScoringPool:
    """Worker processes on a CPU, one thread each."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._executor: ProcessPoolExecutor | None = None

    def start(self) -> ProcessPoolExecutor:
        """Starts the processes unless they run."""
        if self._executor is None:  # spawned: a fork of a process in which torch has run threads may hang
            self._executor = ProcessPoolExecutor(self.workers, get_context("spawn"))
            deque(self._executor.map(_wait_a_little, range(self.workers)), 0)
        return self._executor

    def score(
        self, work: ScoringWork, batches: Iterable[list[np.ndarray]], settings: DeviceSettings, advance: Advance
    ) -> BatchScores:
        """Scores of the batches, in their order. Raises UserError when a process dies."""
        executor, score_one = self.start(), partial(_score_batch, work.weights, work.weights_sha256, settings)
        futures, parts = (executor.submit(score_one, clips) for clips in batches), []
        try:
            waiting = deque(islice(futures, 2 * self.workers))  # not all at once, so that memory stays small
            while waiting:
                parts.append(waiting.popleft().result())
                advance(len(parts[-1].logits))
                waiting.extend(islice(futures, 1))
        except BrokenExecutor as error:
            self._executor = None
            raise UserError("A scoring process died, probably for want of memory: run with --workers 1.") from error
        return BatchScores(np.concatenate([part.logits for part in parts]), largest(part.peak_mb for part in parts))

    def close(self) -> None:
        if self._executor:
            self._executor.shutdown(cancel_futures=True)
            self._executor = None


def _score_batch(weights: Path, sha256: str, settings: DeviceSettings, clips: list[np.ndarray]) -> BatchScores:
    torch.set_num_threads(1)
    return _measured(_loaded(weights, sha256, "cpu"), clips, settings)


def _wait_a_little(_: int) -> None:
    time.sleep(0.2)  # so that every worker starts, and not one that answers for all


@lru_cache(maxsize=1)  # more of them would count as memory of the next work
def _loaded(folder: Path, sha256: str, device: str) -> Checkpoint:
    return Checkpoint.load(folder, device)  # the hash is only in the cache's key: load checks it


def _measured(
    checkpoint: Checkpoint, clips: Sequence[np.ndarray], settings: DeviceSettings, advance: Advance = lambda clips: None
) -> BatchScores:
    with Peak(settings) as peak:
        logits = score(checkpoint.model, clips, checkpoint.stream, checkpoint.recipe, settings, advance).logits
    return BatchScores(logits, peak.mb)


def latency(checkpoint: Checkpoint, clip: np.ndarray, settings: DeviceSettings) -> float:
    """Median milliseconds from the joints of one clip to its logits."""
    alone = replace(settings, workers=0)
    one = partial(score, checkpoint.model, [clip], checkpoint.stream, checkpoint.recipe, alone)
    return 1e3 * seconds_each(one, settings, budget=0.05)


def batches_of(positions: Sequence[int], size: int) -> list[tuple[int, ...]]:
    return [tuple(positions[start : start + size]) for start in range(0, len(positions), size)]


def interleaved(parts: Sequence[np.ndarray], count: int, per_batch: int) -> np.ndarray:
    """Puts the rows of the processes, which took every so-many-th batch, back in order."""
    batches = batches_of(range(count), per_batch)
    order = [i for rank in range(len(parts)) for batch in batches[rank :: len(parts)] for i in batch]
    logits = np.empty((count, parts[0].shape[1]), np.float32)
    logits[order] = np.concatenate(parts)
    return logits
