"""The prepared folder: clips of any length in one mapped array, and an index that can be read.

- `joints.npy`: (frames of all clips, 27, 3) float32, x and y in canvas pixels and score; mapped with `mmap_mode="r"`.
- `index.csv`: a row for each clip, see `IndexRow`; clip i is `joints[start : start + frames]`.
- `dataset.json`: format version, name of the list, frame rate, estimator, glosses in the order of their labels, counts,
  sha256 of `joints.npy`.
- `report.csv`: file and sentence of what could not be prepared.
- `unlisted.npy` and `unlisted.csv`, where there are any: clips of earlier lists that the last list does not name, in
  the form of `joints.npy` and `index.csv`, see `UnlistedRow`. They are no part of the data set; `dsta.prepare` takes
  them back when a list names them again.
- `upstream/`, on request: the same clips as the reference wants them.

A new version of these files is written to `.new/` beside the old one, `dataset.json` last, and then moved; a writer
that finds a finished `.new/` moves the rest of it first. So a folder killed at any moment holds the old version or the
new one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import numpy as np

from dsta.common import UserError, number_in, read_csv, read_json
from dsta.skeleton import NUM_JOINTS

FORMAT = 1
JOINTS_FILE, INDEX_FILE, DATASET_FILE, REPORT_FILE = "joints.npy", "index.csv", "dataset.json", "report.csv"
UNLISTED_JOINTS, UNLISTED_INDEX = "unlisted.npy", "unlisted.csv"
UPSTREAM_FOLDER = "upstream"
UPSTREAM_FRAMES = 150
"""Length of the clips in upstream's arrays of WLASL."""

NEW_VERSION = ".new"
_RESTORE = "restore it, or prepare the videos into another folder with python -m dsta.prepare"


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
class UnlistedRow(IndexRow):
    """A clip in the index of those that the last list does not name.

    listed_by, max_fps: the list that it was last in, by the benchmark's name (empty for a table of one's own), and the
    frame rate asked for then; a clip whose file is gone is found by its name only in the same list at the same rate.
    """

    listed_by: str
    max_fps: float


AnyRow = TypeVar("AnyRow", bound=IndexRow)


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
            raise UserError(
                f"{folder} is being replaced, or that was interrupted: run python -m dsta.prepare again to finish it."
            )
        about = read_about(folder / DATASET_FILE)
        rows = read_index(folder / INDEX_FILE, IndexRow)
        read = cls(folder, rows, tuple(about["glosses"]), about["estimator"], about)
        unknown = next((row.gloss for row in rows if row.gloss not in read._label_of), None)
        if unknown is not None:
            raise UserError(
                f"{folder / INDEX_FILE} has the gloss {unknown!r}, which {DATASET_FILE} does not list: {_RESTORE}."
            )
        read.clips(rows).check(folder / INDEX_FILE)
        return read

    @cached_property
    def _label_of(self) -> dict[str, int]:
        return {gloss: i for i, gloss in enumerate(self.glosses)}

    def labels(self, rows: Iterable[IndexRow]) -> np.ndarray:
        """(N,) int64: the places of the rows' glosses in `glosses`."""
        return np.array([self._label_of[row.gloss] for row in rows], np.int64)

    def clips(self, rows: Sequence[IndexRow]) -> "PreparedClips":
        """The joints of the rows, each (T, 27, 3) float32, read when asked for."""
        return PreparedClips.of(rows, self.folder / JOINTS_FILE)


class PreparedClips(Sequence[np.ndarray]):
    """Clips (T, 27, 3) float32 of a mapped array; sent to another process, the file is mapped anew."""

    def __init__(self, path: Path, starts: Sequence[int], frames: Sequence[int]) -> None:
        self.path, self.starts, self.frames = path, starts, frames

    @classmethod
    def of(cls, rows: Sequence[IndexRow], path: Path) -> "PreparedClips":
        """Those of the rows of an index in its array."""
        return cls(path, tuple(row.start for row in rows), tuple(row.frames for row in rows))

    def check(self, index: Path) -> None:
        """Raises UserError when the array lacks frames that the index names."""
        total, parts = len(self.array), zip(self.starts, self.frames, strict=True)
        if any(start < 0 or frames < 1 or start + frames > total for start, frames in parts):
            raise UserError(f"{index} names other frames than {self.path.name} holds: {_RESTORE}.")

    @cached_property
    def array(self) -> np.ndarray:
        """All frames (F, 27, 3), mapped. Raises UserError when the file is not that."""
        array = map_array(self.path)
        if array.ndim != 3 or array.shape[1:] != (NUM_JOINTS, 3) or array.dtype != np.float32:
            raise UserError(f"{self.path} must be (frames, {NUM_JOINTS}, 3) float32, not {array.shape} {array.dtype}.")
        return array

    def __reduce__(self) -> tuple[Any, ...]:
        return PreparedClips, (self.path, self.starts, self.frames)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: Any) -> Any:
        start = self.starts[int(i)]
        return np.array(self.array[start : start + self.frames[int(i)]])


def map_array(path: Path) -> np.ndarray:
    """A numpy file's array, mapped, not read. Raises UserError."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: {_RESTORE}.") from error
    except (ValueError, OSError, EOFError, SyntaxError, OverflowError) as error:
        raise UserError(f"{path} cannot be read ({error}): copy it again.") from error


def read_about(path: Path) -> dict[str, Any]:
    """What a `dataset.json` says, its estimator and glosses checked. Raises UserError."""
    about: dict[str, Any] = read_json(path, advice=_RESTORE)
    glosses = about.get("glosses")
    named = isinstance(glosses, list) and all(isinstance(gloss, str) for gloss in glosses)
    if about.get("format") != FORMAT or not isinstance(about.get("estimator"), str) or not named:
        raise UserError(f"{path} does not describe a prepared folder of the format {FORMAT}: {_RESTORE}.")
    return about


def read_index(path: Path, row_type: type[AnyRow]) -> tuple[AnyRow, ...]:
    """The rows of an index, at least one. Raises UserError."""
    columns = get_type_hints(row_type)
    rows = []
    for line, cells in read_csv(path, tuple(columns), _RESTORE):
        values: dict[str, Any] = {}
        for name, kind in columns.items():
            try:
                values[name] = cells[name] if kind is str else number_in(cells[name], kind)
            except ValueError as error:
                raise UserError(f"{path}: {name} in line {line} {error}: {_RESTORE}.") from error
        rows.append(row_type(**values))
    if not rows:
        raise UserError(f"{path} has no rows: {_RESTORE}.")
    return tuple(rows)
