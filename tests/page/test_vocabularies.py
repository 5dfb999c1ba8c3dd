"""What the page offers of a folder of weights: names, cards, and recognisers that are loaded once."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dsta.checkpoint import DEFAULT_WEIGHTS
from dsta.common import UserError
from dsta.page.vocabularies import found
from dsta.recognize import Recognizer


def labels(default):
    return {name: vocabulary.label for name, vocabulary in found(default).items()}


def test_those_that_come_along(tmp_path):
    for name in ("asl118", "libras11", "bisindo20"):  # alone, as there may be others beside them
        (tmp_path / name).symlink_to(DEFAULT_WEIGHTS.parent / name)
    there = found(tmp_path / "asl118")
    said = {"asl118": "American (118 signs)", "libras11": "Brazilian (11 signs)", "bisindo20": "Indonesian (20 signs)"}
    assert labels(tmp_path / "asl118") == said
    assert "(../" not in there["libras11"].card and "asl71" in there["libras11"].card
    assert "pose" not in found()


def test_the_default_comes_first_and_the_others_by_name(write):
    default = write("main", "language: gsg", size=3)
    write("zoo")
    write("b", "license: other\nlanguage:\n  - bzs")
    write("c", "language: [inl, ind]", size=1)
    write(".hidden")
    (default.parent / "pose").mkdir()
    assert list(labels(default).items()) == [
        ("main", "German (3 signs)"),
        ("b", "Brazilian (2 signs)"),
        ("c", "Indonesian (1 sign)"),
        ("zoo", "zoo (2 signs)"),
    ]


def test_two_of_one_language_are_told_apart(write):
    write("one", "language: ase")
    default = write("two", "language: ase")
    write("three", "language: xyz")
    said = {"two": "American, two (2 signs)", "one": "American, one (2 signs)", "three": "three (2 signs)"}
    assert list(labels(default).items()) == list(said.items())


def test_without_the_default_the_others_are_offered_and_without_all_the_reason(write, tmp_path):
    (only,) = found(tmp_path / "none").values()
    with pytest.raises(UserError, match="There is no weights folder"):
        only.recognizer()
    write("mine")
    assert labels(tmp_path / "none") == {"mine": "mine (2 signs)"}


def test_a_single_stream_and_streams_without_an_ensemble_are_offered_too(write, tmp_path):
    default = write("main")
    (default / "joint").rename(tmp_path / "alone")
    assert labels(default) == {"alone": "alone (2 signs)"}  # of `main` no network is left
    assert len(found(default)["alone"].recognizer().glosses) == 2
    (write("mine") / "ensemble.json").unlink()  # as `dsta.train` leaves them
    assert list(found(default)) == ["alone", "mine"]
    assert list(found(default)["mine"].recognizer().ensemble.fusion) == ["joint"]


BROKEN = [
    ("ensemble.json", b"{"),
    ("ensemble.json", b"[]"),
    ("ensemble.json", b'{"a":' * 100_000),
    ("joint/config.json", b'{"glosses": 3}'),
    ("joint/config.json", b'{"num_classes": ' + b"9" * 5000 + b"}"),
    ("joint/config.json", b"\xff"),
]


@pytest.mark.parametrize(("file", "content"), BROKEN)
def test_a_broken_one_is_left_out_with_a_word_in_the_log(write, file, content, caplog):
    default = write("main")
    (write("broken", "language: ase") / file).write_bytes(content)
    there = found(default)
    assert list(there) == ["main"] and there["main"].recognizer().glosses == ("sign 0", "sign 1")
    (record,) = caplog.records
    assert "broken is left out: " in record.getMessage() and "restore it" in record.getMessage()
    (default / file).write_bytes(content)
    with pytest.raises(UserError, match="restore it"):
        found(default)["main"].recognizer()


def test_one_with_damaged_weights_says_why_and_leaves_the_others_alone(write):
    default, broken = write("main"), write("broken", "language: ase")
    (broken / "joint/model.safetensors").write_bytes(b"no")
    (broken / "README.md").write_bytes(b"\xff\xfe")
    there = found(default)
    assert there["broken"].label.startswith("broken") and there["broken"].card == ""
    with pytest.raises(UserError, match="restore it"):
        there["broken"].recognizer()
    assert there["main"].recognizer().glosses == ("sign 0", "sign 1")


def test_an_unforeseen_failure_is_logged_and_a_sentence(write, monkeypatch, caplog):
    vocabulary = found(write("main"))["main"]
    monkeypatch.setattr(Recognizer, "load", lambda folder: [][1])
    with pytest.raises(UserError, match=r"main cannot be loaded \(IndexError"):
        vocabulary.recognizer()
    assert "Traceback" in caplog.text


def test_weights_for_other_joints_are_told_at_once(write):
    vocabulary = found(write("main", estimator="hrnet-wholebody"))["main"]
    with pytest.raises(UserError, match="know the joints of hrnet-wholebody"):
        vocabulary.recognizer()


def test_each_is_loaded_once_by_whoever_comes_first_and_anew_when_replaced(write, monkeypatch):
    default, other = write("main"), write("other")
    loads, load, both = [], Recognizer.load, threading.Barrier(4)

    def slow(folder):
        loads.append(folder.name)
        time.sleep(0.1)  # long enough for the others to come
        return load(folder)

    monkeypatch.setattr(Recognizer, "load", slow)

    def visit(_):
        both.wait()
        for vocabulary in found(default).values():
            vocabulary.recognizer()

    with ThreadPoolExecutor(4) as visitors:
        list(visitors.map(visit, range(4)))
    assert sorted(loads) == ["main", "other"]
    os.utime(other / "ensemble.json", (1, 1))
    visit_again = [vocabulary.recognizer() for vocabulary in found(default).values()]
    assert loads[2:] == ["other"] and len({id(recognizer) for recognizer in visit_again}) == 2


def test_a_card_loads_nothing(write):
    text = "# A\n![x](http://a/b.png) <img src='http://a/c.png'> <https://d> [e](../f.md) [g](https://h)\n\n---\nEnd"
    card = found(write("main", "language: ase", text=text))["main"].card
    assert card == "# A\n[x](http://a/b.png) < img src='http://a/c.png'> <https://d> e [g](https://h)\n\n---\nEnd"
