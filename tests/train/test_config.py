"""The two training recipes, against the reference's published numbers (spec: `config/train.yaml`, `main.py`)."""

from dataclasses import replace

import pytest
import torch

from dsta.common import UserError
from dsta.model import DSTA, ModelConfig
from dsta.train import ReferenceConfig, TrainConfig

TINY = ModelConfig(2, inner_dim=8, depth=2)


def test_the_references_learning_rate():
    config = ReferenceConfig()
    expected = {0: 0.005, 1: 0.01, 18: 0.095, 19: 0.1, 20: 0.1, 149: 0.1, 150: 0.01, 199: 0.01, 200: 0.001, 249: 0.001}
    assert {epoch: config.rate(epoch, 0.7) for epoch in expected} == pytest.approx(expected)


def test_the_references_keep_probability():
    config = ReferenceConfig()
    expected = {0: 1.0, 1: 0.999, 50: 0.95, 99: 0.901, 100: 0.9, 249: 0.9}
    assert {epoch: config.keep(epoch) for epoch in expected} == pytest.approx(expected)


def test_the_references_optimizer_and_sizes():
    config = ReferenceConfig()
    optimizer = config.optimizer(DSTA(TINY))
    assert isinstance(optimizer, torch.optim.SGD) and len(optimizer.param_groups) == 1
    group = optimizer.param_groups[0]
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 1e-4)
    assert len(group["params"]) == len(list(DSTA(TINY).parameters()))  # everything decays, biases too
    assert (config.batch_size, config.epochs, config.inner_dim, config.depth) == (24, 250, 64, 4)
    assert (config.label_smoothing, config.clip_norm, config.faithful) == (0, 0, False)


def test_a_shorter_course_has_the_same_shape():
    short = ReferenceConfig(epochs=25, schedule=25)
    assert [short.rate(epoch, 0) for epoch in (0, 1, 14, 15, 19, 20)] == pytest.approx(
        [0.05, 0.1, 0.1, 0.01, 0.01, 0.001]
    )
    assert [short.keep(epoch) for epoch in (0, 5, 10, 24)] == pytest.approx([1, 0.95, 0.9, 0.9])
    stopped = ReferenceConfig(epochs=25, schedule=250)
    assert stopped.rate(24, 0) == 0.1  # stopping early is not a shorter course


def test_the_faithful_ignore_the_seed():
    assert ReferenceConfig(seed=5, faithful=True).seed == 1 and ReferenceConfig(seed=5).seed == 5


def test_small_sets_warm_up_and_fall_to_zero():
    config = TrainConfig(epochs=10, schedule=10, warm_up=0.1, learning_rate=2.0)
    rates = [config.rate(*when) for when in ((0, 0), (0, 0.5), (1, 0), (5, 0.5), (10, 0))]
    assert rates == pytest.approx([0.04, 1.0, 2.0, 1.0, 0.0])
    assert config.keep(7) == 1


def test_on_small_sets_only_matrices_decay():
    model, config = DSTA(TINY), TrainConfig()
    decayed, free = config.optimizer(model).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (config.weight_decay, 0)
    assert {p.ndim for p in free["params"]} == {1} and min(p.ndim for p in decayed["params"]) == 2
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"epochs": 4},
        {"batch_size": 0},
        {"learning_rate": 0},
        {"average": 1.0},
        {"learning_rate": float("nan")},
        {"clip_norm": -1},
        {"seed": -1},
    ],
)
@pytest.mark.parametrize("kind", [TrainConfig, ReferenceConfig])
def test_settings_that_make_no_sense(kind, wrong):
    with pytest.raises(UserError, match="--"):
        replace(kind(epochs=3, schedule=3), **wrong)


@pytest.mark.parametrize("wrong", [{"per_gloss": 0}, {"per_gloss": float("nan")}, {"spread": 1e9}, {"spread": -0.1}])
def test_draws_that_make_no_sense(wrong):
    with pytest.raises(UserError, match="--"):
        TrainConfig(**wrong)
