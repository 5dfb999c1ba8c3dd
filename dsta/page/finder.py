"""Looks for joints in a process of its own, which is `dsta.page.find`, so that no file can take the page down."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dsta.common import UserError
from dsta.keypoints import Pose
from dsta.page.find import STOP, Found, Part, Pictures
from dsta.skeleton import NUM_JOINTS
from dsta.spans import Span

_ROOT = Path(__file__).resolve().parents[2]
_BEGINNING = 60.0  # seconds that a process may take to be ready
_STOPPING = 0.7  # seconds in which it has to notice that nobody waits any more
_PICTURE = 10.0  # seconds that one picture of a camera may take
_TICK = 0.1  # seconds between two looks at whether somebody waits
_RUNS = 200  # after which a process is replaced, whatever it has gathered
_LARGEST = 2**26  # bytes of one message

Said = Callable[[str, float], object]
T = TypeVar("T")


class Finder:
    """A process that is kept ready, and begun anew whenever it has died, hung or grown old.

    memory: bytes that it may take beyond what it needs to be ready. seconds: that one file may take. One thread at a
    time.
    """

    def __init__(self, memory: int = 2**30, seconds: float = 120.0) -> None:
        self.memory, self.seconds = memory, seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._ready, self._busy, self._runs = False, False, 0
        self._keeps = False  # frames of the last video, of which pictures may be asked for
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Starts the process where there is none, without waiting for it."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            self._end()
            self._connection, theirs = Pipe()
            number = theirs.fileno()
            command = [sys.executable, "-m", "dsta.page.find", str(number), str(self.memory)]
            self._process = subprocess.Popen(
                command, pass_fds=[number], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=_ROOT,
                env=os.environ | {"MALLOC_ARENA_MAX": "2"}, start_new_session=True,  # Ctrl-C is the page's
            )  # fmt: skip
            theirs.close()

    def close(self) -> None:
        """Ends the process at once."""
        with self._lock:
            self._end()

    def find(self, path: Path, fps: float, asked: Span | None, progress: Said, check: Callable[[], object]) -> Found:
        """As `found_in`. check: called every tenth of a second; what it raises ends the work within a second.

        Until its pictures are drawn, or `forget` is called, the process keeps frames of the video. Raises UserError
        also where the process dies of the file, or takes too much time or memory for it.
        """
        self._wait_until_ready(check)
        request = {"path": str(path.resolve()), "fps": fps, "part": asked}
        return self._answer(path.name, request, progress, check, partial(self._found, path.name, check))

    def forget(self) -> None:
        """No pictures are asked for of the last video; nothing happens where none could be."""
        if self._keeps and self._connection is not None:
            with suppress(OSError):
                self._connection.send_bytes(STOP)
        self._keeps = False
        self._renew()

    def _draw(self, name: str, check: Callable[[], object]) -> Pictures:
        def drawn(said: dict[str, Any], following: Callable[[], bytes]) -> Pictures:
            return Pictures(following(), following())

        if not self._keeps:
            raise UserError(f"The pictures of {name} are forgotten: send it again.")
        self._keeps = False
        return self._answer(name, {"draw": True}, lambda step, share: None, check, drawn)

    def _answer(
        self,
        name: str,
        request: dict[str, Any],
        progress: Said,
        check: Callable[[], object],
        read: Callable[[dict[str, Any], Callable[[], bytes]], T],
    ) -> T:
        """What a request about the file of that name comes to. read: makes it of the last message, and of those that
        follow it."""
        try:
            self._ask(request)
            until = time.monotonic() + self.seconds
            while "step" in (said := json.loads(self._next(until, check))):
                progress(said["step"], said["share"])
            self._check_answer(said, name)
            answer = read(said, lambda: self._next(until, check))
            self._busy = False
            return answer
        except (EOFError, OSError) as error:
            logging.warning("The process that looks for joints has died; it is begun anew.")
            raise UserError(
                f"The program that reads videos broke off at {name}: try again; if it happens once more, convert "
                "the video to mp4 with H.264, 1280 pixels or less."
            ) from error
        except _Late as error:
            raise UserError(
                f"{name} took longer than {self.seconds:.0f} seconds: send a shorter or smaller video."
            ) from error
        finally:
            if self._busy and not self._stopped():
                self.close()
            self._renew()

    def _renew(self) -> None:
        """So that a process is ready when the next file comes."""
        if self._runs >= _RUNS and not self._keeps:
            self.close()
        self.begin()

    def look(self, jpeg: bytes, seconds: float, first: bool) -> tuple[np.ndarray, tuple[int, int]]:
        """One picture of a camera -> (27, 3) joints in its pixels, and its width and height.

        seconds: since the camera began. first: whether it is another camera than before. Raises UserError for what is
        no picture, and where the process dies of it.
        """
        self._wait_until_ready(lambda: None)
        try:
            self._ask({"look": seconds, "first": first})
            assert self._connection is not None
            self._connection.send_bytes(jpeg)
            until = time.monotonic() + _PICTURE
            said = json.loads(self._next(until, lambda: None))
            if "size" in said:
                joints = np.frombuffer(self._next(until, lambda: None), np.float32).reshape(NUM_JOINTS, 3)
                self._busy = False
                return joints, tuple(said["size"])
            self._busy = "problem" not in said
        except (EOFError, OSError, _Late) as error:
            self.close()
            raise UserError("The camera's picture could not be looked at: try again.") from error
        if self._busy:
            logging.error("A camera's picture failed: %s", said.get("bug", "there is too little memory"))
            self.close()
        raise UserError(said.get("problem", "The camera's picture could not be looked at: try again."))

    def _wait_until_ready(self, check: Callable[[], object]) -> None:
        for _ in range(2):
            self.begin()
            try:
                if not self._ready:
                    self._next(time.monotonic() + _BEGINNING, check)
                self._ready = True
                return
            except (EOFError, OSError, _Late):
                logging.exception("The process that looks for joints does not begin.")
                self.close()
        raise UserError("The server cannot look for joints just now: try again in a minute.")

    def _ask(self, request: dict[str, Any]) -> None:
        assert self._connection is not None
        self._busy, self._runs = True, self._runs + 1
        self._connection.send_bytes(json.dumps(request).encode())

    def _next(self, until: float, check: Callable[[], object]) -> bytes:
        """The next message. Raises EOFError where the process has died, _Late at that time, and what `check` raises."""
        assert self._connection is not None
        there = False
        while not there:
            there = self._connection.poll(_TICK)
            check()
            if time.monotonic() > until:
                raise _Late
        return self._connection.recv_bytes(_LARGEST)

    def _check_answer(self, said: dict[str, Any], name: str) -> None:
        """Raises UserError for a problem, and where memory ran out.

        After that and after a bug the process is not trusted with another file: it stays busy, and is ended.
        """
        if "memory" in said:
            raise UserError(
                f"{name} takes more memory than a video may: scale it down to 1280 pixels or less, or send a "
                "shorter one."
            )
        if "bug" in said:
            raise RuntimeError(f"in the process that looks for joints:\n{said['bug']}")
        if "problem" in said:
            self._busy = False
            raise UserError(said["problem"])

    def _found(
        self, name: str, check: Callable[[], object], said: dict[str, Any], following: Callable[[], bytes]
    ) -> Found:
        keypoints = np.frombuffer(following(), np.float32).reshape(-1, NUM_JOINTS, 3)
        self._keeps = said["filmed"]
        part, draw = Part(**said["part"]) if said["part"] else None, partial(self._draw, name, check)
        return Found(Pose(keypoints, **said["found"]), part, draw if self._keeps else None)

    def _stopped(self) -> bool:
        """Tells the process that nobody waits any more; whether it has noticed, and may go on with the next file."""
        until = time.monotonic() + _STOPPING
        with suppress(EOFError, OSError, ValueError, _Late):
            assert self._connection is not None
            self._connection.send_bytes(STOP)
            while "step" in (said := json.loads(self._next(until, lambda: None))):
                pass
            self._busy = not ({"stopped", "problem"} & said.keys())
        return not self._busy

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._connection = None
        self._ready, self._busy, self._runs, self._keeps = False, False, 0, False


class _Late(Exception):
    """No message came in time."""
