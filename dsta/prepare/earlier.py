"""What earlier runs left in a folder: the clips whose joints were found, those that the last list named or not."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from dsta.common import UserError
from dsta.data.prepared import (
    DATASET_FILE,
    INDEX_FILE,
    JOINTS_FILE,
    UNLISTED_INDEX,
    UNLISTED_JOINTS,
    IndexRow,
    Prepared,
    PreparedClips,
    UnlistedRow,
    read_index,
)
from dsta.prepare.library import ListedClip
from dsta.prepare.write import finish_replacing

_OTHER_DATA = ("clips.npz", "train_data_joint.npy", "val_data_joint.npy", "test_data_joint.npy")


def claim_folder(out: Path) -> None:
    """Makes the folder, or completes what was interrupted in it. Raises UserError when it is another thing's."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        finish_replacing(out)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror or error}): give another --out.") from error
    found = next((name for name in _OTHER_DATA if (out / name).exists()), None)
    if found or ((out / JOINTS_FILE).exists() and not (out / DATASET_FILE).exists()):
        raise UserError(f"{out} holds {found or JOINTS_FILE}, which was not prepared here: give another --out.")


EarlierClip = tuple[UnlistedRow, np.ndarray]
"""A clip that was found before: its row, the place in the array left out, and its joints (T, 27, 3) float32, mapped."""


class EarlierClips:
    """The clips that a folder holds, in its data set and beside it.

    by_key: each of them by its cache key. The files are mapped once, here, so that the joints can still be read while
    a new version takes the files' place.
    Raises UserError where a file cannot be read: to make it anew would lose the joints that it holds.
    """

    def __init__(self, out: Path) -> None:
        self._about, listed = _read_data_set(out)
        unlisted = _read_unlisted(out)
        self.by_key = {clip[0].made_from: clip for clip in (*unlisted, *listed)}  # of two of a key, the later counts
        self._listed, self._unlisted = [row for row, _ in listed], [row for row, _ in unlisted]
        self._rows = [*self._unlisted, *self._listed]
        self._key_by_name: dict[tuple[Any, ...], str] = {}
        for row in self._rows:
            name = row.listed_by, row.max_fps, row.clip
            self._key_by_name[name] = row.made_from
            self._key_by_name[*name, row.gloss, row.split] = row.made_from

    def find_by_name(self, clip: ListedClip, list_name: str, max_fps: float) -> str:
        """The cache key of a clip whose file is gone, of which only the name is known: that of the clip that had this
        name in the same list at the same frame rate, and of several, that with its labels. Empty where there is none.
        """
        name = list_name, max_fps, clip.clip
        return self._key_by_name.get((*name, clip.gloss, clip.split)) or self._key_by_name.get(name, "")

    def missing_in(self, rows: Sequence[IndexRow]) -> list[UnlistedRow]:
        """The clips that these rows of a new index lack. One whose file changed, and was looked at anew, is not
        missing: the new joints take its place."""
        keys = {row.made_from for row in rows}
        renewed = {row.clip for row in rows if row.made_from not in self.by_key}
        missing = {(row.made_from, row.clip): row for row in self._rows}
        return [row for (key, name), row in missing.items() if key not in keys and name not in renewed]

    def equal(self, rows: Sequence[IndexRow], unlisted: Sequence[UnlistedRow], about: dict[str, Any]) -> bool:
        """Whether the folder holds just these already, and its `dataset.json` says this."""
        listed = [_as_unlisted(row, about["dataset"], about["fps"]) for row in rows]
        same = listed == self._listed and list(unlisted) == self._unlisted
        return same and all(self._about.get(key) == value for key, value in about.items())


def _read_data_set(folder: Path) -> tuple[dict[str, Any], list[EarlierClip]]:
    """What `dataset.json` says, and the clips; nothing where there is no prepared folder, not even part of one."""
    if not any((folder / name).exists() for name in (DATASET_FILE, INDEX_FILE, JOINTS_FILE)):
        return {}, []
    prepared = Prepared.read(folder)
    list_name, max_fps = prepared.about.get("dataset", ""), prepared.about.get("fps", 0.0)
    rows = [_as_unlisted(row, list_name, max_fps) for row in prepared.rows]
    return prepared.about, _clips(rows, folder / INDEX_FILE, folder / JOINTS_FILE)


def _read_unlisted(folder: Path) -> list[EarlierClip]:
    index, array = folder / UNLISTED_INDEX, folder / UNLISTED_JOINTS
    if not index.exists() and not array.exists():
        return []
    return _clips(read_index(index, UnlistedRow), index, array)


def _clips(rows: Sequence[UnlistedRow], index: Path, array: Path) -> list[EarlierClip]:
    """The clips of an index in its array. Raises UserError unless it names the whole array."""
    clips = PreparedClips.of(rows, array)
    clips.check(index)
    if sum(clips.frames) != len(clips.array) or not index.read_bytes().endswith(b"\n"):
        raise UserError(f"{index} is cut off, or lacks clips of {array.name}: restore it, or give another --out.")
    return [(replace(row, start=0), clips.array[row.start : row.start + row.frames]) for row in rows]


def _as_unlisted(row: IndexRow, list_name: str, max_fps: float) -> UnlistedRow:
    return UnlistedRow(**asdict(row), listed_by=list_name, max_fps=max_fps)
