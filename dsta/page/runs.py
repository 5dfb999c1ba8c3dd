"""One run: an upload and a vocabulary go in, what is said of that upload comes out: beside its video on the page, or to
a program."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from dsta.common import UserError
from dsta.page import draw, panels, vocabularies
from dsta.page.uploads import Stopped, Uploads
from dsta.page.vocabularies import Vocabulary
from dsta.recognize import Recognition

if TYPE_CHECKING:
    from dsta.video import Frame, Progress

T = TypeVar("T")

_BUG = "Something went wrong in the program, not in your video. The server’s log has the details."
_STOPPED = "The run was stopped."


class Answered(NamedTuple):
    """What a run found. file: the upload's name. shots: the frames that were looked at; none of a skeleton file."""

    result: Recognition
    file: str
    among: Vocabulary
    shots: draw.Snapshots


def outcome(uploads: Uploads, run: str, name: str, progress: "Progress") -> dict[str, str]:
    """Recognises a run's upload among the vocabulary `name` -> {"run", "answer", "pictures"}, or {"run", "problem"}.

    All but the run are HTML. Nothing is raised.
    """

    def shown(found: Answered) -> dict[str, str]:
        progress("Drawing the skeleton", 1.0)
        moving = draw.overlay(found.shots, found.result.pose)
        answer = panels.answer_html(found.result, found.file, found.among)
        return {"answer": answer, "pictures": panels.pictures_html(found.result, moving)}

    try:
        return {"run": run} | carry_out(uploads, run, name, progress, shown)
    except UserError as error:
        return {"run": run, "problem": panels.problem_html(str(error))}


def carry_out(uploads: Uploads, run: str, name: str, progress: "Progress", said: Callable[[Answered], T]) -> T:
    """Recognises a run's upload among the vocabulary `name` -> what `said` makes of what was found.

    The upload is deleted in any case; where somebody else deletes it, the run stops before the next frame. Raises
    UserError where there is no answer; what went wrong in the program itself is in the log.
    """
    upload, shots = uploads.video(run), draw.Snapshots()

    def on_frame(frame: "Frame") -> None:
        uploads.check(run)
        shots.add(frame)

    def on_step(step: str, share: float) -> None:
        uploads.check(run)
        progress(step, share)

    try:
        among = vocabularies.vocabulary(name)
        result = among.recognizer().recognize(upload, progress=on_step, on_frame=on_frame)
        uploads.check(run)
        answer = said(Answered(result, upload.name, among, shots))
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
