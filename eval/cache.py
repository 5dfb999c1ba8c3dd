"""Logits that are kept: what was scored is not scored again until something that made its logits changes."""

import hashlib
import json
import zipfile
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from dsta.common import file_sha256, write_npz
from dsta.common.device import DeviceSettings
from dsta.data import ClipSet
from eval.robustness import Disturbance
from leaderboard.results import hash_lines

_ROOT = Path(__file__).resolve().parents[1]
_CODE = [
    *(_ROOT / "dsta" / f"{room}.py" for room in ("model", "score", "skeleton", "streams")),
    *(
        path
        for wing in ("checkpoint", "common", "data", "folded")
        for path in sorted((_ROOT / "dsta" / wing).glob("*.py"))
    ),
    *(_ROOT / "eval" / f"{room}.py" for room in ("cache", "robustness", "scoring")),
]


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


class LogitsCache:
    """A folder of logits, a file for each work; its name is a hash of all that makes them."""

    def __init__(self, folder: str | Path, settings: DeviceSettings) -> None:
        self.folder = Path(folder)
        self._sha256: dict[Path, str] = {}
        self.computed = {"device": settings.device.split(":")[0], "dtype": settings.dtype}

    def data_sha256(self, clips: ClipSet) -> str:
        """Hash of the data's files, each of which is read once."""
        for path in clips.files:
            if path not in self._sha256:
                self._sha256[path] = file_sha256(path)
        return hash_lines({path.name: self._sha256[path] for path in clips.files})

    def file(self, work: ScoringWork, clips: ClipSet) -> Path:
        """Where the logits of a work on these clips are, if they are."""
        parts = {
            "data": self.data_sha256(clips),
            "weights": work.weights_sha256,
            "config": file_sha256(work.weights / "config.json"),
            "positions": work.positions,
            "disturbance": asdict(work.disturbance) if work.disturbance else None,
            **self.computed,
            "code": _code_sha256(),
            "libraries": [torch.__version__, np.__version__],
        }
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return self.folder / "logits" / f"{work.data.name}-{work.weights.name}-{key[:24]}.npz"

    def read(self, file: Path) -> Scored | None:
        """What is kept in a file; nothing where it is missing or damaged."""
        try:
            with np.load(file, allow_pickle=False) as saved:
                return Scored(saved["logits"], **json.loads(str(saved["meta"])))
        except (zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError, OSError):
            return None

    def write(self, file: Path, scored: Scored) -> None:
        meta = {name: value for name, value in asdict(scored).items() if name != "logits"}
        write_npz(file, logits=scored.logits, meta=np.array(json.dumps(meta)))


@lru_cache(maxsize=1)
def _code_sha256() -> str:
    """Of the rooms that make logits: after a change there, kept logits are not used."""
    return hash_lines({path.relative_to(_ROOT).as_posix(): file_sha256(path) for path in _CODE})
