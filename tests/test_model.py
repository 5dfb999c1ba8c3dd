"""The network: against the reference's logits, and a second, naive writing in upstream's layout (N, C, T, V)."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracle import arrays, needs_oracle, random_state, upstream_state

from dsta.checkpoint import from_upstream
from dsta.errors import UserError
from dsta.model import DSTA, DropBlock, ModelConfig
from dsta.skeleton import adjacency

TINY = ModelConfig(num_classes=5, inner_dim=8)


def channels_first(y):
    """Our (N, T, V, C) -> upstream's (N, C, T, V)."""
    return y.permute(0, 3, 1, 2)


def outputs(model, x):
    """Logits, and what each block and its spatial part give, in upstream's layout."""
    inside = {}
    hooks = [
        module.register_forward_hook(lambda _, __, y, name=f"{part}{i}": inside.update({name: channels_first(y)}))
        for i, block in enumerate(model.blocks)
        for part, module in (("block", block), ("san", block.spatial))
    ]
    with torch.inference_mode():
        logits = model(x)
    for hook in hooks:
        hook.remove()
    return logits, inside


# --- the reference's numbers


@pytest.fixture(scope="module", params=[100, 500, 2000])
def reference(request):
    case = arrays(f"model_c{request.param}")
    return case, from_upstream(upstream_state(request.param))


@needs_oracle
def test_float32_is_within_5e_4_of_the_reference(reference):
    case, model = reference
    with torch.inference_mode():
        for suffix in ("", "_T37", "_T64", "_T100", "_T121"):
            some = slice(0, 6, 2)  # noise, joint and bone input
            logits = model.float()(torch.from_numpy(case[f"x{suffix}"][some, ..., 0]))
            assert logits.dtype == torch.float32
            assert np.abs(logits.numpy() - case[f"logits64{suffix}"][some]).max() < 5e-4


@needs_oracle
def test_float64_is_within_1e_9_of_the_reference_inside_too(reference):
    case, model = reference
    some = slice(None) if len(case["logits64"][0]) == 100 else slice(1, 6, 4)  # all kinds of input once
    logits, inside = outputs(model.double(), torch.from_numpy(case["x"][some, ..., 0]).double())
    assert np.abs(logits.numpy() - case["logits64"][some]).max() < 1e-9
    assert len(inside) == 8
    for name, y in inside.items():
        assert np.abs(y.numpy()[:, ::7, ::5, ::4] - case[f"sub_{name}"][some]).max() < 1e-9
        assert np.abs(y.mean((1, 2, 3)).numpy() - case[f"mean_{name}"][some]).max() < 1e-9


@needs_oracle
@pytest.mark.parametrize("frames", [37, 64, 100, 121])
def test_float64_at_other_lengths(reference, frames):
    case, model = reference
    with torch.inference_mode():
        logits = model.double()(torch.from_numpy(case[f"x_T{frames}"][..., 0]).double())
    assert np.abs(logits.numpy() - case[f"logits64_T{frames}"]).max() < 1e-9


@needs_oracle
def test_whole_blocks_are_the_references():
    full = arrays("blocks_full_c100")
    x = torch.from_numpy(arrays("model_c100")["x"][[0, 2], ..., 0]).double()
    _, inside = outputs(from_upstream(upstream_state(100)).double(), x)
    for i in range(4):
        assert np.abs(inside[f"block{i}"].numpy() - full[f"block{i}"]).max() < 1e-4  # stored as float32


# --- a second writing, from the specification's formulas


