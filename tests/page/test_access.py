"""The page by keyboard, by ear, on a phone and in the dark, in Chromium."""

import pytest
from helpers.browser import (
    CAMERA,
    DESK,
    MARKS,
    PHONE,
    button,
    choose_when_asked,
    focused,
    press_until,
    serious,
    upload,
    visit,
)
from helpers.media import numbered, write_video
from helpers.page import ANSWER, FakeRecognizer, WaitingRecognizer, offered, recognition

from dsta.common import UserError

pytestmark = MARKS
TABS = ("Recognise", "Teach", "Leaderboard", "About")


def tab(page, name):
    return page.get_by_role("tab", name=name, exact=True)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_grave(theme, video, answers, site, chromium, tmp_path):
    """On each tab, and on the first in each state that it has."""
    unsure = offered("b", "Brazilian", FakeRecognizer(recognition(confident=False)))
    answers(recognition(), b=unsure, c=offered("c", "", FakeRecognizer(UserError("Bad."))))
    browser = chromium(*CAMERA)
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
        choose_when_asked(page, video)
        press_until(page, "Tab", "Recognise")
        for key, name in (("ArrowRight", "Teach"), ("End", "About"), ("ArrowRight", "Recognise")):
            page.keyboard.press(key)
            assert focused(page) == ["BUTTON", name] and tab(page, name).get_attribute("aria-selected") == "true"
        page.keyboard.press("ArrowLeft")
        page.get_by_text("What it cannot do").wait_for()
        page.keyboard.press("Home")
        page.get_by_text("How to film").wait_for()

        press_until(page, "Tab", "Drop a video file here to upload")
        page.keyboard.press("Enter")
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


def test_all_tabs_fit_a_phone(answers, site, browser):
    answers(recognition())
    with visit(browser, site, {**PHONE, "width": 340}) as page:
        for name in TABS:
            tab(page, name).click()
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
