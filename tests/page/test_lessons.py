"""What visitors teach the page: theirs alone, as many as they may, forgotten when they leave."""

import base64
import io
import json
import re
import threading

import pytest
from helpers.page import HereFinder
from helpers.teaching import ESTIMATOR, base_weights, own_signs, take

from dsta.keypoints import Pose
from dsta.page import lesson_panels, lessons, line, vocabularies
from dsta.page.lessons import Lessons
from dsta.page.line import Line
from dsta.page.uploads import Uploads
from dsta.page.vocabularies import Vocabulary


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return base_weights(tmp_path_factory.mktemp("weights") / "base")


@pytest.fixture
def page(weights, tmp_path, monkeypatch):
    """A function that asks what a visitor asks; a clip is uploaded first, and deleted in any case."""
    monkeypatch.setattr(vocabularies, "found", lambda: {"base": Vocabulary(weights, "Made", "Made (3 signs)")})
    monkeypatch.setattr(line, "LINE", Line([HereFinder()]))
    uploads = Uploads(lambda: tmp_path / "uploads")
    there = Lessons(uploads)

    def ask(do, visitor="eve", clip=None, content=None, file="clip.npz", **more):
        if clip is not None:
            content = Pose(clip, 15, 512, 512, ESTIMATOR).encoded(".npz")
        if content is not None:
            more["run"] = uploads.keep(io.BytesIO(content), file).parent.name
        said = there.answer(visitor, json.dumps({"do": do, **more}), "base", lambda *_: None)
        assert not [path for path in uploads.folder.glob("*/*")]
        return said

    ask.lessons, ask.uploads = there, uploads
    return ask


def taught(page, **counts):
    for number, (name, count) in enumerate(counts.items()):
        for seed in range(count):
            said = page("teach", clip=take(number, seed), name=name)
            assert "problem" not in said, said
    return said


def test_signs_are_taught_recognised_and_removed_one_by_one(page):
    said = taught(page, tea=2, milk=1)
    assert said["count"] == 2 and said["sign"] == "milk" and "the 3 Made signs" in said["beside"]
    assert re.findall(r"<b>(.*?)</b>.*?(\d clips?)", said["list"]) == [("tea", "2 clips"), ("milk", "1 clip")]
    alone = page("recognise", clip=take(1, 8))["answer"]
    assert "<h2>milk</h2>" in alone and "of 2 own signs" in alone.replace("among", "of") and "ant" not in alone
    both = page("recognise", clip=take(0, 8), vocabulary=True)["answer"]
    assert "5 own and Made signs" in both
    assert page("remove", name="tea")["count"] == 1
    assert "only one sign" in page("recognise", clip=take(0))["problem"]
    assert "4 own and Made" in page("recognise", clip=take(1), vocabulary=True)["answer"]


def test_a_saved_file_brings_the_signs_back_another_day_and_twice_is_once(page):
    taught(page, tea=2, milk=1)
    kind, content = page("save")["file"].split(",")
    assert kind == "data:application/octet-stream;base64"
    content = base64.b64decode(content)
    for _ in range(2):
        said = page("load", visitor="adam", content=content, file="my-signs.signs")
        assert (said["loaded"], said["count"]) == (2, 2) and "2 clips" in said["list"]
    for bad, words in ((b"junk", "no file of signs"), (own_signs().to_bytes(), None)):
        assert page("load", content=bad, file="x.signs").get("problem", "").startswith("x.signs" if words else "")


def test_what_a_visitor_teaches_is_seen_by_nobody_else(page):
    taught(page, tea=1)
    assert page("list", visitor="adam")["count"] == 0 and page("list")["count"] == 1


def test_a_name_is_text_and_never_html(page):
    name = '<img src=x onerror="alert(1)">'
    said = page("teach", clip=take(0), name=name)
    said |= page("teach", clip=take(1), name="tea") | page("recognise", clip=take(0, 1))
    for html in (said["list"], said["answer"]):
        assert "<img src=x" not in html and "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;" in html
    assert page("remove", name=name)["count"] == 1


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"do": "teach", "name": "", "clip": take(0)}, "no name"),
        ({"do": "teach", "name": "tea", "clip": None, "run": ""}, "no video yet"),
        ({"do": "teach", "name": "tea", "content": b"junk"}, "damaged"),
        ({"do": "recognise", "clip": take(0)}, "no signs"),
        ({"do": "load", "run": "nothing"}, "deleted"),
        ({"do": "fly"}, "did not understand"),
    ],
)
def test_a_mistake_is_a_sentence_and_changes_nothing(page, request_, words):
    said = page(**request_)
    assert words in said["problem"] and said["count"] == 0


