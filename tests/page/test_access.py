"""The page by keyboard, by ear, by camera, on a phone and in the dark, in Chromium."""

import io

import numpy as np
import pytest
from helpers.browser import DESK, MARKS, PHONE, button, own_words, serious, upload, visit
from helpers.media import numbered, write_video
from helpers.page import FakeRecognizer, WaitingRecognizer, offered, recognition
from PIL import Image

from dsta.common import UserError
from dsta.video import read_frames

pytestmark = MARKS
TABS = ("Recognise", "Teach", "Leaderboard", "About")
ANSWER = "Best match among 6 American signs. book. 90%."


def tab(page, name):
    return page.get_by_role("tab", name=name, exact=True)


def focused(page):
    """Tag and words of what has the focus."""
    return page.evaluate("""() => {
        const {tagName, ariaLabel, innerText, type} = document.activeElement;
        return [tagName, (ariaLabel || innerText || type || "").trim().replace(/\\s+/g, " ")];
    }""")


def press_until(page, key, name):
    """Presses a key until what has that name is focused; each focus on the way is to be seen."""
    seen = []
    while focused(page)[1] != name:
        assert len(seen) < 30, f"{name} is not reached: {seen}"
        page.keyboard.press(key)
        seen.append(focused(page))
        style = "getComputedStyle(document.activeElement)"
        visible = f"{style}.outlineStyle !== 'none' || {style}.boxShadow !== 'none'"
        assert seen[-1][0] == "BODY" or page.evaluate(visible), seen[-1]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_grave(theme, video, answers, site, chromium, tmp_path):
    """On each tab, and on the first in each state that it has."""
    unsure = offered("b", "Brazilian", FakeRecognizer(recognition(confident=False)))
    answers(recognition(), b=unsure, c=offered("c", "", FakeRecognizer(UserError("Bad."))))
    browser = chromium("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    webm = write_video(tmp_path / "sign.webm", numbered(12, 160, 120), codec="libvpx")
    with visit(browser, site, DESK, color_scheme=theme) as page:
        for name in TABS:
            tab(page, name).click()
            if name == "Leaderboard":
                page.get_by_text("rows measured here").wait_for()
                page.locator(".lb-sheet td").first.wait_for()
            assert serious(page) == [], name
        tab(page, "Recognise").click()
        for label, file in (("American (6 signs)", webm), ("Brazilian (6 signs)", webm), ("c (6 signs)", video)):
            page.click("#choice input")
            page.get_by_role("option", name=label).click()
            page.get_by_text("Click to Upload").wait_for()
            upload(page, file)
            page.wait_for_selector("#result :is(h2, .unsure)")
            assert serious(page) == [], label
            page.get_by_test_id("video").get_by_label("Clear").click()
            page.get_by_text("How to film").wait_for()
        page.locator("#result summary").first.click()
        button(page, "Live").click()
        page.locator("#camera .stage[data-rate]").wait_for()
        assert serious(page) == [], "camera"


def test_by_keyboard_alone_from_the_tabs_to_the_answer(video, answers, site, browser):
    answers(recognition(), b=offered("b", "Brazilian", FakeRecognizer(recognition(confident=False))))
    with visit(browser, site, DESK) as page:
        press_until(page, "Tab", "Recognise")
        for key, name in (("ArrowRight", "Teach"), ("End", "About"), ("ArrowRight", "Recognise")):
            page.keyboard.press(key)
            assert focused(page) == ["BUTTON", name] and tab(page, name).get_attribute("aria-selected") == "true"
        page.keyboard.press("ArrowLeft")
        page.get_by_text("What it cannot do").wait_for()
        page.keyboard.press("Home")
        page.get_by_text("How to film").wait_for()

        press_until(page, "Tab", "Drop a video file here to upload")
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files(str(video))
        page.wait_for_function("words => document.querySelector('#said').textContent === words", arg=ANSWER)
        assert page.locator("#said").get_attribute("role") == "status"
        page.wait_for_function("document.activeElement.matches('#result h2')")
        press_until(page, "Shift+Tab", "Another video")
        page.keyboard.press("Enter")
        page.get_by_text("How to film").wait_for()
        assert page.text_content("#said") == ""


def test_who_reads_in_another_tab_stays_there(video, answers, site, browser):
    waiting = WaitingRecognizer(UserError("Bad."))
    answers(None, a=offered("a", "American", waiting))
    with visit(browser, site, DESK) as page:
        upload(page, video)
        tab(page, "About").click()
        page.get_by_text("What it cannot do").wait_for()
        waiting.go_on.set()
        page.wait_for_function("document.querySelector('#said').textContent === 'This did not work. Bad.'")
        assert focused(page) == ["BUTTON", "About"]
        page.get_by_text("What it cannot do").wait_for()


def test_a_sign_is_recorded_by_keyboard_on_a_phone_in_the_dark(answers, site, chromium, tmp_path):
    """Chromium's camera shows a red picture, which the recogniser sees."""
    red, colours = io.BytesIO(), []
    Image.new("RGB", (320, 240), (200, 40, 40)).save(red, "JPEG")
    (tmp_path / "camera.mjpeg").write_bytes(red.getvalue() * 25)

    class Watching(FakeRecognizer):
        def recognize(self, source, progress=None, find=None):
            colours.extend(np.mean(frame.image, axis=(0, 1)) for frame in read_frames(source))
            return super().recognize(source, progress, find)

    answers(None, a=offered("a", "American", Watching(recognition())))
    browser = chromium(
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={tmp_path / 'camera.mjpeg'}",
    )
    with visit(browser, site, color_scheme="dark") as page:
        press_until(page, "Tab", "Record with the camera")
        page.keyboard.press("Enter")
        page.wait_for_function("document.activeElement.innerText === 'Close the camera'")
        page.wait_for_function("document.activeElement.matches('#result h2')")
        assert page.text_content("#said") == ANSWER and own_words(page)
        page.wait_for_function("document.querySelector('#result').getBoundingClientRect().top < innerHeight / 3")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert len(colours) > 5
    assert np.mean(colours, axis=0) == pytest.approx([200, 40, 40], abs=15)


def test_all_tabs_fit_a_phone(answers, site, browser):
    answers(recognition())
    with visit(browser, site, {**PHONE, "width": 340}) as page:
        for name in TABS:
            tab(page, name).click()
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
