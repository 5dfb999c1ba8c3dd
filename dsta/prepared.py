"""The prepared folder: clips of any length in one mapped array, and an index that can be read.

- `joints.npy`: (frames of all clips, 27, 3) float32, x and y in canvas pixels and score; mapped with `mmap_mode="r"`.
- `index.csv`: a row for each clip, see `Row`; clip i is `joints[start : start + frames]`.
- `dataset.json`: format version, estimator, glosses in the order of their labels, counts, sha256 of `joints.npy`.
- `report.csv`: file and sentence of what could not be prepared.
- `upstream/`, on request: the same clips as the reference wants them.
- `.kept/`, where there are any: clips that the last list did not name, in the same form.

A new version is written to `.new/` beside the old one, `dataset.json` last, and then moved; a writer that finds a
finished `.new/` moves the rest of it first. So a folder killed at any moment holds the old version or the new one.
"""

import csv
import hashlib
import io
import json
import pickle
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dsta.errors import UserError
from dsta.files import replace_file
from dsta.skeleton import NUM_JOINTS

FORMAT = 1
JOINTS, INDEX, DATASET, REPORT = "joints.npy", "index.csv", "dataset.json", "report.csv"
UPSTREAM = "upstream"
UPSTREAM_FRAMES = 150
"""Length of the clips in upstream's arrays of WLASL."""

_NEW = ".new"
_AGAIN = "prepare it again with python -m dsta.prepare"


@dataclass(frozen=True)
class Row:
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
    rows: tuple[Row, ...]
    glosses: tuple[str, ...]
    estimator: str
    about: dict[str, Any]

    @classmethod
    def read(cls, folder: str | Path) -> "Prepared":
        """The folder's index, checked against its array. Raises UserError for what does not fit, or is unfinished."""
        folder = Path(folder)
        if (folder / _NEW / DATASET).exists():
            raise UserError(f"{folder} is being replaced, or that was interrupted: {_AGAIN} to finish it.")
        about = read_about(folder / DATASET)
        rows = _read_index(folder / INDEX)
        read = cls(folder, rows, tuple(about["glosses"]), about["estimator"], about)
        unknown = next((row.gloss for row in rows if row.gloss not in read._label_of), None)
        if unknown is not None:
            raise UserError(f"{folder / INDEX} has the gloss {unknown!r}, which {DATASET} does not list: {_AGAIN}.")
        frames = len(PreparedClips(folder / JOINTS, (), ()).array)
        if any(row.start < 0 or row.frames < 1 or row.start + row.frames > frames for row in rows):
            raise UserError(f"{folder / INDEX} speaks of other frames than {JOINTS} holds: {_AGAIN}.")
        return read

    @cached_property
    def _label_of(self) -> dict[str, int]:
        return {gloss: i for i, gloss in enumerate(self.glosses)}

    def labels(self, rows: Iterable[Row]) -> np.ndarray:
        """(N,) int64: the places of the rows' glosses in `glosses`."""
        return np.array([self._label_of[row.gloss] for row in rows], np.int64)

    def clips(self, rows: Sequence[Row]) -> "PreparedClips":
        """The joints of the rows, each (T, 27, 3) float32, read when asked for."""
        return PreparedClips(self.folder / JOINTS, tuple(r.start for r in rows), tuple(r.frames for r in rows))


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


def _read_index(path: Path) -> tuple[Row, ...]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [Row(**{f.name: f.type(row[f.name]) for f in fields(Row)}) for row in csv.DictReader(file)]
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: {_AGAIN}.") from error
    except KeyError as error:
        raise UserError(f"{path} lacks the column {error}: {_AGAIN}.") from error
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is not the index of a prepared folder ({error}): {_AGAIN}.") from error
    if not rows:
        raise UserError(f"{path} has no rows: {_AGAIN}.")
    return tuple(rows)


def write_prepared(
    folder: Path,
    rows: Sequence[Row],
    joints: Callable[[Row], np.ndarray],
    about: dict[str, Any],
    report: Sequence[tuple[str, str]],
) -> None:
    """Replaces what a prepared folder holds; `rows` are laid one after the other, whatever their `start` says.

    joints: gives the clip of a row, (T, 27, 3). about: what `dataset.json` says besides what is counted here.
    Raises OSError, with the old version in place.
    """
    try:
        _write_new(folder / _NEW, rows, joints, about, report)
    except OSError:
        shutil.rmtree(folder / _NEW, ignore_errors=True)  # it takes room, and the disk may be full
        raise
    finish(folder)


