"""Finished clips → the prepared folder: what is there already, what is to do, the rows, the warnings."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dsta.common import UserError
from dsta.data.overlap import content_hashes, same_clips
from dsta.data.prepared import DATASET_FILE, JOINTS_FILE, REPORT_FILE, UPSTREAM_FOLDER, IndexRow, Prepared
from dsta.prepare.cache import JointsCache, cache_key
from dsta.prepare.library import NO_FILE, SPLITS, ListedClip, Listing
from dsta.prepare.write import finish_replacing, write_prepared, write_report, write_upstream
from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND
from dsta.streams import seen

_PARTS, _KEPT = ".parts", ".kept"
_NOT_OURS = ("clips.npz", "train_data_joint.npy", "val_data_joint.npy", "test_data_joint.npy")

Problem = tuple[str, str]
"""A clip's name, and the sentence why it could not be prepared."""


class DatasetBuild:
    """The clips of a list on their way into a folder.

    keys: what each clip of the list is made from, in its order; empty where there is nothing. notes: sentences on what
    was found before, once the job is finished.
    Raises UserError when the folder is another thing's, or cannot be written.
    """

    def __init__(self, listing: Listing, out: Path, fps: float) -> None:
        _claim(out)
        self.listing, self.out, self.fps = listing, out, fps
        self.parts = JointsCache(out / _PARTS)
        self.before = EarlierClips(out)
        named = self.before.named(listing.name, fps)
        self.keys = [named(clip) if clip.problem else cache_key(clip, fps) for clip in listing.clips]
        self.notes: list[str] = []

    def todo(self) -> dict[str, ListedClip]:
        """The clips that are not finished, by what they are made from; those that are made from the same, once."""
        every = dict(zip(self.keys, self.listing.clips, strict=True))
        return {
            key: clip for key, clip in every.items() if key and key not in self.before.rows and not self.parts.has(key)
        }

    def finish(self, upstream: bool) -> tuple[Prepared, list[Problem]]:
        """Writes the folder of what is finished, and throws its parts away; tells what could not be prepared.

        Raises UserError when that is all, or the disk is full.
        """
        rows, problems = self._rows()
        others = self.before.others(rows)
        try:
            if not rows:
                write_report(self.out, problems)
                raise UserError(
                    f"None of the {len(problems)} clips could be prepared, such as {problems[0][0]}: {problems[0][1]} "
                    f"All are in {self.out / REPORT_FILE}."
                )
            about = {"dataset": self.listing.name, "fps": self.fps, "estimator": rows[0].estimator}
            about["glosses"] = list(self.listing.glosses)
            if self._is_written(rows, about):
                write_report(self.out, problems)
            else:
                self.before.keep([*self.before.beside, *others])  # so that killed in between, none is nowhere
                write_prepared(self.out, rows, self._clip, about, problems)
            self.before.keep(others)
            prepared = Prepared.read(self.out)
            if upstream or (self.out / UPSTREAM_FOLDER).exists():
                write_upstream(prepared)
            waiting = self.parts.clear({row.made_from for row in rows})
        except OSError as error:
            raise UserError(
                f"{self.out} cannot be written ({error.strerror or error}): what is finished is kept; make room and "
                "run the same command again."
            ) from error
        self.notes = list(self._notes(others, waiting))
        return prepared, problems

    def _notes(self, others: Sequence[IndexRow], waiting: int) -> Iterator[str]:
        stay = [clip.clip for key, clip in zip(self.keys, self.listing.clips, strict=True) if clip.problem and key]
        if stay:
            yield f"{len(stay)} clips whose file is not there now stay as they were found before, such as {stay[0]}."
        if others:
            yield (
                f"{len(others)} clips that were found before are not in the data set now, such as {others[0].clip}: "
                f"{self.before.folder} keeps their joints until a list names them; delete it if none will."
            )
        if waiting:
            yield (
                f"{waiting} more clips were found that are not in the data set: {self.parts.folder} keeps their joints "
                "until a list names them; delete it if none will."
            )

    def _rows(self) -> tuple[list[IndexRow], list[Problem]]:
        """The index, without places in the array, and what could not be prepared; both in an order of the list's."""
        rows, problems = [], []
        for key, item in zip(self.keys, self.listing.clips, strict=True):
            if not key:
                problems.append((item.clip, item.problem))
            elif problem := "" if key in self.before.rows else self.parts.problem(key):
                problems.append((item.clip, problem))
            else:
                rows.append(self._row(key, item))
        usual = Counter(sorted(row.estimator for row in rows)).most_common(1)
        for row in rows:
            if row.estimator != usual[0][0]:
                reason = f"Its keypoints are from {row.estimator}, most others from {usual[0][0]}: prepare it apart."
                problems.append((row.clip, reason))
        return [row for row in rows if row.estimator == usual[0][0]], sorted(problems)

    def _row(self, key: str, item: ListedClip) -> IndexRow:
        labels = {name: getattr(item, name) for name in ("clip", "gloss", "split", "signer", "source")}
        if key in self.before.rows:
            return replace(self.before.rows[key], **labels, start=0)
        pose = self.parts.pose(key)
        found = seen(pose.keypoints)
        body = found[:, [INDEX["left_shoulder"], INDEX["right_shoulder"]]].all(1).mean()
        hands = found[:, LEFT_HAND + RIGHT_HAND].any(1).mean()
        return IndexRow(
            **labels,
            start=0,
            frames=len(pose.keypoints),
            fps=round(pose.fps, 4),
            width=pose.width,
            height=pose.height,
            estimator=pose.estimator,
            body=round(float(body), 4),
            hands=round(float(hands), 4),
            made_from=key,
        )

    def _clip(self, row: IndexRow) -> np.ndarray:
        return self.before.joints(row) if row.made_from in self.before.rows else self.parts.pose(row.made_from).clip()

    def _is_written(self, rows: list[IndexRow], about: dict[str, Any]) -> bool:
        old = self.before.old
        if old is None or any(old.about.get(key) != value for key, value in about.items()):
            return False
        return rows == [replace(row, start=0) for row in old.rows]


