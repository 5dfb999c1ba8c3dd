"""The joint embedding of an ensemble, prototypes, familiarity."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from dsta.checkpoint import FamiliarSigns
from dsta.embedding import familiarity, joint_embedding, linear_probe, prototype_head, prototypes, taught_head, unit
from dsta.score import Scores


def test_prototypes_are_scikit_learns_nearest_centroids():
    rng = np.random.default_rng(2)
    labels = np.arange(40) % 4
    embeddings = unit(rng.normal(size=(40, 6)) + 2 * np.eye(6)[labels])
    means = prototypes(embeddings, [np.flatnonzero(labels == g) for g in range(4)])
    centres = NearestCentroid().fit(embeddings, labels).centroids_
    assert means == pytest.approx(centres / np.linalg.norm(centres, axis=1, keepdims=True))


def test_the_linear_probe_is_scikit_learns_logistic_regression_with_balanced_classes():
    rng = np.random.default_rng(6)
    labels = np.repeat(np.arange(4), [5, 6, 9, 5])
    embeddings = unit(rng.normal(size=(25, 7)) + 2 * np.eye(7)[labels])
    probe = linear_probe(embeddings, [np.flatnonzero(labels == g) for g in range(4)])
    theirs = LogisticRegression(C=100, class_weight="balanced", tol=1e-8, max_iter=5000).fit(embeddings, labels)
    asked = unit(rng.normal(size=(9, 7)))
    expected = theirs.decision_function(asked)
    assert probe.scores(asked) == pytest.approx(expected, abs=0.02 * np.ptp(expected))


@pytest.mark.parametrize(("counts", "made"), [((2, 9), prototype_head), ((3, 9), linear_probe), ((9,), prototype_head)])
def test_prototypes_up_to_two_examples_of_any_sign_and_a_linear_probe_from_three_on(counts, made):
    labels = np.repeat(np.arange(len(counts)), counts)
    embeddings = unit(np.random.default_rng(7).normal(size=(len(labels), 3)))
    examples = [np.flatnonzero(labels == g) for g in range(len(counts))]
    found, expected = taught_head(embeddings, examples), made(embeddings, examples)
    assert (found.weights == expected.weights).all() and (found.bias == expected.bias).all()


def test_the_joint_embeddings_cosine_is_the_weighted_mean_of_the_streams_cosines():
    rng = np.random.default_rng(3)
    scores = {s: Scores(np.zeros((2, 3)), rng.normal(size=(2, 5))) for s in ("joint", "bone")}
    fused = joint_embedding(scores, {"joint": 3.0, "bone": 1.0})
    cosines = []
    for stream in ("joint", "bone"):
        a, b = scores[stream].embeddings
        cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert fused[0] @ fused[1] == pytest.approx(0.75 * cosines[0] + 0.25 * cosines[1])
    assert np.linalg.norm(fused, axis=1) == pytest.approx(1)


def test_familiarity_by_hand():
    known, background = np.array([[1.0, 0, 0], [0, 1, 0]]), np.array([[0, 0, 1.0], [0.6, 0, 0.8]])
    signs = FamiliarSigns(known, np.array([0, 1]), background, 0.5, 0.0)
    clips = np.array([[1.0, 0, 0], [0, 0, 1], [0.6, 0.8, 0]])
    # nearest known less half the mean cosine to the (at most five) nearest of the background
    by_hand = [1 - 0.5 * (0 + 0.6) / 2, 0 - 0.5 * (1 + 0.8) / 2, 0.8 - 0.5 * (0 + 0.36) / 2]
    assert familiarity(clips, signs) == pytest.approx(by_hand)
    assert familiarity(clips[:1], FamiliarSigns(known, np.array([0, 1]), background, 0.0, 0.0)) == pytest.approx([1])
