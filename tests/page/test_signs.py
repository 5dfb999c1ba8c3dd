"""How signs look: what signs.js draws, and the routes where it asks for it."""

import base64
import io
import json
import re
from html import unescape
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.clips import signer
from helpers.page import GLOSSES, FakeRecognizer, offered, recognition
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from dsta.checkpoint import DEFAULT_WEIGHTS, Ensemble, SignAverages
from dsta.keypoints import Pose
from dsta.page import signs, vocabularies
from dsta.reference import on_shoulders

NAME = "mi ne"


@pytest.fixture
def vocabulary(monkeypatch, tmp_path):
    recognizer = FakeRecognizer(recognition())
    joints = np.stack([on_shoulders(signer(32))] * len(GLOSSES))
    recognizer.ensemble = SimpleNamespace(averages=SignAverages(joints, np.array([9, 7, 0, 5, 5, 5])))
    monkeypatch.chdir(tmp_path)
    for name in (NAME, "plain"):
        (tmp_path / "weights" / name).mkdir(parents=True)
    there = {NAME: offered(NAME, "American", recognizer), "plain": offered("plain", "x", FakeRecognizer(None))}
    monkeypatch.setattr(vocabularies, "found", lambda: there)
    return there[NAME]


@pytest.fixture
def client():
    return TestClient(Starlette(middleware=[Middleware(signs.Signs)]))


def test_what_is_drawn_is_what_was_seen():
    clip = on_shoulders(signer(3))
    clip[1, 4] = 0
    drawn = np.frombuffer(base64.b64decode(signs.motion(clip)), np.uint8).reshape(3, 27, 3)
    assert (drawn[..., 2] == (clip[..., 2] > 0)).all() and drawn[1, 4, 2] == 0
    places = drawn[..., :2] * (360 / 255) + (76, 45)
    assert np.abs(places - clip[..., :2])[drawn[..., 2] > 0].max() < 1
    lines = json.loads(signs.bones())
    assert len(lines["bones"]) == 26 and len(lines["colours"]) == 3


def test_the_grid_has_a_tile_for_each_sign_and_examples_of_those_that_most_people_made(vocabulary):
    html = signs.grid_html(vocabulary, "The signs")
    assert html.count('class="tile"') == len(GLOSSES) and "&lt;b&gt;drink&lt;/b&gt;" in html and "<b>d" not in html
    assert re.findall(r'data-try="(\d)"', html) == ["1", "0", "4", "5", "3"]  # by the alphabet, none without an average
    assert 'data-signs="mi%20ne"' in html
    plain = signs.grid_html(vocabularies.found()["plain"], "The signs")
    assert "tile" not in plain and "<span>book</span>" in plain


def test_the_answer_is_held_beside_the_averages_of_the_first_three(vocabulary):
    html = signs.beside_html(recognition(), vocabulary)
    (shown,) = re.findall(r'data-beside="(\[.*?\])"', html)
    shown = json.loads(unescape(shown))
    assert [one["gloss"] for one in shown] == ["book", "<b>drink</b>"]  # the third has none
    assert all(len(one["steps"]) == len(recognition().seen) for one in shown) and shown[0]["signers"] == 9
    assert "<b>drink" not in html and html.count("aria-pressed") == 2
    assert signs.beside_html(recognition(), vocabularies.found()["plain"]) == ""


def test_routes(vocabulary, client):
    answer = client.get("/signs/mi%20ne")
    assert answer.status_code == 200 and [one["signers"] for one in answer.json()] == [9, 7, 0, 5, 5, 5]
    assert answer.json()[2]["motion"] == "" and len(base64.b64decode(answer.json()[0]["motion"])) == 32 * 81
    file = client.get("/signs/mi%20ne/1.npz")
    with np.load(io.BytesIO(file.content), allow_pickle=False) as saved:
        pose = Pose(**{name: saved[name][()] for name in saved.files})
    assert len(pose.keypoints) == 32 and pose.fps == 16 and pose.estimator == "mediapipe-holistic"
    for wrong in ("none", "plain", "mi%20ne/6.npz", "mi%20ne/x.npz", "..%2F..%2Fetc", "mi%20ne/999999999999.npz"):
        assert client.get(f"/signs/{wrong}").status_code == 404, wrong
    assert client.get("/elsewhere").status_code == 404


def test_averages_that_ship_are_taken_for_their_signs():
    """By the folder's own networks, of a few: `eval/averages.py` left the others out."""
    from dsta.score import score_streams
    from dsta.streams import fuse

    ensemble = Ensemble.load(DEFAULT_WEIGHTS)
    there = np.flatnonzero(ensemble.averages.signers)[::15]
    assert len(ensemble.averages.signers) == len(ensemble.glosses) and np.median(ensemble.averages.signers) >= 5
    said = score_streams(ensemble, list(ensemble.averages.joints[there]))
    fused = fuse({stream: scores.logits for stream, scores in said.items()}, ensemble.fusion)
    assert (fused.argmax(1) == there).all()
