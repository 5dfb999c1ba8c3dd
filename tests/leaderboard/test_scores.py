"""What rows said of each clip, from the scores that ship: confusions, and two rows clip by clip."""

import csv
import re

import numpy as np
import pytest
from helpers.results import row, sent, write

from dsta.common import UserError, write_npz
from leaderboard import scores, tab
from leaderboard.address import Filters
from leaderboard.download import csv_of

BOOK = "&lt;b&gt;book"
GLOSSES = np.array(["<b>book", "deaf", "hello"])
LABELS = np.array([0, 0, 0, 1, 1, 2])
JOINT = [0, 0, 1, 1, 2, 2]  # answers
BONE = [0, 0, 0, 1, 2, 1]
SENT = [0, 1, 0, 1, 1, 2]


def logits(answers):
    return np.eye(3, dtype=np.float16)[answers] * 4


def test_the_answers_of_a_row_can_be_downloaded(folder):
    every = tab.all_entries(folder)
    ask = Filters("WLASL100", row="WLASL100:test:joint:none")
    lines = list(csv.DictReader(csv_of(folder, "answers", ask, every).splitlines()))
    assert [(line["clip"], line["answer"], line["place_of_gloss"]) for line in lines[:3]] == [
        ("c0", "<b>book", "1"), ("c1", "<b>book", "1"), ("c2", "deaf", "2"),
    ]  # fmt: skip
    assert [line["gloss"] for line in lines] == GLOSSES[LABELS].tolist()
    with pytest.raises(UserError, match="open one"):
        csv_of(folder, "answers", Filters("WLASL100"), every)


@pytest.fixture
def folder(tmp_path):
    """A set of six clips under `test`, scored by two streams and by another program, whose clips are in other order."""
    names = np.array([f"c{place}" for place in range(6)])
    kept = {"logits_joint": logits(JOINT), "logits_bone": logits(BONE), "hash_joint": "w1", "hash_bone": "w2"}
    kept |= {"labels": LABELS, "fold_of": -np.ones(6), "val": np.array([], int), "test": np.arange(6), "names": names}
    kept |= {"glosses": GLOSSES, "clusters": np.array([0, 0, 1, 1, 2, 2]), "kind": "signers"}
    write_npz(tmp_path / "scores" / "WLASL100" / "scores.npz", **{name: np.asarray(a) for name, a in kept.items()})
    own = [row(weights_sha256="w1", top1=4 / 6, n=6), row(streams="bone", weights_sha256="w2", top1=4 / 6, n=6)]
    forest = sent(top1=5 / 6, n=6, predictions_sha256="p")
    write(write(tmp_path, own), [forest], "submitted.csv")
    turned = {"names": names[::-1], "labels": LABELS[::-1], "scores": logits(SENT)[::-1], "glosses": GLOSSES}
    turned |= {"clusters": np.array([]), "kind": np.array(""), "predictions_sha256": np.array("p")}
    write_npz(scores.submitted_file(tmp_path, forest), **turned)
    return tmp_path


def detail(folder, row, other=""):
    return tab.view(folder, f"?row={row}&other={other}")["detail"]


def cells(html):
    return [re.sub("<[^>]*>", "", cell) for cell in re.findall("<td[^>]*>(.*?)</td>", html)]


def test_every_gloss_and_every_confusion(folder):
    html = detail(folder, "WLASL100:test:joint:none")
    found = cells(html[html.index("All 3 glosses") :])
    assert found == [
        "deaf",
        "1 of 2",
        "2",
        "hello 1",
        "&lt;b&gt;book",
        "2 of 3",
        "3",
        "deaf 1",
        "hello",
        "1 of 1",
        "1",
        "",
    ]
    tips = re.findall("<title>(.*?)</title></rect>", html)
    assert sorted(tips) == [
        "&lt;b&gt;book right: 2 clips", "&lt;b&gt;book taken for deaf: 1 clips", "deaf right: 1 clips",
        "deaf taken for hello: 1 clips", "hello right: 1 clips",
    ]  # fmt: skip
    assert "<b>book" not in html


def test_two_rows_clip_by_clip(folder):
    html = detail(folder, "WLASL100:test:joint:none", "WLASL100:test:bone:none")
    table = cells(html[html.index("Top-1, of the same clips") :])
    assert table[:10] == [
        "A right",
        "4",
        "B right",
        "4",
        "only A right",
        "1",
        "only B right",
        "1",
        "clips of both",
        "6",
    ]
    assert "A and B are equally good" in html and "each of the signers kept together" in html


def test_a_submitted_row_is_paired_by_the_clips_names(folder):
    html = detail(folder, "WLASL100:test:joint:none", "WLASL100:test:submitted:Forest")
    table = cells(html[html.index("Top-1, of the same clips") :])
    assert table[:10] == [
        "A right",
        "4",
        "B right",
        "5",
        "only A right",
        "1",
        "only B right",
        "2",
        "clips of both",
        "6",
    ]
    assert "B is better by 16.7 points" in html
    assert "5 of 6" not in html and "2 of 3" in cells(detail(folder, "WLASL100:test:submitted:Forest"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"weights_sha256": "other"}, "scores of other networks"),
        ({"protocol": "val-videos"}, "no scores of single clips are kept"),
        ({"streams": "joint_motion"}, "no scores of single clips are kept"),
        ({"dataset": "libras11"}, "cannot be read"),
    ],
)
def test_scores_that_are_not_the_rows_are_told(folder, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        scores.measured_scores(folder, row(weights_sha256="w1") | changes)
    write(folder, [row(weights_sha256="w1") | changes])
    key = ":".join((row() | changes)[name] for name in ("dataset", "protocol", "streams", "fusion"))
    assert sentence in detail(folder, key) and "Traceback" not in detail(folder, key)


def test_damaged_and_foreign_predictions_are_a_sentence(folder):
    with pytest.raises(UserError, match="not those of its row"):
        scores.submitted_scores(folder, sent(predictions_sha256="q"))
    (folder / "scores" / "WLASL100" / "scores.npz").write_bytes(b"PK\x03\x04")
    html = detail(folder, "WLASL100:test:joint:none", "WLASL100:test:submitted:Forest")
    assert html.count("cannot be read") == 2


def test_a_file_name_is_made_of_the_systems(folder):
    path = scores.submitted_file(folder, sent(system="../../A: b/c"))
    assert path.parent == folder / "scores" / "WLASL100" / "submitted" and path.name == "test-..-..-A-b-c.npz"