class Naive:
    """Section 1 of the specification, word by word, on upstream's state dict."""

    def __init__(self, state):
        self.state = {name: torch.from_numpy(np.asarray(value)).double() for name, value in state.items()}

    def get(self, name):
        return self.state[name]

    def affine(self, name, y):
        shape = (1, -1) + (1,) * (y.ndim - 2)
        return y * self.get(f"{name}.weight").view(shape) + self.get(f"{name}.bias").view(shape)

    def batch_norm(self, name, y):
        shape = (1, -1) + (1,) * (y.ndim - 2)
        mean, var = self.get(f"{name}.running_mean").view(shape), self.get(f"{name}.running_var").view(shape)
        return self.affine(name, (y - mean) / torch.sqrt(var + 1e-5))

    def layer_norm(self, name, y):
        mean = y.mean(1, keepdim=True)
        return self.affine(name, (y - mean) / torch.sqrt(((y - mean) ** 2).mean(1, keepdim=True) + 1e-5))

    def linear(self, name, y):
        weight = self.get(f"{name}.weight").flatten(1)
        return torch.einsum("oc,nctv->notv", weight, y) + self.get(f"{name}.bias").view(1, -1, 1, 1)

    def san(self, name, x0):
        n, _, t, v = x0.shape
        z = torch.einsum("nctv,co->notv", x0, self.get(f"{name}.Linear_weight")) + self.get(f"{name}.Linear_bias")
        z = self.batch_norm(f"{name}.bn0", z)
        c = z.shape[1]
        features = self.get(f"{name}.Edge_conv.edge_features")
        u = self.linear(f"{name}.Edge_conv.transform", self.layer_norm(f"{name}.Edge_conv.norm1", z))
        a = torch.tanh(torch.einsum("nctv,ce->netv", u, features)) / c
        a = a * self.get(f"{name}.Edge_conv.alphas").view(1, 6, 1, 1)
        edge = self.get(f"{name}.edge_weight") * torch.einsum("ce,netv->nctv", features, a)
        normed = self.layer_norm(f"{name}.norm1", z)
        qk = self.linear(f"{name}.in_nets", normed)
        q, k = qk[:, :c].view(n, 8, c // 8, t, v), qk[:, c:].view(n, 8, c // 8, t, v)
        graph = torch.tanh(torch.einsum("nhctu,nhctv->nhuv", q, k) / (c // 8 * t)) * self.get(f"{name}.alphas")
        y = torch.einsum("nhctv,nhvw->nhctw", normed.view(n, 8, c // 8, t, v), graph).reshape(n, c, t, v) + z
        inner = self.linear(f"{name}.mlp.fc1", self.layer_norm(f"{name}.norm2", y))
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        y = y + self.linear(f"{name}.mlp.fc2", inner) + edge
        y = torch.einsum("nctv,cvw->nctw", y, self.get(f"{name}.attention0s").view(c, 27, 27))
        down = x0
        if f"{name}.down.0.weight" in self.state:
            down = self.batch_norm(f"{name}.down.1", self.linear(f"{name}.down.0", x0))
        return torch.relu(self.batch_norm(f"{name}.bn", y) + down)

    def gates(self, name, y):
        def conv(part, means):
            weight = self.get(f"{name}.{part}.weight")
            return torch.sigmoid(F.conv1d(means, weight, self.get(f"{name}.{part}.bias"), padding=weight.shape[2] // 2))

        y = y * conv("conv_sa", y.mean(2)).unsqueeze(2) + y
        y = y * conv("conv_ta", y.mean(3)).unsqueeze(3) + y
        inner = torch.relu(y.mean((2, 3)) @ self.get(f"{name}.fc1c.weight").T + self.get(f"{name}.fc1c.bias"))
        outer = torch.sigmoid(inner @ self.get(f"{name}.fc2c.weight").T + self.get(f"{name}.fc2c.bias"))
        return y * outer[:, :, None, None] + y

    def block(self, i, x):
        name = f"layers.{i}"
        y = self.gates(name, self.san(f"{name}.san", x))
        for tcn in ("tcn", "tcn2", "tcn3"):
            stride = 2 if i and tcn == "tcn3" else 1
            branches = []
            for b, kernel in enumerate((5, 7)):
                conv = f"{name}.{tcn}.branches.{b}"
                made = F.conv2d(
                    y, self.get(f"{conv}.conv.weight"), self.get(f"{conv}.conv.bias"), (stride, 1), (kernel // 2, 0)
                )
                branches.append(self.batch_norm(f"{conv}.bn", made))
            y = torch.cat(branches, 1)
        if not i:
            return torch.relu(y)
        pool = f"{name}.residual.pool.net"
        weight, bias = self.get(f"{pool}.0.weight"), self.get(f"{pool}.0.bias")
        doubled = F.conv2d(x, weight, bias, stride=(2, 1), groups=x.shape[1])
        return torch.relu(y + self.batch_norm(f"{name}.residual.bn", self.linear(f"{pool}.1", doubled)))

    def __call__(self, x):
        n, c, t, v = x.shape
        flat = x.permute(0, 3, 1, 2).reshape(n, v * c, t)
        x = self.batch_norm("data_bn", flat).view(n, v, c, t).permute(0, 2, 3, 1)
        inside = {}
        for i in range(4):
            x = inside[f"block{i}"] = self.block(i, x)
        return x.mean((2, 3)) @ self.get("fc.weight").T + self.get("fc.bias"), inside


@pytest.fixture(scope="module")
def state():
    return random_state(7)


@pytest.mark.parametrize("frames", [1, 4, 9])
def test_network_is_the_naive_one(state, frames):
    x = torch.randn(2, 3, frames, 27, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected, blocks = Naive(state)(x)
    logits, inside = outputs(from_upstream(state).double(), x)
    for name, y in blocks.items():
        assert y.std() > 0.05  # nothing drowned
        assert (inside[name] - y).abs().max() < 1e-10 * y.abs().max()
    assert (logits - expected).abs().max() < 1e-10 * expected.abs().max()


def test_spatial_attention_is_the_naive_one(state):
    model = from_upstream(state).double()
    for i, c_in in enumerate((3, 64, 128, 256)):
        x = torch.randn(2, c_in, 5, 27, generator=torch.Generator().manual_seed(i), dtype=torch.float64)
        with torch.inference_mode():
            ours = channels_first(model.blocks[i].spatial(x.permute(0, 2, 3, 1)))
        expected = Naive(state).san(f"layers.{i}.san", x)
        assert (ours - expected).abs().max() < 1e-11 * expected.abs().max()


# --- sizes


@pytest.mark.parametrize(("num_classes", "parameters"), [(2000, 8_191_286), (100, 7_216_586)])
def test_parameter_count(num_classes, parameters):
    model = DSTA(ModelConfig(num_classes))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == parameters


@pytest.mark.parametrize(("frames", "lengths"), [(37, [37, 19, 10, 5]), (120, [120, 60, 30, 15]), (1, [1] * 4)])
def test_each_later_block_halves_the_frames_upwards(frames, lengths):
    logits, inside = outputs(DSTA(TINY).eval(), torch.randn(2, 3, frames, 27))
    assert [inside[f"block{i}"].shape[2] for i in range(4)] == lengths
    assert [inside[f"block{i}"].shape[1] for i in range(4)] == [8, 16, 32, 64]
    assert logits.shape == (2, 5) and logits.isfinite().all()


def test_one_frame_works_at_full_size():
    assert DSTA(ModelConfig(10)).eval()(torch.randn(1, 3, 1, 27)).isfinite().all()


def test_clips_of_a_batch_do_not_mix_in_evaluation(state):
    model = from_upstream(state)
    x = torch.randn(3, 3, 6, 27, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(model(x)[1:2], model(x[1:2]), atol=1e-4)


def test_wrong_input_is_said():
    with pytest.raises(ValueError, match=r"\(N, 3, T, 27\)"):
        DSTA(TINY)(torch.randn(1, 5, 4, 27))


@pytest.mark.parametrize("wrong", [{"num_classes": 0}, {"num_classes": 5, "inner_dim": 12}, {"depth": 3}, {"x": 1}])
def test_impossible_sizes_are_a_users_error(wrong):
    with pytest.raises(UserError):
        ModelConfig.from_dict(wrong)


# --- initialisation (spec, section 1, last but one paragraph)


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
