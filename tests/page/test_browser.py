"""The page in Chromium, as visitors use it."""

import threading

from helpers.browser import MARKS, button, upload, visit
from helpers.media import numbered, write_video
from helpers.page import FakeRecognizer, offered, recognition

from dsta.common import UserError
from dsta.video import read_frames

pytestmark = MARKS


class HeldRecognizer(FakeRecognizer):
    """Looks at a video's first frame again and again until it is let go, or stopped."""

    def __init__(self) -> None:
        super().__init__(recognition())
        self.begun, self.go_on, self.ended = [], threading.Event(), threading.Semaphore(0)
        self.running = threading.Semaphore(0)

    def recognize(self, source, progress=None, on_frame=None):
        self.begun.append(source.name)
        self.running.release()
        try:
            frame = next(read_frames(source))
            while not self.go_on.wait(0.05):
                on_frame(frame)
            return super().recognize(source, progress, on_frame)
        finally:
            self.ended.release()


def kept(tmp_path):
    return [file for file in (tmp_path / "uploads").rglob("*") if file.is_file()]


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
        page.get_by_text("Best match among 6 Brazilian signs").wait_for()
        button(page, "Another video").wait_for()
    assert foreign == [] and not kept(tmp_path)


def test_an_answer_stands_beside_its_own_video_alone(answers, site, browser, tmp_path):
    """Upload A, clear, upload B; B is asked about once, however often the button is pressed; its tab is closed."""
    held = HeldRecognizer()
    answers(None, a=offered("a", "American", held))
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
        assert held.begun == ["A.webm", "B.webm", "B.webm"]
        assert "B.webm" in page.evaluate("atob(document.querySelector('#result a').href.split(',')[1])")

        held.go_on.clear()
        button(page, "Another video").click()
        upload(page, videos[0])
        assert held.ended.acquire(timeout=60) and held.running.acquire(timeout=60)
    assert held.ended.acquire(timeout=5) and not kept(tmp_path)
