"""Signs told apart from a few examples: which clips are examples, by what they are told apart, the rows."""

import csv
from functools import cache

import numpy as np
import pytest
from helpers.benchmarks import SMALL, network
from helpers.examples import KNOWN, NEW, five_glosses, trained_without

from dsta.checkpoint import Seen
from dsta.data.overlap import Fingerprints
from dsta.embedding import prototype_head, unit
from eval import fewshot
from eval.episodes import answers, by_head, by_time_warping, read_questions, time_warped


@pytest.fixture
def data(tmp_path):
    return five_glosses(tmp_path / "data" / "FIVE")


@pytest.mark.parametrize("same_source", [False, True])
def test_examples_are_training_clips_of_other_signers_or_of_the_signer(data, same_source):
    questions = read_questions(data, KNOWN, same_source)
    assert questions.clips.glosses == NEW and set(questions.asked) == {"val", "test"}
    order = np.random.default_rng(0).permutation(len(questions.clips))
    for gloss, rows in enumerate(questions.examples("s1", 3, order)):
        assert {questions.clips.splits[i] for i in rows} == {"train"} and set(questions.clips.labels[rows]) == {gloss}
        whose = {questions.clips.sources[i] for i in rows}
        assert whose == ({"s1"} if same_source else {"s0", "s2", "s3"})  # one each, while there are such
        assert len(rows) == (2 if same_source else 3)


def test_perfect_embeddings_are_always_right_and_random_ones_by_chance(data):
    questions = read_questions(data, KNOWN, False)
    perfect = unit(np.eye(3)[questions.clips.labels])
    found = answers(questions, by_head(prototype_head, perfect), 1, 3)
    asked = np.concatenate(list(questions.asked.values()))
    assert (found.hits1[asked] == 1).all() and found.ways == 3
    assert np.isnan(np.delete(found.hits1, asked)).all()
    noise = np.random.default_rng(1).normal(size=(len(questions.clips), 8))
    by_chance = answers(questions, by_head(prototype_head, unit(noise)), 1, 400).hits1[asked]
    assert by_chance.mean() == pytest.approx(1 / 3, abs=0.06)


def test_time_warping_is_the_recurrence_of_the_textbook():
    rng = np.random.default_rng(4)
    one, others = rng.normal(size=(6, 3)).astype(np.float32), rng.normal(size=(5, 4, 3)).astype(np.float32)

    def textbook(a, b):
        @cache
        def cost(i, j):
            if i < 0 or j < 0:
                return 0.0 if i == j else np.inf
            return float(np.linalg.norm(a[i] - b[j])) + min(cost(i - 1, j), cost(i, j - 1), cost(i - 1, j - 1))

        return cost(len(a) - 1, len(b) - 1)

    assert time_warped(one, others) == pytest.approx([textbook(one, other) for other in others], rel=1e-4)
    slow = np.repeat(one, 2, axis=0)[None]
    assert time_warped(one, slow) == pytest.approx([0], abs=5e-2)
    distance = np.array([[0, 3, 1], [3, 0, 2], [1, 2, 0]], float)
    assert by_time_warping(distance)(np.array([2]), [np.array([0, 1]), np.array([1])]).tolist() == [[-1, -2]]


def test_the_command_writes_a_row_for_each_system_and_protocol(data, tmp_path):
    for stream in ("joint", "bone"):
        trained_without(tmp_path / "weights", stream, Seen(Fingerprints.none()))
    place = ["--data", str(data), "--weights", str(tmp_path / "weights"), "--out", str(tmp_path / "out")]
    for _ in range(2):  # the second time in the place of the first
        assert fewshot.main([*place, "--shots", "1", "2", "--draws", "2"]) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "fewshot.csv").read_text().splitlines()))
    systems = {("prototype", s) for s in ("joint", "bone", "joint+bone")}
    systems |= {("linear probe", "joint+bone"), ("time warping", "joint")}
    assert {(r["system"], r["streams"]) for r in rows} == systems and len(rows) == len(systems) * 2 * 2
    for row in rows:
        assert (row["n"], float(row["ways"]), row["dataset"]) == ("6", 3, "FIVE")
        assert 0 <= float(row["top1_lo"]) <= float(row["top1"]) <= float(row["top1_hi"]) <= float(row["top5"]) == 1


def test_networks_that_may_have_seen_the_signs_are_refused(data, tmp_path, capsys):
    place = ["--data", str(data), "--weights", str(tmp_path / "weights"), "--out", str(tmp_path / "out")]
    trained_without(tmp_path / "weights", "joint", None)
    assert fewshot.main(place) == 2 and "does not say which clips" in capsys.readouterr().err
    clips = read_questions(data, KNOWN, False).clips
    trained_without(tmp_path / "weights", "joint", Seen(clips.fingerprints))
    assert fewshot.main(place) == 2 and "--without-glosses" in capsys.readouterr().err
    network(tmp_path / "weights" / "joint", KNOWN + NEW, "joint", SMALL, "mediapipe-holistic")
    assert fewshot.main(place) == 2 and "too few" in capsys.readouterr().err
    assert not (tmp_path / "out" / "fewshot.csv").exists()


def test_glosses_to_leave_out_do_not_depend_on_their_order(data, capsys):
    assert fewshot.main(["--data", str(data), "--glosses", "3"]) == 0
    printed = capsys.readouterr().out.split()
    assert len(printed) == 3 and fewshot.left_out(["elk", "dog", "bee", "cat", "ant"], 3) == printed
    assert fewshot.main(["--data", str(data), "--glosses", "9"]) == 2
    assert "2 to 5" in capsys.readouterr().err
