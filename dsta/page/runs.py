"""One run: an upload and a vocabulary go in, what the page shows beside that video comes out."""

import logging
from typing import TYPE_CHECKING

from dsta.common import UserError
from dsta.page import draw, panels, vocabularies
from dsta.page.uploads import Stopped, Uploads

if TYPE_CHECKING:
    from dsta.video import Frame, Progress

_BUG = "Something went wrong in the program, not in your video. The server’s log has the details."


def outcome(uploads: Uploads, run: str, name: str, progress: "Progress") -> dict[str, str]:
    """Recognises a run's upload among the vocabulary `name` -> {"run", "answer", "pictures"}, or {"run", "problem"}.

    All but the run are HTML. Nothing is raised. The upload is deleted in any case; where somebody else deletes it, the
    run stops before the next frame.
    """
    try:
        video = uploads.video(run)
    except UserError as error:
        return {"run": run, "problem": panels.problem_html(str(error))}
    shots = draw.Snapshots()

    def on_frame(frame: "Frame") -> None:
        uploads.check(run)
        shots.add(frame)

    def on_step(step: str, share: float) -> None:
        uploads.check(run)
        progress(step, share)

    try:
        among = vocabularies.vocabulary(name)
        result = among.recognizer().recognize(video, progress=on_step, on_frame=on_frame)
        on_step("Drawing the skeleton", 1.0)
        moving = draw.overlay(shots, result.pose)
        answer = panels.answer_html(result, video.name, among)
        said = {"answer": answer, "pictures": panels.pictures_html(result, moving)}
    except UserError as error:
        said = {"problem": panels.problem_html(str(error))}
    except Stopped:
        said = {}
    except Exception:
        logging.exception("recognise failed")
        said = {"problem": panels.problem_html(_BUG)}
    finally:
        there = uploads.delete(run)
    return {"run": run} | (said if there else {"problem": panels.problem_html("The run was stopped.")})
