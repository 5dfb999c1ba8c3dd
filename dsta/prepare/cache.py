"""The joints of single clips as files, from when they are found until they are in the data set."""

import hashlib
import json
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from dsta.common import UserError, replace_file
from dsta.keypoints import Pose
from dsta.prepare.library import KEYPOINT_ENDINGS, ListedClip
from dsta.video import ESTIMATOR
from dsta.video.models import BUNDLE_SHA256


def cache_key(clip: ListedClip, fps: float) -> str:
    """Hash of what a clip's joints depend on: the file (name, size and time of change), part, box, rate, model."""
    stat = clip.file.stat()
    depends_on = [clip.file.name, stat.st_size, stat.st_mtime_ns, clip.start, clip.end, clip.box, clip.box_in_pixels]
    if clip.file.suffix.lower() not in KEYPOINT_ENDINGS:
        depends_on += [fps, ESTIMATOR, BUNDLE_SHA256]
    return hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class JointsCache:
    """A folder with a file for each finished clip, named by its cache key: its keypoints, or the sentence why there are
    none."""

    folder: Path

    def add(self, key: str, pose: Pose | None, problem: str = "") -> None:
        """Keeps a clip's joints, or its problem; whole or not at all. Raises UserError where it cannot be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if pose is None:
                replace_file(self.folder / f"{key}.txt", problem.encode(errors="replace"))
            else:
                pose.save(self.folder / f"{key}.npz")
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be written ({error.strerror or error}): what is finished is kept; make room and "
                "run the same command again."
            ) from error

    def has(self, key: str) -> bool:
        """Whether the clip is finished, well or badly."""
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
        if not self.folder.exists():
            return 0
        left = 0
        for path in self.folder.iterdir():
            if path.suffix == ".npz" and path.stem not in used:
                left += 1
            else:
                path.unlink()
        if not left:
            self.folder.rmdir()
        return left
