"""The page with a stand-in recogniser: what the handlers return, and what becomes of errors and uploads."""

import base64
import io
import json
import re
import shutil
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import av
import gradio as gr
import numpy as np
import pytest
from gradio.utils import get_upload_folder
from helpers.media import number_of, numbered, write_video
from PIL import Image

import app
from dsta.common import UserError
from dsta.keypoints import Pose
from dsta.page import panels
from dsta.page.vocabularies import Vocabulary
from dsta.recognize import Prediction, Recognition
from dsta.skeleton import NUM_JOINTS
from dsta.video import holistic, read_frames

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
GLOSSES = ("book", "<b>drink</b>", "no", "yes", "help", "later")


def recognition(confident: bool = True) -> Recognition:
    keypoints = np.random.default_rng(0).uniform(1, 100, (12, NUM_JOINTS, 3)).astype(np.float32)
    keypoints[..., 2] = 1
    ranked = tuple(map(Prediction, GLOSSES, (0.9, 0.05, 0.03, 0.01, 0.005, 0.005)))
    quality = {"frames": 12, "seconds": 0.48, "body": 1.0, "left_hand": 0.25, "right_hand": 0.999}
    quality |= {"confident": confident, "notes": [] if confident else ["No hand was seen in 3 < 4 frames."]}
    pose = Pose(keypoints, 25.0, 160, 120, "mediapipe-holistic")
    streams = dict.fromkeys(("joint", "bone", "joint_motion", "bone_motion"), ranked)
    return Recognition(ranked, streams, quality, {"joints": 2.13, "network": 0.1}, pose, keypoints[:8])


class FakeRecognizer:
    """Answers, or fails, as it is told."""

    def __init__(self, answer: Recognition | Exception, glosses: tuple[str, ...] = GLOSSES) -> None:
        self.answer, self.glosses = answer, glosses

    def recognize(self, source, progress=None, on_frame=None) -> Recognition:
        progress("Running the network", 0.5)
        if isinstance(self.answer, Exception):
            raise self.answer
        for frame in read_frames(source):
            on_frame(frame)
        return self.answer


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "sign.mp4", numbered(12, 160, 120), codec="mpeg4")


@pytest.fixture
def answers(monkeypatch):
    """A function that sets what the page's recognisers answer, by the names of their folders; the first is "a"."""

    def set_answers(answer, **others):
        there = {"a": offered("a", "American", FakeRecognizer(answer))} | others
        monkeypatch.setattr(app.vocabularies, "found", lambda: there)

    return set_answers


def offered(name: str, kind: str, recognizer: FakeRecognizer | UserError, card: str = "") -> SimpleNamespace:
    def loaded():
        if isinstance(recognizer, Exception):
            raise recognizer
        return recognizer

    label = f"{kind or name} (6 signs)"
    return SimpleNamespace(folder=Path("weights") / name, kind=kind, label=label, card=card, recognizer=loaded)


def run(video: Path | None, name: str = "a") -> tuple[str, str]:
    return app.recognise(str(video) if video else None, name, progress=lambda *args, **kwargs: None)


def test_the_page_is_built_private_and_without_analytics():
    assert isinstance(app.demo, gr.Blocks)
    assert app.demo.analytics_enabled is False
    assert app.LAUNCH["run_history"] is False
    assert app.demo.delete_cache[0] + app.demo.delete_cache[1] <= 3600  # "within the hour", as the page says
    assert not app.demo.is_running
    assert all(path.is_absolute() and path.is_file() for path in app.LAUNCH["css_paths"])  # started from any folder
    webcam = next(block for block in app.demo.blocks.values() if isinstance(block, gr.Video))
    assert (webcam.webcam_options.mirror, sorted(webcam.sources)) == (False, ["upload", "webcam"])
    assert len([block for block in app.demo.blocks.values() if isinstance(block, gr.Tab)]) == 3


def test_nothing_is_loaded_from_elsewhere():
    styles = "".join(path.read_text(encoding="utf-8") for path in app.LAUNCH["css_paths"])
    page = app.LAUNCH["theme"]._get_theme_css() + styles + panels.HEADER + panels.empty_html() + panels.PRIVACY
    assert styles and not re.search(r"url\(['\"]?https?:|@import|src=", page)
    assert app.LAUNCH["theme"]._stylesheets == []
    assert "http" not in app.LAUNCH["js"]


def test_each_event_calls_a_function_that_the_scripts_define():
    events = [event.js for event in app.demo.fns.values() if event.js]
    called = {name for code in events for name in re.findall(r"\b(?:dsta|leaderboard)\.(\w+)\(", code)}
    assert called == {"start", "showResult", "standStill", "showDetail", "save"}
    for name in called:
        assert re.search(rf"^  (async )?{name}\(", app.LAUNCH["js"], re.MULTILINE)


