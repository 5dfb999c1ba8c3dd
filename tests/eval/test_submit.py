import csv

import numpy as np
import pytest

from dsta.data import official
from eval.recompute import recompute
from eval.submit import main
from leaderboard import table
from leaderboard.results import SUBMITTED_COLUMNS, SUBMITTED_FILE, read_rows

LIST = {name: entry for name, entry in official("WLASL100").items() if entry.split == "test"}
GLOSSES = [gloss for _, gloss in sorted({(entry.label, entry.gloss) for entry in official("WLASL100").values()})]


def guesses(clips=LIST, right=0.6):
    """(n, K) logits of which some 60 % are right."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(len(clips), len(GLOSSES)))
    for line, entry in zip(scores, clips.values(), strict=True):
        line[entry.label] += 20 * (rng.random() < right)
    return scores


def write_csv(path, scores, clips=LIST, glosses=GLOSSES):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["clip", *glosses], *([c, *line] for c, line in zip(clips, scores, strict=True))])
    return path


def submit(path, out, *more):
    said = ["--dataset", "WLASL100", "--system", "Forest", "--origin", "trees", "--trained-on", "the training split"]
    return main([str(path), *said, "--out", str(out), *more])


def rows(out):
    return read_rows(out / SUBMITTED_FILE, SUBMITTED_COLUMNS)


def test_a_file_becomes_a_row_with_its_origin_whatever_the_order_of_clips_and_classes(tmp_path, capsys):
    scores = guesses()
    right = sum(line.argmax() == entry.label for line, entry in zip(scores, LIST.values(), strict=True))
    assert submit(write_csv(tmp_path / "a.csv", scores), tmp_path / "out") == 0
    assert f"top-1 {right / 258:.1%}" in capsys.readouterr().out
    (row,) = rows(tmp_path / "out")
    assert float(row["top1_instance"]) == pytest.approx(right / 258, abs=1e-6) and row["n"] == "258"
    assert (row["system"], row["origin"], row["trained_on"]) == ("Forest", "trees", "the training split")
    assert row["num_classes"] == "100" and "Wilson" in row["interval"] and len(row["predictions_sha256"]) == 64
    recompute(tmp_path / "out", [])
    assert "1 submitted rows are what their predictions give" in capsys.readouterr().out

    turned, order = list(LIST)[::-1], np.random.default_rng(1).permutation(100)
    np.savez(
        tmp_path / "b.npz",
        clips=np.array([f"videos/{name}.mp4" for name in turned]),
        glosses=np.array(GLOSSES)[order],
        scores=scores[::-1][:, order],
    )
    assert submit(tmp_path / "b.npz", tmp_path / "out", "--system", "Another") == 0
    first, second = rows(tmp_path / "out")
    same = ("top1_instance", "top5_class", "log_loss", "ece", "top1_class_lo")
    assert [first[name] for name in same] == [second[name] for name in same]
    assert submit(tmp_path / "b.npz", tmp_path / "out") == 0  # in the place of the first
    assert len(rows(tmp_path / "out")) == 2 and len(table.submitted(tmp_path / "out")) == 2


def test_probabilities_are_taken_as_such(tmp_path):
    scores = guesses()
    odds = np.exp(scores - scores.max(1, keepdims=True))
    submit(write_csv(tmp_path / "a.csv", scores), tmp_path / "out")
    submit(write_csv(tmp_path / "b.csv", odds / odds.sum(1, keepdims=True)), tmp_path / "out", "--system", "Odds")
    logits, probabilities = rows(tmp_path / "out")
    assert "Probabilities" in probabilities["note"] and logits["note"] == ""
    assert float(logits["ece"]) == pytest.approx(float(probabilities["ece"]), abs=1e-3)
    assert logits["top1_instance"] == probabilities["top1_instance"]


def changed(clips=None, glosses=None, cell=None):
    """A file of predictions of which something is otherwise."""

    def write(path):
        scores, names, classes = guesses().astype(object), list(LIST), list(GLOSSES)
        if clips:
            names = clips(names)
            scores = scores[: len(names)] if len(names) <= len(scores) else np.concatenate([scores, scores[:1]])
        if glosses:
            classes = glosses(classes)
        if cell is not None:
            scores[7, 3] = cell
        return write_csv(path / "a.csv", scores[:, : len(classes)], names, classes)

    return write


TRAIN = next(name for name, entry in official("WLASL100").items() if entry.split == "train")


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (changed(clips=lambda names: names[:-2]), "2 of 258 clips of the official list are missing, such as"),
        (changed(clips=lambda names: [*names, names[0]]), "have more than one row: give each one once"),
        (changed(clips=lambda names: [*names, "zebra"]), "1 are none of the clips of the official list, such as zebra"),
        (changed(clips=lambda names: [TRAIN, *names[1:]]), f"such as {TRAIN}"),
        (changed(glosses=lambda names: names[:-1]), "1 of 100 glosses are missing"),
        (changed(glosses=lambda names: [*names[:-1], names[0]]), "have more than one column"),
        (changed(glosses=lambda names: [*names[:-1], "zebra"]), "1 are none of the glosses, such as zebra"),
        (changed(glosses=lambda names: [*names[1:], names[0]]), "the classes are in another order. Put the glosses"),
        (changed(cell=float("nan")), "hold NaN or infinity: give numbers"),
        (changed(cell="inf"), "hold NaN or infinity: give numbers"),
        (changed(cell="high"), "score in line 9 that is no number"),
        (changed(cell=""), "score in line 9 that is no number"),
    ],
)
def test_predictions_that_are_not_of_the_official_clips_are_a_sentence(tmp_path, capsys, write, sentence):
    assert submit(write(tmp_path), tmp_path / "out") == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said and "\n" not in said and not (tmp_path / "out" / SUBMITTED_FILE).exists()
    assert not list((tmp_path / "out").rglob("*.npz"))


def sparse(path, size):
    with path.open("wb") as file:
        file.truncate(size)
    return path


def bomb(path):
    """A small .npz of much content."""
    np.savez_compressed(path, clips=np.array(["a"]), glosses=np.array(["a"]), scores=np.zeros((300 << 17), np.float64))
    return path


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda path: sparse(path / "a.csv", 1 << 30), "1024 MB, more than the 256 MB"),
        (lambda path: sparse(path / "a.npz", 1 << 30), "1024 MB, more than the 256 MB"),
        (lambda path: bomb(path / "a.npz"), "300 MB, more than the 256 MB"),
        (lambda path: sparse(path / "a.npz", 100), "is no .npz file"),
        (lambda path: sparse(path / "a.csv", 0), "must begin with a column `clip`"),
        (lambda path: path / "none.csv", "cannot be read (No such file"),
        (lambda path: path, "cannot be read"),
    ],
)
def test_a_file_that_is_none_or_too_large_is_a_sentence(tmp_path, capsys, write, sentence):
    assert submit(write(tmp_path), tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert sentence in said and "no number" not in said


def test_other_bad_files(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", clips=np.array(list(LIST)), glosses=np.array(GLOSSES))
    assert submit(tmp_path / "a.npz", tmp_path / "out") == 2 and "lacks an array" in capsys.readouterr().err
    np.savez(tmp_path / "a.npz", clips=np.array(list(LIST)), glosses=np.array(GLOSSES), scores=guesses().T)
    assert submit(tmp_path / "a.npz", tmp_path / "out") == 2 and "have the shape (100, 258)" in capsys.readouterr().err
    np.savez(tmp_path / "a.npz", clips=np.array(list(LIST), object), glosses=np.array(GLOSSES), scores=guesses())
    assert submit(tmp_path / "a.npz", tmp_path / "out") == 2 and "save plain arrays" in capsys.readouterr().err
    (tmp_path / "a.csv").write_text("clip,a\nx,1,2\n")
    assert submit(tmp_path / "a.csv", tmp_path / "out") == 2
    assert capsys.readouterr().err.strip().endswith("a.csv has 3 cells in line 2, not 2.")
    said = submit(tmp_path / "a.csv", tmp_path / "out", "--dataset", "SLR500"), capsys.readouterr().err
    assert said[0] == 2 and "no official list of SLR500" in said[1]


def test_a_clip_of_another_split_belongs_to_another_protocol(tmp_path):
    val = {name: entry for name, entry in official("WLASL100").items() if entry.split == "val"}
    path = write_csv(tmp_path / "a.csv", guesses(val), val)
    assert submit(path, tmp_path / "out") == 2 and submit(path, tmp_path / "out", "--protocol", "val") == 0
    assert rows(tmp_path / "out")[0]["n"] == "338"
