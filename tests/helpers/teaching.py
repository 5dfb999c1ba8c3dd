"""Made-up takes of made-up signs, and weights to teach them to."""

import json

import numpy as np
from helpers.benchmarks import SMALL, network
from helpers.clips import signer

from dsta.checkpoint import FamiliarSigns
from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND
from dsta.teach import OwnSigns

VOCABULARY = ("ant", "bee", "cat")
FUSION = {"joint": 0.5, "bone": 0.3, "joint_motion": 0.2}
ESTIMATOR = "mediapipe-holistic"


def take(sign, seed=0):
    """(14, 27, 3): a take of the sign number `sign`, each by somebody else; both hands are elsewhere in each sign."""
    clip, rng = signer(14), np.random.default_rng([sign, seed])
    where = 110 * np.array([np.cos(2 * sign), np.sin(2 * sign) - 1])
    moving = [INDEX["left_wrist"], INDEX["right_wrist"], *LEFT_HAND, *RIGHT_HAND]
    clip[:, moving, :2] += where + rng.normal(0, 2, 2)
    clip[..., :2] += rng.normal(0, 0.5, clip[..., :2].shape) + rng.normal(0, 5, (1, 27, 2))
    return clip


def own_signs(**counts):
    """Signs by name with so many takes each."""
    signs = OwnSigns(ESTIMATOR)
    for number, (name, count) in enumerate(counts.items()):
        for seed in range(count):
            signs = signs.with_clip(name, take(number, seed))
    return signs


def base_weights(folder, familiar=True, fusion=FUSION):
    """A weights folder of untrained networks that know three signs."""
    for seed, stream in enumerate(fusion):
        network(folder / stream, VOCABULARY, stream, SMALL, ESTIMATOR, seed, datasets=["made"], licence="none")
    said = {"fusion": fusion, "temperature": 0.8, "threshold": 0.3}
    if familiar:
        rng, width = np.random.default_rng(3), 16 * len(fusion)
        known, background = rng.normal(size=(4, width)), rng.normal(size=(7, width))
        FamiliarSigns(known, np.array([0, 1, 1, 2]), background, 0.75, 0.24).save(folder)
        said["familiarity"] = {"weight": 0.75, "threshold": 0.24}
    (folder / "ensemble.json").write_text(json.dumps(said))
    return folder
