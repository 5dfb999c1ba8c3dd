"""Logits of clips by networks, each computed once: device, number format, batches, processes, and the cache.

On a CPU, batches go to worker processes of one thread each; on a GPU, workers prepare what the network scores. Started
by torchrun, each process scores every so-many-th batch and the first one collects: only logits travel, so gloo does.
Batches are the same however the work is shared, and so, on a CPU, is every bit of the result.
"""

import hashlib
import json
import os
import time
import traceback
import zipfile
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import lru_cache
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from dsta.checkpoint import Checkpoint, git_commit
from dsta.common import UserError, file_sha256, replace_file, write_npz
from dsta.common.device import DeviceSettings
from dsta.data import ClipSet, read_clip_set
from dsta.data.clips import PickedClips
from dsta.score import Advance, clips_per_batch, score
from eval.clock import Peak
from eval.robustness import Disturbance, Disturbed
from leaderboard.results import hash_lines, now

IN_PROCESS = 1000  # so few clips are scored sooner than worker processes start
_ROOT = Path(__file__).resolve().parents[1]
_CODE = [
    *(_ROOT / "dsta" / f"{room}.py" for room in ("model", "score", "skeleton", "streams")),
    *(path for wing in ("checkpoint", "common", "data") for path in sorted((_ROOT / "dsta" / wing).glob("*.py"))),
    *(_ROOT / "eval" / f"{room}.py" for room in ("cache", "robustness")),
]


BatchScores = tuple[np.ndarray, float | None]
"""Logits of some batches, and the most memory in MB that one process used for one of them."""


@dataclass(frozen=True)
class ScoringWork:
    """The clips at `positions` of the data in `data`, through the network in `weights` (sha256 `weights_sha256`)."""

    data: Path
    weights: Path
    weights_sha256: str
    positions: tuple[int, ...]
    disturbance: Disturbance | None = None


@dataclass(frozen=True)
class Scored:
    """logits: (N, K) float32, mean over the recipe's views. peak_memory_mb: of the device, or of the largest process,
    during this work; None where the system cannot tell. latency_ms: median of one clip alone, from joints to logits.
    commit, date: of the scoring."""

    logits: np.ndarray
    seconds: float
    peak_memory_mb: float | None
    latency_ms: float
    parameters: int
    device: str
    dtype: str
    torch: str
    commit: str
    date: str


