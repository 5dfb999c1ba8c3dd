"""The page with a stand-in recogniser: what a run comes to, and what becomes of errors and uploads."""

import base64
import io
import json
import re
import shutil
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import av
import gradio as gr
import numpy as np
import pytest
from helpers.media import number_of, numbered, write_video
from helpers.page import GLOSSES, FakeRecognizer, HereFinder, offered, outcome, recognition
from PIL import Image

import app
from dsta.common import UserError
from dsta.page import line, panels, runs
from dsta.page.find import Found
from dsta.page.line import Line
from dsta.page.uploads import Uploads
from dsta.page.vocabularies import Vocabulary
from dsta.video import holistic, read_frames


@pytest.fixture
def uploads(tmp_path):
    return Uploads(lambda: tmp_path / "uploads")


@pytest.fixture
def run(uploads):
    """A function that uploads a video and gives what its run comes to; that the upload is deleted is always held."""

    def answered(video: Path, name: str = "a") -> dict[str, str]:
        with video.open("rb") as file:
            path = uploads.keep(file, video.name)
        said = outcome(uploads, path.parent.name, name)
        assert said.pop("run") == path.parent.name and not path.exists() and video.exists()
        return said

    return answered


def test_the_page_is_built_private_and_without_analytics():
    assert isinstance(app.demo, gr.Blocks)
    assert app.demo.analytics_enabled is False
    assert app.LAUNCH["run_history"] is app.LAUNCH["enable_monitoring"] is False
    assert app.demo.api_open is False  # nobody passes the queue
    assert not app.demo.is_running
    assert all(path.is_absolute() and path.is_file() for path in app.LAUNCH["css_paths"])  # started from any folder
    videos = [block for block in app.demo.blocks.values() if isinstance(block, gr.Video)]
    assert all(video.sources == ["upload"] for video in videos)  # the camera is camera.js's: gradio's would be mirrored
    assert len([block for block in app.demo.blocks.values() if isinstance(block, gr.Tab)]) == 4


def test_nothing_is_loaded_from_elsewhere():
    styles = "".join(path.read_text(encoding="utf-8") for path in app.LAUNCH["css_paths"])
    page = app.LAUNCH["theme"]._get_theme_css() + styles + panels.HEADER + panels.empty_html() + panels.PRIVACY
    assert styles and not re.search(r"url\(['\"]?https?:|@import|src=", page)
    assert app.LAUNCH["theme"]._stylesheets == []
    assert not re.search(r"https?://\w", app.LAUNCH["js"])


def test_each_event_calls_a_function_that_the_scripts_define():
    events = [event.js for event in app.demo.fns.values() if event.js]
    called = {name for code in events for name in re.findall(r"\b(?:dsta|leaderboard)\.(\w+)\(", code)}
    assert called == {
        "buttons", "ask", "choose", "show", "showPictures", "failed", "stop", "query", "asking", "answered", "save",
        "lessonRequest", "lessonAnswered", "lessonFailed",
    }  # fmt: skip
    for name in called:
        assert re.search(rf"^  (async )?{name}\(", app.LAUNCH["js"], re.MULTILINE)


def test_gradio_keeps_no_outcome_that_was_shown():
    """Each event whose function answers with an outcome is followed by one that empties it in the session's state."""
    events = list(app.demo.fns.values())
    answering = {event._id: event for event in events if event.fn in (app.recognise, app.draw, app.teach)}
    forgetting = [event for event in events if event.fn is app.forget_answer]
    assert len(answering) == 3 and {event.trigger_after for event in forgetting} == set(answering)
    for event in forgetting:
        assert event.inputs == answering[event.trigger_after].outputs and event.outputs == []
        assert (event.js, event.queue, event.api_visibility) == ("() => [null]", False, "private")
        assert not event.trigger_only_on_success


def test_the_name_of_a_session_is_cut(monkeypatch):
    told = []
    monkeypatch.setattr(app.UPLOADS, "claim", lambda visitor, run: told.append(visitor))
    monkeypatch.setattr(app.UPLOADS, "leave", told.append)
    monkeypatch.setattr(app.LESSONS, "answer", lambda visitor, *_: told.append(visitor))
    monkeypatch.setattr(app.LESSONS, "leave", told.append)
    long = SimpleNamespace(session_hash="x" * 90_000, client=None)
    app.claim("", long)
    app.recognise("", "a", "", long, lambda *_, **__: None)
    app.leave(long)
    app.teach("", "a", long)
    app.end_lesson(long)
    assert told == ["x" * 64] * 5


