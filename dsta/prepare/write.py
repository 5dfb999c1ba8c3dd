"""Writing a prepared folder, whole or not at all; and upstream's arrays beside it."""

import csv
import hashlib
import io
import json
import pickle
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dsta.common import replace_file
from dsta.data.prepared import (
    DATASET_FILE,
    FORMAT,
    INDEX_FILE,
    JOINTS_FILE,
    NEW_VERSION,
    REPORT_FILE,
    UPSTREAM_FOLDER,
    UPSTREAM_FRAMES,
    IndexRow,
    Prepared,
)
from dsta.skeleton import NUM_JOINTS


def write_prepared(
    folder: Path,
    rows: Sequence[IndexRow],
    joints: Callable[[IndexRow], np.ndarray],
    about: dict[str, Any],
    report: Sequence[tuple[str, str]],
) -> None:
    """Replaces what a prepared folder holds; `rows` are laid one after the other, whatever their `start` says.

    joints: gives the clip of a row, (T, 27, 3). about: what `dataset.json` says besides what is counted here.
    Raises OSError, with the old version in place.
    """
    try:
        _write_new(folder / NEW_VERSION, rows, joints, about, report)
    except OSError:
        shutil.rmtree(folder / NEW_VERSION, ignore_errors=True)  # it takes room, and the disk may be full
        raise
    finish_replacing(folder)


def _write_new(
    new: Path,
    rows: Sequence[IndexRow],
    joints: Callable[[IndexRow], np.ndarray],
    about: dict[str, Any],
    report: Sequence[tuple[str, str]],
) -> None:
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    sha256 = _write_joints(new / JOINTS_FILE, rows, joints)
    starts = np.cumsum([0, *(row.frames for row in rows)]).tolist()
    rows = [IndexRow(**{**asdict(row), "start": start}) for row, start in zip(rows, starts, strict=False)]
    (new / INDEX_FILE).write_text(_table([f.name for f in fields(IndexRow)], map(astuple, rows)), encoding="utf-8")
    (new / REPORT_FILE).write_text(_table(("file", "reason"), report), encoding="utf-8")
    counts = Counter(row.split for row in rows)
    about = {"format": FORMAT, **about, "clips": dict(sorted(counts.items())), "frames": starts[-1]}
    about["joints_sha256"] = sha256
    _write_about(new, about)  # from here on the new version is whole


def finish_replacing(folder: Path) -> None:
    """Moves a new version into place; one that is not whole is thrown away. Call before anything else is written."""
    new = folder / NEW_VERSION
    if not new.exists():
        return
    if (new / DATASET_FILE).exists():
        for name in (JOINTS_FILE, INDEX_FILE, REPORT_FILE, DATASET_FILE):
            if (new / name).exists():
                (new / name).replace(folder / name)
    shutil.rmtree(new)


def write_report(folder: Path, report: Sequence[tuple[str, str]]) -> None:
    """`report.csv` alone, where there is nothing else to write."""
    replace_file(folder / REPORT_FILE, _table(("file", "reason"), report).encode())


def _write_joints(path: Path, rows: Sequence[IndexRow], joints: Callable[[IndexRow], np.ndarray]) -> str:
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
    replace_file(folder / DATASET_FILE, (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode())


def write_upstream(prepared: Prepared) -> Path:
    """Writes the folder `upstream/` in a prepared one, anew, and returns it: of each split that has clips
    `{split}_data_joint.npy`, (N, 3, 150, 27, 1) float32, and `{split}_label.pkl`, a pickle of (names, labels).

    x and y stay canvas pixels, which lie in the reference's 512 × 512. `dataset.json` is written last; a folder without
    it is not whole. Raises OSError.
    """
    folder = prepared.folder / UPSTREAM_FOLDER
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
