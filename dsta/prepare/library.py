"""What a list asks for, `ListedClip` and `Listing`; and the files that there are, `Library`."""

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dsta.common import UserError

SPLITS = ("train", "val", "test")
VIDEO_ENDINGS = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v")
KEYPOINT_ENDINGS = (".npz", ".pose")
NO_FILE = "No video or keypoint file of that name is in the folder."

_ENDINGS = VIDEO_ENDINGS + KEYPOINT_ENDINGS
_DOWNLOADED = re.compile(r"\[([\w-]{11})\]$")  # yt-dlp's default name ends so

ListedBox = tuple[float, float, float, float]


@dataclass(frozen=True)
class ListedClip:
    """A clip to prepare: its name, labels and file.

    start, end: seconds, the part of the file that is the sign; a file that is no longer than the part is that part cut
    out, and taken whole. box: left, top, right, bottom of the signer, in fractions of the picture, or in pixels.
    problem: the sentence why there is no file for it; `file` then says nothing.
    """

    clip: str
    gloss: str
    split: str
    file: Path
    signer: str = ""
    source: str = ""
    start: float = 0.0
    end: float | None = None
    box: ListedBox | None = None
    box_in_pixels: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Listing:
    """clips: all of them, in the list's order. glosses: the classes in order, with a clip or not.

    unlabelled: files that no clip is from. name: of the benchmark, empty for a table of one's own. notes: sentences on
    the list itself.
    """

    clips: Sequence[ListedClip]
    glosses: Sequence[str]
    unlabelled: int = 0
    name: str = ""
    notes: Sequence[str] = ()

    @cached_property
    def available(self) -> list[ListedClip]:
        """The clips whose files are there."""
        return [clip for clip in self.clips if not clip.problem]

    @cached_property
    def missing(self) -> list[ListedClip]:
        """The clips without a file, or with several that could be it."""
        return [clip for clip in self.clips if clip.problem]


class Library:
    """The videos and keypoint files in a folder and those below it, by name. Raises UserError when there are none."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.used = folder, set[Path]()
        if not self.folder.is_dir():
            raise UserError(f"There is no folder {self.folder}: give the one that holds the videos.")
        self.files: dict[str, Path] = {}
        self._stems: dict[str, list[Path]] = defaultdict(list)
        for root, folders, names in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for path in (Path(root) / name for name in sorted(names) if not name.startswith(".")):
                if path.suffix.lower() in _ENDINGS and path.is_file():
                    self.files[path.relative_to(folder).as_posix()] = path
                    downloaded = _DOWNLOADED.search(path.stem)
                    for stem in (path.stem, *(downloaded.groups() if downloaded else ())):
                        self._stems[stem].append(path)
        if not self.files:
            endings = ", ".join(_ENDINGS)
            raise UserError(f"{self.folder} holds no video and no keypoint file ({endings}): give another folder.")

    def find(self, name: str) -> Path:
        """The file that a label table calls `name`: that path, or the only one of that name, whatever its ending.

        Raises UserError when there is none, or several.
        """
        wanted = Path(name.replace("\\", "/"))
        stem = wanted.stem if wanted.suffix.lower() in _ENDINGS else wanted.name
        found = self.files.get(wanted.as_posix()) or self.find_stem(stem, wanted.parent.parts)
        if found is None:
            raise UserError(NO_FILE)
        self.used.add(found)
        return found

    def find_stem(self, stem: str, folders: tuple[str, ...] = ()) -> Path | None:
        """The file of that name without its ending, in folders of these names; keypoints go before videos. None where
        there is none. Raises UserError when there are several."""
        found = self._stems.get(stem, [])
        if folders:
            found = [path for path in found if path.parent.parts[-len(folders) :] == folders]
        best = [path for path in found if path.suffix.lower() in KEYPOINT_ENDINGS] or found
        if len(best) > 1:
            names = " and ".join(path.relative_to(self.folder).as_posix() for path in best[:2])
            raise UserError(f"Several files have that name, such as {names}: name one with its folder and ending.")
        self.used.update(found)
        return best[0] if best else None

    @property
    def unlabelled(self) -> int:
        """Files that nothing asked for."""
        return len(set(self.files.values()) - self.used)
