"""`python -m dsta.train`: which clips and recipe, what is refused, and what a signal leaves."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.benchmarks import network, upstream_set, wlasl100
from helpers.training import PATIENCE, QUIET, log, picture_clip, same

from dsta.checkpoint import Checkpoint
from dsta.data import official, read_skeletons
from dsta.skeleton import LEFT_HAND
from dsta.streams import Recipe, Stream
from dsta.train import ReferenceConfig, TrainConfig, fit, record
from dsta.train import __main__ as module
from dsta.train.__main__ import main
from dsta.train.state import RESUME_FILE, tell_stopped


@pytest.fixture
def skeletons(tmp_path):
    """A skeleton set of four folds with 8 clips each; only fold 3 has the gloss `rare`."""
    folder = tmp_path / "mine"
    folder.mkdir()
    rows, arrays = [("clip", "gloss", "source", "fold")], {}
    for i in range(32):
        gloss = ("up", "down")[i % 2]
        rows.append((f"c{i}", "rare" if i == 31 else gloss, "", i // 8))
        arrays[f"c{i}"] = picture_clip(gloss, i)
    with (folder / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    np.savez(folder / "clips.npz", **arrays)
    return folder


@pytest.fixture
def quick(monkeypatch):
    """main() with tiny networks, and the clips that it trained on."""
    handed = []

    def tiny(task, out, machine, *args, **more):
        handed.extend(task.clips.train)
        small = {"batch_size": 4, "inner_dim": 8, "depth": 1}
        task = replace(task, config=replace(task.config, **small))
        return fit(task, out, replace(machine, progress=False), *args, **more)

    monkeypatch.setattr(module, "fit", tiny)
    return handed


def test_folds_are_left_out(skeletons, tmp_path, quick):
    arguments = ["--data", str(skeletons), "--stream", "bone", "--out", str(tmp_path / "out"), "--epochs", "1"]
    assert main([*arguments, "--without-folds", "1", "3"]) == 0
    assert {clip.fold for clip in quick} == {0, 2} and len(quick) == 16
    loaded = Checkpoint.load(tmp_path / "out")
    assert loaded.provenance["without_folds"] == [1, 3] and loaded.provenance["clips"] == 16
    assert loaded.provenance["datasets"] == ["mine"] and loaded.stream == Stream.BONE
    assert loaded.glosses == ("down", "rare", "up")  # the vocabulary of all folds: networks stay comparable


def test_clips_left_out_have_no_influence(skeletons, tmp_path, quick):
    out = [tmp_path / "a", tmp_path / "b"]
    for folder in out:
        arguments = ["--data", str(skeletons), "--stream", "joint", "--out", str(folder), "--epochs", "1"]
        assert main([*arguments, "--without-folds", "3"]) == 0
        with np.load(skeletons / "clips.npz") as file:
            changed = dict(file.items())
        for clip in read_skeletons(skeletons):
            if clip.fold == 3:
                changed[clip.name] = changed[clip.name] * 0.5
        np.savez(skeletons / "clips.npz", **changed)
    assert same(Checkpoint.load(out[0]), Checkpoint.load(out[1]))


def test_every_clip_is_used_without_the_option(skeletons, tmp_path, quick):
    assert main(["--data", str(skeletons), "--stream", "joint", "--out", str(tmp_path / "out"), "--epochs", "1"]) == 0
    assert len(quick) == 32


@pytest.mark.parametrize(
    "wrong", [["--epochs", "0"], ["--epochs", "3", "--schedule", "2"], ["--without-folds", *"0123"]]
)
def test_a_users_error_is_one_sentence_and_code_2(skeletons, tmp_path, capsys, wrong):
    assert main(["--data", str(skeletons), "--stream", "joint", "--out", str(tmp_path / "out"), *wrong]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and "Traceback" not in err


def test_missing_data_is_one_sentence_and_code_2(tmp_path, capsys):
    assert main(["--data", str(tmp_path), "--stream", "joint", "--out", str(tmp_path / "out")]) == 2
    assert "index.csv" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_an_unknown_stream_exits_with_code_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--data", str(tmp_path), "--stream", "joints", "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2 and "joints" in capsys.readouterr().err


def test_folds_choose_the_epoch(skeletons, tmp_path, quick):
    out = tmp_path / "out"
    arguments = ["--data", str(skeletons), "--stream", "joint", "--out", str(out), "--epochs", "2"]
    assert main([*arguments, "--val-folds", "2", "--without-folds", "3", "--select-every", "1"]) == 0
    assert {clip.fold for clip in quick} == {0, 1}
    provenance = Checkpoint.load(out).provenance
    assert (provenance["without_folds"], provenance["val_folds"]) == ([3], [2])  # neither was trained on
    assert provenance["selection"].endswith("of 2: best top-1 on folds [2]")


def benchmark(tmp_path):
    """A WLASL100 of one training, one validation and some test clips of each class."""
    folder = wlasl100(tmp_path, split=("val", "test"))
    train = {entry.label: name for name, entry in official("WLASL100").items() if entry.split == "train"}
    return upstream_set(folder, train.values(), list(train), split="train", seed=5)


@pytest.mark.slow
def test_a_benchmark_is_trained_by_the_references_recipe(tmp_path, quick, capsys):
    folder, out = benchmark(tmp_path), tmp_path / "out"
    arguments = ["--data", str(folder), "--stream", "bone_motion", "--out", str(out), "--epochs", "1"]
    assert main([*arguments, "--schedule", "250", "--seed", "7"]) == 0
    loaded = Checkpoint.load(out)
    assert loaded.recipe == Recipe() and loaded.estimator == "hrnet-wholebody" and len(loaded.glosses) == 100
    assert loaded.provenance["recipe"] == "reference" and loaded.provenance["training"]["seed"] == 7
    assert "official validation part of WLASL100, 100 clips" in loaded.provenance["selection"]
    assert len(quick) == 100


@pytest.mark.parametrize(
    ("asked", "kind", "expected"),
    [
        ([], ReferenceConfig, {"epochs": 250, "schedule": 250, "inner_dim": 64, "faithful": False}),
        (["--faithful", "--seed", "3"], ReferenceConfig, {"faithful": True, "seed": 1}),
        (["--model", "compact", "--epochs", "9"], ReferenceConfig, {"epochs": 9, "schedule": 9, "inner_dim": 16}),
        (["--schedule", "250", "--epochs", "2"], ReferenceConfig, {"epochs": 2, "schedule": 250}),
        (["--recipe", "small", "--model", "paper"], TrainConfig, {"epochs": 50, "inner_dim": 64, "depth": 4}),
        (["--ema", "0.99", "--clip-norm", "1"], ReferenceConfig, {"average": 0.99, "clip_norm": 1}),
    ],
)
def test_which_recipe_and_what_is_changed_of_it(tmp_path, asked, kind, expected):
    for name in ("WLASL100", "MLASL200"):
        given = ["--data", str(tmp_path / name), "--stream", "joint", "--out", "o", *asked]
        config = module._config(module._parser().parse_args(given))
        assert isinstance(config, kind) and {key: getattr(config, key) for key in expected} == expected


def test_all_streams_at_once_each_from_its_own_beginning(skeletons, tmp_path):
    recipe = Recipe(window=6, bone="direct", normalise="shoulders", views=2)
    for stream in Stream:
        network(tmp_path / "init" / stream, ["down"], stream, recipe, estimator="mediapipe-holistic")
    given = [
        "--data",
        str(skeletons),
        "--stream",
        "all",
        "--out",
        str(tmp_path / "o"),
        "--init",
        str(tmp_path / "init"),
    ]
    tasks = module.training_runs(module._parser().parse_args(given), QUIET)
    assert {out: (task.stream, task.init.stream) for out, task in tasks.items()} == {
        tmp_path / "o" / stream: (stream, stream) for stream in Stream
    }
    assert len({id(task.clips) for task in tasks.values()}) == 1  # side by side they share their draws


def test_glosses_are_left_out_by_name(skeletons, tmp_path, capsys):
    given = ["--data", str(skeletons), "--stream", "joint", "--out", str(tmp_path / "o"), "--without-glosses"]
    (task,) = module.training_runs(module._parser().parse_args([*given, "rare"]), QUIET).values()
    assert task.clips.glosses == ("down", "up") and {clip.gloss for clip in task.clips.train} == {"down", "up"}
    assert task.provenance["without_glosses"] == ["rare"]
    assert main([*given, "unheard"]) == 2
    assert "--without-glosses unheard: there is no such gloss" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "kind", "says"),
    [([], TrainConfig, "the recipe for small sets, which masks them"), (["reference"], ReferenceConfig, "at (0, 0)")],
)
def test_a_benchmark_of_an_estimator_that_leaves_joints_unseen(tmp_path, asked, kind, says):
    folder = benchmark(tmp_path)
    (folder / "dataset.json").write_text('{"format": 1, "estimator": "mediapipe-holistic", "glosses": []}')
    array = np.load(folder / "train_data_joint.npy")
    array[:, 2, :, LEFT_HAND] = 0
    np.save(folder / "train_data_joint.npy", array)
    given = ["--data", str(folder), "--stream", "joint", "--out", "o"]
    args = module._parser().parse_args([*given, *(["--recipe", *asked] if asked else [])])
    task = module.training_runs(args, QUIET)[Path("o")]
    assert isinstance(task.config, kind) and "official validation part" in task.clips.selection
    (note,) = module._unseen_joints(args, task)
    assert note.startswith("50% of the hands' joints") and says in note


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["--faithful"], "--faithful does not belong to the small recipe"),
        (["--recipe", "reference", "--per-gloss", "2"], "--per-gloss does not belong to the reference recipe"),
        (["--train-split", "test"], "never"),
        (["--device", "abacus"], "abacus"),
        (["--ema", "1"], "--ema"),
    ],
)
def test_options_that_do_not_go_together(skeletons, tmp_path, capsys, asked, says):
    assert main(["--data", str(skeletons), "--stream", "joint", "--out", str(tmp_path / "out"), *asked]) == 2
    err = capsys.readouterr().err
    assert says in err and len(err.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_weights_of_another_estimator_or_stream_are_refused(skeletons, tmp_path, capsys):
    network(tmp_path / "a", ["x", "y"], "joint")
    network(tmp_path / "b", ["x", "y"], "bone", estimator="mediapipe-holistic")
    for weights, says in (("a", "hrnet-wholebody"), ("b", "--stream bone")):
        given = ["--data", str(skeletons), "--stream", "joint", "--out", str(tmp_path / "out")]
        assert main([*given, "--init", str(tmp_path / weights)]) == 2
        assert says in capsys.readouterr().err


def test_fine_tuning_keeps_the_weights_input(skeletons, tmp_path, capsys):
    recipe = Recipe(window=6, bone="direct", normalise="shoulders", views=2)
    init = network(tmp_path / "a", ["down", "x"], "joint", recipe, estimator="mediapipe-holistic")
    given = ["--data", str(skeletons), "--stream", "joint", "--out", str(tmp_path / "out"), "--epochs", "1"]
    assert main([*given, "--init", str(init)]) == 0
    tuned, before = Checkpoint.load(tmp_path / "out"), json.loads((init / "config.json").read_text())
    assert tuned.recipe == recipe and tuned.glosses == ("down", "rare", "up") and tuned.model.config.inner_dim == 8
    assert tuned.provenance["init"] == {"weights_sha256": before["weights_sha256"], **before["provenance"]}


@pytest.mark.parametrize("use", ["--val-folds", "--without-folds"])
def test_weights_that_have_seen_the_judging_clips_under_another_name_are_refused(
    skeletons, tmp_path, quick, capsys, use
):
    given = ["--stream", "joint", "--epochs", "1", "--data"]
    assert main([*given, str(skeletons), "--out", str(tmp_path / "first")]) == 0
    renamed = skeletons.rename(tmp_path / "renamed")
    begun = [*given, str(renamed), "--out", str(tmp_path / "out"), "--init", str(tmp_path / "first")]
    assert main([*begun, use, "2"]) == 2
    assert "first, or one from which it began, was trained on 8 of these 8 clips" in capsys.readouterr().err
    assert main(begun) == 0  # trained on all again, there is nothing to judge
    first, tuned = (Checkpoint.load(tmp_path / name).seen for name in ("first", "out"))
    assert np.array_equal(first.trained.codes, tuned.trained.codes) and tuned.whole and len(tuned.trained) == 32
    for name in ("first", "out"):  # what older weights lack is found from their provenance
        replace(Checkpoint.load(tmp_path / name), seen=None).save(tmp_path / name)
    sets = ["--data", str(renamed)]
    assert record.main([str(tmp_path / "out"), *sets]) == 2 and "name its folder with --data" in capsys.readouterr().err
    assert record.main([str(tmp_path / "out"), *sets, str(shutil.copytree(renamed, skeletons))]) == 0
    again = Checkpoint.load(tmp_path / "out").seen
    assert again.whole and np.array_equal(again.trained.codes, first.trained.codes)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_network_and_a_run_that_goes_on(skeletons, tmp_path, number, code):
    given = ["--data", str(skeletons), "--stream", "joint", "--schedule", "250"]
    root, out = Path(__file__).resolve().parents[2], tmp_path / "out"
    command = [sys.executable, "-m", "dsta.train", *given, "--epochs", "250", "--out", str(out)]
    deadline = time.monotonic() + PATIENCE
    with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) as job:
        while not (out / RESUME_FILE).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        job.send_signal(number)
        try:
            _, err = job.communicate(timeout=PATIENCE)
        finally:
            job.kill()
    assert job.returncode == code, err
    finished = len(log(out))
    assert f"Stopped after epoch {finished} of 250" in err and "Traceback" not in err
    assert Checkpoint.load(out).provenance["state"] == f"interrupted after epoch {finished} of 250"
    curve = log(out)
    assert main([*given, "--epochs", str(finished + 1), "--out", str(out)]) == 0
    assert log(out)[:finished] == curve and len(log(out)) == finished + 1
    assert "state" not in Checkpoint.load(out).provenance


def test_stopped_before_anything_was_finished(tmp_path, capsys):
    tell_stopped(tmp_path / "out")
    assert "nothing is kept" in capsys.readouterr().err


def test_stopped_while_the_finished_network_was_written(tmp_path, capsys):
    network(tmp_path / "out", ["x", "y"], "joint")
    tell_stopped(tmp_path / "out")
    assert "holds the finished network" in capsys.readouterr().err
