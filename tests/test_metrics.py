"""Metrics against scikit-learn, the oracle, and numbers worked out by hand."""

import json
import math
from itertools import permutations

import numpy as np
import pytest
from helpers.oracle import ORACLE, arrays, needs_oracle
from scipy.special import log_softmax
from sklearn import metrics as sk
from sklearn.isotonic import IsotonicRegression

from dsta.metrics import (
    calibration_error,
    certainty_steps,
    class_order,
    cluster_bootstrap,
    figures,
    fit_fusion,
    hits,
    log_loss,
    renamed_hits,
    topk,
    wilson,
)
from dsta.streams import fuse

STREAMS = ("joint", "bone", "joint_motion", "bone_motion")


SCORES = np.random.default_rng(1).normal(0, 2, (500, 12))
LABELS = np.random.default_rng(2).permutation(np.arange(500) % 12)


@pytest.mark.parametrize("k", [1, 2, 5, 11])
def test_topk_per_instance_is_scikit_learns(k):
    assert topk(SCORES, LABELS, k).instance == pytest.approx(sk.top_k_accuracy_score(LABELS, SCORES, k=k), abs=1e-12)


def test_top1_per_class_is_scikit_learns_balanced_accuracy():
    labels = np.random.default_rng(3).choice(12, 500, p=np.arange(1, 13) / 78)  # unequal classes
    expected = sk.balanced_accuracy_score(labels, SCORES.argmax(1))
    assert topk(SCORES, labels, 1).per_class == pytest.approx(expected, abs=1e-12)
    assert topk(SCORES, labels, 1).per_class != pytest.approx(topk(SCORES, labels, 1).instance, abs=1e-4)


@pytest.mark.parametrize("weights", [None, np.random.default_rng(1).uniform(0, 2, 500)], ids=["plain", "weighted"])
def test_log_loss_is_scikit_learns(weights):
    probability = np.exp(log_softmax(SCORES, axis=1))
    expected = sk.log_loss(LABELS, probability, sample_weight=weights, labels=range(12))
    assert log_loss(SCORES, LABELS, weights) == pytest.approx(expected, abs=1e-9)


def test_log_loss_survives_huge_logits():
    assert log_loss(np.array([[2000.0, 0.0]]), np.array([1])) == pytest.approx(2000, abs=1e-9)


def test_absent_classes_are_left_out_and_counted():
    scores = np.eye(5)[[0, 0, 2, 2]]
    result = topk(scores, np.array([0, 0, 0, 2]), 1)  # class 0: 2 of 3; class 2: 1 of 1; 1, 3 and 4 have no clip
    assert (result.instance, result.num_classes) == (0.75, 2)
    assert result.per_class == pytest.approx((2 / 3 + 1) / 2)


def test_of_equal_scores_the_lower_class_wins_and_nan_is_never_a_hit():
    scores = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert hits(scores, np.array([0, 1, 2]), 1).tolist() == [True, False, False]
    assert hits(scores, np.array([0, 1, 2]), 2).tolist() == [True, True, False]
    assert hits(scores, np.array([0, 1, 2]), 3).all()
    assert not hits(np.full((3, 4), np.nan), np.array([0, 1, 3]), 1).any()


def test_no_clips_cannot_be_scored():
    with pytest.raises(ValueError, match="no clips"):
        topk(np.zeros((0, 3)), np.zeros(0, int), 1)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(8, 10, 0.4901625, 0.9433178), (0, 10, 0.0, 0.2775328), (10, 10, 0.7224672, 1.0)],
)
def test_wilson(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=1e-6)


def test_wilson_solves_its_equation_and_of_nothing_knows_nothing():
    assert wilson(0, 0) == (0.0, 1.0)
    z = 1.959963984540054
    for bound in wilson(37, 80):  # the bounds are where the share is z standard errors away
        assert abs(37 / 80 - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / 80), abs=1e-12)


def test_calibration_error_by_hand():
    assert calibration_error(1000 * np.eye(4), np.arange(4)) == 0  # certain and right

    def logits(*probabilities):
        return np.log([[p, 1 - p] for p in probabilities])

    # 5 bins: 0.7 (hit) and 0.75 (miss) share the bin 0.6..0.8; 0.9 (hit) has its own
    error = calibration_error(logits(0.7, 0.75, 0.9), np.array([0, 1, 0]), bins=5)
    assert error == pytest.approx((abs(1 - (0.7 + 0.75)) + abs(1 - 0.9)) / 3, abs=1e-12)


