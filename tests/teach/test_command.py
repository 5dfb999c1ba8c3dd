"""python -m dsta.teach, from files, from a data set and from a saved file; recognised and evaluated like any other."""

import csv
import json
import shutil

import numpy as np
import pytest
from helpers.benchmarks import skeleton_set
from helpers.teaching import ESTIMATOR, base_weights, own_signs, take

from dsta.data.prepared import IndexRow
from dsta.keypoints import Pose
from dsta.prepare.write import write_prepared
from dsta.recognize.__main__ import main as recognize
from dsta.teach import OwnSigns
from dsta.teach.__main__ import main
from eval import run_all

SIGNS = ("tea", "milk", "rice")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return base_weights(tmp_path_factory.mktemp("weights") / "base")


@pytest.fixture
def clips(tmp_path):
    """Three takes of each of three signs as skeleton files, and their labels."""
    (tmp_path / "clips").mkdir()
    for sign, name in enumerate(SIGNS):
        for seed in range(3):
            Pose(take(sign, seed), 15, 512, 512, ESTIMATOR).save(tmp_path / "clips" / f"{name}{seed}.npz")
    write_labels(tmp_path, [(f"{name}{seed}.npz", name) for name in SIGNS for seed in range(2)])
    return tmp_path / "clips"


def write_labels(folder, rows, head=("file", "gloss")):
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


def teach(tmp_path, weights, *given):
    return main([*map(str, given), "--weights", str(weights), "--out", str(tmp_path / "mine")])


def recognised(tmp_path, *files, capsys):
    capsys.readouterr()
    assert recognize([*map(str, files), "--weights", str(tmp_path / "mine"), "--json"]) == 0
    return [json.loads(line)["predictions"][0]["gloss"] for line in capsys.readouterr().out.splitlines()]


def test_taught_from_files_it_recognises_others(clips, weights, tmp_path, capsys):
    assert teach(tmp_path, weights, clips, "--labels", tmp_path / "labels.csv") == 0
    assert "3 signs by 6 clips, by prototypes" in capsys.readouterr().out
    unseen = [clips / f"{name}2.npz" for name in SIGNS]
    assert recognised(tmp_path, *unseen, capsys=capsys) == list(SIGNS)
    made = json.loads((tmp_path / "mine" / "joint" / "config.json").read_text())
    base = json.loads((weights / "joint" / "config.json").read_text())
    assert made["provenance"]["init"]["weights_sha256"] == base["weights_sha256"] and made["glosses"] == list(SIGNS)

    shutil.copy(tmp_path / "mine" / "taught.signs", tmp_path / "page.signs")  # as the page saves them
    assert teach(tmp_path, weights, tmp_path / "page.signs", "--with-vocabulary") == 0
    assert "beside 3 of" in capsys.readouterr().out
    assert recognised(tmp_path, *unseen, capsys=capsys) == list(SIGNS)


def test_what_is_wrong_with_some_clips_is_told_and_the_others_are_used(clips, weights, tmp_path, capsys):
    handless = take(0)
    handless[:, 7:] = 0
    Pose(handless, 15, 512, 512, ESTIMATOR).save(clips / "handless.npz")
    Pose(take(0), 15, 512, 512, "openpose").save(clips / "other.npz")
    rows = [("tea0.npz", "tea"), ("tea1.npz", "Tea"), ("milk0", "milk"), ("handless.npz", "milk"), ("none.mp4", "milk")]
    write_labels(tmp_path, [*rows, ("other.npz", "tea")])
    assert teach(tmp_path, weights, clips, "--labels", tmp_path / "labels.csv") == 2
    said = capsys.readouterr()
    for words in (
        "'tea', 'Tea' are one sign",
        "No hand was seen",
        "none.mp4: No video",
        "other.npz: ",
        "3 clips could",
    ):
        assert words in said.err, words
    assert "2 signs by 3 clips" in said.out
    assert OwnSigns.load(tmp_path / "mine" / "taught.signs").names == ("tea", "milk")


def test_only_the_training_rows_of_a_table_with_splits_teach(clips, weights, tmp_path):
    rows = [(f"{name}{seed}.npz", name, ("train", "val", "test")[seed]) for name in SIGNS for seed in range(3)]
    write_labels(tmp_path, rows, ("file", "gloss", "split"))
    assert teach(tmp_path, weights, clips, "--labels", tmp_path / "labels.csv") == 0
    assert OwnSigns.load(tmp_path / "mine" / "taught.signs").count == 3


