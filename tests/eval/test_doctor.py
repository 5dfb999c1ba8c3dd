"""The doctor: what is wrong with data before it is scored, and with a figure after it."""

import numpy as np
import pytest
from helpers.benchmarks import skeleton_set, upstream_set, wlasl100
from helpers.clips import signer

from dsta.data import BENCHMARKS, SMALL_SETS, official, read_clip_set
from eval.doctor import examine, find_folder, main, verdict


def said(folder, name, level=None):
    """The findings' sentences on a folder."""
    spec = {**BENCHMARKS, **SMALL_SETS}[name]
    return " ".join(f.text for f in examine(read_clip_set(folder), spec) if level in (None, f.level))


@pytest.fixture
def folder(tmp_path):
    return wlasl100(tmp_path)


def arrays(folder, split="val"):
    path = folder / f"{split}_data_joint.npy"
    return path, np.load(path)


def test_counts_and_classes_against_the_official_ones(folder):
    text = said(folder, "WLASL100", "warning")
    assert "200 clips, where the official lists have 596" in text and "classes have no clip" not in text


def test_a_label_too_high_stops(tmp_path):
    folder = upstream_set(tmp_path / "WLASL100", ["a", "b"], [0, 100])
    assert "up to 100, but WLASL100 has 100 classes" in said(folder, "WLASL100", "mismatch")


def test_absent_classes_are_counted(tmp_path):
    folder = upstream_set(tmp_path / "WLASL100", ["a", "b"], [0, 41])
    assert "98 of 100 classes have no clip" in said(folder, "WLASL100", "warning")


def test_nan_stops_and_infinity_is_told(folder):
    path, array = arrays(folder)
    array[3, 0, 0, 0], array[5:7, 1, 2, 3] = np.nan, np.inf
    np.save(path, array)
    assert "1 of 200 clips hold NaN" in said(folder, "WLASL100", "error")
    assert "2 of 200 clips hold infinity" in said(folder, "WLASL100", "warning")


def test_missing_hands_are_measured(folder):
    path, array = arrays(folder)
    array[:100, 2, :, 7:] = 0
    np.save(path, array)
    assert "No hand was seen in 50.0% of the frames, and in 50.0% of the clips none" in said(
        folder, "WLASL100", "warning"
    )


def test_joints_that_cannot_be_a_signers_are_told(folder):
    path, array = arrays(folder)
    array[:, :, :, :, 0] = signer(array.shape[2]).transpose(2, 0, 1)
    for i in (7, 9):
        array[i, ..., 0] = signer(array.shape[2], exchanged=True).transpose(2, 0, 1)
    array[11, :2] /= 512
    np.save(path, array)
    text = said(folder, "WLASL100", "warning")
    assert "In 1 of 200 clips the joints cannot be a person's: " in text and "no pixels of a 512×512" in text
    assert "In 2 of 200 clips each hand lies at the other one's wrist" in text


def test_glosses_that_look_alike_are_told(tmp_path):
    folder = skeleton_set(tmp_path / "asl_everyday", ("Book", "book", "deaf"))
    assert "'Book', 'book' differ in case" in said(folder, "asl_everyday", "warning")


def test_names_that_are_not_official_allow_no_test_protocol(tmp_path):
    folder = upstream_set(tmp_path / "WLASL100", ["a", "b"], [0, 1])
    assert "no protocol `test`" in said(folder, "WLASL100", "warning")


def test_training_clips_among_those_to_score_are_told(tmp_path):
    folder = wlasl100(tmp_path, split=("val", "test", "train"))
    assert "100 of the clips to score are training clips" in said(folder, "WLASL100", "warning")


@pytest.mark.parametrize(("shift", "sentence"), [(1, "another order"), (0, "labels are wrong")])
def test_labels_against_the_official_ones(tmp_path, shift, sentence):
    known = {n: e for n, e in official("WLASL100").items() if e.split == "test"}
    labels = [(e.label + shift) % 100 for e in known.values()]
    if not shift:
        labels[3], labels[200] = labels[200], labels[3]
    text = said(upstream_set(tmp_path / "WLASL100", known, labels), "WLASL100", "warning")
    assert sentence in text


def test_clips_that_are_in_training_too_by_name_and_by_content(folder):
    _, array = arrays(folder)
    names = read_clip_set(folder).names
    upstream_set(folder, ["new", names[4], names[5]], [0, 1, 2], split="train")
    path, train = arrays(folder, "train")
    train[:2] = array[10:12]
    np.save(path, train)
    text = said(folder, "WLASL100", "warning")
    assert "2 of the clips to score are in training too, by name" in text
    assert "4 of the clips to score are in training too, or nearly the same recording" in text


def test_the_same_take_in_two_folds_is_told(tmp_path):
    folder = skeleton_set(tmp_path / "asl_everyday")
    assert "No clip to score is in another fold too" in said(folder, "asl_everyday")
    clips = dict(np.load(folder / "clips.npz"))
    clips["book/f1-0"] = clips["book/f0-0"]
    np.savez(folder / "clips.npz", **clips)
    assert "2 of the clips to score are in another fold too" in said(folder, "asl_everyday", "warning")


def scores(labels, classes, strength, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(labels), classes)) + strength * np.eye(classes)[labels]


def test_a_good_figure_gets_no_verdict():
    labels = np.arange(400) % 20
    assert verdict(scores(labels, 20, 3), labels) == ""


def test_chance_level_is_told_with_its_usual_causes():
    labels = np.arange(400) % 20
    text = verdict(scores(labels, 20, 0), labels)
    assert "at chance level (5.0%)" in text and "another stream" in text and "dsta.identify" in text


def test_always_the_commonest_class_is_chance_level():
    labels = np.array([0] * 70 + [1] * 30)
    assert "at chance level (70.0%)" in verdict(np.tile([1.0, 0.0], (100, 1)), labels)


def test_classes_in_another_order_are_recognised():
    labels = np.arange(400) % 20
    order = np.roll(np.arange(20), 7)
    text = verdict(scores(labels, 20, 4)[:, order], labels)
    assert "the classes are in another order" in text and "renamed to fit" in text


def test_folders_are_found_by_any_spelling(tmp_path):
    (tmp_path / "MLASL100").mkdir()
    spec = BENCHMARKS["MSASL100"]
    assert find_folder([tmp_path / "none", tmp_path], spec) == tmp_path / "MLASL100"
    assert find_folder([tmp_path / "MLASL100"], spec) == tmp_path / "MLASL100"
    assert find_folder([tmp_path], BENCHMARKS["SLR500"]) is None


def test_the_command(tmp_path, capsys):
    skeleton_set(tmp_path / "asl_everyday")
    assert main(["--data", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("asl_everyday\n") and "where the official lists have 5819" in out and "WLASL100" not in out
    assert main(["WLASL100", "--data", str(tmp_path)]) == 1
    assert "not in" in capsys.readouterr().out
    (tmp_path / "asl_everyday" / "clips.npz").write_bytes(b"no archive")
    assert main(["--data", str(tmp_path)]) == 1
    assert "cannot be read" in capsys.readouterr().out
    skeleton_set(tmp_path / "mine")
    assert main(["mine", "--data", str(tmp_path)]) == 0  # a set of one's own
    assert "24 clips of 3 classes, as it should be" in capsys.readouterr().out
    assert main(["nothing"]) == 2
    assert "No benchmark is called nothing" in capsys.readouterr().err