def test_answer_and_its_download(video, answers, run):
    answers(recognition())
    said = run(video)
    answer, pictures = said["answer"], said["pictures"]
    for text in ("Best match among 6 American signs", "<h2>book</h2>", "90%", "Bone motion", "joints 2.1 s"):
        assert text in answer
    assert "&lt;b&gt;drink&lt;/b&gt;" in answer and "<b>drink" not in answer
    assert answer.count("<li>") == 5 and "later" not in answer
    assert "&gt;99%" in answer and "left hand seen: 25%" in answer and "unsure" not in answer
    assert pictures.count("data:image/webp;base64,") == 4
    assert "8 of 8 frames" in pictures and "signer’s left" in pictures and "Found in the video" in pictures
    without = panels.pictures_html(recognition(), Found(recognition().pose))
    assert "Found in the video" not in without and "8 of 8 frames" in without
    encoded = re.search(r'download="result.json" href="data:application/json;base64,([^"]+)"', answer)
    whole = json.loads(base64.b64decode(encoded[1]))
    assert list(whole) == ["file", "predictions", "streams", "quality", "timings"]  # as the command line prints it
    assert whole["file"] == "sign.mp4" and len(whole["predictions"]) == len(GLOSSES)


@pytest.fixture
def found_by_brightness(monkeypatch):
    """Instead of MediaPipe's: frame n of helpers.media.numbered has its left hand at (0.1 + 0.05 n, 0.5), below the
    nose."""

    def hand(image):
        return np.array([0.1 + 0.05 * number_of(image), 0.5]) * image.shape[1::-1]

    def body(image, milliseconds):
        marks = np.zeros((33, 3))
        marks[15, :2] = hand(image)  # MediaPipe's numbers of left wrist and nose
        marks[0, :2] = hand(image)[0], 0.1 * image.shape[0]
        marks[[0, 15], 2] = 1.0
        return marks

    def hands(side, image):
        return np.tile(hand(image), (21, 1)) if side == "left" else None

    def trackers(models, palm):
        side = next(side for side, theirs in holistic.PALMS.items() if theirs == palm)
        return SimpleNamespace(find=lambda image, marks: hands(side, image))

    models = SimpleNamespace(hands=dict.fromkeys(holistic.PALMS))
    monkeypatch.setattr(holistic, "lent_models", partial(nullcontext, models))
    monkeypatch.setattr(holistic, "BodyTracker", lambda models: SimpleNamespace(find=body))
    monkeypatch.setattr(holistic, "HandTracker", trackers)


@pytest.mark.parametrize(
    "times", [[100 * i for i in range(14)], [0, 100, 200, 300, 1300, 1400, 1500]], ids=["even", "standing still"]
)
def test_the_video_is_decoded_once_and_each_picture_has_its_own_joints(
    times, write, answers, run, found_by_brightness, tmp_path, monkeypatch
):
    video = write_video(tmp_path / "numbered.mp4", numbered(len(times), 640, 480), times=times)
    opened, open_video = [], av.open
    monkeypatch.setattr(av, "open", lambda *args, **kwargs: opened.append(args) or open_video(*args, **kwargs))
    recognizer = Vocabulary(write("tiny"), "", "tiny").recognizer()
    answers(None, tiny=offered("tiny", "", recognizer))
    monkeypatch.setattr(line, "LINE", Line([HereFinder()]))
    pictures = run(video, "tiny")["pictures"]
    assert len(opened) == 2  # for a look at its head, and to decode it
    encoded = re.search(r'<img src="data:image/webp;base64,([^"]+)', pictures)
    moving = Image.open(io.BytesIO(base64.b64decode(encoded[1])))
    assert (moving.n_frames, moving.size) == (len(times), (400, 300))
    for number in range(len(times)):
        moving.seek(number)
        picture = np.array(moving.convert("RGB")).astype(int)
        assert number_of(picture[:40]) == number
        y, x = np.nonzero(picture[..., 2] - picture[..., 0] > 60)  # as blue as the signer's left is drawn
        assert (x.mean(), y.mean()) == pytest.approx(((0.1 + 0.05 * number) * 400, 150), abs=3)


def test_not_sure(video, answers, run):
    answers(recognition(confident=False))
    answer = run(video)["answer"]
    assert "Not sure.</b> The closest of 6 American signs" in answer and "card unsure" in answer
    assert "Best match" not in answer
    assert "No hand was seen in 3 &lt; 4 frames." in answer


def test_what_the_percentage_means_is_said_where_it_was_measured(video, answers, run):
    known = recognition()
    answers(known)
    assert "meaning" not in run(video)["answer"]
    known.quality["certainty"] = {"right": 0.9, "clips": 70, "meaning": "Of 100 answers this sure, about 90 <were>."}
    answer = run(video)["answer"]
    assert "<h2>book</h2>" in answer and "about 90 &lt;were&gt;.</p>" in answer


def test_a_sign_that_is_not_known_is_said_once(video, answers, run):
    unknown = recognition(confident=False)
    unknown.quality.update(known_sign=False, notes=["Few frames.", "This is probably none of the 6 known signs."])
    answers(unknown)
    answer = run(video)["answer"].split("<details")[0]
    assert "Probably none of the 6 American signs.</b> The closest is" in answer and "Few frames." in answer
    assert answer.lower().count("probably none") == 1


def test_unusable_video_becomes_the_same_sentence(tmp_path, answers, run):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(UserError) as expected:
        read_frames(tmp_path / "broken.mp4")
    answers(recognition())
    assert list(said := run(tmp_path / "broken.mp4")) == ["problem"]
    assert str(expected.value) in said["problem"]


