"""Datasets on disk, and the logits of their clips."""

import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dsta.common import UserError, composed, read_csv
from dsta.common.unpickle import read_labels
from dsta.data.clips import Clip, ClipSet, JoinedClips
from dsta.data.prepared import DATASET_FILE, INDEX_FILE, JOINTS_FILE, Prepared, map_array, read_about
from dsta.skeleton import CANVAS, NUM_JOINTS

UNKNOWN_ASPECT = 4 / 3  # skeleton sets do not say how wide their pictures were
_COLUMNS = ("clip", "gloss", "source")
_DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, NotImplementedError, RuntimeError)


class MissingSplit(UserError):
    """The data set is whole, but has no clip of the split that is asked for."""


def read_skeletons(folder: str | Path) -> list[Clip]:
    """The clips of a skeleton set: `clips.npz` (name -> (T, 27, 3), fractions of the picture) and `index.csv`.

    Without a column fold in the index each clip's is -1, and none can be held out.
    Raises UserError when a file is missing or does not fit the other, two clips have one name, or a clip has another
    shape, NaN or infinity.
    """
    folder = Path(folder)
    path = folder / "clips.npz"
    try:
        rows = _read_index(folder / "index.csv")
        with np.load(path, allow_pickle=False) as arrays:
            stored = {composed(name): name for name in arrays.files}
            missing = [row["clip"] for row in rows if row["clip"] not in stored]
            if missing:
                raise UserError(f"{path} lacks {len(missing)} of the clips in index.csv, such as {missing[0]}.")
            return [_clip(row, arrays[stored[row["clip"]]], folder.name) for row in rows]
    except FileNotFoundError as error:
        sentence = f"{error.filename} is missing: a skeleton set is a folder with clips.npz and index.csv."
        raise UserError(sentence) from error
    except UserError:
        raise
    except _DAMAGED as error:
        raise UserError(f"{path} cannot be read ({error}): copy the data set again.") from error


def _read_index(path: Path) -> list[dict[str, str]]:
    rows = read_csv(path, _COLUMNS)
    if not rows:
        raise UserError(f"{path} has no rows: write one for each clip.")
    for line, cells in rows:
        fold = cells.get("fold", "0")
        if not (fold.isdecimal() and fold.isascii()):
            what = f"the fold {fold!r}" if fold else "no fold"
            raise UserError(f"{path} has {what} in line {line}: it must be a whole number from 0, or no such column.")
        if not (cells["clip"] and cells["gloss"]):
            lacking = "clip" if not cells["clip"] else "gloss"
            raise UserError(f"{path} has no {lacking} in line {line}: fill it in, or take the line out.")
    name, count = Counter(cells["clip"] for _, cells in rows).most_common(1)[0]
    if count > 1:
        raise UserError(f"{path} names the clip {name} {count} times: each name must be there once.")
    return [cells for _, cells in rows]


def _clip(row: dict[str, str], fractions: np.ndarray, dataset: str) -> Clip:
    if fractions.ndim != 3 or fractions.shape[1:] != (NUM_JOINTS, 3) or not len(fractions):
        raise UserError(f"Clip {row['clip']} of {dataset} must be (frames, {NUM_JOINTS}, 3), not {fractions.shape}.")
    joints = fractions.astype(np.float32) * np.array([CANVAS, CANVAS / UNKNOWN_ASPECT, 1], np.float32)
    if np.isinf(joints).any():
        raise UserError(f"Clip {row['clip']} of {dataset} holds infinity: set joints that were not found to (0, 0, 0).")
    return Clip(row["clip"], dataset, row["gloss"], row["source"], int(row.get("fold", -1)), joints)


def read_clip_set(folder: str | Path, split: str = "val") -> ClipSet:
    """The clips of a folder: those of a split, of a prepared one or of upstream's `{split}_data_joint.npy` and
    `{split}_label.pkl`; all, of a skeleton set.

    split: `train`, `val` or `test`, or `val+test` for all that is held out: upstream's released `val` is that, and
    where a `test` lies beside it, both. Arrays stay on disk and are mapped. Raises MissingSplit when there is no clip
    of that split, and UserError when there is no data set or a file cannot be read.
    """
    folder = Path(folder)
    if (folder / JOINTS_FILE).exists() or all((folder / name).exists() for name in (DATASET_FILE, INDEX_FILE)):
        return _held_prepared(folder, split)
    found = [part for part in split.split("+") if any((folder / name).exists() for name in _upstream_files(part))]
    if found:
        return _joined([_held_arrays(folder, part) for part in found])
    if not (folder / "index.csv").exists():
        there = [part for part in ("train", "val", "test") if (folder / _upstream_files(part)[0]).exists()]
        if there:
            raise MissingSplit(
                f"{folder} has no clip of the split {split}, only of {', '.join(there)}: add its arrays."
            )
        raise UserError(
            f"{folder} holds no data set: neither {split.partition('+')[0]}_data_joint.npy with its _label.pkl, nor "
            "joints.npy or clips.npz with index.csv."
        )
    clips = read_skeletons(folder)
    glosses = tuple(sorted({clip.gloss for clip in clips}))
    index = {gloss: i for i, gloss in enumerate(glosses)}
    return ClipSet(
        folder,
        tuple(clip.name for clip in clips),
        np.array([index[clip.gloss] for clip in clips]),
        [clip.joints for clip in clips],
        glosses,
        np.array([clip.fold for clip in clips]),
        tuple(clip.source for clip in clips) if all(clip.source for clip in clips) else (),
        "mediapipe-holistic",
        (folder / "clips.npz", folder / "index.csv"),
    )