class ScoringEngine:
    """Scores works, keeps their logits, and shares the work among processes."""

    def __init__(self, settings: DeviceSettings, cache: str | Path) -> None:
        self.settings, self.cache = settings, Path(cache)
        self.rank, self.size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.commit = git_commit()  # now: the files may change while the loaded code scores
        self._held: dict[Path, ClipSet] = {}
        self._pool: ProcessPoolExecutor | None = None
        if not settings.on_gpu:
            torch.set_num_threads(1)  # one thread a process: small networks gain nothing from more, and bits stay
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("gloo", timeout=timedelta(days=2))  # the first may be busy with figures for long

    def held(self, folder: Path) -> ClipSet:
        """The clips in a folder that are not for training, read once."""
        if folder not in self._held:
            self._held[folder] = read_clip_set(folder, "val+test")
        return self._held[folder]

    def data_sha256(self, held: ClipSet) -> str:
        """Hash of the data's files; a file that was hashed before and has not changed is not read again."""
        memo_file = self.cache / "hashes.json"
        memo = _read_memo(memo_file)
        hashes = {}
        for path in held.files:
            stat = path.stat()
            stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
            entry = memo.get(str(path.resolve()))
            if not entry or entry[:-1] != stamp:
                entry = memo[str(path.resolve())] = [*stamp, file_sha256(path)]
                self.cache.mkdir(parents=True, exist_ok=True)
                replace_file(memo_file, json.dumps(memo).encode())
            hashes[path.name] = entry[-1]
        return hash_lines(hashes)

    def expect(self, clips: int) -> None:
        """So many clips are to be scored in all: for few, worker processes are not worth their start."""
        if clips <= IN_PROCESS and not self.settings.on_gpu:
            self.settings = replace(self.settings, workers=0)

    def cached(self, work: ScoringWork) -> bool:
        return self._file(work).exists()

    def score(self, work: ScoringWork, advance: Advance = lambda clips: None) -> Scored:
        """Logits of a work, from the cache where they are there. Raises UserError for weights that do not fit."""
        saved = self._read(work)
        if saved is not None:
            return saved
        if self.size > 1:
            self._broadcast(work)
        elif self._pooled():
            self._started_pool()  # before the clock starts
        started = time.perf_counter()
        own = self._own_part(work, advance)
        parts = self._gather(own) if self.size > 1 else [own]
        for part in parts:
            if isinstance(part, Exception):
                raise part
        seconds = time.perf_counter() - started
        checkpoint = _loaded(work.weights, work.weights_sha256, self.settings.device)
        one = self._clips(work)[work.positions[len(work.positions) // 2]]
        latency_ms = latency(checkpoint, one, self.settings)
        scored = Scored(
            _interleaved(
                [part[0] for part in parts], len(work.positions), clips_per_batch(checkpoint.recipe, self.settings)
            ),
            seconds,
            _most(part[1] for part in parts),
            latency_ms,
            sum(p.numel() for p in checkpoint.model.parameters()),
            self.settings.device_name,
            self.settings.dtype,
            torch.__version__,
            self.commit,
            now(),
        )
        self._write(work, scored)
        return scored

    def serve(self) -> None:
        """What the processes other than the first do: their part of each work, until `close` of the first."""
        while (work := self._broadcast(None)) is not None:
            self._gather(self._own_part(work, lambda clips: None))
        dist.destroy_process_group()

    def close(self) -> None:
        """Ends the other processes."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        if self.size > 1 and self.rank == 0:
            self._broadcast(None)
            dist.destroy_process_group()

    def _clips(self, work: ScoringWork) -> Sequence[np.ndarray]:
        joints = self.held(work.data).joints
        return Disturbed(joints, work.disturbance) if work.disturbance else joints

    def _own_part(self, work: ScoringWork, advance: Advance) -> BatchScores | Exception:
        """The logits of this process's batches. With others waiting, a failure is told, not raised."""
        if self.size == 1:
            return self._part(work, advance)
        try:
            return self._part(work, lambda clips: advance(clips * self.size))
        except UserError as error:
            return error
        except Exception:  # the others wait: the first process raises it, and the data set's row says it
            return RuntimeError(f"process {self.rank} of {self.size} failed: {traceback.format_exc()}")

    def _part(self, work: ScoringWork, advance: Advance) -> BatchScores:
        checkpoint = _loaded(work.weights, work.weights_sha256, self.settings.device)
        batches = _batches(work.positions, clips_per_batch(checkpoint.recipe, self.settings))[self.rank :: self.size]
        if not batches:
            return np.zeros((0, len(checkpoint.glosses)), np.float32), 0.0
        if self._pooled():
            return self._through_pool(work, batches, advance)
        own = PickedClips(self._clips(work), tuple(chain.from_iterable(batches)))
        with Peak(self.settings) as peak:
            rows = _logits(checkpoint, own, self.settings, advance)
        return rows, peak.mb

    def _pooled(self) -> bool:
        return not self.settings.on_gpu and self.settings.workers > 1

    def _started_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:  # spawned: a fork of a process in which torch has run threads may hang
            self._pool = ProcessPoolExecutor(self.settings.workers, get_context("spawn"))
            deque(self._pool.map(_wait_a_little, range(self.settings.workers)), 0)
        return self._pool

    def _through_pool(self, work: ScoringWork, batches: list, advance: Advance) -> BatchScores:
        pool, clips = self._started_pool(), self._clips(work)
        waiting: deque[Future] = deque()
        rows, memory = [], []
        try:
            for i in range(len(batches) + 2 * self.settings.workers):  # a few in flight, so that memory stays small
                if i < len(batches):
                    sent = [clips[position] for position in batches[i]]
                    waiting.append(pool.submit(_score_batch, work.weights, work.weights_sha256, sent, self.settings))
                if waiting and (i >= 2 * self.settings.workers or i >= len(batches)):
                    logits, used = waiting.popleft().result()
                    rows.append(logits)
                    memory.append(used)
                    advance(len(logits))
        except BrokenExecutor as error:
            self._pool = None
            raise UserError("A scoring process died, probably for want of memory: run with --workers 1.") from error
        return np.concatenate(rows), _most(memory)

    def _broadcast(self, value: ScoringWork | None) -> ScoringWork | None:
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def _gather(self, own: Any) -> list[Any]:
        parts = [None] * self.size if self.rank == 0 else None
        dist.gather_object(own, parts, dst=0)
        return parts or []

    def _file(self, work: ScoringWork) -> Path:
        held = self.held(work.data)
        parts = {
            "data": self.data_sha256(held),
            "weights": work.weights_sha256,
            "config": file_sha256(work.weights / "config.json"),
            "positions": work.positions,
            "disturbance": asdict(work.disturbance) if work.disturbance else None,
            "device": self.settings.device.split(":")[0],
            "dtype": self.settings.dtype,
            "code": _code_sha256(),
            "libraries": [torch.__version__, np.__version__],
        }
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return self.cache / "logits" / f"{work.data.name}-{work.weights.name}-{key[:24]}.npz"

    def _read(self, work: ScoringWork) -> Scored | None:
        path = self._file(work)
        try:
            with np.load(path, allow_pickle=False) as saved:
                return Scored(saved["logits"], **json.loads(str(saved["meta"])))
        except (FileNotFoundError, zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError, OSError):
            return None

    def _write(self, work: ScoringWork, scored: Scored) -> None:
        meta = {name: value for name, value in asdict(scored).items() if name != "logits"}
        write_npz(self._file(work), logits=scored.logits, meta=np.array(json.dumps(meta)))


def _batches(positions: Sequence[int], size: int) -> list[tuple[int, ...]]:
    return [tuple(positions[start : start + size]) for start in range(0, len(positions), size)]


def _interleaved(parts: Sequence[np.ndarray], count: int, per_batch: int) -> np.ndarray:
    """Puts the rows of the processes, which took every so-many-th batch, back in order."""
    batches = _batches(range(count), per_batch)
    order = [i for rank in range(len(parts)) for batch in batches[rank :: len(parts)] for i in batch]
    logits = np.empty((count, parts[0].shape[1]), np.float32)
    logits[order] = np.concatenate(parts)
    return logits


def _most(peaks: Iterable[float | None]) -> float | None:
    """The largest, unless one is not known."""
    found = list(peaks)
    return None if None in found else max(found)


@lru_cache(maxsize=1)  # more of them would count as memory of the next work
def _loaded(folder: Path, sha256: str, device: str) -> Checkpoint:
    return Checkpoint.load(folder, device)  # the hash is only in the cache's key: load checks it


def _logits(
    checkpoint: Checkpoint,
    clips: Sequence[np.ndarray],
    settings: DeviceSettings,
    advance: Advance = lambda clips: None,
) -> np.ndarray:
    return score(checkpoint.model, clips, checkpoint.stream, checkpoint.recipe, settings, advance).logits


def latency(checkpoint: Checkpoint, clip: np.ndarray, settings: DeviceSettings, repeats: int = 7) -> float:
    """Median milliseconds from the joints of one clip to its logits."""
    alone = replace(settings, workers=0)
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        _logits(checkpoint, [clip], alone)
        times.append(1e3 * (time.perf_counter() - started))
    return float(np.median(times[2:]))


def _score_batch(weights: Path, sha256: str, clips: list[np.ndarray], settings: DeviceSettings) -> BatchScores:
    torch.set_num_threads(1)
    checkpoint = _loaded(weights, sha256, "cpu")
    with Peak(settings) as peak:
        rows = _logits(checkpoint, clips, settings)
    return rows, peak.mb


def _wait_a_little(_: int) -> None:
    time.sleep(0.2)  # so that every worker starts, and not one that answers for all


def _read_memo(path: Path) -> dict[str, list[Any]]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


@lru_cache(maxsize=1)
def _code_sha256() -> str:
    """Of the rooms that make logits: after a change there, kept logits are not used."""
    return hash_lines({path.relative_to(_ROOT).as_posix(): file_sha256(path) for path in _CODE})
