"""What visitors teach the page: signs of their own, in memory for as long as the visitor is there, and nowhere else."""

import json
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dsta.common import UserError
from dsta.keypoints import Pose
from dsta.page import lesson_panels, panels, runs, vocabularies
from dsta.page.find import Found
from dsta.page.uploads import Uploads
from dsta.page.vocabularies import Vocabulary
from dsta.recognize import Recognizer
from dsta.teach import Embedder, OwnSigns, taught_ensemble
from dsta.video import ESTIMATOR

if TYPE_CHECKING:
    from dsta.video import Progress

_MOST_FRAMES = 400_000  # of all visitors' clips; 130 MB
_GRACE = 600.0  # seconds after a visitor left, who may only have lost the connection, or taught nothing
_IDLE = 3600.0  # seconds unused, after which a lesson makes room where there is none
_GIVES = ("teach", "load")  # what brings an upload whose signs are kept


Turn = Callable[[Callable[..., Any]], Any]
"""`runs.in_turn`, for the upload that is asked about."""


class Asked(NamedTuple):
    """What the tab asks for. do: "teach", "recognise", "load", "remove", "save" or "list". run: of an upload. name: a
    sign's. vocabulary: whether its signs count too."""

    do: str = ""
    run: str = ""
    name: str = ""
    vocabulary: bool = False


def _read(request: str) -> Asked:
    """A request; an empty one of what is none, as a stranger may send."""
    try:
        given = json.loads(request)
        texts = {name: given.get(name, "") for name in ("do", "run", "name")}
        return Asked(
            **{name: text for name, text in texts.items() if isinstance(text, str)},
            vocabulary=bool(given.get("vocabulary")),
        )
    except (ValueError, AttributeError, RecursionError):
        return Asked()


class Lesson:
    """What one visitor has taught. used: when it was last asked for, by time.monotonic(). left: when its visitor left,
    None of one who is there. pictures: sha256 of a clip -> its tile."""

    def __init__(self) -> None:
        self.signs, self.used = OwnSigns(ESTIMATOR), time.monotonic()
        self.left: float | None = None
        self.lock = threading.Lock()
        self.pictures: dict[bytes, str] = {}
        self._embed: Embedder | None = None

    @property
    def frames(self) -> int:
        return sum(map(len, self.signs.every_clip))

    def is_over(self, oldest: float) -> bool:
        """Whether the visitor left before `oldest`, or has no signs and asked for nothing since."""
        return (self.left is not None and self.left < oldest) or (not len(self.signs) and self.used < oldest)

    def recognizer(self, among: Vocabulary, with_vocabulary: bool) -> Recognizer:
        """Of the signs, taught to the networks of a vocabulary. Raises UserError where there is too little."""
        with self.lock:
            base = among.recognizer().ensemble
            if self._embed is None or self._embed.base is not base:
                self._embed = Embedder(base)
            return vocabularies.KIND(taught_ensemble(base, self.signs, with_vocabulary, self._embed))


