"""What is not there, does not fit or fails is a row that says why, and nothing else is lost."""

import json
import pickle
import shutil

import numpy as np
import pytest
from helpers.benchmarks import network
from helpers.tables import ALL, run, table, unmade

import eval.scoring

pytestmark = pytest.mark.slow


def test_what_is_not_there_is_a_row_and_no_failure(place):
    assert run(place, datasets=["SLR500", "NMFs-CSL", "libras11", "WLASL100"]) == 0
    rows = table(place)
    assert rows["SLR500", "test", ALL, "equal"]["status"] == "no data"
    assert rows["libras11", "folds", ALL, "equal"]["status"] == "no data"
    assert rows["WLASL100", "test", ALL, "equal"]["status"] == "ok"


def test_a_stream_without_weights_is_a_row_and_the_others_go_on(place):
    shutil.rmtree(place / "weights" / "WLASL100" / "bone")
    assert run(place, datasets=["WLASL100"]) == 0
    rows = table(place)
    assert rows["WLASL100", "test", "joint+joint_motion", "equal"]["status"] == "ok"
    assert rows["WLASL100", "test", "bone", "none"]["status"] == "no weights"
    assert {key[2] for key, r in rows.items() if r["status"] == "ok"} == {
        "joint", "joint_motion", "bone_motion", "joint+joint_motion", "joint+bone_motion", "joint_motion+bone_motion",
        "joint+joint_motion+bone_motion",
    }  # fmt: skip


def test_weights_that_do_not_fit_are_rows(place):
    weights = place / "weights" / "WLASL100"
    network(weights / "joint", ["a", "b"], "joint")
    network(weights / "bone", ["x"] * 100, "bone", estimator="mediapipe-holistic")
    network(weights / "joint_motion", ["x"] * 100, "bone_motion")
    (weights / "bone_motion" / "config.json").write_text('{"stream": "bone_motion"}')
    assert run(place, datasets=["WLASL100"]) == 1
    bad = unmade(place, "WLASL100")
    assert {status for status, _ in bad.values()} == {"mismatch"}
    for stream, sentence in (
        ("joint", "tells 2 classes apart"), ("bone", "mediapipe-holistic"), ("joint_motion", "the stream bone_motion"),
        ("bone_motion", "not a configuration"),
    ):  # fmt: skip
        assert sentence in bad[stream][1]


def test_damaged_weights_are_a_row_of_each_combination(place):
    path = place / "weights" / "WLASL100" / "joint" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    assert run(place) == 1
    assert all("sha256 differs" in reason for _, reason in unmade(place, "WLASL100").values())
    assert not unmade(place, "asl_everyday")


def spoil_nan(folder):
    array = np.load(folder / "val_data_joint.npy")
    array[7, 0, 0, 0] = np.nan
    np.save(folder / "val_data_joint.npy", array)


def spoil_cut(folder):
    path = folder / "val_data_joint.npy"
    path.write_bytes(path.read_bytes()[:-100])


def spoil_length(folder):
    (folder / "val_label.pkl").write_bytes(pickle.dumps((["a"], [0])))


def spoil_classes(folder):
    names, labels = pickle.loads((folder / "val_label.pkl").read_bytes())
    (folder / "val_label.pkl").write_bytes(pickle.dumps((names, [label + 1 for label in labels])))


def spoil_program(folder):
    (folder / "val_label.pkl").write_bytes(b"cposix\nsystem\n(S'touch ran'\ntR.")


@pytest.mark.parametrize(
    ("spoil", "status", "sentence"),
    [
        (spoil_nan, "error", "1 of 200 clips hold NaN"),
        (spoil_cut, "error", "cannot be read"),
        (spoil_length, "error", "labels 1"),
        (spoil_classes, "mismatch", "100 classes"),
        (spoil_program, "error", "nothing was run"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "no data", "empty"),
    ],
)
def test_data_that_cannot_be_scored_is_one_row_and_nothing_else_is_lost(place, spoil, status, sentence):
    spoil(place / "data" / "WLASL100")
    assert run(place) == (0 if status == "no data" else 1)
    ((found, reason),) = unmade(place, "WLASL100").values()
    assert found == status and sentence in reason
    assert table(place)["asl_everyday", "folds", ALL, "fitted"]["status"] == "ok"


