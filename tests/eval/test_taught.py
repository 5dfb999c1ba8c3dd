"""The values by which taught signs' scores become probabilities are found again where they are known."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.benchmarks import skeleton_set
from helpers.examples import five_glosses, trained_without
from scipy.special import softmax

from dsta.checkpoint import FamiliarSigns, Seen
from dsta.data.overlap import Fingerprints
from dsta.embedding import Head, unit
from dsta.metrics import calibration_error
from dsta.teach.taught import Fitted
from eval import taught
from eval.taught import Clips, Episode, TaughtBench


def test_temperature_level_and_familiarity_are_found_again():
    """Answers drawn by known values: among four taught glosses, and among these and three known ones."""
    rng, count = np.random.default_rng(1), 6000
    embeddings, alike = unit(rng.normal(size=(2 * count, 5))), unit(rng.normal(size=(4, 5)))
    logits = rng.normal(0, 1.5, (2 * count, 3))
    head, true = Head(alike, np.zeros(4)), Fitted(0.2, 0.3, 0.0)

    def drawn(scores):
        return (softmax(scores, axis=1).cumsum(1) > rng.random(len(scores))[:, None]).argmax(1)

    labels = drawn(head.scores(embeddings) / true.temperature)
    both = drawn(np.hstack([logits, (head.scores(embeddings) - true.level) / true.temperature]))
    new, old = np.flatnonzero(both >= 3)[: count // 2], np.flatnonzero(both < 3)[: count // 2]
    fewer = min(len(new), len(old))
    signs = FamiliarSigns(alike, np.arange(4), unit(rng.normal(size=(6, 5))), 0.75, 0.0)

    def bench(of_new, of_known):
        known = {"val": Clips(embeddings[of_known], logits[of_known], both[of_known])}
        return TaughtBench(SimpleNamespace(), Clips(embeddings[of_new], logits[of_new], labels[of_new]), known, signs)

    alone = bench(np.arange(count), old)
    episode = Episode(np.arange(count), labels[:count], head, alike, np.arange(count) % len(old))
    found = alone.fit([episode])
    assert found.temperature == pytest.approx(true.temperature, rel=0.05)
    assert (alone.familiarity(episode) >= found.known).mean() == pytest.approx(0.9, abs=0.01)
    together = Episode(np.arange(fewer), both[new[:fewer]] - 3, head, alike, np.arange(fewer))
    # new and known clips count the same there, though new ones are drawn more or less often
    level = true.level - true.temperature * np.log((both < 3).sum() / (both >= 3).sum())
    assert bench(new, old).fit([together]).level == pytest.approx(level, abs=0.15)


def test_calibration_is_that_of_the_metrics():
    scores = np.random.default_rng(3).normal(0, 2, (300, 4))
    labels = np.random.default_rng(4).integers(0, 4, 300)
    best, right = softmax(scores, axis=1).max(1), scores.argmax(1) == labels
    assert taught._calibration(best, right) == pytest.approx(calibration_error(scores, labels))


def test_the_command_prints_values_for_each_number_of_examples(tmp_path, capsys):
    data = five_glosses(tmp_path / "data" / "FIVE")
    trained_without(tmp_path / "weights", "joint", Seen(Fingerprints.none()))
    skeleton_set(tmp_path / "others", glosses=("fox", "owl"))
    place = ["--data", str(data), "--weights", str(tmp_path / "weights"), "--background", str(tmp_path / "others")]
    assert taught.main([*place, "--draws", "1"]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"^(\d): Fitted", printed, re.MULTILINE) == list("12345")
    assert printed.count("val: taught alone") == printed.count("test: taught alone") == 5