class Lessons:
    """The lessons of all visitors. A request is JSON: `do` and what that needs; its outcome is JSON too."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._of: dict[str, Lesson] = {}
        self._lock = threading.Lock()

    def answer(self, visitor: str, request: str, name: str, progress: "Progress", who: str = "") -> dict[str, Any]:
        """What a request comes to: {"list"} with the visitor's signs as HTML and what else it gives, or {"problem"}.

        name: of the vocabulary whose networks are taught. who: the visitor's address. Nothing is raised.
        """
        lesson, asked = self._lesson(visitor), _read(request)
        lesson.left, lesson.used = None, time.monotonic()
        does = {"teach": self._teach, "recognise": self._recognise, "load": self._load, "remove": self._remove,
                "save": self._save, "list": lambda *_: {}}  # fmt: skip
        turn = partial(runs.in_turn, self._uploads, asked.run, progress, who=who)
        self._uploads.claim(f"{visitor} teaches", asked.run)
        try:
            if asked.do not in does:
                raise UserError("The page did not understand this: reload it, and try once more.")
            among = vocabularies.vocabulary(name)
            if asked.do in _GIVES:
                self._uploads.video(asked.run)  # without one nothing is given, and nothing is kept
                lesson = self._keep(visitor, lesson)
            said = does[asked.do](lesson, asked, among, turn)
            said["beside"] = f"the {panels.counted(len(among.recognizer().glosses), among)}"
        except UserError as error:
            said = {"problem": str(error)}
        finally:
            self._uploads.delete(asked.run)
        lesson.used = time.monotonic()
        return {"list": lesson_panels.list_html(lesson.signs, lesson.pictures), "count": len(lesson.signs)} | said

    def leave(self, visitor: str) -> None:
        """The visitor has gone: what is under way stops, and after ten minutes `sweep` forgets what was taught, unless
        the visitor is back."""
        self._uploads.leave(f"{visitor} teaches")
        self._lesson(visitor).left = time.monotonic()

    def sweep(self) -> None:
        """Forgets the lessons of those who left ten minutes ago, and those without signs that were not used for as
        long."""
        oldest = time.monotonic() - _GRACE
        with self._lock:
            self._of = {visitor: lesson for visitor, lesson in self._of.items() if not lesson.is_over(oldest)}

    def _lesson(self, visitor: str) -> Lesson:
        """The visitor's; where there is none, one that is not kept: any stranger may ask, under any name."""
        with self._lock:
            return self._of.get(visitor) or Lesson()

    def _keep(self, visitor: str, lesson: Lesson) -> Lesson:
        """Keeps a lesson for its visitor -> that which is kept: another, where one has begun meanwhile."""
        with self._lock:
            return self._of.setdefault(visitor, lesson)

    def _make_room(self, frames: int) -> None:
        """Raises UserError where all visitors' clips take too much memory, those long unused forgotten."""
        with self._lock:
            for visitor, lesson in sorted(self._of.items(), key=lambda each: each[1].used):
                if sum(each.frames for each in self._of.values()) + frames <= _MOST_FRAMES:
                    return
                if time.monotonic() - lesson.used > _IDLE:
                    del self._of[visitor]
            if sum(each.frames for each in self._of.values()) + frames > _MOST_FRAMES:
                raise UserError("Too many people teach signs just now: save yours to a file, and go on a little later.")

    def _teach(self, lesson: Lesson, asked: Asked, among: Vocabulary, turn: Turn) -> dict[str, Any]:
        lesson.signs.called(asked.name)  # a name that is none is told before the video is looked at

        def taught(upload: Path, on_step: "Progress", find: Callable[[Path], Found]) -> list[str]:
            _, clip, quality = among.recognizer().look_at(upload, on_step, lambda path: find(path).pose)
            self._make_room(len(clip))
            with lesson.lock:
                lesson.signs = lesson.signs.with_clip(asked.name, clip)
            return list(quality["notes"])

        notes = turn(taught)
        return {"notes": notes, "sign": lesson.signs.called(asked.name)}

    def _recognise(self, lesson: Lesson, asked: Asked, among: Vocabulary, turn: Turn) -> dict[str, Any]:
        beside = asked.vocabulary
        own = Vocabulary(Path("your own"), f"own and {among.kind}".strip() if beside else "own", "")

        def recognised(upload: Path, on_step: "Progress", find: Callable[[Path], Found]) -> dict[str, Any]:
            found: list[Found] = []

            def joints(path: Path) -> Pose:
                found.append(find(path))
                return found[0].pose

            recognizer = lesson.recognizer(among, beside)  # in turn: new clips are embedded, up to half a minute
            result = recognizer.recognize(upload, on_step, joints)
            pictures = panels.pictures_html(result, found[0])
            return {"answer": panels.answer_html(result, upload.name, own) + pictures}

        return turn(recognised)

    def _load(self, lesson: Lesson, asked: Asked, *_: Any) -> dict[str, Any]:
        read = OwnSigns.load(self._uploads.video(asked.run))
        self._make_room(sum(map(len, read.every_clip)))
        with lesson.lock:
            lesson.signs = lesson.signs.joined(read)
        return {"loaded": len(read)}

    def _remove(self, lesson: Lesson, asked: Asked, *_: Any) -> dict[str, Any]:
        with lesson.lock:
            lesson.signs = lesson.signs.without(asked.name)
        return {}

    def _save(self, lesson: Lesson, *_: Any) -> dict[str, Any]:
        return {"file": panels.data_uri(lesson.signs.to_bytes(), "application/octet-stream")}
