"""The page in Chromium, as visitors use it."""

import base64
import threading
import time
from dataclasses import replace

import numpy as np
from helpers.browser import MARKS, answer, button, until, upload, visit
from helpers.clips import signer
from helpers.media import numbered, write_video
from helpers.page import GLOSSES, FakeFinder, FakeRecognizer, offered, recognition

from dsta.checkpoint import SignAverages
from dsta.common import UserError
from dsta.keypoints import Pose
from dsta.page import line
from dsta.page.find import Part
from dsta.page.line import Line
from dsta.page.vocabularies import Vocabulary
from dsta.reference import on_shoulders

pytestmark = MARKS


class HeldFinder(FakeFinder):
    """Looks at a video until it is let go, or stopped."""

    def __init__(self) -> None:
        self.looked_at, self.go_on, self.ended = [], threading.Event(), threading.Semaphore(0)
        self.running = threading.Semaphore(0)

    def find(self, path, fps, asked, progress, check):
        self.looked_at.append(path.name)
        self.running.release()
        try:
            while not self.go_on.wait(0.05):
                check()
                progress("Finding joints", 0.5)
            return super().find(path, fps, asked, progress, check)
        finally:
            self.ended.release()


class LongFinder(FakeFinder):
    """Says of each video that it is long."""

    def __init__(self) -> None:
        self.asked = []

    def find(self, path, fps, asked, progress, check):
        self.asked.append(asked)
        part = Part(*asked, 47.0) if asked else Part(20.0, 24.0, 47.0, (0.1, 0.2, 1.0, 0.3))
        return replace(super().find(path, fps, asked, progress, check), part=part)


def kept(tmp_path):
    """What is left of uploads soon after an answer stands there, as its pictures come a little later."""
    for _ in range(50):
        left = [file for file in (tmp_path / "uploads").rglob("*") if file.is_file()]
        if not left:
            break
        time.sleep(0.1)
    return left


def test_an_upload_is_answered_and_deleted_and_recognised_once_more_among_other_signs(
    video, answers, site, browser, tmp_path
):
    """The player keeps its picture, and nothing leaves the machine."""
    bad = offered("c", "", FakeRecognizer(UserError("Bad.")))
    answers(recognition(), b=offered("b", "Brazilian", FakeRecognizer(recognition())), c=bad)
    foreign = []

    def choose(label):
        page.click("#choice input")
        page.get_by_role("option", name=label).click()

    with visit(browser, site) as page:
        page.on("request", lambda r: None if r.url.startswith((site, "data:", "blob:")) else foreign.append(r.url))
        upload(page, video)
        page.wait_for_selector("#result h2")
        assert page.inner_text("#result h2") == "book"
        button(page, "Another video").wait_for()
        assert page.eval_on_selector("#video video", "video => video.src").startswith("blob:")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        choose("c (6 signs)")
        page.get_by_text("The 6 signs of “c” it knows").first.wait_for()
        button(page, "Recognise").click()
        page.get_by_text("Bad.").first.wait_for()
        choose("Brazilian (6 signs)")  # which a failure must leave usable
        page.get_by_text("The 6 Brazilian signs it knows").first.wait_for()
        assert not page.query_selector("#result h2")
        button(page, "Recognise").click()
        answer(page, "6 Brazilian signs").wait_for()
        button(page, "Another video").wait_for()
    assert foreign == [] and not kept(tmp_path)


