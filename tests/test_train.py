"""The training loop, on a few clips that a tiny network can tell apart."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import network, upstream_set, wlasl100

from dsta import loader
from dsta import train as module
from dsta.checkpoint import Checkpoint
from dsta.data import Clip, logits, read_skeletons
from dsta.datasets import official
from dsta.errors import UserError
from dsta.recipes import ReferenceConfig
from dsta.streams import Recipe, Stream
from dsta.train import RESUME_FILE, TrainConfig, fit, main, train

RECIPE = Recipe(window=4, bone="direct", normalise="shoulders")
CONFIG = TrainConfig(epochs=3, schedule=3, batch_size=4, inner_dim=8, depth=1)


pytestmark = pytest.mark.usefixtures("one_thread")


def made_clip(gloss, seed):
    """Fractions (5, 27, 3): `up` and `down` differ in where the right hand is."""
    rng = np.random.default_rng(seed)
    points = np.tile(np.random.default_rng(0).uniform(0.3, 0.7, (1, 27, 2)), (5, 1, 1))
    points[:, 1], points[:, 2] = (0.6, 0.5), (0.4, 0.5)
    points[:, 17:, 1] += -0.25 if gloss == "up" else 0.25
    return np.dstack([points + rng.normal(0, 0.01, points.shape), np.ones((5, 27))]).astype(np.float32)


def clips(count=8, folds=1):
    pixels = np.array([512, 384, 1], np.float32)
    return [
        Clip(f"c{i}", "set", ("up", "down")[i % 2], "", i // 2 % folds, made_clip(("up", "down")[i % 2], i) * pixels)
        for i in range(count)
    ]


@pytest.fixture
def skeletons(tmp_path):
    """A skeleton set of four folds with 8 clips each; only fold 3 has the gloss `rare`."""
    folder = tmp_path / "mine"
    folder.mkdir()
    rows, arrays = [("clip", "gloss", "source", "fold")], {}
    for i in range(32):
        gloss = ("up", "down")[i % 2]
        rows.append((f"c{i}", "rare" if i == 31 else gloss, "", i // 8))
        arrays[f"c{i}"] = made_clip(gloss, i)
    with (folder / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    np.savez(folder / "clips.npz", **arrays)
    return folder


def run(out, config=CONFIG, given=None, **more):
    return train(given or clips(), Stream.JOINT, out, config, RECIPE, progress=False, **more)


def log(out):
    """The log's lines without the clock."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def same(a, b):
    a, b = a.model.state_dict(), b.model.state_dict()
    return all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def test_a_separable_problem_is_learned(tmp_path):
    config = replace(CONFIG, epochs=12, schedule=12, learning_rate=0.02)
    checkpoint = run(tmp_path, config)
    losses = [line["loss"] for line in log(tmp_path)]
    assert losses[-1] < 0.75 * losses[0]
    fresh = [c for c in clips(40) if int(c.name[1:]) >= 20]
    predicted = logits(checkpoint.model, [c.joints for c in fresh], Stream.JOINT, RECIPE).argmax(1)
    assert np.mean([checkpoint.glosses[p] == c.gloss for p, c in zip(predicted, fresh, strict=True)]) > 0.9


def test_same_seed_same_numbers_to_the_bit(tmp_path):
    first, again = run(tmp_path / "a"), run(tmp_path / "b")
    other = run(tmp_path / "c", replace(CONFIG, seed=1))
    assert log(tmp_path / "a") == log(tmp_path / "b") and same(first, again)
    assert log(tmp_path / "a") != log(tmp_path / "c") and not same(first, other)


def test_every_epoch_draws_anew(tmp_path, monkeypatch):
    drawn, whole = [], loader.training_batches

    def batches(*args):
        for x, y in whole(*args):
            drawn.append(x)
            yield x, y

    monkeypatch.setattr(loader, "training_batches", batches)
    run(tmp_path, replace(CONFIG, batch_size=8))
    assert len(drawn) == 3
    assert not torch.equal(drawn[0].sort(0).values, drawn[1].sort(0).values)


@pytest.mark.parametrize("moment", [1, 2])
def test_interrupted_and_continued_is_the_same_to_the_bit(tmp_path, moment):
    def stop(epoch, model):
        if epoch == moment:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", after_epoch=stop)
    seen = []
    continued = run(tmp_path / "a", after_epoch=lambda epoch, model: seen.append(epoch))
    assert seen == list(range(moment, 4))  # the finished epochs are not run again
    assert same(continued, run(tmp_path / "b"))
    assert not (tmp_path / "a" / RESUME_FILE).exists()


def test_a_continued_log_has_each_epoch_once(tmp_path):
    def stop(epoch, model):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", after_epoch=stop)
    run(tmp_path / "a")
    run(tmp_path / "b")
    assert log(tmp_path / "a") == log(tmp_path / "b")