def sampled(logits, rng):
    """One label a row, drawn from softmax(logits)."""
    p = np.exp(log_softmax(logits, axis=1))
    return (p.cumsum(1) > rng.random((len(p), 1))).argmax(1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_fit_fusion_finds_a_known_temperature(temperature):
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, (8000, 6))
    weights, fitted = fit_fusion({"joint": true * temperature}, sampled(true, rng))
    assert weights == {"joint": 1.0}
    assert fitted == pytest.approx(temperature, rel=0.05)


def test_fit_fusion_ignores_noise_and_shrinks_towards_equal_weights():
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, (4000, 6))
    streams, labels = {"noise": rng.normal(0, 2, true.shape), "joint": true}, sampled(true, rng)
    weights, _ = fit_fusion(streams, labels, shrink=0)
    assert weights["noise"] < 0.03
    assert sum(weights.values()) == pytest.approx(1)
    few = {name: scores[:300] for name, scores in streams.items()}
    free, drawn, equal = (fit_fusion(few, labels[:300], shrink=shrink)[0]["noise"] for shrink in (0, 0.05, 1e4))
    assert free < drawn < 0.5
    assert equal == pytest.approx(0.5, abs=1e-3)


def test_fit_fusion_reaches_the_least_loss_on_a_grid():
    rng = np.random.default_rng(5)
    true = rng.normal(0, 1.5, (400, 4))
    streams = {"joint": true + rng.normal(0, 1, true.shape), "bone": true + rng.normal(0, 2, true.shape)}
    labels = sampled(true, rng)
    weights, temperature = fit_fusion(streams, labels, shrink=0)
    least = log_loss(fuse(streams, weights) / temperature, labels)
    for a in np.linspace(0, 1.5, 31):
        for b in np.linspace(0, 1.5, 31):
            assert log_loss(a * streams["joint"] + b * streams["bone"], labels) > least - 1e-6


def test_fit_fusion_counts_a_clip_of_weight_two_twice():
    rng = np.random.default_rng(6)
    streams = {name: rng.normal(0, 1, (60, 4)) for name in ("joint", "bone")}
    streams["joint"] += 2 * np.eye(4)[np.arange(60) % 4]
    labels, twice = np.arange(60) % 4, np.r_[np.arange(60), np.arange(30)]
    weighted, t1 = fit_fusion(streams, labels, np.r_[np.full(30, 2.0), np.ones(30)])
    repeated, t2 = fit_fusion({name: s[twice] for name, s in streams.items()}, labels[twice])
    assert weighted["joint"] == pytest.approx(repeated["joint"], abs=1e-4)
    assert t1 == pytest.approx(t2, abs=1e-3)


def expected_accuracies():
    """(case, four weights, what the reference reports); its unstable tie case and its NaN are no gates."""
    if not ORACLE.is_dir():
        return []
    expected = json.loads((ORACLE / "ensemble_expected.json").read_text())
    single = {f"single_{name}": [float(name == stream) for stream in STREAMS] for name in STREAMS}
    return [(name, alphas, expected["results"][name]) for name, alphas in (expected["alphas"] | single).items()]


@needs_oracle
@pytest.mark.parametrize(("name", "alphas", "expected"), expected_accuracies())
def test_fused_accuracies_are_the_references(name, alphas, expected):
    ensemble = arrays("ensemble")
    weights = {stream: alpha for stream, alpha in zip(STREAMS, alphas, strict=True) if alpha}
    fused = fuse({stream: ensemble[stream] for stream in weights}, weights)
    for k in (1, 5):
        result = topk(fused, ensemble["labels"], k)
        assert result.instance == pytest.approx(expected[f"top{k}"], abs=1e-6)
        assert result.per_class == pytest.approx(expected[f"top{k} per class"], abs=1e-6)
    predicted = fused.argmax(1)
    assert predicted[:20].tolist() == expected["pred_head"] and predicted.sum() == expected["pred_sum"]


def test_fuse_by_hand():
    logits = {"joint": np.array([[1.0, 4.0]]), "bone": np.array([[3.0, -2.0]])}
    assert fuse(logits, {"joint": 3, "bone": 1}).tolist() == [[1.5, 2.5]]
    assert fuse(logits, {"bone": 0.2}).tolist() == [[3.0, -2.0]]


@pytest.mark.parametrize("weights", [{"joint": 1, "bone": 1}, {"joint": 0.0}, {}])
def test_fuse_refuses_what_it_cannot_do(weights):
    with pytest.raises(ValueError, match=r"bone|more than zero"):
        fuse({"joint": np.zeros((1, 2))}, weights)


# --- classes in another order


def test_the_order_is_the_best_of_all():
    rng = np.random.default_rng(7)
    scores, labels = rng.normal(0, 2, (30, 5)), rng.integers(0, 4, 30)
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    best = max(permutations(range(5), 4), key=lambda columns: sum(p[i, columns[y]] for i, y in enumerate(labels)))
    assert class_order(scores, labels) == {column: label for label, column in enumerate(best)}