def test_answer_and_its_download(video, answers):
    answers(recognition())
    answer, pictures = run(video)
    for text in ("Best match among 6 American signs", "<h2>book</h2>", "90%", "Bone motion", "joints 2.1 s"):
        assert text in answer
    assert "&lt;b&gt;drink&lt;/b&gt;" in answer and "<b>drink" not in answer
    assert answer.count("<li>") == 5 and "later" not in answer
    assert "&gt;99%" in answer and "left hand seen: 25%" in answer and "unsure" not in answer
    assert pictures.count("data:image/webp;base64,") == 4
    assert "8 of 8 frames" in pictures and "signer’s left" in pictures and "Found in the video" in pictures
    without = panels.pictures_html(recognition(), [])
    assert "Found in the video" not in without and "8 of 8 frames" in without
    assert video.exists()  # not an upload of the page's: not the page's to delete
    encoded = re.search(r'download="result.json" href="data:application/json;base64,([^"]+)"', answer)
    whole = json.loads(base64.b64decode(encoded[1]))
    assert list(whole) == ["file", "predictions", "streams", "quality", "timings"]  # as the command line prints it
    assert whole["file"] == "sign.mp4" and len(whole["predictions"]) == len(GLOSSES)


@pytest.fixture
def found_by_brightness(monkeypatch):
    """Instead of MediaPipe's: frame n of helpers.media.numbered has its left hand at (0.1 + 0.05 n, 0.5), below the
    nose."""

    def find(frame):
        mark = SimpleNamespace(x=0.1 + 0.05 * number_of(frame.image), y=0.5, visibility=1.0)
        away = SimpleNamespace(x=0.0, y=0.0, visibility=0.0)
        above = SimpleNamespace(x=mark.x, y=0.1, visibility=1.0)
        body = [{15: mark, 0: above}.get(i, away) for i in range(33)]  # MediaPipe's numbers of left wrist and nose
        return SimpleNamespace(pose_landmarks=body, left_hand_landmarks=[mark] * 21, right_hand_landmarks=[])

    @contextmanager
    def landmarker():
        yield find

    monkeypatch.setattr(holistic, "_landmarker", landmarker)


@pytest.mark.parametrize(
    "times", [[67 * i for i in range(14)], [0, 67, 133, 200, 1200, 1267, 1333]], ids=["even", "standing still"]
)
def test_the_video_is_decoded_once_and_each_picture_has_its_own_joints(
    times, write, answers, found_by_brightness, tmp_path, monkeypatch
):
    video = write_video(tmp_path / "numbered.mp4", numbered(len(times), 640, 480), times=times)
    opened, open_video = [], av.open
    monkeypatch.setattr(av, "open", lambda *args, **kwargs: opened.append(args) or open_video(*args, **kwargs))
    recognizer = Vocabulary(write("tiny"), "", "tiny").recognizer()
    recognize = recognizer.recognize

    def recognize_and_delete(source, **callbacks):
        result = recognize(source, **callbacks)
        video.unlink()  # so that nobody can open it again
        return result

    monkeypatch.setattr(recognizer, "recognize", recognize_and_delete)
    answers(None, tiny=offered("tiny", "", recognizer))
    pictures = run(video, "tiny")[1]
    assert len(opened) == 2  # for a look at its head, and to decode it
    encoded = re.search(r'<img src="data:image/webp;base64,([^"]+)', pictures)
    moving = Image.open(io.BytesIO(base64.b64decode(encoded[1])))
    assert (moving.n_frames, moving.size) == (len(times), (480, 360))
    for number in range(len(times)):
        moving.seek(number)
        picture = np.array(moving.convert("RGB")).astype(int)
        assert number_of(picture[:40]) == number
        y, x = np.nonzero(picture[..., 2] - picture[..., 0] > 60)  # as blue as the signer's left is drawn
        assert (x.mean(), y.mean()) == pytest.approx(((0.1 + 0.05 * number) * 480, 180), abs=3)


def test_not_sure(video, answers):
    answers(recognition(confident=False))
    answer, _ = run(video)
    assert "Not sure.</b> The closest of 6 American signs" in answer and "card unsure" in answer
    assert "Best match" not in answer
    assert "No hand was seen in 3 &lt; 4 frames." in answer