@pytest.mark.parametrize(("name", "words"), [("", "no video yet"), ("A" * 22, "deleted"), ("../..", "deleted")])
def test_no_video_says_what_to_do(name, words, answers, uploads):
    answers(recognition())
    said = outcome(uploads, name, "a")
    assert said["run"] == name and words in said["problem"] and "choose" in said["problem"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [(UserError("No hand in a<b>.mp4."), "No hand in a&lt;b&gt;.mp4."), (RuntimeError("me"), "not in your video")],
    ids=["bad", "bug"],
)
def test_a_failure_is_a_sentence(video, answers, run, answer, message, caplog):
    answers(answer)
    said = run(video)
    assert list(said) == ["problem"] and message in said["problem"] and "RuntimeError" not in said["problem"]
    assert ("RuntimeError: me" in caplog.text) == isinstance(answer, RuntimeError)


@pytest.mark.parametrize("stop", ["leave", "claim", "sweep"])
def test_a_run_whose_visitor_leaves_stops_before_the_next_frame(stop, video, answers, uploads):
    answers(recognition())
    with video.open("rb") as file:
        mine, other = (uploads.keep(file, "sign.mp4").parent.name for _ in range(2))
    uploads.claim("me", mine)
    uploads.claim("you", other)
    steps = []

    def progress(step, share):
        steps.append(step)
        if step == "Finding joints":
            {"leave": lambda: uploads.leave("me"), "claim": lambda: uploads.claim("me", other), "sweep": sweep}[stop]()

    def sweep():
        uploads.sweep(age=-1)

    said = outcome(uploads, mine, "a", progress)
    assert steps == ["Finding joints"] and list(said) == ["run", "problem"] and "stopped" in said["problem"]
    assert [path.name for path in uploads.folder.iterdir()] == ([] if stop == "sweep" else [other])


def test_pictures_are_given_once_and_forgotten_when_the_visitor_leaves(video, answers, uploads):
    answers(recognition())
    begun = runs.Begun(uploads)

    def ask():
        with video.open("rb") as file:
            run = uploads.keep(file, "sign.mp4").parent.name
        uploads.claim("me", run)
        return run, begun.first(run, runs.outcomes(uploads, run, "a", lambda *_: None))

    run, said = ask()
    assert set(said) == {"run", "answer", "part"}
    begun.sweep()
    assert set(begun.rest(run)) == {"run", "pictures"} and begun.rest(run) == {} and not list(uploads.folder.iterdir())
    run, said = ask()
    uploads.leave("me")
    begun.sweep()
    assert begun.rest(run) == {} and not list(uploads.folder.iterdir())
    assert "problem" in begun.first(run, runs.outcomes(uploads, run, "a", lambda *_: None)) and begun.rest(run) == {}


def test_everything_follows_the_choice(video, answers, run):
    mine = offered("<mine>", "", FakeRecognizer(recognition(), ("yes", "Alas")), card="# Card")
    answers(recognition(), **{"<mine>": mine})
    empty, about, signs, fold, card = app.describe_vocabulary("a")
    assert "The 6 American signs it knows" in empty and "How to film" in empty
    assert "isolated signs** of American Sign Language from" in about
    assert "The 6 American signs it knows" in signs and "&lt;b&gt;drink&lt;/b&gt;" in signs
    assert (fold["visible"], card) == (False, "")
    empty, about, signs, fold, card = app.describe_vocabulary("<mine>")
    assert "The 2 signs of “&lt;mine&gt;” it knows" in signs and signs.index("Alas") < signs.index("yes")
    assert "isolated signs** from" in about and "American" not in empty + about + signs
    assert (fold["visible"], card) == (True, "# Card")
    assert "among 6 signs of “&lt;mine&gt;”" in run(video, "<mine>")["answer"]


@pytest.mark.parametrize("name", ["broken", "gone"])
def test_weights_that_cannot_be_used_are_a_sentence(video, answers, run, name):
    answers(recognition(), broken=offered("broken", "", UserError("Restore <it>.")))
    sentence = {"broken": "Restore &lt;it&gt;.", "gone": "The weights gone are no longer there"}[name]
    empty, _, signs, fold, _ = app.describe_vocabulary(name)
    assert "Not ready yet" in empty and sentence in empty
    assert signs == "" and fold["visible"] is False
    assert sentence in run(video, name)["problem"]
    assert "Best match" in run(video)["answer"]


def test_weights_that_are_removed_while_the_page_runs_are_a_sentence(video, write, answers, run):
    folder = write("tiny")
    answers(recognition(), tiny=Vocabulary(folder, "", "tiny"))
    assert "answer" in run(video, "tiny")
    shutil.rmtree(folder)
    assert "There is no weights folder" in run(video, "tiny")["problem"]
    assert "answer" in run(video)


def test_choice_is_offered_where_there_is_one(answers):
    answers(recognition())
    assert app.offer().visible is False
    answers(recognition(), b=offered("b", "Brazilian", FakeRecognizer(recognition())))
    choice = app.offer()
    assert (choice.visible, choice.value) == (True, "a")
    assert choice.choices == [("American (6 signs)", "a"), ("Brazilian (6 signs)", "b")]