def _write_new(
    new: Path,
    rows: Sequence[Row],
    joints: Callable[[Row], np.ndarray],
    about: dict[str, Any],
    report: Sequence[tuple[str, str]],
) -> None:
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    sha256 = _write_joints(new / JOINTS, rows, joints)
    starts = np.cumsum([0, *(row.frames for row in rows)]).tolist()
    rows = [Row(**{**asdict(row), "start": start}) for row, start in zip(rows, starts, strict=False)]
    (new / INDEX).write_text(_table([f.name for f in fields(Row)], map(astuple, rows)), encoding="utf-8")
    (new / REPORT).write_text(_table(("file", "reason"), report), encoding="utf-8")
    counts = Counter(row.split for row in rows)
    about = {"format": FORMAT, **about, "clips": dict(sorted(counts.items())), "frames": starts[-1]}
    about["joints_sha256"] = sha256
    _write_about(new, about)  # from here on the new version is whole


def finish(folder: Path) -> None:
    """Moves a new version into place; one that is not whole is thrown away. Call before anything else is written."""
    new = folder / _NEW
    if not new.exists():
        return
    if (new / DATASET).exists():
        for name in (JOINTS, INDEX, REPORT, DATASET):
            if (new / name).exists():
                (new / name).replace(folder / name)
    shutil.rmtree(new)


def write_report(folder: Path, report: Sequence[tuple[str, str]]) -> None:
    """`report.csv` alone, where there is nothing else to write."""
    replace_file(folder / REPORT, _table(("file", "reason"), report).encode())


def _write_joints(path: Path, rows: Sequence[Row], joints: Callable[[Row], np.ndarray]) -> str:
    """Writes `joints.npy` clip by clip; returns its sha256. Not through a map: a full disk would kill the process."""
    shape = (sum(row.frames for row in rows), NUM_JOINTS, 3)
    with path.open("wb") as file:
        write = _Hashing(file)
        _npy_header(write, shape)
        for row in rows:
            write.write(joints(row).astype(np.float32).tobytes())
    return write.sha256.hexdigest()


class _Hashing:
    """A file that knows the sha256 of what was written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256 = file, hashlib.sha256()

    def write(self, content: bytes) -> None:
        self.sha256.update(content)
        self.file.write(content)


def _npy_header(file: Any, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _write_about(folder: Path, about: dict[str, Any]) -> None:
    replace_file(folder / DATASET, (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode())


def write_upstream(prepared: Prepared) -> Path:
    """Writes the folder `upstream/` in a prepared one, anew, and returns it: of each split that has clips
    `{split}_data_joint.npy`, (N, 3, 150, 27, 1) float32, and `{split}_label.pkl`, a pickle of (names, labels).

    x and y stay canvas pixels, which lie in the reference's 512 × 512. `dataset.json` is written last; a folder without
    it is not whole. Raises OSError.
    """
    folder = prepared.folder / UPSTREAM
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for split in dict.fromkeys(row.split for row in prepared.rows):
        rows = [row for row in prepared.rows if row.split == split]
        with (folder / f"{split}_data_joint.npy").open("wb") as file:
            _npy_header(file, (len(rows), 3, UPSTREAM_FRAMES, NUM_JOINTS, 1))
            for clip in prepared.clips(rows):
                file.write(np.ascontiguousarray(filled(clip).transpose(2, 0, 1)).tobytes())
        labels = [row.clip for row in rows], prepared.labels(rows).tolist()
        (folder / f"{split}_label.pkl").write_bytes(pickle.dumps(labels, protocol=4))
    same = {key: prepared.about[key] for key in ("format", "estimator", "glosses", "joints_sha256")}
    _write_about(folder, same | {"frames": UPSTREAM_FRAMES})
    return folder


def filled(clip: np.ndarray, frames: int = UPSTREAM_FRAMES) -> np.ndarray:
    """(frames, 27, 3) float32: a short clip is repeated from its start, as upstream's are; of a long one, frames are
    taken evenly, int(i · (T / frames)), as the reference samples in evaluation."""
    length = len(clip)
    steps = np.arange(frames)
    index = steps % length if length <= frames else (steps * (length / frames)).astype(int)
    return clip[index].astype(np.float32)
