"""The weights that are committed: whole, guarded by the manifest, and what their card and the table say of them."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from dsta.keypoints import Pose
from dsta.recognize import Recognizer
from dsta.skeleton import INDEX, RIGHT_HAND
from dsta.streams import Stream

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "weights"
ASL71 = WEIGHTS / "asl71"


def test_the_manifest_lists_every_file_with_its_hash():
    listed = json.loads((WEIGHTS / "manifest.json").read_text())
    files = {p.relative_to(WEIGHTS).as_posix(): p for p in WEIGHTS.rglob("*") if p.is_file() and p.suffix != ".pyc"}
    del files["manifest.json"]
    assert set(listed) == set(files)
    wrong = [name for name, path in files.items() if hashlib.sha256(path.read_bytes()).hexdigest() != listed[name]]
    assert not wrong


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer.load(ASL71)


def test_four_streams_of_one_vocabulary(recognizer):
    assert set(recognizer.checkpoints) == {str(stream) for stream in Stream}
    assert len(recognizer.glosses) == 71
    assert sum(recognizer.fusion.values()) == pytest.approx(1, abs=1e-3)
    assert sum(path.stat().st_size for path in ASL71.rglob("*") if path.is_file()) < 45e6


def test_each_network_says_where_it_is_from(recognizer):
    for checkpoint in recognizer.checkpoints.values():
        assert checkpoint.provenance["datasets"] == ["wlasl50", "asl_everyday"]
        assert "research" in checkpoint.provenance["licence"]


def test_a_signer_anywhere_in_the_picture_is_the_same_to_it(recognizer):
    t = np.linspace(0, 1, 30)
    joints = np.random.default_rng(0).uniform(250, 300, (1, 27, 2)) + np.zeros((30, 1, 2))
    joints[:, INDEX["left_shoulder"]], joints[:, INDEX["right_shoulder"]] = (320, 200), (230, 200)
    joints[:, RIGHT_HAND, 1] -= 60 * np.sin(np.pi * t)[:, None]
    keypoints = np.dstack([joints, np.ones((30, 27))]).astype(np.float32)
    moved = keypoints * np.array([0.5, 0.5, 1], np.float32) + np.array([150, 40, 0], np.float32)
    here, there = (recognizer.recognize(Pose(k, 15.0, 640, 480, "mediapipe-holistic")) for k in (keypoints, moved))
    assert [p.gloss for p in here.predictions[:5]] == [p.gloss for p in there.predictions[:5]]
    assert here.predictions[0].score == pytest.approx(there.predictions[0].score, abs=1e-3)


def test_card_table_and_ensemble_give_the_same_figures():
    figures = json.loads((ASL71 / "ensemble.json").read_text())["figures"]
    card = (ASL71 / "README.md").read_text()
    with (ROOT / "leaderboard" / "results" / "results.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fusion"] == "fitted" and row["streams"].count("+") == 3]
    assert {row["dataset"] for row in rows} >= set(figures)
    for row in rows:
        if row["dataset"] in figures:
            figure = figures[row["dataset"]]
            for name in ("top1_instance", "top5_instance", "top1_class", "top5_class"):
                assert float(row[name]) == pytest.approx(figure[name], abs=2e-4)
            line = (
                f"| {row['dataset']} | fused | {figure['n']} / {figure['num_classes']} | {figure['top1_instance']:.1%}"
            )
            assert line in card
