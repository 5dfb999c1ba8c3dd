"""What visitors upload: each file in a folder of its own, for as long as its run may go on.

The file is also the leave to work on it: whoever deletes it – the visitor, by going away or taking another video, or
the sweeper, by age – stops its run at the next frame.
"""

import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from dsta.common import UserError

MAX_BYTES = 100 * 2**20
_MOST_KEPT = 20 * MAX_BYTES  # all uploads together
MOST_SECONDS = 9 * 60.0
"""Nothing stays for longer; swept twice a minute, it is gone within ten."""
TOO_MANY = "Too many videos are being looked at: try again in a few minutes."
_FOLDER = "dsta"
_RUN = r"[\w-]{22}"


def run_of(path: str) -> str:
    """The run whose upload has this path, or an address that ends in it; "" of any other text."""
    found = re.search(rf"[/\\]{_FOLDER}[/\\]({_RUN})[/\\][^/\\]+$", path[-1000:], re.ASCII)
    return found[1] if found else ""


def _is_run(text: str) -> bool:
    return re.fullmatch(_RUN, text, re.ASCII) is not None


class Stopped(Exception):
    """A run whose upload is gone goes no further."""


class Uploads:
    """The uploads in a folder. A run is the name of its upload's folder, a secret that only its visitor is told."""

    def __init__(self, folder: Callable[[], str | Path]) -> None:
        """folder: gives the folder; a part of it is used, and nothing outside is ever deleted."""
        self._parent = folder
        self._runs: dict[str, str] = {}  # visitor -> run
        self._mine: set[str] = set()  # runs that were kept here; another server may share the folder
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        return Path(self._parent()).resolve() / _FOLDER

    def keep(self, content: IO[bytes], name: str) -> Path:
        """Writes an upload to a path of its own, under its name as far as that is harmless.

        Raises OSError, and UserError where too many are here already.
        """
        if self._kept() > _MOST_KEPT:
            raise UserError(TOO_MANY)
        plain = re.sub(r"[^\w. -]", "_", re.split(r"[/\\]", name)[-1])[-60:].lstrip(". ") or "video"
        path = self.folder / secrets.token_urlsafe(16) / plain
        path.parent.mkdir(parents=True, mode=0o700)
        with self._lock:
            self._mine.add(path.parent.name)
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(content, file)
        except BaseException:
            shutil.rmtree(path.parent, ignore_errors=True)
            raise
        return path

    def video(self, run: str) -> Path:
        """The file of a run. Raises UserError where it is gone, or the run is none."""
        files = list(self._place(run).glob("*")) if run else []
        if not run:
            raise UserError("There is no video yet: choose a file, or record one with the camera, then try again.")
        if not files:
            raise UserError("This video has already been deleted from the server: choose or record it again.")
        return files[0]

    def check(self, run: str) -> None:
        """Raises Stopped where the run's upload is gone."""
        if not self._place(run).exists():
            raise Stopped

    def claim(self, visitor: str, run: str) -> None:
        """The visitor's upload is now this one, or none where the text is no run's name; an earlier one is deleted, and
        its run stops."""
        with self._lock:
            earlier = self._runs.pop(visitor, run)
            if _is_run(run):
                self._runs[visitor] = run
        if earlier != run:
            self.delete(earlier)

    def leave(self, visitor: str) -> None:
        """The visitor has gone, or wants nothing more of the upload: it is deleted, and its run stops."""
        with self._lock:
            run = self._runs.pop(visitor, None)
        if run is not None:
            self.delete(run)

    def delete(self, run: str) -> bool:
        """Deletes a run's upload; whether it was still there."""
        try:
            shutil.rmtree(self._place(run))
        except FileNotFoundError:
            return False
        return True

    def sweep(self, age: float = MOST_SECONDS) -> None:
        """Deletes what is older than `age` seconds, whosever it is."""
        oldest = time.time() - age
        for place in self.folder.glob("*"):
            try:
                if place.lstat().st_mtime < oldest:
                    self.delete(place.name)
            except FileNotFoundError:  # its run has just ended
                continue
        with self._lock:
            self._runs = {visitor: run for visitor, run in self._runs.items() if self._place(run).exists()}
            self._mine = {run for run in self._mine if self._place(run).exists()}

    def clear(self) -> None:
        """Deletes all that was kept here: the server ends, and runs that are under way stop."""
        with self._lock:
            mine = list(self._mine)
        for run in mine:
            self.delete(run)

    def _kept(self) -> int:
        """Bytes of all uploads."""
        total = 0
        for file in self.folder.glob("*/*"):
            with suppress(FileNotFoundError):  # its run has just ended
                total += file.lstat().st_size
        return total

    def _place(self, run: str) -> Path:
        """A run's folder; for what is no run's name, one that is never there."""
        return self.folder / (run if _is_run(run) else "none")