def test_unusable_video_becomes_the_same_sentence(tmp_path, answers):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(UserError) as expected:
        read_frames(tmp_path / "broken.mp4")
    answers(recognition())
    with pytest.raises(gr.Error) as caught:
        run(tmp_path / "broken.mp4")
    assert caught.value.message == str(expected.value)


@pytest.mark.parametrize(("path", "words"), [(None, "no video yet"), (Path("/nowhere/x.mp4"), "already been deleted")])
def test_no_video_says_what_to_do(path, words, answers):
    answers(recognition())
    with pytest.raises(gr.Error, match=words) as caught:
        run(path)
    assert "choose" in caught.value.message


BUG = "Something went wrong in the program, not in your video. The server's log has the details."


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (recognition(), None),
        (UserError("No hand in a<b>.mp4."), "No hand in a&lt;b&gt;.mp4."),
        (RuntimeError("me"), BUG),
    ],
    ids=["good", "bad", "bug"],
)
def test_upload_is_deleted_whatever_happens(video, answers, answer, message, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    upload = Path(get_upload_folder()) / "abc" / "sign.mp4"
    upload.parent.mkdir(parents=True)
    shutil.copy(video, upload)
    answers(answer)
    with pytest.raises(gr.Error) if message else nullcontext() as caught:
        run(upload)
    assert not upload.exists() and video.exists()
    if message:
        assert (caught.value.message, caught.value.print_exception, caught.value.duration) == (message, False, None)
    assert ("RuntimeError: me" in caplog.text) == (message == BUG)


def test_everything_follows_the_choice(video, answers):
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
    assert "among 6 signs of “&lt;mine&gt;”" in run(video, "<mine>")[0]


@pytest.mark.parametrize("name", ["broken", "gone"])
def test_weights_that_cannot_be_used_are_a_sentence(video, answers, name):
    answers(recognition(), broken=offered("broken", "", UserError("Restore <it>.")))
    sentence = {"broken": "Restore &lt;it&gt;.", "gone": "The weights gone are no longer there"}[name]
    empty, _, signs, fold, _ = app.describe_vocabulary(name)
    assert "Not ready yet" in empty and sentence in empty
    assert signs == "" and fold["visible"] is False
    with pytest.raises(gr.Error, match=sentence):
        run(video, name)
    assert "Best match" in run(video)[0]


def test_choice_is_offered_where_there_is_one(answers):
    answers(recognition())
    assert app.offer().visible is False
    answers(recognition(), b=offered("b", "Brazilian", FakeRecognizer(recognition())))
    choice = app.offer()
    assert (choice.visible, choice.value) == (True, "a")
    assert choice.choices == [("American (6 signs)", "a"), ("Brazilian (6 signs)", "b")]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_in_a_browser(video, answers, tmp_path, monkeypatch):
    """An upload is answered by itself and deleted; the player keeps its picture, and it is recognised once more among
    other signs; nothing leaves the machine."""
    playwright_api = pytest.importorskip("playwright.sync_api")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    bad = offered("c", "", FakeRecognizer(UserError("Bad.")))
    answers(recognition(), b=offered("b", "Brazilian", FakeRecognizer(recognition())), c=bad)
    page_blocks = app.build()
    _, url, _ = page_blocks.launch(**app.LAUNCH, prevent_thread_lock=True, quiet=True)
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    foreign = []

    def choose(label):
        page.click("#choice input")
        page.get_by_role("option", name=label).click()

    def ask():
        page.get_by_role("button", name="Recognise", exact=True).click()

    try:
        with playwright_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
            page = browser.new_page(viewport={"width": 390, "height": 844})
            page.on("request", lambda r: None if r.url.startswith((url, "data:", "blob:")) else foreign.append(r.url))
            page.goto(url)
            page.set_input_files("#video input[type=file]", str(video))
            page.wait_for_selector("#result h2")
            assert page.inner_text("#result h2") == "book"
            page.get_by_role("button", name="Another video").wait_for()
            assert page.eval_on_selector("#video video", "video => video.src").startswith("blob:")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            choose("c (6 signs)")
            page.get_by_text("The 6 signs of “c” it knows").first.wait_for()
            ask()
            page.get_by_text("Bad.").first.wait_for()
            choose("Brazilian (6 signs)")  # which a failure must leave usable
            page.get_by_text("The 6 Brazilian signs it knows").first.wait_for()
            assert not page.query_selector("#result h2")
            ask()
            page.get_by_text("Best match among 6 Brazilian signs").wait_for()
            page.get_by_role("button", name="Another video").wait_for()
            browser.close()
    finally:
        page_blocks.close()
    assert foreign == []
    assert not [file for file in (tmp_path / "uploads").rglob("*") if file.is_file()]