class EarlierClips:
    """What earlier runs found: the clips of the folder, and those kept beside it, which the last list did not name.

    rows: by what they are made from. beside: those in `folder`, as `others` gives them. The joints are mapped once, so
    that they can be read whatever is written meanwhile.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out / _KEPT
        self.old, kept = _finished(out), _finished(self.folder)
        self.rows: dict[str, IndexRow] = {}
        self.beside = [replace(row, start=0) for row in kept.rows] if kept else []
        self._every: dict[tuple[str, str], IndexRow] = {}
        self._origin: dict[str, tuple[str, float]] = {}
        self._joints: dict[str, np.ndarray] = {}
        for prepared in filter(None, (kept, self.old)):
            origin, array = (prepared.about.get("dataset"), prepared.about.get("fps")), prepared.clips(()).array
            for row in prepared.rows:
                key = row.made_from
                self.rows[key] = self._every[key, row.clip] = replace(row, start=0)
                self._origin[key], self._joints[key] = origin, array[row.start : row.start + row.frames]

    def joints(self, row: IndexRow) -> np.ndarray:
        """(T, 27, 3) float32 of a clip that was found."""
        return self._joints[row.made_from]

    def named(self, dataset: str, fps: float) -> Callable[[ListedClip], str]:
        """What tells of a clip whose file is not there what it was made from: by its name, as nothing more can be
        known, of the same list and frame rate; of several clips of a name, the one with its labels. Else empty."""
        found: dict[tuple[str, ...], str] = {}
        for row in self._every.values():
            if self._origin[row.made_from] == (dataset, fps):
                found[row.clip,] = found[row.clip, row.gloss, row.split] = row.made_from

        def key(clip: ListedClip) -> str:
            if clip.problem != NO_FILE:
                return ""
            return found.get((clip.clip, clip.gloss, clip.split)) or found.get((clip.clip,), "")

        return key

    def others(self, rows: Sequence[IndexRow]) -> list[IndexRow]:
        """The clips that have no place among these rows. A clip that was found again, from a changed file, has one."""
        keys, names = {row.made_from for row in rows}, {row.clip for row in rows}
        return [row for (key, name), row in self._every.items() if key not in keys and name not in names]

    def keep(self, rows: Sequence[IndexRow]) -> None:
        """Makes `folder` hold these clips, and no others. Raises OSError."""
        rows = list(dict.fromkeys(rows))
        if rows == self.beside:
            return
        if rows:
            origins = {self._origin[row.made_from] for row in rows}
            dataset, fps = origins.pop() if len(origins) == 1 else ("", 0.0)
            glosses = sorted({row.gloss for row in rows})
            about = {"dataset": dataset, "fps": fps, "estimator": rows[0].estimator, "glosses": glosses}
            write_prepared(self.folder, rows, self.joints, about, [])
        else:
            shutil.rmtree(self.folder)
        self.beside = rows


def _claim(out: Path) -> None:
    """Makes the folder, or completes what was interrupted in it. Raises UserError when it is another thing's."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for folder in (out, out / _KEPT):
            finish_replacing(folder)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror or error}): give another --out.") from error
    found = next((name for name in _NOT_OURS if (out / name).exists()), None)
    if found or ((out / JOINTS_FILE).exists() and not (out / DATASET_FILE).exists()):
        raise UserError(f"{out} holds {found or JOINTS_FILE}, which was not prepared here: give another --out.")


def _finished(out: Path) -> Prepared | None:
    """What the folder holds already; a damaged one is made anew."""
    try:
        return Prepared.read(out)
    except UserError:
        return None


def warnings(prepared: Prepared) -> Iterator[str]:
    """What makes figures on the test clips mean less: signers, or clips, that are in training as well."""
    of_split = {split: [row for row in prepared.rows if row.split == split] for split in SPLITS}
    hashes = {split: content_hashes(prepared.clips(rows)) for split, rows in of_split.items()}
    train = of_split["train"]
    for split in ("val", "test"):
        both = sorted({row.signer for row in train} & {row.signer for row in of_split[split]} - {""})
        if both:
            people = f"{len(both)} signers are" if len(both) > 1 else "1 signer is"
            yield f"{people} both in train and in {split}, such as {both[0]}: figures will not hold for new people."
        same = same_clips(hashes["train"], hashes[split])
        if same:
            first, second = train[same[0][0]].clip, of_split[split][same[0][1]].clip
            yield (
                f"{len(same)} clips are both in train and in {split}, number for number, such as {first} and {second}: "
                "take them out of one."
            )