def test_an_answer_stands_beside_its_own_video_alone(answers, site, browser, tmp_path, monkeypatch):
    """Upload A, clear, upload B; B is asked about once, however often the button is pressed; its tab is closed."""
    held = HeldFinder()
    answers(recognition())
    monkeypatch.setattr(line, "LINE", Line([held]))
    videos = [write_video(tmp_path / f"{name}.webm", numbered(12, 160, 120), codec="libvpx") for name in "AB"]
    with visit(browser, site) as page:
        assert button(page, "Recognise").is_disabled()
        upload(page, videos[0])
        assert held.running.acquire(timeout=60)
        button(page, "Cancel").wait_for()
        page.get_by_test_id("video").get_by_label("Clear").click()
        assert held.ended.acquire(timeout=5)  # without an answer: nobody waits for it
        page.get_by_text("How to film").wait_for()
        assert button(page, "Recognise").is_disabled() and not kept(tmp_path)

        upload(page, videos[1])
        assert held.running.acquire(timeout=60)
        button(page, "Cancel").click()
        assert held.ended.acquire(timeout=5) and not kept(tmp_path)
        button(page, "Recognise").wait_for()
        page.evaluate("for (const each of document.querySelectorAll('button.primary')) { each.click(); each.click() }")
        assert held.running.acquire(timeout=60)
        held.go_on.set()
        page.wait_for_selector("#result h2")
        button(page, "Another video").wait_for()
        assert held.looked_at == ["A.webm", "B.webm", "B.webm"]
        assert "B.webm" in page.evaluate("atob(document.querySelector('#result a').href.split(',')[1])")

        held.go_on.clear()
        button(page, "Another video").click()
        page.get_by_text("How to film").wait_for()
        upload(page, videos[0])
        assert held.ended.acquire(timeout=60) and held.running.acquire(timeout=60)
    assert held.ended.acquire(timeout=5) and not kept(tmp_path)


