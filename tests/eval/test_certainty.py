"""What a score means, measured on clips that the networks had not seen, by hand-computed and by made-up ones."""

import json
import shutil

import numpy as np
import pytest
from helpers.benchmarks import STREAMS

from dsta.checkpoint import DEFAULT_WEIGHTS, Certainty, write_manifest
from dsta.metrics import fit_fusion
from dsta.streams import Stream
from dsta.train.runs import HeldOut
from eval import certainty
from leaderboard.results import OUT, SCORES_FOLDER


def held_of(confidence, right):
    """Clips of two glosses whose fused scores are these: of the first one, if they are right, else of the second."""
    odds = np.log(confidence / (1 - confidence))
    logits = np.stack([odds, np.zeros(len(odds))], 1)
    labels = np.where(right, 0, 1)
    names = np.array([f"tiny/{i}" for i in range(len(labels))])
    return HeldOut(names, labels, {"joint": logits}, ["a", "b"], np.ones(len(labels)))


def test_shares_and_people_are_counted_in_each_step():
    confidence = np.repeat([0.62, 0.91], [60, 100])
    right = np.concatenate([np.arange(60) < 30, np.arange(100) < 90])
    known = np.arange(160) % 4 == 0
    said = certainty.certainty(held_of(confidence, right), known, {"joint": 1.0}, 1.0)
    assert said["steps"] == [
        {"from": 0.6, "right": 0.5, "clips": 60, "known_people": 15},
        {"from": 0.9, "right": 0.9, "clips": 100, "known_people": 25},
    ]
    assert Certainty.read(json.loads(json.dumps(said))).of(0.95)["right"] == 0.9


@pytest.fixture
def folder(tmp_path):
    """A copy of the shipped folder whose fusion was fitted on the kept scores of bisindo20, without certainty."""
    weights = tmp_path / "weights" / "bisindo20"
    shutil.copytree(DEFAULT_WEIGHTS.parent / "bisindo20", weights)
    said = json.loads((weights / "ensemble.json").read_text())
    said.pop("certainty", None)
    (weights / "ensemble.json").write_text(json.dumps(said))
    write_manifest(weights.parent)
    return weights


def test_kept_scores_fill_a_published_folder_and_change_nothing_else(folder):
    before = json.loads((folder / "ensemble.json").read_text())
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "ensemble.json"}
    kept = OUT / SCORES_FOLDER / "bisindo20"
    assert certainty.main([str(folder), "--run", str(kept)]) == 0
    after = json.loads((folder / "ensemble.json").read_text())
    steps = after.pop("certainty")["steps"]
    assert after == before and all(path.read_bytes() == content for path, content in files.items())
    with np.load(kept / "scores.npz") as saved:
        fused = sum(before["fusion"][s] * saved[f"logits_{s}"].astype(float) for s in STREAMS) / before["temperature"]
        right = fused.argmax(1) == saved["labels"]
    best = (np.exp(fused) / np.exp(fused).sum(1, keepdims=True)).max(1)
    ends = [step["from"] for step in steps[1:]] + [1.1]
    for step, end in zip(steps, ends, strict=True):
        here = (best >= step["from"]) & (best < end)
        assert (step["clips"], step["right"]) == (here.sum(), pytest.approx(right[here].mean(), abs=1e-4))
    assert sum(step["clips"] for step in steps) == len(right) and not any(step["known_people"] for step in steps)


def test_scores_that_do_not_give_the_folders_fusion_are_refused(folder, capsys):
    said = (folder / "ensemble.json").read_text()
    assert certainty.main([str(folder), "--run", str(OUT / SCORES_FOLDER / "libras11")]) == 2
    assert "was not fitted on the clips of" in capsys.readouterr().err
    assert certainty.main([str(folder), "--run", str(OUT / SCORES_FOLDER / "WLASL100")]) == 2
    assert "no scores of held-out folds" in capsys.readouterr().err
    assert (folder / "ensemble.json").read_text() == said


def test_the_sets_count_the_same_in_the_fusion_alone():
    held = HeldOut(np.array(["a/0", "a/1", "a/2", "b/0"]), np.zeros(4, int), {}, ["x"], np.ones(4))
    assert certainty.set_balance(held) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])
    rng = np.random.default_rng(0)
    logits = {str(stream): rng.normal(0, 1, (4, 2)) for stream in Stream}
    fusion, temperature = fit_fusion(logits, held.labels, certainty.set_balance(held))
    whole = HeldOut(held.names, held.labels, logits, ["x", "y"], np.ones(4))
    (step,) = certainty.certainty(whole, np.zeros(4, bool), fusion, temperature)["steps"]
    fused = sum(fusion[stream] * logits[stream] for stream in logits)
    assert step["right"] == (fused[:, 0] >= fused[:, 1]).mean()
