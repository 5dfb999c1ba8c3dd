"""Finished clips → the prepared folder: what is there already, what is to do, the rows, the warnings."""

import hashlib
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dsta.errors import UserError
from dsta.lists import SPLITS, Item, Listing
from dsta.parts import Parts, made_from
from dsta.prepared import (
    DATASET,
    JOINTS,
    REPORT,
    UPSTREAM,
    Prepared,
    Row,
    finish,
    write_prepared,
    write_report,
    write_upstream,
)
from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND
from dsta.streams import seen

_PARTS = ".parts"
_NOT_OURS = ("clips.npz", "train_data_joint.npy", "val_data_joint.npy", "test_data_joint.npy")

Problem = tuple[str, str]
"""A clip's name, and the sentence why it could not be prepared."""


class Job:
    """The clips of a list on their way into a folder.

    Raises UserError when the folder is another thing's, or cannot be written.
    """

    def __init__(self, listing: Listing, out: Path, fps: float) -> None:
        _claim(out)
        self.listing, self.out, self.fps = listing, out, fps
        self.parts = Parts(out / _PARTS)
        self.old = _finished(out)
        self.kept = {row.made_from: row for row in self.old.rows} if self.old else {}
        self.keys = [made_from(item, fps) for item in listing.items]

    def todo(self) -> dict[str, Item]:
        """The clips that are not finished, by what they are made from; those that are made from the same, once."""
        every = dict(zip(self.keys, self.listing.items, strict=True))
        return {key: item for key, item in every.items() if key not in self.kept and not self.parts.has(key)}

    def finish(self, upstream: bool) -> tuple[Prepared, list[Problem]]:
        """Writes the folder of what is finished, and throws the parts away; tells what could not be prepared.

        Raises UserError when that is all, or the disk is full.
        """
        rows, problems = self._rows()
        try:
            if not rows:
                write_report(self.out, problems)
                raise UserError(
                    f"None of the {len(problems)} clips could be prepared, such as {problems[0][0]}: {problems[0][1]} "
                    f"All are in {self.out / REPORT}."
                )
            about = {"dataset": self.listing.name, "fps": self.fps, "estimator": rows[0].estimator}
            about["glosses"] = list(self.listing.glosses)
            if self._is_written(rows, about):
                write_report(self.out, problems)
            else:
                write_prepared(self.out, rows, self._clip, about, problems)
            prepared = Prepared.read(self.out)
            if upstream or (self.out / UPSTREAM).exists():
                write_upstream(prepared)
            shutil.rmtree(self.parts.folder, ignore_errors=True)
        except OSError as error:
            raise UserError(
                f"{self.out} cannot be written ({error.strerror or error}): what is finished is kept; make room and "
                "run the same command again."
            ) from error
        return prepared, problems

    def _rows(self) -> tuple[list[Row], list[Problem]]:
        """The index, without places in the array, and what could not be prepared; both in an order of the list's."""
        rows, problems = [], list(self.listing.missing)
        for key, item in zip(self.keys, self.listing.items, strict=True):
            problem = "" if key in self.kept else self.parts.problem(key)
            if problem:
                problems.append((item.clip, problem))
            else:
                rows.append(self._row(key, item))
        usual = Counter(sorted(row.estimator for row in rows)).most_common(1)
        for row in rows:
            if row.estimator != usual[0][0]:
                reason = f"Its keypoints are from {row.estimator}, most others from {usual[0][0]}: prepare it apart."
                problems.append((row.clip, reason))
        return [row for row in rows if row.estimator == usual[0][0]], sorted(problems)

    def _row(self, key: str, item: Item) -> Row:
        labels = {name: getattr(item, name) for name in ("clip", "gloss", "split", "signer", "source")}
        if key in self.kept:
            return replace(self.kept[key], **labels, start=0)
        pose = self.parts.pose(key)
        found = seen(pose.keypoints)
        body = found[:, [INDEX["left_shoulder"], INDEX["right_shoulder"]]].all(1).mean()
        hands = found[:, LEFT_HAND + RIGHT_HAND].any(1).mean()
        return Row(
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

    def _clip(self, row: Row) -> np.ndarray:
        if row.made_from in self.kept:
            return self.old.clips([self.kept[row.made_from]])[0]
        return self.parts.pose(row.made_from).clip()

    def _is_written(self, rows: list[Row], about: dict[str, Any]) -> bool:
        if self.old is None or any(self.old.about.get(key) != value for key, value in about.items()):
            return False
        return rows == [replace(row, start=0) for row in self.old.rows]


def _claim(out: Path) -> None:
    """Makes the folder, or completes what was interrupted in it. Raises UserError when it is another thing's."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        finish(out)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror or error}): give another --out.") from error
    found = next((name for name in _NOT_OURS if (out / name).exists()), None)
    if found or ((out / JOINTS).exists() and not (out / DATASET).exists()):
        raise UserError(f"{out} holds {found or JOINTS}, which was not prepared here: give another --out.")


def _finished(out: Path) -> Prepared | None:
    """What the folder holds already; a damaged one is made anew."""
    try:
        return Prepared.read(out)
    except UserError:
        return None


def warnings(prepared: Prepared) -> Iterator[str]:
    """What makes figures on the test clips mean less: signers, or clips, that are in training as well."""
    signers: dict[str, set[str]] = {split: set() for split in SPLITS}
    contents: dict[bytes, dict[str, str]] = defaultdict(dict)
    for row, clip in zip(prepared.rows, prepared.clips(prepared.rows), strict=True):
        signers[row.split].add(row.signer)
        contents[hashlib.sha256(clip.tobytes()).digest()].setdefault(row.split, row.clip)
    for split in ("val", "test"):
        both = sorted(signers["train"] & signers[split] - {""})
        if both:
            people = f"{len(both)} signers are" if len(both) > 1 else "1 signer is"
            yield f"{people} both in train and in {split}, such as {both[0]}: figures will not hold for new people."
        same = [names for names in contents.values() if {"train", split} <= set(names)]
        if same:
            yield (
                f"{len(same)} clips are both in train and in {split}, number for number, such as {same[0]['train']} "
                f"and {same[0][split]}: take them out of one."
            )