class SlowlyDrawn(FakeFinder):
    """Draws when it is let go."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def find(self, path, fps, asked, progress, check):
        found = super().find(path, fps, asked, progress, check)

        def draw():
            assert self.go_on.wait(60)
            return found.draw()

        return replace(found, draw=draw)


def test_the_answer_stands_before_its_pictures_which_never_stand_beside_another(
    video, answers, site, browser, tmp_path, monkeypatch
):
    slow = SlowlyDrawn()
    answers(recognition())
    monkeypatch.setattr(line, "LINE", Line([slow, slow]))
    with visit(browser, site) as page:
        upload(page, video)
        answer(page, "6 American signs").wait_for()
        button(page, "Another video").wait_for()
        page.locator("#result summary").click()
        assert page.locator("figure.strip").count() == 0
        slow.go_on.set()
        page.locator("figure.strip img").wait_for()
        assert page.locator("#result details").get_attribute("open") is not None  # the answer was left alone
        button(page, "Another video").click()
        page.get_by_text("How to film").wait_for()

        slow.go_on.clear()
        upload(page, video)
        answer(page, "6 American signs").wait_for()
        button(page, "Another video").click()
        page.get_by_text("How to film").wait_for()
        slow.go_on.set()
        page.wait_for_timeout(500)
        assert page.locator("figure.strip, #result h2").count() == 0
    assert not kept(tmp_path)


def test_who_waits_reads_how_long_and_may_cancel(video, answers, site, browser, tmp_path, monkeypatch):
    held = HeldFinder()
    answers(recognition())
    monkeypatch.setattr(line, "LINE", Line([held]))
    with visit(browser, site) as first, visit(browser, site) as second, visit(browser, site) as third:
        upload(first, video)
        assert held.running.acquire(timeout=60)
        for page, words in ((second, "You are next; about"), (third, "You are second; about")):
            upload(page, video)
            page.get_by_text(words).wait_for()
        button(second, "Cancel").click()
        third.get_by_text("You are next; about").wait_for()
        button(second, "Recognise").wait_for()
        held.go_on.set()
        for page in (first, third):
            page.wait_for_selector("#result h2")
        assert not second.query_selector("#result h2")
    assert len(held.looked_at) == 2 and not kept(tmp_path)


def test_another_part_of_a_long_video_is_chosen_by_keyboard(video, answers, site, browser, tmp_path, monkeypatch):
    long = LongFinder()
    answers(recognition())
    monkeypatch.setattr(line, "LINE", Line([long]))
    with visit(browser, site) as page:
        upload(page, video)
        page.wait_for_selector("#result h2")
        page.get_by_text("20.0 – 24.0 s of 47 s").wait_for()
        start, end = (page.get_by_label(name, exact=True) for name in ("Start", "End"))
        for _ in range(5):
            start.press("ArrowLeft")
        page.get_by_text("19.5 – 24.0 s of 47 s").wait_for()
        assert start.get_attribute("aria-valuetext") == "19.5 seconds"
        start.press("Home")  # the end comes along: no more than ten seconds
        page.get_by_text("0.0 – 10.0 s of 47 s").wait_for()
        end.press("End")
        page.get_by_text("37.0 – 47.0 s of 47 s").wait_for()
        start.press("End")  # half a second is the least
        page.get_by_text("46.5 – 47.0 s of 47 s").wait_for()
        end.press("ArrowLeft")
        page.get_by_text("46.4 – 46.9 s of 47 s").wait_for()
        button(page, "Recognise this part").click()
        until(page, lambda: long.asked == [None, (46.4, 46.9)])
        page.get_by_text("46.4 – 46.9 s of 47 s").wait_for()
        button(page, "Another video").wait_for()
        page.wait_for_selector("#result h2")
        button(page, "Another video").click()
        page.get_by_text("How to film").wait_for()
        assert page.inner_text("#part") == "" and not button(page, "Recognise this part").is_visible()
        upload(page, video)
        page.wait_for_selector("#result h2")
        assert long.asked[2:] == [None]
    assert not kept(tmp_path)


def test_a_skeleton_file_takes_the_place_of_a_video(video, answers, write, site, browser, tmp_path):
    """Dropped where videos are; recognised once more among other signs; and a video after it is asked about itself."""
    offers = {name: Vocabulary(write(name, size=2 + i), name, "").recognizer() for i, name in enumerate("bc")}
    answers(recognition(), **{name: offered(name, name, known) for name, known in offers.items()})
    Pose(signer(), 15, 512, 512, "mediapipe-holistic").save(tmp_path / "sign.pose")
    content = base64.b64encode((tmp_path / "sign.pose").read_bytes()).decode()

    def choose(label):
        page.click("#choice input")
        page.get_by_role("option", name=label).click()

    with visit(browser, site) as page:
        choose("b (6 signs)")
        page.get_by_text("The 2 b signs it knows").first.wait_for()
        dropped = page.evaluate_handle(
            """content => {
              const held = new DataTransfer();
              const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
              held.items.add(new File([bytes], "sign.pose"));
              return held;
            }""",
            content,
        )
        page.evaluate("""() => {
            window.noticed = [];
            const notice = document.querySelector("#notice");
            new MutationObserver(() => noticed.push(notice.textContent)).observe(notice, {childList: true});
        }""")
        page.dispatch_event("#video button", "drop", {"dataTransfer": dropped})
        answer(page, "2 b signs").wait_for()
        assert set(page.evaluate("noticed")) <= {""}
        button(page, "Another video").wait_for()
        with page.expect_download() as download:
            page.locator("#result a[download='sign.npz']").click()
        np.testing.assert_allclose(Pose.load(download.value.path().rename(tmp_path / "sign.npz")).keypoints, signer())
        choose("c (6 signs)")
        page.get_by_text("The 3 c signs it knows").first.wait_for()
        button(page, "Recognise").click()
        answer(page, "3 c signs").wait_for()
        button(page, "Another video").click()
        choose("American (6 signs)")
        page.get_by_text("The 6 American signs it knows").first.wait_for()
        upload(page, video)
        answer(page, "6 American signs").wait_for()
        button(page, "Another video").wait_for()
    assert not kept(tmp_path)


def test_signs_are_seen_and_an_example_is_answered_on_a_click_beside_its_average(answers, site, browser, write):
    known = FakeRecognizer(recognition())
    joints = np.stack([on_shoulders(signer(32))] * len(GLOSSES))
    known.ensemble.averages = SignAverages(joints, np.full(len(GLOSSES), 7))
    there = offered("a", "American", known)
    there.folder = write("a")
    answers(None, a=there)
    drawn = """canvas => { const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        return pixels.filter((value, i) => i % 4 === 0 && value > 200).length }"""
    with visit(browser, site) as page:
        page.get_by_text("The 6 American signs it knows").click()
        page.locator(".tile canvas").nth(5).wait_for()
        assert page.locator(".tile canvas").first.evaluate(drawn) > 50
        page.get_by_placeholder("Search 6 signs").fill("drin")
        assert page.locator(".tile:visible").all_text_contents() == ["<b>drink</b>"]
        assert all(button.bounding_box()["height"] < 50 for button in page.locator("[data-try]").all())  # one line each
        page.locator("[data-try='1']").click()
        answer(page, "6 American signs").wait_for()
        page.get_by_text("book, the average of 7 signers").wait_for()
        assert all(canvas.evaluate(drawn) > 50 for canvas in page.locator(".beside canvas").all())
        page.locator(".beside").get_by_role("button", name="<b>drink</b>").click()
        page.get_by_text("<b>drink</b>, the average of 7 signers").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
