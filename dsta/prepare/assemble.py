"""Finished clips → the prepared folder: what is found already, what is to do, the rows, the warnings."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dsta.common import UserError
from dsta.data.overlap import Fingerprints
from dsta.data.prepared import (
    REPORT_FILE,
    UNLISTED_INDEX,
    UNLISTED_JOINTS,
    UPSTREAM_FOLDER,
    IndexRow,
    Prepared,
)
from dsta.keypoints import Pose
from dsta.plausible import hands_exchanged, misfit
from dsta.prepare.cache import JointsCache, cache_key
from dsta.prepare.earlier import EarlierClips, claim_folder
from dsta.prepare.library import NO_FILE, SPLITS, ListedClip, Listing
from dsta.prepare.write import write_prepared, write_report, write_upstream
from dsta.skeleton import CANVAS, INDEX, LEFT_HAND, RIGHT_HAND
from dsta.streams import seen

CACHE_FOLDER = ".parts"
_LABELS = ("clip", "gloss", "split", "signer", "source")
_MEASURES = ("frames", "fps", "width", "height", "estimator", "body", "hands")

Problem = tuple[str, str]
"""A clip's name, and the sentence why it could not be prepared."""


class DatasetBuild:
    """The clips of a list on their way into a folder.

    keys: of each clip in the list, in order, the cache key of its joints; empty where it has no file and was not found
    before.
    Raises UserError when the folder is another thing's, is damaged, or cannot be written.
    """

    def __init__(self, listing: Listing, out: Path, fps: float) -> None:
        claim_folder(out)
        self.listing, self.out, self.fps = listing, out, fps
        self.cache = JointsCache(out / CACHE_FOLDER)
        self.earlier = EarlierClips(out)
        self.keys = [self._key(clip) for clip in listing.clips]

    def _key(self, clip: ListedClip) -> str:
        if not clip.problem:
            return cache_key(clip, self.fps)
        return self.earlier.find_by_name(clip, self.listing.name, self.fps) if clip.problem == NO_FILE else ""

    def todo(self) -> dict[str, ListedClip]:
        """The clips whose joints are not found yet, by cache key; of clips with one key, one."""
        clips = dict(zip(self.keys, self.listing.clips, strict=True))
        return {k: clip for k, clip in clips.items() if k and k not in self.earlier.by_key and not self.cache.has(k)}

    def finish(self, upstream: bool) -> tuple[Prepared, list[Problem], list[str]]:
        """Writes the folder of what is found, and empties the cache; tells what could not be prepared, and, in
        sentences, what became of clips that were found before.

        Raises UserError when that is all, or the disk is full.
        """
        rows, problems = self._rows()
        unlisted = self.earlier.missing_in(rows)
        try:
            if not rows:
                write_report(self.out, problems)
                raise UserError(
                    f"None of the {len(problems)} clips could be prepared, such as {problems[0][0]}: {problems[0][1]} "
                    f"All are in {self.out / REPORT_FILE}."
                )
            about: dict[str, Any] = {"dataset": self.listing.name, "fps": self.fps, "estimator": rows[0].estimator}
            about["glosses"] = list(self.listing.glosses)
            if self.earlier.equal(rows, unlisted, about):
                write_report(self.out, problems)
            else:
                write_prepared(self.out, rows, lambda row: self._found(row.made_from)[1], about, problems, unlisted)
            prepared = Prepared.read(self.out)
            if upstream or (self.out / UPSTREAM_FOLDER).exists():
                write_upstream(prepared)
            left_in_cache = self.cache.clear({row.made_from for row in (*rows, *unlisted)})
        except OSError as error:
            raise UserError(
                f"{self.out} cannot be written ({error.strerror or error}): what is finished is kept; make room and "
                "run the same command again."
            ) from error
        return prepared, problems, list(self._notes(unlisted, left_in_cache))

    def _found(self, key: str) -> tuple[dict[str, Any], np.ndarray]:
        """What the index tells of a clip that is found, its labels apart; and its joints (T, 27, 3)."""
        if key in self.earlier.by_key:
            row, joints = self.earlier.by_key[key]
            return {name: getattr(row, name) for name in _MEASURES}, joints
        pose = self.cache.pose(key)
        return _measures(pose), pose.clip()

    def _rows(self) -> tuple[list[IndexRow], list[Problem]]:
        """The index, without places in the array, in the list's order; and what could not be prepared, by name."""
        rows, problems = [], []
        for key, clip in zip(self.keys, self.listing.clips, strict=True):
            problem = self.cache.problem(key) if key and key not in self.earlier.by_key else "" if key else clip.problem
            if problem:
                problems.append((clip.clip, problem))
            else:
                labels = {name: getattr(clip, name) for name in _LABELS}
                rows.append(IndexRow(**labels, start=0, **self._found(key)[0], made_from=key))
        usual = Counter(sorted(row.estimator for row in rows)).most_common(1)
        for row in rows:
            if row.estimator != usual[0][0]:
                reason = f"Its keypoints are from {row.estimator}, most others from {usual[0][0]}: prepare it apart."
                problems.append((row.clip, reason))
        return [row for row in rows if row.estimator == usual[0][0]], sorted(problems)

    def _notes(self, unlisted: Sequence[IndexRow], left_in_cache: int) -> Iterator[str]:
        stay = [clip.clip for key, clip in zip(self.keys, self.listing.clips, strict=True) if clip.problem and key]
        if stay:
            yield f"{len(stay)} clips whose file is not there now stay as they were found before, such as {stay[0]}."
        if unlisted:
            such_as = unlisted[0].clip
            yield (
                f"{len(unlisted)} clips that were found before are not in the data set now, such as {such_as}: "
                f"{self.out / UNLISTED_JOINTS} and {UNLISTED_INDEX} keep their joints until a list names them; delete "
                "both if none will."
            )
        old = self.out / ".kept"
        if old.exists():
            yield (
                f"{old} holds clips that an earlier version of this program put there, as a data set of their own. It "
                "is left as it is; delete it if you do not need them."
            )
        if left_in_cache:
            yield (
                f"{left_in_cache} more clips were found that are not in the data set: {self.cache.folder} keeps their "
                "joints until a list names them; delete it if none will."
            )