def test_an_order_is_judged_on_clips_it_was_not_learned_on():
    """Scores without any meaning fit half of the clips well, and the other half at chance."""
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(0, 5, (2000, 500)), rng.permutation(np.arange(2000) % 500)
    meant = class_order(scores, labels)
    learned_on = np.mean([meant.get(int(p)) == y for p, y in zip(scores.argmax(1), labels, strict=True)])
    assert learned_on > 0.1 and renamed_hits(scores, labels).mean() < 0.01
    order = rng.permutation(500)
    assert renamed_hits(np.eye(500)[order[labels]] * 9, labels).all()


def test_takes_that_fall_together_are_one_piece_of_evidence():
    """200 people, each all right or all wrong: the interval is about that of 200 clips, not of 2 000."""
    right = np.random.default_rng(0).random(200) < 0.6
    hit, people = right.repeat(10), np.arange(200).repeat(10)
    labels = np.tile(np.arange(10), 200)
    of_people, per_class = cluster_bootstrap(hit, labels, people)
    assert np.allclose(of_people, wilson(right.sum(), 200), atol=0.01) and np.allclose(per_class, of_people)
    of_clips, _ = cluster_bootstrap(hit, labels, np.arange(2000))
    assert np.allclose(of_clips, wilson(hit.sum(), 2000), atol=0.005)
    scores = np.where(hit[:, None], np.eye(10)[labels], -np.eye(10)[labels])
    found = figures(scores, labels, (~hit).astype(int), people)
    assert (found["top1_instance_lo"], found["top1_instance_hi"]) == of_people
    alike = np.argsort(np.argsort(~hit, kind="stable") % 2, kind="stable") >= 1000  # two halves with as many hits each
    found = figures(scores, labels, (~hit).astype(int), alike)
    assert (found["top1_instance_lo"], found["top1_instance_hi"]) == wilson(hit.sum(), 2000)


def test_clusters_are_resampled_as_a_loop_would():
    rng = np.random.default_rng(3)
    hit, labels, who = rng.random(60) < 0.5, rng.integers(0, 4, 60), rng.integers(0, 6, 60)
    shares, rates = [], []
    for drawn in rng.integers(0, 6, (4000, 6)):
        at = np.concatenate([np.flatnonzero(who == one) for one in drawn])
        shares.append(hit[at].mean())
        rates.append(np.mean([hit[at][labels[at] == label].mean() for label in np.unique(labels[at])]))
    found = cluster_bootstrap(hit, labels, who, resamples=4000)
    assert np.allclose(found, [np.percentile(each, [2.5, 97.5]) for each in (shares, rates)], atol=0.02)


# ---- what a score means


def test_bins_with_few_clips_are_joined_and_shares_that_would_fall_too():
    confidence = np.array([0.12, 0.18, 0.31, 0.33, 0.52, 0.58, 0.71, 0.75, 0.95])
    right = np.array([0, 0, 1, 0, 1, 0, 0, 1, 1])
    # right of all in bins of a tenth: 0.1: 0/2, 0.3: 1/2, 0.5: 1/2, 0.7: 1/2, 0.9: 1/1
    steps = certainty_steps(confidence, right, fewest=2, bins=10)
    assert [(step.start, step.right, step.clips) for step in steps] == [(0.1, 0.0, 2), (0.3, 0.5, 4), (0.7, 2 / 3, 3)]
    (all_of_them,) = certainty_steps(confidence, right, fewest=10, bins=10)
    assert (all_of_them.start, all_of_them.right, all_of_them.clips) == (0.1, 4 / 9, 9)
    (falling,) = certainty_steps(np.repeat([0.2, 0.9], 50), np.repeat([True, False], 50))
    assert (falling.start, falling.right, falling.clips) == (0.2, 0.5, 100)


def test_of_bins_with_enough_clips_it_is_scikit_learns_isotonic_regression():
    rng = np.random.default_rng(0)
    confidence = (np.arange(2000) % 20 + 0.5) / 20
    right = rng.random(2000) < 0.4 + 0.2 * confidence  # so flat that neighbours change places
    steps = certainty_steps(confidence, right)
    expected = IsotonicRegression().fit(confidence, right)
    assert 2 < len(steps) < 20 and sum(step.clips for step in steps) == 2000
    starts = np.array([step.start for step in steps])
    for middle in np.unique(confidence):
        here = steps[np.searchsorted(starts, middle, "right") - 1]
        assert here.right == pytest.approx(expected.predict([middle])[0], abs=1e-12)