def test_a_clip_without_hands_is_refused_and_one_with_few_is_noted(page):
    clip = take(0)
    clip[:, 7:] = 0
    assert "No hand was seen" in page("teach", clip=clip, name="tea")["problem"]
    clip = take(0)
    clip[3:, 7:] = 0
    assert "only 21% of the frames" in page("teach", clip=clip, name="tea")["notes"][0]


@pytest.mark.parametrize("asked", ["", "[]", "null", "3", "{", '{"do": []}', '{"do": {}}', '{"do": "teach"}'])
def test_no_request_of_a_stranger_raises(page, asked):
    assert page.lessons.answer("eve", asked, "base", lambda *_: None)["problem"]
    assert "no longer there" in page.lessons.answer("eve", '{"do": "list"}', "none", lambda *_: None)["problem"]


def test_who_leaves_is_forgotten_unless_back_soon(page, monkeypatch):
    taught(page, tea=1)
    page.lessons.leave("eve")
    page.lessons.sweep()
    assert page("list")["count"] == 1  # the connection was lost, and is back
    monkeypatch.setattr(lessons, "_GRACE", -1.0)
    page.lessons.sweep()
    assert page("list")["count"] == 1
    page.lessons.leave("eve")
    page.lessons.sweep()
    assert page("list")["count"] == 0


def test_heartbeats_that_end_start_no_threads(page):
    taught(page, tea=1)
    before = threading.active_count()
    for _ in range(30):
        page.lessons.leave("eve")
    assert threading.active_count() == before


def test_a_lesson_is_kept_only_where_an_upload_is_given(page, monkeypatch):
    for asked in ({"do": ""}, {"do": "list"}, {"do": "teach", "name": "tea"}, {"do": "load", "run": "A" * 22}):
        page(**asked, visitor=f"stranger {asked}")
    page("recognise", visitor="stranger", clip=take(0))
    assert not page.lessons._of
    page("teach", clip=take(0), name="")  # a mistake
    page.lessons.sweep()
    assert list(page.lessons._of) == ["eve"]
    monkeypatch.setattr(lessons, "_GRACE", -1.0)
    page.lessons.sweep()
    assert not page.lessons._of


def test_clips_are_embedded_in_turn(page, monkeypatch):
    taught(page, tea=1, milk=1)
    made, recognizer = [], lessons.Lesson.recognizer

    def noted(*given):
        made.append(threading.current_thread().name)
        return recognizer(*given)

    monkeypatch.setattr(lessons.Lesson, "recognizer", noted)
    assert "answer" in page("recognise", clip=take(1, 8))
    assert [name.split("_")[0] for name in made] == ["worker"]  # as dsta.page.line calls its threads


def test_of_each_clip_a_tile_and_a_hash_are_kept_and_no_second_copy(page):
    first = taught(page, tea=2)["list"]
    pictures = page.lessons._of["eve"].pictures
    assert [len(key) for key in pictures] == [32, 32] and page("list")["list"] == first


def test_all_lessons_together_are_bounded_and_the_unused_make_room(page, monkeypatch):
    monkeypatch.setattr(lessons, "_MOST_FRAMES", 30)
    taught(page, tea=2)
    assert "Too many people" in page("teach", visitor="adam", clip=take(0), name="tea")["problem"]
    page.lessons._of["eve"].used -= 2 * lessons._IDLE
    assert page("teach", visitor="adam", clip=take(0), name="tea")["count"] == 1
    assert page("list")["count"] == 0


def test_the_tab_itself_names_each_field_and_button():
    panel = lesson_panels.PANEL
    ids = re.findall(r'id="([\w-]+)"', panel)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'for="([\w-]+)"', panel)) | set(re.findall(r'data-choose="([\w-]+)"', panel)) <= set(ids)
    assert set(re.findall(r'aria-labelledby="([\w-]+)"', panel)) <= set(ids)
