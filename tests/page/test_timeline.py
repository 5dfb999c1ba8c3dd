"""The time line of several signs in one video."""

import base64
import re
from dataclasses import replace

import pytest
from helpers.browser import MARKS, upload, visit
from helpers.media import numbered, write_video
from helpers.page import GLOSSES, FakeFinder, FakeRecognizer, offered, outcome, recognition
from helpers.signing import signing

from dsta.page import line
from dsta.page.find import Found, Part
from dsta.page.line import Line
from dsta.page.timeline import several_signs_html, spans_html
from dsta.page.uploads import Uploads
from dsta.page.vocabularies import Vocabulary
from dsta.recognize import Prediction, SignedSpan
from dsta.spans import Span, find_spans

PARTS = [(0.6, 2.2), (3.0, 4.6), (5.6, 6.8)]


def said(span, gloss="book", **quality):
    result = recognition()
    ranked = (Prediction(gloss, 0.9), *result.predictions[1:])
    return SignedSpan(Span(*span), replace(result, predictions=ranked, quality=result.quality | quality))


class SeveralSigns(FakeRecognizer):
    """Recognises one gloss after the other, and counts how often it is asked."""

    def __init__(self, parts=PARTS):
        super().__init__(replace(recognition(), pose=signing(parts, 8)))
        self.asked = 0

    def recognize_spans(self, source, progress=None):
        self.asked += 1
        progress("Running the network", 0.5)
        return [said(span, gloss) for span, gloss in zip(find_spans(source), GLOSSES, strict=False)]


@pytest.mark.parametrize(("parts", "count"), [([], 0), (PARTS[:1], 0), (PARTS, 3)])
def test_there_is_a_time_line_of_more_than_one_span(parts, count):
    recognizer = SeveralSigns(parts)
    found = Found(recognizer.answer.pose, draw=lambda: None)
    html = several_signs_html(recognizer, recognizer.answer, found, "a.mp4", lambda *_: None)
    assert (html.count("data-seek="), recognizer.asked) == (count, int(count > 0))


def test_too_many_spans_are_counted_and_none_is_recognised(monkeypatch):
    recognizer = SeveralSigns()
    found = Found(recognizer.answer.pose)
    monkeypatch.setattr("dsta.page.timeline._MOST", 2)
    html = several_signs_html(recognizer, recognizer.answer, found, "a.npz", lambda *_: None)
    assert ">3 movements of the hands<" in html and "python -m dsta.recognize FILE --spans" in html
    assert recognizer.asked == 0 and "<li" not in html


def test_spans_stand_where_they_are_in_the_video():
    html = spans_html([said((1, 2)), said((2.5, 4))], 20.0, 5.0, "a.mp4", True)
    assert re.findall(r"left:([\d.]+)%;width:([\d.]+)%", html) == [("20.0", "20.0"), ("50.0", "30.0")]
    assert re.findall(r'data-seek="([\d.]+)"', html) == ["21.00", "22.50"]  # in the video, of which this is a part
    assert "21.0–22.0 s" in html and "22.5–24.0 s" in html
    assert "<button" not in spans_html([said((1, 2))], 0.0, 5.0, "a.npz", False)  # no player, nothing to press


def test_what_is_not_sure_or_not_known_is_said():
    html = spans_html([said((0, 1), confident=False), said((1, 2), confident=False, known_sign=False)], 0, 2, "a", True)
    first, second = html.split("<li>")[1:]
    assert "<b>book</b>" in first and "not sure, 90%" in first
    assert "<b>none known</b>" in second and "closest: book, 90%" in second


def test_glosses_and_names_of_files_are_escaped_and_files_can_be_saved():
    html = spans_html([said((1, 2), "<img src=x>"), said((3, 4))], 10.0, 5.0, '"><script>.mp4', True)
    assert "<img" not in html and "<script" not in html and "&lt;img src=x&gt;" in html
    kept = [base64.b64decode(part).decode() for part in re.findall(r'href="data:text/\w+;base64,([^"]+)"', html)]
    assert "00:00:11.000 --> 00:00:12.000\n&lt;img src=x&gt;" in kept[0]
    assert 'TIME_VALUE="11000"' in kept[1] and "&lt;img src=x&gt;" in kept[1] and "MEDIA_URL" not in kept[1]
    assert re.findall(r'download="[^"]*(\.\w+)"', html) == [".vtt", ".eaf"]


def test_a_skeleton_file_of_several_signs_is_recognised_span_by_span(answers, write, tmp_path, monkeypatch):
    recognizer = Vocabulary(write("tiny"), "", "tiny").recognizer()
    answers(None, tiny=offered("tiny", "", recognizer))
    uploads, file = Uploads(lambda: tmp_path / "uploads"), tmp_path / "signs.npz"
    signing(PARTS, 8).save(file)
    with file.open("rb") as content:
        run = uploads.keep(content, file.name).parent.name
    answer = outcome(uploads, run, "tiny")["answer"]
    items = re.findall(r"<li><i>\d</i><b>(sign \d)</b>", answer)
    expected = recognizer.recognize_spans(signing(PARTS, 8))
    assert items == [each.recognition.predictions[0].gloss for each in expected] and len(items) == 3


class PartFinder(FakeFinder):
    """Says that the second half of a video was looked at."""

    def find(self, path, fps, asked, progress, check):
        return replace(super().find(path, fps, asked, progress, check), part=Part(10.0, 18.0, 20.0))


@pytest.mark.browser
@MARKS[1]
def test_a_sign_of_several_sends_the_player_to_it(answers, site, browser, tmp_path, monkeypatch):
    recognizer = SeveralSigns()
    answers(None, a=offered("a", "American", recognizer))
    monkeypatch.setattr(line, "LINE", Line([PartFinder()]))
    video = write_video(tmp_path / "signs.webm", numbered(40, 160, 120), codec="libvpx", fps=2)
    with visit(browser, site) as page:
        upload(page, video)
        page.locator(".spans button").nth(1).click()
        assert page.evaluate("document.querySelector('#video video').currentTime") == pytest.approx(13.0, abs=0.2)
        assert page.locator(".spans b").all_inner_texts() == list(GLOSSES[:3])
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
