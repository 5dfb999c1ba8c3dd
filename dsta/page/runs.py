"""One run: an upload and a vocabulary go in, what is said of that upload comes out: beside its video on the page, or to
a program."""

import logging
from collections.abc import Callable
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


def outcome(
    uploads: Uploads, run: str, name: str, progress: "Progress", part: Span | None = None, who: str = ""
) -> dict[str, Any]:
    """Recognises a run's upload among the vocabulary `name` -> {"run", "answer", "pictures", "part"}, or {"run",
    "problem"}.

    All but the run are HTML; part lets the visitor choose another part of a long video, and is else None. Nothing is
    raised.
    """

    def shown(of: Answered) -> dict[str, Any]:
        part = panels.part_html(of.found.part) if of.found.part else None
        answer = panels.answer_html(of.result, of.file, of.among)
        answer += several_signs_html(of.among.recognizer(), of.result, of.found, of.file, lambda *_: uploads.check(run))
        return {"answer": answer, "pictures": panels.pictures_html(of.result, of.found), "part": part}

    try:
        return {"run": run} | carry_out(uploads, run, name, progress, shown, part, who)
    except UserError as error:
        return {"run": run, "problem": panels.problem_html(str(error))}


def span(text: str) -> Span | None:
    """ "12.5 16.5" -> the part of a video in seconds; None of what is no such text."""
    try:
        start, end = map(float, text.split())
    except ValueError:
        return None
    return Span(start, end)


def carry_out(
    uploads: Uploads,
    run: str,
    name: str,
    progress: "Progress",
    said: Callable[[Answered], T],
    part: Span | None = None,
    who: str = "",
) -> T:
    """Recognises a run's upload among the vocabulary `name`, when its turn has come -> what `said` makes of it.

    part: seconds of the video. who: the visitor's address. The upload is deleted in any case; where somebody else
    deletes it, the run stops within a second. Raises UserError where there is no answer; what went wrong in the program
    itself is in the log.
    """

    def recognised(upload: Path, on_step: "Progress", find: Callable[[Path], Found]) -> T:
        found = []

        def joints(path: Path) -> Pose:
            found.append(find(path))
            return found[0].pose

        among = vocabularies.vocabulary(name)
        result = among.recognizer().recognize(upload, progress=on_step, find=joints)
        uploads.check(run)
        return said(Answered(result, upload.name, among, found[0]))

    return in_turn(uploads, run, progress, recognised, part, who)


def in_turn(
    uploads: Uploads,
    run: str,
    progress: "Progress",
    work: Callable[[Path, "Progress", Callable[[Path], Found]], T],
    part: Span | None = None,
    who: str = "",
) -> T:
    """Does work with a run's upload, when its turn has come -> what it returns; as `carry_out`.

    work: is given the upload, what it tells its steps to, and what finds the joints in a file.
    """
    upload = uploads.video(run)

    def on_step(step: str, share: float) -> None:
        uploads.check(run)
        progress(step, share)

    def begun(finder: Finder) -> T:
        def find(path: Path) -> Found:
            return finder.find(path, FRAMES_PER_SECOND, part, progress, lambda: uploads.check(run))

        return work(upload, on_step, find)

    try:
        answer = line.LINE.serve(who, begun, on_step)
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
    return answer