def _held_prepared(folder: Path, split: str) -> ClipSet:
    prepared = Prepared.read(folder)
    rows = [row for row in prepared.rows if row.split in split.split("+")]
    if not rows:
        there = ", ".join(sorted({row.split for row in prepared.rows}))
        raise MissingSplit(f"{folder} has no clip of the split {split}, only of {there}: change its labels.")
    signers = tuple(row.signer for row in rows)
    return ClipSet(
        folder,
        tuple(row.clip for row in rows),
        prepared.labels(rows),
        prepared.clips(rows),
        prepared.glosses,
        np.full(len(rows), -1),
        signers if all(signers) else (),
        prepared.estimator,
        (folder / JOINTS_FILE, folder / INDEX_FILE),
        tuple(row.split for row in rows),
    )


def _upstream_files(split: str) -> tuple[str, str]:
    return f"{split}_data_joint.npy", f"{split}_label.pkl"


def _joined(parts: list[ClipSet]) -> ClipSet:
    """Upstream's arrays of one or two splits as one. A `val` alone does not say which split its clips are of."""
    splits = [part.files[0].name.partition("_")[0] for part in parts]
    if splits in (["train"], ["val"]):
        return parts[0]
    return replace(
        parts[0],
        names=tuple(name for part in parts for name in part.names),
        labels=np.concatenate([part.labels for part in parts]),
        joints=JoinedClips([part.joints for part in parts]),
        folds=np.concatenate([part.folds for part in parts]),
        files=tuple(file for part in parts for file in part.files),
        splits=tuple(split for split, part in zip(splits, parts, strict=True) for _ in range(len(part))),
    )


def _held_arrays(folder: Path, split: str) -> ClipSet:
    array_file, label_file = (folder / name for name in _upstream_files(split))
    names, labels = read_labels(label_file)
    clips = ArrayClips(array_file)
    if len(clips) != len(labels):
        raise UserError(f"{array_file} holds {len(clips)} clips, but {label_file.name} labels {len(labels)}.")
    about = read_about(folder / DATASET_FILE) if (folder / DATASET_FILE).exists() else {}  # dsta.prepare wrote them
    estimator, glosses = estimator_of(folder), tuple(about.get("glosses", ()))
    if glosses and labels.max() >= len(glosses):
        raise UserError(f"{label_file} has the label {labels.max()}, but {DATASET_FILE} lists {len(glosses)} glosses.")
    folds = np.full(len(labels), -1)
    return ClipSet(folder, names, labels, clips, glosses, folds, (), estimator, (array_file, label_file))


def estimator_of(folder: Path) -> str:
    """What found the keypoints in a folder of clips, read from its description alone. Raises UserError."""
    if (folder / DATASET_FILE).exists():
        return str(read_about(folder / DATASET_FILE)["estimator"])
    return "mediapipe-holistic" if (folder / "clips.npz").exists() else "hrnet-wholebody"


class ArrayClips(Sequence[np.ndarray]):
    """The clips of upstream's array (N, 3, T, 27[, persons]), each (T, 27, 3) of the first person who was seen; mapped,
    not read."""

    def __init__(self, path: Path) -> None:
        self.path, self._array = path, map_array(path)
        shape = self._array.shape
        if len(shape) not in (4, 5) or shape[1] != 3 or shape[3] != NUM_JOINTS or 0 in shape:
            raise UserError(f"{path} must be (clips, 3, frames, {NUM_JOINTS}, persons), not {shape}.")
        if not np.issubdtype(self._array.dtype, np.floating):
            raise UserError(f"{path} must hold floating-point numbers, not {self._array.dtype}.")

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrayClips, (self.path,)  # another process maps the file anew instead of being sent a copy

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, i: Any) -> Any:
        clip = self._array[int(i)]
        if clip.ndim == 4:
            clip = clip[..., int((clip[2] > 0).any((0, 1)).argmax())]
        return np.ascontiguousarray(clip.transpose(1, 2, 0))
