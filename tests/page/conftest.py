"""What several tests of the page share."""

import pytest
from helpers.benchmarks import network
from helpers.browser import CHROMIUM, OPTIONS
from helpers.media import numbered, write_video
from helpers.page import FakeEye, FakeFinder, FakeRecognizer, TakesFinder, offered, on_the_loopback
from helpers.teaching import base_weights

from dsta.page import line, live, vocabularies
from dsta.page.line import Line
from dsta.page.vocabularies import Vocabulary


@pytest.fixture
def write(tmp_path):
    """A function that writes the weights folder `name`: an ensemble of one tiny stream, and a card."""

    def folder(name, front="", size=2, estimator="mediapipe-holistic", text="# Card"):
        network(tmp_path / name / "joint", [f"sign {i}" for i in range(size)], "joint", estimator=estimator)
        (tmp_path / name / "ensemble.json").write_text('{"fusion": {"joint": 1}, "temperature": 1, "threshold": 0}')
        if front:
            (tmp_path / name / "README.md").write_text(f"---\n{front}\n---\n{text}", encoding="utf-8")
        return tmp_path / name

    return folder


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "sign.mp4", numbered(12, 160, 120), codec="mpeg4")


@pytest.fixture
def answers(monkeypatch):
    """A function that sets what the page's recognisers answer, by the names of their folders; the first is "a"."""

    def set_answers(answer, **others):
        there = {"a": offered("a", "American", FakeRecognizer(answer))} | others
        monkeypatch.setattr(vocabularies, "found", lambda: there)
        monkeypatch.setattr(line, "LINE", Line([FakeFinder()]))
        monkeypatch.setattr(live, "Finder", FakeEye)

    return set_answers


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The page's address, while it runs; its uploads lie in tmp_path / "uploads"."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    with on_the_loopback() as address:
        yield address


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Of a made-up vocabulary, which the page offers and which signs can be taught beside."""
    folder = base_weights(tmp_path / "base")
    monkeypatch.setattr(vocabularies, "found", lambda: {"base": Vocabulary(folder, "Made", "Made (3 signs)")})
    monkeypatch.setattr(line, "LINE", Line([TakesFinder()]))
    return folder


@pytest.fixture(scope="module")
def chromium():
    """A function that gives a Chromium with further options, started for the first of a file's tests that asks for it.

    Not for all files at once: Playwright's event loop would be in the way of tests with one of their own.
    """
    playwright_api = pytest.importorskip("playwright.sync_api")
    with playwright_api.sync_playwright() as playwright:
        started = {}

        def start(*options):
            if options not in started or not started[options].is_connected():
                how = {"executable_path": CHROMIUM, "args": [*OPTIONS, *options]}
                started[options] = playwright.chromium.launch(**how)
            return started[options]

        yield start
        for browser in started.values():
            browser.close()


@pytest.fixture
def browser(chromium):
    return chromium()
