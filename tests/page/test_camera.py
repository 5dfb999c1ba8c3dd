"""The camera, which Chromium makes up: recorded, taught from and live. One file, so that one of it runs at a time."""

import io

import numpy as np
import pytest
from helpers.browser import CAMERA, MARKS, PHONE, answer, button, own_words, press_until, settled, signs, visit
from helpers.page import ANSWER, FakeRecognizer, offered, recognition
from PIL import Image

from dsta.video import read_frames

pytestmark = MARKS


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
    browser = chromium(*CAMERA, f"--use-file-for-fake-video-capture={tmp_path / 'camera.mjpeg'}")
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


def test_a_camera_that_stops_in_the_middle_ends_the_recording_with_what_there_is(answers, site, chromium):
    answers(recognition())
    browser = chromium(*CAMERA)
    with visit(browser, site) as page:
        button(page, "Record with the camera").click()
        page.locator("#camera .recording").wait_for()
        page.wait_for_timeout(800)
        page.evaluate(
            "document.querySelector('#camera video').srcObject.getVideoTracks()[0].dispatchEvent(new Event('ended'))"
        )
        answer(page, "6 American signs").wait_for()
        assert page.get_by_role("button", name="Record again").is_visible()


CAMERAS = """const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
window.cameras = [];
navigator.mediaDevices.getUserMedia = async wishes => {
    const stream = await open(wishes);
    cameras.push(...stream.getTracks());
    return stream;
};"""
ON = "cameras.filter(track => track.readyState === 'live').length"


def test_what_was_being_recorded_when_the_camera_was_closed_is_not_sent(answers, site, chromium):
    answers(recognition())
    browser = chromium(*CAMERA)
    with visit(browser, site, before=CAMERAS) as page:
        for closes in (lambda: button(page, "Close the camera").click(), lambda: page.keyboard.press("Escape")):
            button(page, "Record with the camera").click()
            page.locator("#camera .recording").wait_for()
            page.wait_for_timeout(700)
            closes()
            page.wait_for_timeout(1000)
            assert page.evaluate(ON) == 0
            assert page.locator("#video video").count() == 0 and not page.query_selector("#result h2")


def test_of_two_presses_one_camera_stays_and_none_when_it_is_closed(answers, site, chromium):
    answers(recognition())
    browser = chromium(*CAMERA)
    with visit(browser, site, before=CAMERAS) as page:
        button(page, "Live").dblclick()
        page.wait_for_function("window.cameras.length === 2")
        page.locator("#camera .history li").first.wait_for()
        assert page.evaluate(ON) == 1
        button(page, "Close the camera").click()
        assert page.evaluate(ON) == 0


def test_live_signs_are_told_one_after_another_until_the_camera_is_closed(answers, site, chromium):
    answers(recognition())
    browser = chromium(*CAMERA)
    with visit(browser, site) as page:
        button(page, "Live").click()
        page.locator("#camera .history li").get_by_text("book 90 %").wait_for()
        assert page.inner_text("#camera .latest") == "book" and not page.is_visible("#video")
        with visit(browser, site) as other:
            button(other, "Live").click()
            other.get_by_text("Somebody else is using the camera mode just now").wait_for()
            assert other.is_visible("#video") and not other.is_visible("#camera .stage")
        button(page, "Close the camera").click()
        assert not page.is_visible("#camera .stage") and page.is_visible("#video")
        with visit(browser, site) as other:  # the seat is free at once
            button(other, "Live").click()
            other.locator("#camera .history li").first.wait_for()
            other.keyboard.press("Escape")
            other.locator("#camera .stage").wait_for(state="hidden")


def test_three_takes_are_recorded_by_keyboard(weights, site, chromium):
    browser = chromium(*CAMERA)
    with visit(browser, site, PHONE) as page:
        page.get_by_role("tab", name="Teach").click()
        button(page, "Record 3 takes").click()
        page.get_by_text("Type the sign’s name first.").wait_for()
        page.keyboard.type("tea")
        button(page, "Record 3 takes").press("Enter")
        page.get_by_text("1 of 3: hands down").wait_for()
        page.get_by_text("Sign now").wait_for()
        assert page.locator("#lesson-camera").get_attribute("data-live") == "true"
        page.get_by_text("3 clips").wait_for()
        settled(page)
        page.wait_for_function("document.activeElement.matches('#lesson-name')")  # the next name is typed over it
        page.keyboard.type("milk")
        assert page.input_value("#lesson-name") == "milk" and signs(page) == ["tea"]
        page.keyboard.press("Enter")
        button(page, "Stop recording").first.click()
        button(page, "Record 3 takes").wait_for()
        button(page, "Camera off").click()
        assert not page.evaluate("dsta.lesson.stream.active") and not page.is_visible("#lesson-camera")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and own_words(page)
