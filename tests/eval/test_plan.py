"""Which network may score which fold: neither it nor what it began from has trained on it, or been chosen by it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.benchmarks import SMALL, crossval_run, network, skeleton_set

from dsta.checkpoint import origin, saw_folds
from dsta.data import read_clip_set, read_skeletons
from dsta.train.runs import CrossValidation
from eval.plan import Network, Unscored, find_run, fit_on_inner_fold, fold_network, in_classes_of

MINE = {"datasets": ["mine"], "without_folds": [0]}
EVERY = {"datasets": ["mine"], "without_folds": []}
OTHER = {"datasets": ["other"], "without_folds": []}


@pytest.mark.parametrize(
    ("provenance", "why"),
    [
        (MINE, ""),
        (MINE | {"val_folds": [1]}, ""),
        (MINE | {"without_folds": [0, 1], "val_folds": [1]}, ""),
        (OTHER, ""),
        (MINE | {"init": OTHER}, ""),
        (MINE | {"init": MINE | {"init": OTHER}}, ""),
        (MINE | {"init": None}, ""),
        (EVERY, "It has seen fold 0"),
        ({"datasets": ["mine"]}, "It has seen fold 0"),
        (MINE | {"val_folds": [0]}, "It has seen fold 0: its epoch was chosen on it"),
        (MINE | {"selection": "best top-1 on folds [0]"}, "It has seen fold 0: its epoch was chosen on it"),
        (MINE | {"selection": "best top-1 on folds [1]", "val_folds": [1]}, ""),
        (MINE | {"init": EVERY}, "The network from which It began has seen fold 0"),
        (MINE | {"init": OTHER | {"init": EVERY}}, "The network from which It began has seen fold 0"),
        (MINE | {"init": MINE | {"val_folds": [0]}}, "The network from which It began has seen fold 0: its epoch"),
        (MINE | {"init": "4f2a"}, "The network from which It began does not say what it was trained on"),
        (MINE | {"init": {"weights_sha256": "4f2a"}}, "The network from which It began does not say"),
        ({}, "It does not say what it was trained on"),
    ],
)
def test_what_a_network_has_seen(provenance, why):
    found = saw_folds("It", provenance, ["mine", "more"], [0])
    assert found.startswith(why) if why else not found


def test_several_folds_must_all_be_unseen():
    assert "fold 1" in saw_folds("It", MINE, ["mine"], [0, 1])
    assert not saw_folds("It", EVERY, ["mine"], [])  # what scores nothing may have seen everything


@pytest.fixture
def run(tmp_path):
    """A cross-validation of one stream of a set of two folds."""
    return CrossValidation(crossval_run(tmp_path / "run", [skeleton_set(tmp_path / "mine")], ["joint"]))


def test_of_two_runs_that_could_be_meant_none_is_guessed(run, tmp_path):
    assert find_run([tmp_path], "mine").folder == find_run([tmp_path / "run"], "mine").folder == run.folder
    shutil.copytree(run.folder, tmp_path / "run-first")
    with pytest.raises(Unscored, match=r"2 runs have networks for mine, .*/run, .*/run-first: name one") as error:
        find_run([tmp_path], "mine")
    assert error.value.status == "mismatch"
    assert find_run([tmp_path / "run-first"], "mine").folder.name == "run-first"


def change(folder, **provenance):
    config = json.loads((folder / "config.json").read_text())
    config["provenance"] |= provenance
    (folder / "config.json").write_text(json.dumps(config))


def test_a_fold_is_not_scored_by_what_began_from_a_network_that_saw_it(run, tmp_path):
    held, folder = read_clip_set(tmp_path / "mine"), run.network([0], "joint")
    assert fold_network(run, "joint", 0, held).fold == 0
    every = network(tmp_path / "all", ["book", "deaf", "hello"], "joint", SMALL, "mediapipe-holistic", **EVERY)
    change(folder, init=origin(every))
    with pytest.raises(Unscored, match=r"The network from which .*fold0/joint began has seen fold 0") as error:
        fold_network(run, "joint", 0, held)
    assert error.value.status == "mismatch"


def test_a_fold_is_not_scored_by_a_network_whose_epoch_was_chosen_on_it(run, tmp_path):
    change(run.network([1], "joint"), val_folds=[1])
    with pytest.raises(Unscored, match="its epoch was chosen on it"):
        fold_network(run, "joint", 1, read_clip_set(tmp_path / "mine"))


def test_a_fusion_is_not_fitted_by_a_judge_that_began_from_a_network_that_saw_the_folds(run, tmp_path):
    clips = read_skeletons(tmp_path / "mine")
    weights, temperature = fit_on_inner_fold(run, clips, 0, ["joint"])
    assert weights == {"joint": 1} and temperature > 0
    change(run.network([0, 1], "joint"), init=EVERY)
    with pytest.raises(Unscored, match="has no scores of joint on fold 1") as error:
        fit_on_inner_fold(run, clips, 0, ["joint"])
    assert error.value.status == "no weights"


def test_labels_go_to_the_networks_classes_by_name(tmp_path):
    held = read_clip_set(skeleton_set(tmp_path / "mine"))
    names = ["zoo", "hello", "book", "yes", "deaf"]
    moved = in_classes_of(Network(Path("n"), "n", "joint", {"glosses": names}), held)
    assert moved.glosses == tuple(names)
    before = [held.glosses[label] for label in held.labels]
    assert [names[label] for label in moved.labels] == before and set(before) == {"book", "deaf", "hello"}
    assert np.array_equal(held.folds, moved.folds) and moved.names == held.names
