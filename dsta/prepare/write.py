"""Writing a prepared folder, whole or not at all; and upstream's arrays beside it."""

import csv
import io
import json
import pickle
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from dsta.common import file_sha256, replace_file
from dsta.data.prepared import (
    DATASET_FILE,
    FORMAT,
    INDEX_FILE,
    JOINTS_FILE,
    NEW_VERSION,
    REPORT_FILE,
    UNLISTED_INDEX,
    UNLISTED_JOINTS,
    UPSTREAM_FOLDER,
    UPSTREAM_FRAMES,
    IndexRow,
    Prepared,
    UnlistedRow,
    read_about,
)
from dsta.skeleton import NUM_JOINTS


def write_prepared(
    folder: Path,
    rows: Sequence[IndexRow],
    joints: Callable[[IndexRow], np.ndarray],
    about: dict[str, Any],
    report: Sequence[tuple[str, str]],
    unlisted: Sequence[UnlistedRow] = (),
) -> None:
    """Replaces what a prepared folder holds, clips that its list does not name included, all at once.

    rows, unlisted: laid one after the other, whatever their `start` says. joints: gives the clip of a row, (T, 27, 3).
    about: what `dataset.json` says besides what is counted here. Raises OSError, with the old version in place.
    """
    new = folder / NEW_VERSION
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        _write_clips(new / JOINTS_FILE, new / INDEX_FILE, rows, joints)
        if unlisted:
            _write_clips(new / UNLISTED_JOINTS, new / UNLISTED_INDEX, unlisted, joints)
        write_report(new, report)
        counted = {
            "clips": dict(sorted(Counter(row.split for row in rows).items())),
            "frames": sum(row.frames for row in rows),
            "unlisted": len(unlisted),
            "joints_sha256": file_sha256(new / JOINTS_FILE),
        }
        _write_about(new, {"format": FORMAT, **about, **counted})  # from here on the new version is whole
    except OSError:
        shutil.rmtree(new, ignore_errors=True)  # it takes room, and the disk may be full
        raise
    finish_replacing(folder)


def finish_replacing(folder: Path) -> None:
    """Moves a new version into place; one that is not whole is thrown away. Call before anything else is written."""
    new = folder / NEW_VERSION
    if not new.exists():
        return
    if (new / DATASET_FILE).exists():
        if read_about(new / DATASET_FILE).get("unlisted") == 0:  # an earlier form of this program does not say
            for name in (UNLISTED_JOINTS, UNLISTED_INDEX):
                (folder / name).unlink(missing_ok=True)
        for name in (JOINTS_FILE, INDEX_FILE, UNLISTED_JOINTS, UNLISTED_INDEX, REPORT_FILE, DATASET_FILE):
            if (new / name).exists():
                (new / name).replace(folder / name)
    shutil.rmtree(new)


def write_report(folder: Path, report: Sequence[tuple[str, str]]) -> None:
    """`report.csv`: names of clips and the sentences why they could not be prepared."""
    replace_file(folder / REPORT_FILE, _table(("file", "reason"), report))


def _write_clips(array: Path, index: Path, rows: Sequence[IndexRow], joints: Callable[[IndexRow], np.ndarray]) -> None:
    """Writes clips as one array and the index that tells their places in it.

    Clip by clip, and not through a map: a full disk would kill the process.
    """
    starts = np.cumsum([0, *(row.frames for row in rows)]).tolist()
    with array.open("wb") as file:
        _write_npy_header(file, (starts[-1], NUM_JOINTS, 3))
        for row in rows:
            file.write(joints(row).astype(np.float32).tobytes())
    placed = [replace(row, start=start) for row, start in zip(rows, starts[:-1], strict=True)]
    index.write_bytes(_table([f.name for f in fields(rows[0])], map(astuple, placed)))


def _write_npy_header(file: Any, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue().encode(errors="replace")  # a file's name may be in no encoding at all


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
            _write_npy_header(file, (len(rows), 3, UPSTREAM_FRAMES, NUM_JOINTS, 1))
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
