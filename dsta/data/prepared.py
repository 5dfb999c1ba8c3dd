"""The prepared folder: clips of any length in one mapped array, and an index that can be read.

- `joints.npy`: (frames of all clips, 27, 3) float32, x and y in canvas pixels and score; mapped with `mmap_mode="r"`.
- `index.csv`: a row for each clip, see `IndexRow`; clip i is `joints[start : start + frames]`.
- `dataset.json`: format version, estimator, glosses in the order of their labels, counts, sha256 of `joints.npy`.
- `report.csv`: file and sentence of what could not be prepared.
- `upstream/`, on request: the same clips as the reference wants them.
- `.kept/`, where there are any: clips that the last list did not name, in the same form.

A new version is written to `.new/` beside the old one, `dataset.json` last, and then moved; a writer that finds a
finished `.new/` moves the rest of it first. So a folder killed at any moment holds the old version or the new one.
"""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dsta.common import UserError
from dsta.skeleton import NUM_JOINTS

FORMAT = 1
JOINTS_FILE, INDEX_FILE, DATASET_FILE, REPORT_FILE = "joints.npy", "index.csv", "dataset.json", "report.csv"
UPSTREAM_FOLDER = "upstream"
UPSTREAM_FRAMES = 150
"""Length of the clips in upstream's arrays of WLASL."""

NEW_VERSION = ".new"
_AGAIN = "prepare it again with python -m dsta.prepare"


@dataclass(frozen=True)
class IndexRow:
    """A clip in the index.

    fps, width, height, estimator: of the keypoints that the clip is from. body, hands: shares of the frames in which
    both shoulders, and at least one hand, were seen. made_from: hash of all that the joints depend on.
    """

    clip: str
    gloss: str
    split: str
    signer: str
    source: str
    start: int
    frames: int
    fps: float
    width: int
    height: int
    estimator: str
    body: float
    hands: float
    made_from: str


@dataclass(frozen=True)
class Prepared:
    """What a prepared folder holds. The joints are mapped, not read."""

    folder: Path
    rows: tuple[IndexRow, ...]
    glosses: tuple[str, ...]
    estimator: str
    about: dict[str, Any]

    @classmethod
    def read(cls, folder: str | Path) -> "Prepared":
        """The folder's index, checked against its array. Raises UserError for what does not fit, or is unfinished."""
        folder = Path(folder)
        if (folder / NEW_VERSION / DATASET_FILE).exists():
            raise UserError(f"{folder} is being replaced, or that was interrupted: {_AGAIN} to finish it.")
        about = read_about(folder / DATASET_FILE)
        rows = _read_index(folder / INDEX_FILE)
        read = cls(folder, rows, tuple(about["glosses"]), about["estimator"], about)
        unknown = next((row.gloss for row in rows if row.gloss not in read._label_of), None)
        if unknown is not None:
            raise UserError(
                f"{folder / INDEX_FILE} has the gloss {unknown!r}, which {DATASET_FILE} does not list: {_AGAIN}."
            )
        frames = len(PreparedClips(folder / JOINTS_FILE, (), ()).array)
        if any(row.start < 0 or row.frames < 1 or row.start + row.frames > frames for row in rows):
            raise UserError(f"{folder / INDEX_FILE} speaks of other frames than {JOINTS_FILE} holds: {_AGAIN}.")
        return read

    @cached_property
    def _label_of(self) -> dict[str, int]:
        return {gloss: i for i, gloss in enumerate(self.glosses)}

    def labels(self, rows: Iterable[IndexRow]) -> np.ndarray:
        """(N,) int64: the places of the rows' glosses in `glosses`."""
        return np.array([self._label_of[row.gloss] for row in rows], np.int64)

    def clips(self, rows: Sequence[IndexRow]) -> "PreparedClips":
        """The joints of the rows, each (T, 27, 3) float32, read when asked for."""
        return PreparedClips(self.folder / JOINTS_FILE, tuple(r.start for r in rows), tuple(r.frames for r in rows))


class PreparedClips(Sequence[np.ndarray]):
    """Clips (T, 27, 3) float32 of a mapped array; sent to another process, the file is mapped anew."""

    def __init__(self, path: Path, starts: Sequence[int], frames: Sequence[int]) -> None:
        self.path, self.starts, self.frames = path, starts, frames

    @cached_property
    def array(self) -> np.ndarray:
        """All frames (F, 27, 3), mapped. Raises UserError when the file is not that."""
        try:
            array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise UserError(f"{self.path} is missing: {_AGAIN}.") from error
        except (ValueError, OSError, EOFError, SyntaxError, OverflowError) as error:
            raise UserError(f"{self.path} cannot be read ({error}): copy it again.") from error
        if array.ndim != 3 or array.shape[1:] != (NUM_JOINTS, 3) or array.dtype != np.float32:
            raise UserError(f"{self.path} must be (frames, {NUM_JOINTS}, 3) float32, not {array.shape} {array.dtype}.")
        return array

    def __reduce__(self) -> tuple[Any, ...]:
        return PreparedClips, (self.path, self.starts, self.frames)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: Any) -> np.ndarray:
        start = self.starts[int(i)]
        return np.array(self.array[start : start + self.frames[int(i)]])


def read_about(path: Path) -> dict[str, Any]:
    """What a `dataset.json` says, its estimator and glosses checked. Raises UserError."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        known = about["format"] == FORMAT and isinstance(about["estimator"], str)
        if not (known and isinstance(about["glosses"], list) and all(isinstance(g, str) for g in about["glosses"])):
            raise ValueError(f"its format is not {FORMAT}")
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: {_AGAIN}.") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} does not describe a prepared folder ({error}): {_AGAIN}.") from error
    return about


def _read_index(path: Path) -> tuple[IndexRow, ...]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [IndexRow(**{f.name: f.type(row[f.name]) for f in fields(IndexRow)}) for row in csv.DictReader(file)]
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: {_AGAIN}.") from error
    except KeyError as error:
        raise UserError(f"{path} lacks the column {error}: {_AGAIN}.") from error
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is not the index of a prepared folder ({error}): {_AGAIN}.") from error
    if not rows:
        raise UserError(f"{path} has no rows: {_AGAIN}.")
    return tuple(rows)