def test_of_a_data_set_each_gloss_gives_ten_clips_of_as_many_sources(weights, tmp_path, capsys):
    skeleton_set(tmp_path / "set", glosses=("tea", "milk"), per_fold=8)
    with (tmp_path / "set" / "clips.npz").open("rb") as file:
        arrays = dict(np.load(file))
    fractions = {name: take(int("milk" in name), i) / [512, 384, 1] for i, name in enumerate(arrays)}
    np.savez(tmp_path / "set" / "clips.npz", **{name: clip.astype(np.float32) for name, clip in fractions.items()})
    assert teach(tmp_path, weights, tmp_path / "set") == 0
    assert "2 signs by 20 clips, by a linear probe" in capsys.readouterr().out


@pytest.mark.slow
def test_run_all_scores_it_as_any_other_folder(weights, tmp_path, capsys):
    """On a prepared set of these signs, its own examples left out."""
    takes = {f"{name}{seed}.mp4": take(sign, seed) for sign, name in enumerate(SIGNS) for seed in range(6)}
    end = ("web", 0, 14, 15.0, 512, 512, ESTIMATOR, 1.0, 1.0)
    rows = [IndexRow(n, n[:-5], "train" if int(n[-5]) < 3 else "test", f"s{n[-5]}", *end, n) for n in takes]
    about = {"estimator": ESTIMATOR, "glosses": sorted(SIGNS)}
    write_prepared(tmp_path / "mine", rows, lambda row: takes[row.clip], about, [])
    (tmp_path / "taught").mkdir()
    assert main([str(tmp_path / "mine"), "--weights", str(weights), "--out", str(tmp_path / "taught" / "mine")]) == 0
    place = ["--data", str(tmp_path), "--weights", str(tmp_path / "taught"), "--out", str(tmp_path / "out")]
    chosen = ["--datasets", "mine", "--streams", "joint", "bone", "--cache", str(tmp_path / "cache"), "--device", "cpu"]
    code = run_all.main([*place, *chosen])
    assert code == 0, capsys.readouterr().out
    found = list(csv.DictReader((tmp_path / "out" / "results.csv").read_text().splitlines()))
    assert {row["status"] for row in found} == {"ok"} and {row["n"] for row in found} == {"9"}
    assert max(float(row["top1_instance"]) for row in found) > 0.8


@pytest.mark.parametrize("given", [["none"], ["empty"], ["empty", "--labels", "labels.csv"], ["junk.signs"]])
def test_a_mistake_is_one_sentence(weights, tmp_path, capsys, given, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk.signs").write_bytes(b"junk")
    write_labels(tmp_path, [("a.mp4", "tea")])
    assert teach(tmp_path, weights, *given) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1 and not (tmp_path / "mine").exists()


def test_the_weights_themselves_are_never_written_over(weights, tmp_path, capsys):
    own_signs(tea=1, milk=1).save(tmp_path / "my.signs")
    assert main([str(tmp_path / "my.signs"), "--weights", str(weights), "--out", str(weights)]) == 2
    assert "give another --out" in capsys.readouterr().err


@pytest.mark.parametrize("held", ["an ensemble", "streams alone", "one stream", "one stream, with signs"])
def test_weights_that_were_not_taught_are_never_written_over(weights, tmp_path, capsys, held):
    own_signs(tea=1, milk=1).save(tmp_path / "my.signs")
    shutil.copytree(weights / "joint" if "one stream" in held else weights, tmp_path / "mine")
    if held == "streams alone":
        (tmp_path / "mine" / "ensemble.json").unlink()
    if held == "one stream, with signs":  # its config.json would still answer
        shutil.copy(tmp_path / "my.signs", tmp_path / "mine" / "taught.signs")
    before = {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    assert teach(tmp_path, weights, tmp_path / "my.signs") == 2
    assert capsys.readouterr().err == f"{tmp_path / 'mine'} holds weights already: give another --out, or delete it.\n"
    assert before == {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file()}


@pytest.mark.parametrize("out", ["file", "file/sub", "x" * 300, "new/" + "x" * 300])
def test_what_cannot_be_written_is_told_before_the_work(weights, tmp_path, capsys, out):
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "none.signs"), "--weights", str(weights), "--out", str(tmp_path / out)]) == 2
    said = capsys.readouterr().err
    assert "cannot be written" in said and len(said.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_may_not_be_written_to_is_told_before_the_work(weights, tmp_path, capsys, monkeypatch):
    def refused(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)  # the tests may run as root, who may write anywhere
    assert teach(tmp_path, weights, tmp_path / "none.signs") == 2
    assert "cannot be written (Permission denied)" in capsys.readouterr().err


def test_folders_made_for_nothing_are_gone_again_and_the_users_own_stay(weights, tmp_path):
    (tmp_path / "own").mkdir()
    for out in ("own", "own/new/mine"):
        assert main([str(tmp_path / "none.signs"), "--weights", str(weights), "--out", str(tmp_path / out)]) == 2
    assert [path.name for path in tmp_path.rglob("*")] == ["own"]
