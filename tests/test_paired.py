"""Ranks, the bootstrap over classes, and the paired test of two systems."""

import numpy as np
import pytest

from dsta.metrics import class_bootstrap, class_rates, fit_fusion, hits, mcnemar, paired, ranks, topk


def test_ranks_count_the_classes_before_the_label_and_hits_are_ranks_below_k():
    scores = np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0], [np.nan, 1.0, 0.0]])
    assert ranks(scores, np.array([2, 1, 1])).tolist() == [1, 1, 1]
    assert ranks(scores, np.array([0, 0, 0]))[2] == 3  # a NaN is never a hit
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 4, (200, 9)).astype(float), rng.integers(0, 9, 200)
    for k in (1, 3, 5):
        assert (hits(scores, labels, k) == (ranks(scores, labels) < k)).all()


def test_class_rates_are_what_per_class_accuracy_is_the_mean_of():
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(size=(90, 7)), rng.integers(0, 5, 90)
    rates = class_rates(hits(scores, labels, 1), labels)
    assert len(rates) == 5 and rates.mean() == pytest.approx(topk(scores, labels, 1).per_class, abs=1e-12)


def test_class_bootstrap_is_the_normal_interval_for_many_classes():
    rates = np.random.default_rng(2).beta(2, 2, 800)
    low, high = class_bootstrap(rates)
    half = 1.96 * rates.std() / np.sqrt(800)
    assert low == pytest.approx(rates.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(rates.mean() + half, abs=0.15 * half)


@pytest.mark.parametrize("rates", [[0.5], [0.0, 0.0], [1.0] * 7, [0.1, 0.9]])
def test_class_bootstrap_repeats_and_holds_the_mean(rates):
    low, high = class_bootstrap(np.array(rates))
    assert low <= np.mean(rates) <= high
    assert class_bootstrap(np.array(rates)) == (low, high)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (3, 3), (1, 9), (40, 12), (0, 5)])
def test_mcnemar_is_the_binomial_test(a, b):
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(a, a + b, 0.5).pvalue if a + b else 1.0
    assert mcnemar(a, b) == pytest.approx(expected, abs=1e-12)


def systems(n=2000, seed=3):
    rng = np.random.default_rng(seed)
    a = rng.random(n) < 0.6
    return a, np.where(rng.random(n) < 0.1, rng.random(n) < 0.9, a)


def test_paired_interval_is_the_normal_one_for_many_clips_and_turned_round_its_mirror():
    a, b = systems()
    result = paired(a, b)
    gain = b.astype(float) - a
    half = 1.96 * gain.std() / np.sqrt(len(gain))
    assert result.difference == pytest.approx(b.mean() - a.mean())
    assert result.low == pytest.approx(result.difference - half, abs=0.1 * half)
    assert result.high == pytest.approx(result.difference + half, abs=0.1 * half)
    assert result.p < 0.05 and result.n == len(a)
    back = paired(b, a)
    assert (back.difference, back.p) == (-result.difference, result.p)
    assert (back.only_a, back.only_b) == (result.only_b, result.only_a)


def test_takes_that_are_alike_widen_the_interval_and_groups_of_one_clip_change_little():
    a, b = systems(400)
    alone, single = paired(a, b), paired(a, b, np.arange(400))
    assert single.low == pytest.approx(alone.low, abs=0.005) and single.high == pytest.approx(alone.high, abs=0.005)
    a, b = systems(100)
    groups = np.repeat(np.arange(100), 20)
    a, b = np.repeat(a, 20), np.repeat(b, 20)
    alone, together = paired(a, b), paired(a, b, groups)
    assert together.high - together.low > 3 * (alone.high - alone.low)
    assert together.difference == alone.difference


@pytest.mark.parametrize("b", [[], [True]])
def test_only_the_same_clips_can_be_compared(b):
    with pytest.raises(ValueError, match="same clips"):
        paired(np.array([True, False])[: 2 * len(b)], np.array(b, bool))


def test_streams_that_know_nothing_are_fused_with_equal_weights():
    logits = {name: np.tile([5.0, 0.0], (40, 1)) for name in ("joint", "bone")}
    weights, temperature = fit_fusion(logits, np.array([0, 1, 1, 1] * 10))
    assert weights == {"joint": 0.5, "bone": 0.5} and temperature == 1e6
