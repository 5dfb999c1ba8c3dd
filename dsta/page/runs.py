"""One run: an upload and a vocabulary go in, what is said of that upload comes out: beside its video on the page, or to
a program."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from dsta.common import UserError
from dsta.keypoints import Pose
from dsta.page import line, panels, vocabularies
from dsta.page.find import Found
from dsta.page.finder import Finder
from dsta.page.timeline import several_signs_html
from dsta.page.uploads import Stopped, Uploads
from dsta.page.vocabularies import Vocabulary
from dsta.recognize import FRAMES_PER_SECOND, Recognition
from dsta.spans import Span

if TYPE_CHECKING:
    from dsta.video import Progress

T = TypeVar("T")

_BUG = "Something went wrong in the program, not in your video. The server’s log has the details."
_STOPPED = "The run was stopped."


class Answered(NamedTuple):
    """What a run found. file: the upload's name."""

    result: Recognition
    file: str
    among: Vocabulary
    found: Found


def outcomes(
    uploads: Uploads, run: str, name: str, progress: "Progress", part: Span | None = None, who: str = ""
) -> Iterator[dict[str, Any]]:
    """Recognises a run's upload among the vocabulary `name` -> {"run", "answer", "part"} as soon as there is an answer,
    then {"run", "pictures"}; or {"run", "problem"} where there is none.

    All but the run are HTML; part lets the visitor choose another part of a long video, and is else None; pictures are
    empty where they could not be drawn. Nothing is raised.
    """

    def shown(of: Answered) -> Iterator[dict[str, Any]]:
        part = panels.part_html(of.found.part) if of.found.part else None
        answer = panels.answer_html(of.result, of.file, of.among)
        answer += several_signs_html(of.among.recognizer(), of.result, of.found, of.file, lambda *_: uploads.check(run))
        yield {"answer": answer, "part": part}
        yield {"pictures": panels.pictures_html(of.result, of.found)}

    answered = False
    try:
        for said in _carried_out(uploads, run, name, progress, shown, part, who):
            yield {"run": run} | said
            answered = True
    except UserError as error:
        yield {"run": run} | ({"pictures": ""} if answered else {"problem": panels.problem_html(str(error))})


class Begun:
    """Runs whose answer is shown and whose pictures are still asked for, by the same visitor and soon."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._of: dict[str, Iterator[dict[str, Any]]] = {}

    def first(self, run: str, outcomes: Iterator[dict[str, Any]]) -> dict[str, Any]:
        """What a run comes to first; what it comes to then is there for `rest`, where it is an answer."""
        said = next(outcomes)
        if "answer" in said:
            self._of[run] = outcomes
        return said

    def rest(self, run: str) -> dict[str, Any]:
        """What a run comes to then, once; else nothing."""
        outcomes = self._of.pop(run, None)
        return {} if outcomes is None else {key: value for said in outcomes for key, value in said.items()}

    def sweep(self) -> None:
        """Forgets the runs whose visitors have gone."""
        for run in list(self._of):
            try:
                self._uploads.check(run)
            except Stopped:
                self._of.pop(run, None)


def span(text: str) -> Span | None:
    """ "12.5 16.5" -> the part of a video in seconds; None of what is no such text."""
    try:
        start, end = map(float, text.split())
    except ValueError:
        return None
    return Span(start, end)


def carry_out(
    uploads: Uploads, run: str, name: str, progress: "Progress", said: Callable[[Answered], T], who: str = ""
) -> T:
    """Recognises a run's upload among the vocabulary `name`, when its turn has come -> what `said` makes of it.

    who: the visitor's address. The upload is deleted in any case; where somebody else deletes it, the run stops within
    a second. Raises UserError where there is no answer; what went wrong in the program itself is in the log.
    """

    def once(of: Answered) -> Iterator[T]:
        yield said(of)

    (answer,) = _carried_out(uploads, run, name, progress, once, None, who)
    return answer


def _carried_out(
    uploads: Uploads,
    run: str,
    name: str,
    progress: "Progress",
    said: Callable[[Answered], Iterator[T]],
    part: Span | None,
    who: str,
) -> Iterator[T]:
    """As `carry_out`; each thing that is said comes as soon as it is. part: seconds of the video."""

    def recognised(upload: Path, on_step: "Progress", find: Callable[[Path], Found]) -> Iterator[T]:
        found = []

        def joints(path: Path) -> Pose:
            found.append(find(path))
            return found[0].pose

        among = vocabularies.vocabulary(name)
        result = among.recognizer().recognize(upload, progress=on_step, find=joints)
        uploads.check(run)
        yield from said(Answered(result, upload.name, among, found[0]))

    return _each_in_turn(uploads, run, progress, recognised, part, who)


def in_turn(
    uploads: Uploads,
    run: str,
    progress: "Progress",
    work: Callable[[Path, "Progress", Callable[[Path], Found]], T],
    who: str = "",
) -> T:
    """Does work with a run's upload, when its turn has come -> what it returns; as `carry_out`.

    work: is given the upload, what it tells its steps to, and what finds the joints in a file.
    """

    def once(upload: Path, on_step: "Progress", find: Callable[[Path], Found]) -> Iterator[T]:
        yield work(upload, on_step, find)

    (answer,) = _each_in_turn(uploads, run, progress, once, None, who)
    return answer


def _each_in_turn(
    uploads: Uploads,
    run: str,
    progress: "Progress",
    work: Callable[[Path, "Progress", Callable[[Path], Found]], Iterator[T]],
    part: Span | None,
    who: str,
) -> Iterator[T]:
    upload = uploads.video(run)

    def on_step(step: str, share: float) -> None:
        uploads.check(run)
        progress(step, share)

    def begun(finder: Finder) -> Iterator[T]:
        def find(path: Path) -> Found:
            return finder.find(path, FRAMES_PER_SECOND, part, progress, lambda: uploads.check(run))

        try:
            yield from work(upload, on_step, find)
        finally:
            finder.forget()

    try:
        yield from line.LINE.serve(who, begun, on_step)
    except UserError as error:
        if uploads.delete(run):
            raise
        raise UserError(_STOPPED) from error
    except Stopped as error:
        raise UserError(_STOPPED) from error
    except Exception as error:
        logging.exception("recognise failed")
        raise UserError(_BUG) from error
    finally:
        there = uploads.delete(run)
    if not there:
        raise UserError(_STOPPED)
