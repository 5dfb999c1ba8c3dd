"""Finished clips of a build, kept as files until all are there."""

import hashlib
import json
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from dsta.common import UserError, replace_file
from dsta.keypoints import Pose
from dsta.prepare.library import KEYPOINT_ENDINGS, ListedClip
from dsta.video import ESTIMATOR
from dsta.video.holistic import BUNDLE_SHA256


def cache_key(item: ListedClip, fps: float) -> str:
    """Hash of what a clip's joints depend on: the file (name, size and time of change), part, box, rate, model."""
    stat = item.file.stat()
    parts = [item.file.name, stat.st_size, stat.st_mtime_ns, item.start, item.end, item.box, item.box_in_pixels]
    if item.file.suffix.lower() not in KEYPOINT_ENDINGS:
        parts += [fps, ESTIMATOR, BUNDLE_SHA256]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class JointsCache:
    """Finished clips: a keypoint file for each, or the sentence why there is none; named by what it is made from."""

    folder: Path

    def add(self, key: str, pose: Pose | None, problem: str = "") -> None:
        """Keeps a clip's joints, or its problem; whole or not at all. Raises UserError where it cannot be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if pose is None:
                replace_file(self.folder / f"{key}.txt", problem.encode())
            else:
                pose.save(self.folder / f"{key}.npz")
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be written ({error.strerror or error}): what is finished is kept; make room and "
                "run the same command again."
            ) from error

    def has(self, key: str) -> bool:
        return (self.folder / f"{key}.npz").exists() or (self.folder / f"{key}.txt").exists()

    def problem(self, key: str) -> str:
        """Why a clip has no joints; empty when it has."""
        path = self.folder / f"{key}.txt"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def pose(self, key: str) -> Pose:
        """A finished clip's joints. Raises UserError for a file that a crash left damaged, and removes it."""
        path = self.folder / f"{key}.npz"
        try:
            return Pose.load(path)
        except UserError as error:
            path.unlink(missing_ok=True)
            raise UserError(f"{path} was damaged and is thrown away: run the same command again.") from error

    def clear(self, used: Container[str]) -> int:
        """Throws away the joints that are used and all problems, which may be mended by the next run; returns how many
        clips are left. Raises OSError."""
        left = 0
        for path in self.folder.iterdir() if self.folder.exists() else ():
            if path.suffix == ".npz" and path.stem not in used:
                left += 1
            else:
                path.unlink()
        if not left and self.folder.exists():
            self.folder.rmdir()
        return left
