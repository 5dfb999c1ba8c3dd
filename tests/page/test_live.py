"""The camera mode's route: one seat, bounded pictures, signs when the hands rest."""

import io

import numpy as np
import pytest
from helpers.page import FakeEye, FakeRecognizer, offered, recognition
from PIL import Image
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from dsta.common import UserError
from dsta.page import live, vocabularies
from dsta.page.find import Camera


def jpeg(width=320, height=240, kind="JPEG"):
    content = io.BytesIO()
    Image.new("RGB", (width, height), (90, 40, 40)).save(content, kind)
    return content.getvalue()


@pytest.fixture
def seat(monkeypatch):
    there = {name: offered(name, kind, FakeRecognizer(recognition())) for name, kind in (("a", "American"), ("b", ""))}
    monkeypatch.setattr(vocabularies, "found", lambda: there)
    monkeypatch.setattr(live, "Finder", FakeEye)
    return live.Seat()


@pytest.fixture
def client(seat):
    return TestClient(Starlette(middleware=[Middleware(live.Live, seat=seat)]))


def send(client, who=1, time=0, mode="live", body=b"x", **more):
    return client.post("/live", params={"who": who, "time": time, "mode": mode, **more}, content=body)


def test_a_live_sign_is_told_when_the_hands_rest_and_only_to_who_asked_for_it(client):
    said = [send(client, time=100 * i).json() for i in range(20)]
    (sign,) = [one["sign"] for one in said if "sign" in one]
    assert sign == {"gloss": "book", "score": 0.9, "sure": True}
    assert said[5]["moving"] and said[-1]["resting"] and np.shape(said[0]["joints"]) == (27, 3)
    assert np.array(said[0]["joints"])[:, :2].max() < 1
    send(client, mode="leave")
    assert not any("sign" in send(client, who=3, time=100 * i, mode="record").json() for i in range(20))


def test_the_seat_is_one_visitors_until_they_leave_or_are_away(client, seat, monkeypatch):
    assert send(client).status_code == 200
    other = send(client, who=2)
    assert other.status_code == 409 and "Somebody else is using the camera" in other.text
    send(client, who=2, mode="leave")  # who has no seat takes none away
    assert send(client, who=3).status_code == 409
    send(client, who=1, mode="leave")
    assert send(client, who=1).status_code == 409  # a picture that comes late takes no seat
    assert send(client, who=4).status_code == 200
    monkeypatch.setattr(live, "_AWAY", 0.0)
    assert send(client, who=3).status_code == 200
    assert seat._finder.asked == [True, True, True]  # each begins anew


def test_what_is_no_picture_is_refused_in_a_sentence(client):
    for asked, words, code in (
        ({"who": "x"}, "two numbers", 400),
        ({"time": -1}, "two numbers", 400),
        ({"body": b"bad"}, "This is no JPEG.", 400),
        ({"body": bytes(live.MOST_PICTURE + 1)}, "send a smaller one", 413),
    ):
        answer = send(client, **asked)
        assert (answer.status_code, words in answer.text) == (code, True)


def test_the_process_ends_when_nobody_looks(seat, monkeypatch):
    before = FakeEye.closed
    seat.look("1", b"x", 0.0, "", True)
    seat.close(at_once=False)
    assert FakeEye.closed == before
    monkeypatch.setattr(live, "_CLOSED", 0.0)
    seat.close(at_once=False)
    assert FakeEye.closed == before + 1 and seat.look("1", b"x", 0.0, "", True)


@pytest.mark.parametrize("content", [b"", b"x" * 100, jpeg(kind="PNG"), jpeg(2000, 100), jpeg(30, 30), jpeg()[:300]])
def test_the_camera_takes_jpegs_of_its_size_alone(content):
    with pytest.raises(UserError, match=r"no JPEG|pixels a side"):
        Camera().see(content, 0.0, True)


def test_joints_come_from_the_process_that_looks_for_them():
    """A real one; nobody is in the picture. What is no picture does not end it."""
    finder = live.Finder()
    try:
        joints, size = finder.look(jpeg(), 0.0, True)
        assert joints.shape == (27, 3) and not joints.any() and size == (320, 240)
        with pytest.raises(UserError, match="This is no JPEG"):
            finder.look(b"x", 0.1, False)
        process = finder._process.pid
        assert finder.look(jpeg(), 0.2, False)[1] == (320, 240) and finder._process.pid == process
    finally:
        finder.close()
