"""Videos through the recogniser: the row, what counts as wrong, what is kept."""

from pathlib import Path

import numpy as np
import pytest
from helpers import tables
from helpers.benchmarks import SMALL, network

from dsta.checkpoint import Ensemble
from dsta.common import UserError
from dsta.data import benchmarks, read_clip_set
from dsta.data.prepared import IndexRow
from dsta.prepare.write import write_prepared
from eval import videos
from eval.protocols import NO_GLOSS
from eval.rows import gloss_rows
from eval.videos import Recognised

GLOSSES = ("ant", "bee", "cat", "dog")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A benchmark of four glosses with eight validation clips, of which six have a file; a network of one stream."""
    spec = benchmarks.DatasetSpec("TINY4", 4, "Made-up")
    monkeypatch.setitem(benchmarks.BENCHMARKS, "TINY4", spec)
    rng, rows, clips = np.random.default_rng(3), [], {}
    for i in range(8):
        clips[f"c{i}.mp4"] = rng.uniform(100, 400, (8, 27, 3)).astype(np.float32)
        about = (f"c{i}.mp4", GLOSSES[i % 4], "val", f"s{i % 3}", "web", 0, 8, 25.0, 640, 480)
        rows.append(IndexRow(*about, "mediapipe-holistic", 1.0, 1.0, str(i)))
    about = {"estimator": "mediapipe-holistic", "glosses": list(GLOSSES)}
    write_prepared(tmp_path / "data" / "TINY4", rows, lambda row: clips[row.clip], about, [])
    network(tmp_path / "weights" / "TINY4" / "joint", GLOSSES, "joint", SMALL, "mediapipe-holistic")
    (tmp_path / "videos").mkdir()
    for i in range(6):
        (tmp_path / "videos" / f"c{i}.mp4").write_bytes(bytes([i]))
    return tmp_path


def test_the_row_counts_what_failed_as_wrong_and_says_how_long_it_took(place):
    clips, paths, of_all = videos.clips_with_videos(place / "videos", place / "data" / "TINY4", "val")
    assert [path.name for path in paths] == [f"c{i}.mp4" for i in range(6)]
    right = np.log(np.eye(4) * 0.9 + 0.025)
    found = [Recognised(right[i % 4], 2.0, 1.0 + i, 500.0) for i in range(4)]  # all right, at 0.5 to 2 s a second
    found += [Recognised(right[2], 2.0, 1.0, 400.0), Recognised(np.array([]), 0.0, 0.0, 0.0, "No hand was seen.")]
    weights = place / "weights" / "TINY4"
    ensemble = Ensemble.load(weights)
    plan = videos.planned(clips, ensemble, weights)
    fused = videos.fused_of(plan, found, ensemble, weights, "val")
    row = videos.row_of(plan, fused, of_all, found, ensemble)
    assert (row["protocol"], row["streams"], row["fusion"]) == ("val-videos", "joint", "none")
    assert (row["n"], row["top1_instance"], row["top5_instance"]) == (6, pytest.approx(4 / 6), 1)
    assert row["interval"].startswith("bootstrap over 3 signers") and row["selection"].startswith("epoch: ")
    assert row["seconds"] == 11 and row["latency_ms"] == 2000 and row["peak_memory_mb"] == 500
    for part in (
        "6 of the split's 8 clips",
        "1 videos could not",
        "No hand was seen.",
        "took 1.00 s",
        "data set's joints",
        "the same gloss of ",
    ):
        assert part in row["note"]
    taken = {row["gloss"]: (row["confused_with"], row["confused_count"]) for row in gloss_rows(plan, fused, ("joint",))}
    assert fused.predicted[5] == NO_GLOSS  # it is wrong, and taken for no other sign
    assert taken == {"ant": ("cat", 1), "bee": ("", 0), "cat": ("", 0), "dog": ("", 0)}


def test_what_was_recognised_is_kept_and_the_row_is_written(place, monkeypatch):
    asked = []

    class Fake:
        glosses = GLOSSES

        def recognize(self, path, find):
            asked.append(Path(path).name)
            raise UserError("c5 shows no hand.")

    monkeypatch.setattr(videos, "_recognizer", lambda weights: Fake())
    first, again = (videos.recognised(place, place / "kept", place / "videos" / "c5.mp4") for _ in range(2))
    assert asked == ["c5.mp4"] and again.fault == first.fault == "c5 shows no hand." and len(again.scores) == 0


def test_a_folder_without_the_clips_videos_is_told(place, capsys):
    (place / "empty").mkdir()
    given = ["--data", place / "data" / "TINY4", "--weights", place / "weights" / "TINY4", "--out", place / "out"]
    assert videos.main([str(place / "empty"), *map(str, given)]) == 2
    assert "holds no video under the name of a clip" in capsys.readouterr().err
    assert len(read_clip_set(place / "data" / "TINY4", "val")) == 8 and not tables.table(place)