def change_config(folder, **provenance):
    config = json.loads((folder / "config.json").read_text())
    config["provenance"] |= provenance
    (folder / "config.json").write_text(json.dumps(config))


def test_a_network_that_saw_the_fold_is_refused(place):
    change_config(place / "runs" / "tiny" / "fold1" / "bone", without_folds=[0])
    assert run(place, datasets=["asl_everyday"]) == 1
    status, reason = unmade(place, "asl_everyday")["bone"]
    assert status == "mismatch" and "has seen fold 1" in reason
    assert table(place)["asl_everyday", "folds", "joint", "none"]["status"] == "ok"


def test_a_fusion_fitted_on_the_scored_fold_is_refused(place):
    path = place / "runs" / "tiny" / "chosen.json"
    chosen = json.loads(path.read_text())
    chosen["0"]["inner_fold"] = 0
    path.write_text(json.dumps(chosen))
    assert run(place, datasets=["asl_everyday"]) == 1
    rows = table(place)
    assert rows["asl_everyday", "folds", ALL, "fitted"]["status"] == "mismatch"
    assert rows["asl_everyday", "folds", ALL, "equal"]["status"] == "ok"


def test_a_choice_without_an_inner_fold_is_not_called_fitted(place):
    path = place / "runs" / "tiny" / "chosen.json"
    path.write_text(json.dumps({fold: c | {"inner_fold": None} for fold, c in json.loads(path.read_text()).items()}))
    assert run(place, datasets=["asl_everyday"]) == 0
    row = table(place)["asl_everyday", "folds", ALL, "fitted"]
    assert row["status"] == "no weights" and "too few folds" in row["reason"]


def test_folds_that_are_not_trained_yet_are_told(place):
    shutil.rmtree(place / "runs" / "tiny" / "fold1" / "joint")
    (place / "runs" / "tiny" / "chosen.json").unlink()
    assert run(place, datasets=["asl_everyday"]) == 0
    bad = unmade(place, "asl_everyday")
    assert bad["joint"][0] == "no weights" and "fold1/joint" in bad["joint"][1]
    assert "no fusion was fitted" in bad["bone+joint_motion"][1]
    shutil.rmtree(place / "runs")
    assert run(place, datasets=["asl_everyday"], out="none") == 0
    (row,) = table(place, "none").values()
    assert row["status"] == "no weights" and "eval/crossval.py" in row["reason"]


def test_a_crash_in_one_set_is_its_row_and_its_traceback_is_shown(place, monkeypatch, capfd):
    real = eval.run_all.protocol_clips

    def crash(plan):
        return 1 / 0 if plan.spec.name == "WLASL100" else real(plan)

    monkeypatch.setattr(eval.run_all, "protocol_clips", crash)
    assert run(place) == 1
    assert unmade(place, "WLASL100")[ALL] == ("error", "ZeroDivisionError: division by zero")
    assert "Traceback" in capfd.readouterr().err
    assert table(place)["asl_everyday", "folds", ALL, "equal"]["status"] == "ok"


def test_wrong_arguments_are_one_sentence(place, capsys):
    for more, what in (
        (["--streams", "hands"], "No stream is called hands"),
        (["--out", str(place / "data" / "asl_everyday" / "index.csv")], "choose another folder"),
        (["--cache", str(place / "data" / "asl_everyday" / "index.csv")], "--cache"),
    ):
        assert run(place, *more) == 2
        assert what in capsys.readouterr().err
    assert run(place, datasets=["WLASL42"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_damaged_table_is_told_before_anything_is_scored(place, monkeypatch, capsys):
    monkeypatch.setattr(eval.scoring, "score", None)
    (place / "out").mkdir(exist_ok=True)
    (place / "out" / "results.csv").write_text("a,b\n1,2\n")
    assert run(place) == 2
    assert "lacks the column dataset and protocol and" in capsys.readouterr().err
    assert (place / "out" / "results.csv").read_text() == "a,b\n1,2\n"