def _measures(pose: Pose) -> dict[str, Any]:
    """The columns of an index that tell of the keypoints."""
    found = seen(pose.keypoints)
    body = found[:, [INDEX["left_shoulder"], INDEX["right_shoulder"]]].all(1).mean()
    hands = found[:, LEFT_HAND + RIGHT_HAND].any(1).mean()
    return {
        "frames": len(pose.keypoints),
        "fps": round(pose.fps, 4),
        "width": pose.width,
        "height": pose.height,
        "estimator": pose.estimator,
        "body": round(float(body), 4),
        "hands": round(float(hands), 4),
    }


def content_warnings(prepared: Prepared) -> Iterator[str]:
    """What looks wrong in the clips themselves."""
    pairs = zip(prepared.rows, prepared.clips(prepared.rows), strict=True)
    looked = [(row, misfit(clip, CANVAS, CANVAS), hands_exchanged(clip)) for row, clip in pairs]
    misfits = [f"{row.clip} {why}" for row, why, _ in looked if why]  # joints found by earlier versions may be such
    if misfits:
        yield f"In {len(misfits)} clips the joints cannot be a person's: {misfits[0]}"
    exchanged = [row.clip for row, _, so in looked if so]
    if exchanged:
        yield (
            f"In {len(exchanged)} clips each hand lies at the other one's wrist, such as {exchanged[0]}: left and "
            "right were exchanged where the joints were found."
        )


def overlap_warnings(prepared: Prepared) -> Iterator[str]:
    """What makes figures on the test clips mean less: signers, or clips, that are in training as well."""
    of_split = {split: [row for row in prepared.rows if row.split == split] for split in SPLITS}
    prints = {split: Fingerprints.of(prepared.clips(rows)) for split, rows in of_split.items()}
    train = of_split["train"]
    for split in ("val", "test"):
        both = sorted({row.signer for row in train} & {row.signer for row in of_split[split]} - {""})
        if both:
            people = f"{len(both)} signers are" if len(both) > 1 else "1 signer is"
            yield f"{people} both in train and in {split}, such as {both[0]}: figures will not hold for new people."
        found = prints["train"].found_in(prints[split])
        same = np.flatnonzero(found >= 0)
        if len(same):
            first, second = train[same[0]].clip, of_split[split][found[same[0]]].clip
            yield (
                f"{len(same)} clips of train are in {split} too, or so alike that they may be the same recording, such "
                f"as {first} and {second}: training leaves them out."
            )
