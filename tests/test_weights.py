"""The weights that are committed: whole, guarded by the manifest, and what their card and the table say of them."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from dsta.keypoints import Pose
from dsta.recognize import Recognizer
from dsta.skeleton import INDEX, RIGHT_HAND
from dsta.streams import Stream
from eval.hub import hub, rows_of
from leaderboard.results import OUT, STREAMS, read_rows

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "weights"
ASL118 = WEIGHTS / "asl118"


def test_the_manifest_lists_every_file_with_its_hash():
    listed = json.loads((WEIGHTS / "manifest.json").read_text())
    files = {p.relative_to(WEIGHTS).as_posix(): p for p in WEIGHTS.rglob("*") if p.is_file() and p.suffix != ".pyc"}
    del files["manifest.json"]
    assert set(listed) == set(files)
    wrong = [name for name, path in files.items() if hashlib.sha256(path.read_bytes()).hexdigest() != listed[name]]
    assert not wrong


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer.load(ASL118)


def test_four_streams_of_one_vocabulary(recognizer):
    assert set(recognizer.ensemble.checkpoints) == {str(stream) for stream in Stream}
    assert len(recognizer.glosses) == 118
    assert sum(recognizer.ensemble.fusion.values()) == pytest.approx(1, abs=1e-3)
    assert sum(path.stat().st_size for path in ASL118.rglob("*") if path.is_file()) < 45e6


def test_each_network_says_where_it_is_from(recognizer):
    for checkpoint in recognizer.ensemble.checkpoints.values():
        assert checkpoint.provenance["datasets"] == ["asl_everyday", "WLASL100"]
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


# ---- one figure, wherever it stands ----------------------------------------------------------------------------------

FOLDERS = sorted(path.parent for path in WEIGHTS.glob("*/ensemble.json"))
RATES = ("top1_instance", "top1_instance_lo", "top1_instance_hi", "top5_instance", "top1_class", "top5_class")
ONE_CLIP = 2e-4  # of the largest set
each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


@pytest.fixture(scope="module")
def table():
    return read_rows(OUT / "results.csv")


def best(folder, table):
    """The row of each set, and of a benchmark's protocol, that speaks for a weights folder."""
    trained_on = json.loads((folder / "joint" / "config.json").read_text())["provenance"]["datasets"]
    return {_shown(row): row for row in rows_of(folder, table, trained_on)}


def _shown(row):
    return row["dataset"] if row["protocol"] == "folds" else f"{row['dataset']} {row['protocol']}"


@each_folder
def test_the_ensembles_figures_are_the_tables(folder, table):
    figures, rows = json.loads((folder / "ensemble.json").read_text())["figures"], best(folder, table)
    assert set(figures) == set(rows)
    for dataset, figure in figures.items():
        row = rows[dataset]
        assert (figure["n"], figure["num_classes"]) == (int(row["n"]), int(row["num_classes"]))
        found = figure | dict(zip(RATES[1:3], figure["top1_instance_95"], strict=True))
        for name in (*RATES, "log_loss", "ece"):
            tolerance = ONE_CLIP if name in RATES else 2e-3
            assert float(row[name]) == pytest.approx(found[name], abs=tolerance), f"{dataset} {name}"


@each_folder
def test_the_cards_figures_are_the_tables(folder, table):
    rows, card = best(folder, table), (folder / "README.md").read_text()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in card.splitlines()]
    lines = [cells for cells in lines if len(cells) == 8 and cells[0] in rows and not re.search("fold|among", cells[1])]
    assert {cells[0] for cells in lines} == set(rows)
    shown = {(cells[0], cells[1]) for cells in lines}
    assert shown >= {(name, system) for name in rows if "videos" not in name for system in ("fused", *map(str, Stream))}
    by_key = {(_shown(row), row["streams"], row["fusion"]): row for row in table}
    for dataset, system, size, *cells in lines:
        fusion = re.fullmatch(r"fused, (\w+) weights", system)
        streams, fusion = ("+".join(STREAMS), fusion[1]) if fusion else (system, "none")
        row = rows[dataset] if system == "fused" else by_key[dataset, streams, fusion]
        assert size == f"{row['n']} / {row['num_classes']}"
        check(row, " ".join(cells[:-1]), RATES, f"{dataset}, {system}")
        assert float(cells[-1]) == pytest.approx(float(row["ece"]), abs=2e-3)


def test_the_readmes_figures_are_the_tables(table):
    rows = {dataset: row for folder in FOLDERS for dataset, row in best(folder, table).items()}
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (ROOT / "README.md").read_text().splitlines()]
    lines = {cells[0].split("`")[1]: cells for cells in lines if len(cells) == 5 and cells[0].startswith("`")}
    assert set(lines) <= set(rows) and {name.split()[0] for name in lines} == {name.split()[0] for name in rows}
    for dataset, (_, size, *cells) in lines.items():
        assert re.sub(r"[^\d/]", "", size) == f"{rows[dataset]['n']}/{rows[dataset]['num_classes']}"
        check(rows[dataset], " ".join(cells), RATES[:-1], dataset)


def check(row, text, names, what):
    """That the percentages in a text are the row's, to the digit that is shown."""
    shown = [float(number) / 100 for number in re.findall(r"([\d.]+)%", text)]
    assert shown == pytest.approx([float(row[name]) for name in names], abs=5e-4 + ONE_CLIP), what


@each_folder
def test_what_is_written_for_the_hub_is_the_tables(folder, tmp_path):
    for config in folder.glob("*/config.json"):
        (tmp_path / folder.name / config.parent.name).mkdir(parents=True)
        shutil.copy(config, tmp_path / folder.name / config.parent.name)
    hub(tmp_path / folder.name, OUT)
    patterns = ("model-index.yml", ".eval_results/*")
    for name in {path.relative_to(root) for root in (folder, tmp_path / folder.name) for path in found(root, patterns)}:
        written, committed = (root / name for root in (tmp_path / folder.name, folder))
        again = f"python eval/hub.py weights/{folder.name}"
        assert committed.exists() and written.exists(), f"{name}: {again}"
        assert committed.read_text() == written.read_text(), f"{name}: {again}"


def found(root, patterns):
    return [path for pattern in patterns for path in root.glob(pattern)]
