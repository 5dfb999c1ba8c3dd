"""Signs outside the vocabulary: the means, the threshold, the rows."""

import csv

import numpy as np
import pytest
from helpers.benchmarks import SMALL, network, skeleton_set
from helpers.examples import KNOWN, NEW, five_glosses, trained_without
from sklearn.metrics import roc_auc_score

from dsta.checkpoint import Seen
from dsta.data.overlap import Fingerprints
from dsta.embedding import unit
from eval import unknown
from eval.familiar import fitted_means, threshold_of


@pytest.fixture
def data(tmp_path):
    return five_glosses(tmp_path / "data" / "FIVE")


def test_no_mean_is_a_single_clips():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), [2, 9, 30])
    clips = unit(rng.normal(size=(41, 8)) + 6 * np.eye(8)[labels])
    signs = fitted_means(clips, labels, unit(rng.normal(size=(50, 8))))
    assert set(signs.gloss) == {0, 1, 2} and (signs.gloss == 0).sum() == 1
    nearest_clip = np.concatenate([signs.known, signs.background]) @ clips.T
    assert nearest_clip.max() < 1 - 1e-6
    assert len(signs.known) == len(signs.gloss) > 4
    assert np.array_equal(signs.gloss[(clips @ signs.known.T).argmax(1)], labels)


def test_nine_tenths_reach_the_threshold_each_set_counting_the_same():
    values = np.arange(100.0)
    assert (values >= threshold_of(values)).mean() == pytest.approx(0.9, abs=0.011)
    few, many = np.linspace(0, 1, 20), np.linspace(10, 11, 2000)  # of two sets
    weights = np.repeat([1 / 20, 1 / 2000], [20, 2000])
    threshold = threshold_of(np.concatenate([few, many]), weights)
    assert ((few >= threshold).mean() + (many >= threshold).mean()) / 2 == pytest.approx(0.9, abs=0.03)


def test_the_figures_of_a_score_by_hand():
    values, known = np.array([3.0, 2, 1, 2.5, 0, 0.5]), np.array([True, True, True, False, False, False])
    row = unknown.figures_of_score(values, known, 1.0, np.array(list("abcabc")))
    assert (row["auroc"], row["passed"], row["flagged"]) == (pytest.approx(7 / 9), 1, pytest.approx(2 / 3))
    assert row["auroc_lo"] <= 7 / 9 <= row["auroc_hi"] and (row["known"], row["unknown"]) == (3, 3)
    assert row["auroc"] == roc_auc_score(known, values)


def test_the_command_writes_a_row_for_each_score_and_split(data, tmp_path, capsys):
    background = skeleton_set(tmp_path / "others", ("fox", "gnu", "cat"))
    place = ["--data", str(data), "--weights", str(tmp_path / "weights"), "--background", str(background)]
    place += ["--out", str(tmp_path / "out")]
    for stream in ("joint", "bone"):
        trained_without(tmp_path / "weights", stream, Seen(Fingerprints.none()))
    assert unknown.main(place) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "unknown.csv").read_text().splitlines()))
    scores = {"probability", "energy", "nearest known", "familiarity"}
    assert {(r["score"], r["protocol"]) for r in rows} == {(s, p) for s in scores for p in ("val", "test")}
    assert {(r["known"], r["unknown"], r["streams"]) for r in rows} == {("4", "6", "joint+bone")}
    assert all(float(r["passed"]) >= 0.9 for r in rows if r["protocol"] == "val")
    network(tmp_path / "all" / "joint", KNOWN + NEW, "joint", SMALL, "mediapipe-holistic")
    assert unknown.main([*place[:3], str(tmp_path / "all"), *place[4:]]) == 2
    assert "--without-glosses" in capsys.readouterr().err
