"""The network: against the reference's logits, and a second, naive writing in upstream's layout (N, C, T, V)."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.oracle import arrays, needs_oracle, random_state, upstream_state

from dsta.checkpoint import from_upstream
from dsta.common import UserError
from dsta.model import DSTA, ModelConfig

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


@pytest.fixture(scope="module", params=[100, *(pytest.param(n, marks=pytest.mark.slow) for n in (500, 2000))])
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


@pytest.mark.slow
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


@pytest.mark.slow
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
