"""What a list asks for, `ListedClip` and `Listing`; and the files that there are, `Library`."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from dsta.common import UserError, composed

SPLITS = ("train", "val", "test")
KEYPOINT_ENDINGS = (".npz", ".pose")
VIDEO_ENDINGS = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v", ".3gp", ".3g2", ".qt")
OTHER_ENDINGS = (".mts", ".m2ts", ".ts", ".mpg", ".mpeg", ".wmv", ".flv", ".f4v", ".ogv", ".vob", ".gif")
"""Of files that are videos, though mostly none that can be read: a clip of one gets its own sentence."""
NO_FILE = "No video or keypoint file of that name is in the folder."

_RANKS = {ending: rank for rank, kind in enumerate((KEYPOINT_ENDINGS, VIDEO_ENDINGS, OTHER_ENDINGS)) for ending in kind}
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
    """The files in a folder and those below it, links followed, by name; names are composed, as those of lists are.

    Raises UserError when there are none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.used = folder, set[Path]()
        if not self.folder.is_dir():
            raise UserError(f"There is no folder {self.folder}: give the one that holds the videos.")
        self._paths: dict[str, Path] = {}
        self._names: dict[str, list[Path]] = defaultdict(list)
        self._stems: dict[str, list[Path]] = defaultdict(list)
        for path in _files_below(self.folder):
            self._paths[composed(path.relative_to(folder).as_posix())] = path
            self._names[composed(path.name)].append(path)
            if path.suffix.lower() in _RANKS:
                downloaded = _DOWNLOADED.search(path.stem)
                for stem in (composed(path.stem), *(downloaded.groups() if downloaded else ())):
                    self._stems[stem].append(path)
        if not self._paths:
            raise UserError(f"{self.folder} holds no files: give the folder with the videos.")

    def find(self, name: str) -> Path:
        """The file that a label table calls `name`: that path, or the only one of that name, whatever its ending.

        Raises UserError when there is none, or several.
        """
        wanted = PurePosixPath(composed(name).replace("\\", "/"))
        stem = wanted.stem if wanted.suffix.lower() in _RANKS else wanted.name
        exact = [path for path in (self._paths.get(wanted.as_posix()),) if path]
        for found, folders in (
            (exact, ()),
            (self._names.get(wanted.name, ()), wanted.parent.parts),
            (self._stems.get(stem, ()), wanted.parent.parts),
        ):
            if only := self._only(found, folders):
                return only
        raise UserError(NO_FILE)

    def find_stem(self, stem: str) -> Path | None:
        """The file of that name without its ending; None where there is none. Raises UserError for several."""
        return self._only(self._stems.get(stem, ()))

    def _only(self, found: Sequence[Path], folders: tuple[str, ...] = ()) -> Path | None:
        """Of files, the one in folders of these names; keypoints go before videos. A file and a link to it are one."""
        if folders:
            found = [path for path in found if tuple(map(composed, path.parent.parts[-len(folders) :])) == folders]
        first = min((_rank(path) for path in found), default=0)
        best = {path.resolve(): path for path in found if _rank(path) == first}
        if len(best) > 1:
            names = " and ".join(path.relative_to(self.folder).as_posix() for path in list(best.values())[:2])
            raise UserError(f"Several files have that name, such as {names}: name one with its folder and ending.")
        self.used.update(path.resolve() for path in found)
        return next(iter(best.values()), None)

    @property
    def unlabelled(self) -> int:
        """Videos and keypoint files that nothing asked for."""
        held = {path.resolve() for path in self._paths.values() if path.suffix.lower() in _RANKS}
        return len(held - self.used)


def _rank(path: Path) -> int:
    """Which of several files of one name is taken: the lowest."""
    return _RANKS.get(path.suffix.lower(), len(_RANKS))


def _files_below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """The files in a folder and those below it, sorted; hidden ones are left out, and links to a folder above."""
    above = (*above, folder.resolve())
    with suppress(PermissionError):  # such as lost+found
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if path.is_file():
                yield path
            elif path.is_dir() and path.resolve() not in above:
                yield from _files_below(path, above)
