"""The network as it is trained: its initial weights, and DropBlock."""

import math

import numpy as np
import pytest
import torch

from dsta.model import DSTA, DropBlock, ModelConfig
from dsta.skeleton import adjacency

TINY = ModelConfig(num_classes=5, inner_dim=8)


# --- initial weights (spec, section 1, last but one paragraph)


@pytest.fixture(scope="module")
def fresh():
    torch.manual_seed(0)
    return DSTA(ModelConfig(num_classes=2000))


def spread(tensor, expected, tolerance=0.05):
    tensor = tensor.detach()
    assert float(tensor.std()) == pytest.approx(expected, rel=tolerance)
    assert abs(float(tensor.mean())) < 5 * expected / math.sqrt(tensor.numel())


def test_initial_constants(fresh):
    for block in fresh.blocks:
        san, gates = block.spatial, block.gates
        for tensor, value in (
            (san.norm.weight, 1e-6),
            (san.edge_weight, 0),
            (san.mixing, 1 / 27),
            (san.alpha, 1),
            (san.edge.alpha, 1),
            (san.project.bias, 1e-6),
            (gates.channels_out.weight, 0),
            (gates.frames.weight, 0),
            (san.project_norm.weight, 1),
        ):
            assert torch.equal(tensor, torch.full_like(tensor, value))


def test_initial_spreads_of_the_spatial_part(fresh):
    for block in fresh.blocks:
        san, c = block.spatial, block.spatial.norm.num_features
        spread(san.project.weight, math.sqrt(0.5 / c), 0.2)
        for tensor in (san.mlp_in.weight, san.mlp_out.weight, san.edge.features):
            spread(tensor, 0.02, 0.1)
        spread(block.gates.joints.weight, math.sqrt(2 / (27 * (c + 1))), 0.1)  # Xavier: fan in 27c, fan out 27
        spread(block.gates.channels_in.weight, math.sqrt(2 / c), 0.1)  # Kaiming, fan in
    spread(fresh.blocks[0].spatial.down[0].weight, math.sqrt(2 / 64), 0.2)  # Kaiming, fan out


def test_initial_spreads_of_convolutions_and_classifier(fresh):
    for block in fresh.blocks:
        for layer in block.temporal:
            for branch, kernel in zip(layer.branches, (5, 7), strict=True):
                spread(branch.conv.weight, math.sqrt(2 / (branch.conv.out_channels * kernel)))
                assert branch.conv.padding == (kernel // 2, 0)
    spread(fresh.classifier.weight, math.sqrt(2 / 2000), 0.01)


def test_normalisations_use_1e_5(fresh):
    kinds = (torch.nn.BatchNorm1d, torch.nn.LayerNorm)
    assert {module.eps for module in fresh.modules() if isinstance(module, kinds)} == {1e-5}


# --- DropBlock


def dropped(x, keep, seed=0):
    torch.manual_seed(seed)
    return DropBlock().train()(x, keep)


def test_dropblock_is_off_in_evaluation_and_at_keep_one():
    x = torch.randn(2, 15, 27, 4)
    assert torch.equal(DropBlock().eval()(x, 0.5), x)
    assert torch.equal(DropBlock().train()(x, 1.0), x)
    assert not torch.equal(dropped(x, 0.5), x)


def test_dropblock_is_used_in_the_last_two_blocks_only():
    uses = [[module for module in block.modules() if isinstance(module, DropBlock)] for block in DSTA(TINY).blocks]
    assert [len(u) for u in uses] == [0, 0, 4, 4]  # three convolutions (each branch) and the residual


def test_dropblock_never_gives_nan_and_keeps_the_mean():
    x = torch.ones(1, 15, 27, 2)
    empty = 0
    for seed in range(200):
        y = dropped(x, 0.5, seed)
        assert y.isfinite().all()
        empty += int(y.sum() == 0)
        assert float(y.mean()) in (0, pytest.approx(1, abs=1e-4))
    assert empty < 0.3 * 200  # of 15 frames, one run of 41 leaves none: 17 % at this rate


@pytest.mark.parametrize("value", [0.0, 1e-40, 1e30])
def test_dropblock_survives_extreme_activations(value):
    assert all(dropped(torch.full((1, 15, 27, 2), value), 0.5, seed).isfinite().all() for seed in range(50))


def test_dropblock_drops_joints_with_their_neighbours():
    graph = adjacency() > 0
    checked = 0
    for seed in range(60):
        gone = ~(dropped(torch.ones(1, 120, 27, 1), 0.8, seed)[0, ..., 0] > 0)
        joints = gone.all(0).numpy()
        if joints.all():
            continue
        whole = [u for u in range(27) if joints[graph[u]].all()]  # neighbourhoods that are gone entirely
        assert np.array_equal(joints, graph[whole].any(0) if whole else np.zeros(27, bool))
        checked += int(joints.any())
    assert checked > 20


def test_dropblock_drops_runs_of_41_frames():
    checked = 0
    for seed in range(60):
        gone = ~(dropped(torch.ones(1, 300, 27, 1), 0.9, seed)[0, ..., 0] > 0)
        frames = gone.all(1).numpy()
        if frames.all():
            continue
        starts = [t for t in range(-20, 280) if frames[max(0, t) : t + 41].all()]
        covered = np.zeros(300, bool)
        for t in starts:
            covered[max(0, t) : t + 41] = True
        assert np.array_equal(frames, covered)
        checked += int(frames.any())
    assert checked > 10


def kept_joints(x, keep):
    """(N, 27) whether a joint of each clip was kept; with one frame, lost frames are told apart by their joints."""
    kept = dropped(x, keep)[:, 0, :, 0] > 0
    return kept[kept.any(1)]


def test_dropblock_seeds_as_often_as_gamma_says():
    gamma = 0.1 / 2.92
    share = kept_joints(torch.ones(40_000, 1, 27, 1), 0.9).double().mean(0)
    expected = (1 - gamma) ** torch.from_numpy(adjacency().sum(1)).double()
    assert (share - expected).abs().max() < 0.01


def test_dropblock_prefers_clips_with_large_activations_of_the_whole_batch():
    x = torch.ones(20_000, 1, 27, 1)
    x[::2] = 3  # their share of the batch's mean is 1.5, that of the others 0.5
    torch.manual_seed(0)
    kept = DropBlock().train()(x, 0.9)[:, 0, :, 0] > 0
    for part, factor in ((kept[::2], 1.5), (kept[1::2], 0.5)):
        alive = part[part.any(1)].double().mean(0)
        expected = (1 - factor * 0.1 / 2.92) ** torch.from_numpy(adjacency().sum(1)).double()
        assert (alive - expected).abs().max() < 0.015


def test_dropblock_rescales_by_what_is_left_of_the_batch():
    y = dropped(torch.ones(64, 15, 27, 1), 0.7)
    assert len(y[y > 0].unique()) == 1
    assert float(y.mean()) == pytest.approx(1, abs=0.1)


def test_training_step_with_dropblock_is_finite():
    torch.manual_seed(0)
    model = DSTA(TINY).train()
    for _ in range(15):
        model(torch.randn(1, 3, 60, 27), keep=0.3).logsumexp(1).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