def test_balance_takes_the_glosses_shares_out_of_the_logits(tmp_path):
    given = clips(12) + [replace(clip, gloss="up") for clip in clips(12)]  # 18 of 24 are "up"
    plain, half = (run(tmp_path / str(b), replace(CONFIG, balance=b), given).model.state_dict() for b in (0.0, 0.5))
    changed = {name for name in plain if not torch.equal(plain[name], half[name])}
    assert changed == {"classifier.bias"}
    expected = 0.5 * np.log([7 / 26, 19 / 26])  # down, up; one clip is added to each
    assert (plain["classifier.bias"] - half["classifier.bias"]).numpy() == pytest.approx(expected, abs=1e-6)


def test_stopping_early_stays_on_the_curve(tmp_path):
    short = run(tmp_path / "a", replace(CONFIG, epochs=2))
    taken = {}
    run(tmp_path / "b", after_epoch=lambda e, m: taken.setdefault(e, {k: v.clone() for k, v in m.state_dict().items()}))
    assert all(torch.equal(v, taken[2][k]) for k, v in short.model.state_dict().items())


def test_a_begun_run_of_something_else_is_not_continued(tmp_path):
    def stop(epoch, model):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", after_epoch=stop)
    with pytest.raises(UserError):
        train(clips(), Stream.BONE, tmp_path / "a", CONFIG, RECIPE, progress=False)


def test_what_is_written_is_what_was_trained(tmp_path):
    trained = run(tmp_path, provenance={"licence": "mine"})
    loaded = Checkpoint.load(tmp_path)
    assert same(trained, loaded)
    assert loaded.glosses == ("down", "up") and loaded.recipe == RECIPE and loaded.stream == Stream.JOINT
    assert loaded.provenance["licence"] == "mine" and loaded.provenance["clips"] == 8
    assert loaded.provenance["training"]["epochs"] == 3 and not loaded.model.training


def test_a_gloss_without_a_clip_keeps_its_place_and_is_not_predicted(tmp_path):
    config = replace(CONFIG, epochs=8, schedule=8, learning_rate=0.02)
    checkpoint = run(tmp_path, config, glosses=["up", "never", "down"])
    assert checkpoint.glosses == ("down", "never", "up")
    scores = logits(checkpoint.model, [c.joints for c in clips()], Stream.JOINT, RECIPE)
    assert scores.shape == (8, 3) and 1 not in scores.argmax(1)


def test_too_few_clips_for_a_batch_is_a_users_error(tmp_path):
    with pytest.raises(UserError):
        run(tmp_path, replace(CONFIG, batch_size=16))


@pytest.mark.parametrize("epochs", [0, 4])
def test_epochs_must_fit_the_schedule(epochs):
    with pytest.raises(UserError, match="--epochs"):
        replace(CONFIG, epochs=epochs)


# --- the command line


@pytest.fixture
def quick(monkeypatch):
    """main() with tiny networks, and the clips that it trained on."""
    handed = []

    def tiny(task, out, machine, *args, **more):
        handed.extend(task.material.train)
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
    assert provenance["without_folds"] == [2, 3]  # neither was trained on
    assert provenance["selection"].endswith("of 2: best top-1 on folds [2]")


def benchmark(tmp_path):
    """A WLASL100 of one training, one validation and some test clips of each class."""
    folder = wlasl100(tmp_path, split=("val", "test"))
    train = {entry.label: name for name, entry in official("WLASL100").items() if entry.split == "train"}
    return upstream_set(folder, train.values(), list(train), split="train", seed=5)


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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_network_and_a_run_that_goes_on(skeletons, tmp_path, number, code):
    given = ["--data", str(skeletons), "--stream", "joint", "--schedule", "250"]
    root, out = Path(__file__).resolve().parents[1], tmp_path / "out"
    command = [sys.executable, "-m", "dsta.train", *given, "--epochs", "250", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    job = subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / RESUME_FILE).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    job.send_signal(number)
    _, err = job.communicate(timeout=120)
    assert job.returncode == code, err
    finished = len(log(out))
    assert f"Stopped after epoch {finished} of 250" in err and "Traceback" not in err
    assert Checkpoint.load(out).provenance["state"] == f"interrupted after epoch {finished} of 250"
    curve = log(out)
    assert main([*given, "--epochs", str(finished + 1), "--out", str(out)]) == 0
    assert log(out)[:finished] == curve and len(log(out)) == finished + 1
    assert "state" not in Checkpoint.load(out).provenance


def test_stopped_before_anything_was_finished(tmp_path, capsys):
    module._tell_stopped(tmp_path / "out")
    assert "nothing is kept" in capsys.readouterr().err
