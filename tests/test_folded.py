"""The folded network: against the network itself at every length, the reference's numbers; and never a stale one."""

import gc
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.oracle import arrays, needs_oracle, random_state, upstream_state

import dsta.folded.chain
import dsta.folded.network
from dsta.checkpoint import from_upstream
from dsta.common.device import DeviceSettings, quickest_dtype
from dsta.folded import FoldedNetworks, folded
from dsta.folded.kept import _KEPT
from dsta.model import DSTA, ModelConfig
from dsta.score import NetworkInputs, score, score_inputs
from dsta.streams import Recipe

SMALL = ModelConfig(5, inner_dim=8, depth=3)
COMPACT = ModelConfig(7, in_channels=5, inner_dim=16, depth=3)
RECIPE = Recipe(window=6, bone="direct", normalise="shoulders")


def made(config, seed=0, dtype=torch.float64):
    """A network in which nothing is zero, nothing alike, and whose batch statistics are not those it began with."""
    torch.manual_seed(seed)
    model = DSTA(config).to(dtype).eval()
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point() and "graph" not in name.split("."):
                tensor.add_(torch.randn_like(tensor) * 0.3 / max(1, tensor[0].numel()) ** 0.5)
        for block in model.blocks:
            block.spatial.edge_weight.fill_(30)
            block.spatial.norm.weight.uniform_(0.5, 1)
    return model


def given(config, frames, networks=1, count=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(frames)
    return torch.randn(networks, count, config.in_channels, frames, 27, generator=generator, dtype=dtype)


@torch.inference_mode()
def plain(models, inputs):
    """Logits and embeddings by the networks themselves."""
    embeddings = [model.embed(own) for model, own in zip(models, inputs, strict=True)]
    logits = [model.classifier(own) for model, own in zip(models, embeddings, strict=True)]
    return torch.stack(logits), torch.stack(embeddings)


def assert_same(models, inputs, most, networks=None):
    networks = networks or FoldedNetworks(models, inputs.shape[3])
    for found, expected in zip(networks(inputs), plain(models, inputs), strict=True):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert (found - expected).abs().max() < most * expected.abs().max()
        assert expected.std() > 1e-3 * expected.abs().max()


@pytest.fixture(params=["matrix", "tiles"])
def way(request, monkeypatch):
    """Both ways a chain is computed."""
    monkeypatch.setattr(dsta.folded.chain, "_DENSE", {"matrix": 10**9, "tiles": 0}[request.param])


@pytest.mark.parametrize("frames", [*range(1, 41), 64, 75])
def test_every_length_is_exact(way, frames):
    """Three blocks: those lengths, their halves and quarters, at stride 1 and 2; odd and even ends."""
    assert_same([made(SMALL)], given(SMALL, frames), 1e-12)


@pytest.mark.parametrize("frames", [1, 2, 16, 33])
def test_networks_side_by_side_are_each_their_own(way, monkeypatch, frames):
    models = [made(COMPACT, seed) for seed in range(3)]
    for most in (0, 10**9):
        monkeypatch.setattr(dsta.folded.network, "_SIDE_BY_SIDE", most)
        networks = FoldedNetworks(models, frames)
        assert len(networks.stacks) == (1 if most else 3)
        assert_same(models, given(COMPACT, frames, 3), 1e-12, networks)


def test_many_inputs_are_done_in_parts(monkeypatch):
    monkeypatch.setattr(dsta.folded.network, "_AT_ONCE", 1)
    assert_same([made(SMALL), made(SMALL, 1)], given(SMALL, 7, 2, count=9), 1e-12)


def test_where_no_further_thread_can_be_started_nothing_waits_for_ever(monkeypatch):
    begun, start = [], threading.Thread.start

    def one(thread):
        if begun:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", one)
    with pytest.raises(RuntimeError, match="can't start"):
        dsta.folded.network._threads(-1, 2, 1)
    begun[0].join(30)
    assert not begun[0].is_alive()


def test_threads_that_share_the_work_change_nothing(monkeypatch):
    monkeypatch.setattr(dsta.folded.network, "_SIDE_BY_SIDE", 0)
    models, x = [made(SMALL, seed) for seed in range(3)], given(SMALL, 7, 3, count=9)
    networks, before = FoldedNetworks(models, 7), torch.get_num_threads()
    found = []
    try:
        for cores in (1, 2, 5):
            torch.set_num_threads(cores)
            found.append(networks(x)[0])
            assert torch.get_num_threads() == cores
            began = []
            thread = threading.Thread(target=lambda began=began: began.append(torch.get_num_threads()))
            thread.start()
            thread.join()
            assert began == [cores]  # those that begin later are not held back
    finally:
        torch.set_num_threads(before)
    expected = plain(models, x)[0]  # not to the bit: the order of a product's sums goes by threads on some processors
    assert all((logits - expected).abs().max() < 1e-12 * expected.abs().max() for logits in found)


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(3, inner_dim=2, depth=1, heads=1, edge_features=1, mlp_ratio=1),
        ModelConfig(4, in_channels=1, inner_dim=6, depth=2, heads=3, edge_features=4, mlp_ratio=3),
        ModelConfig(3, in_channels=8, inner_dim=8, depth=2),  # no map beside the first block
    ],
)
def test_other_sizes(way, config):
    for frames in (1, 5, 20):
        assert_same([made(config)], given(config, frames), 1e-12)


def test_full_size_in_both_formats():
    model = from_upstream(random_state(50))
    x = given(model.config, 17, count=1)
    assert_same([model], x.float(), 2e-5)
    assert_same([model.double()], x, 1e-11)


@needs_oracle
@pytest.mark.parametrize(
    ("classes", "suffix"),
    [(100, "_T37"), *(pytest.param(n, t, marks=pytest.mark.slow) for n, t in ((100, ""), (500, "_T121"), (2000, "")))],
)
def test_the_references_logits(classes, suffix):
    case, model = arrays(f"model_c{classes}"), from_upstream(upstream_state(classes))
    x, expected = torch.from_numpy(case[f"x{suffix}"][::2, ..., 0]), case[f"logits64{suffix}"][::2]
    for dtype, most in ((torch.float32, 5e-4), (torch.float64, 1e-9)):
        logits, _ = FoldedNetworks([model.to(dtype)], x.shape[2])(x[None].to(dtype))
        assert logits.dtype == dtype and np.abs(logits[0].numpy() - expected).max() < most


def test_bf16_is_near_and_comes_back_as_float32():
    model = made(COMPACT, dtype=torch.float32)
    x = given(COMPACT, 16, count=8, dtype=torch.float32)
    (exact, _), (rough, embeddings) = (FoldedNetworks([model], 16, half)(x) for half in (False, True))
    assert rough.dtype == embeddings.dtype == torch.float32
    assert 0 < (exact - rough).abs().max() < 0.03 * exact.abs().max()


def test_what_is_not_a_number_stays_none():
    model, x = made(SMALL), given(SMALL, 12)
    x[0, 1, 0, 3, 5] = torch.nan
    logits, _ = FoldedNetworks([model], 12)(x)
    assert logits[0, 0].isfinite().all() and logits[0, 1].isnan().all()


def test_wrong_input_is_said():
    networks = FoldedNetworks([made(SMALL)], 6)
    for wrong in (given(SMALL, 7), given(SMALL, 6, 2), given(COMPACT, 6)):
        with pytest.raises(ValueError, match=r"expected \(1, N, 3, 6, 27\)"):
            networks(wrong)
    with pytest.raises(ValueError, match="different sizes"):
        FoldedNetworks([made(SMALL), made(replace(SMALL, num_classes=6))], 6)


# --- what is kept


def test_what_was_folded_is_kept():
    model = made(SMALL)
    assert folded([model], 6) is folded([model], 6) is not folded([model], 7)
    assert folded([model], 6, half=True) is not folded([model], 6)


def step(model):
    optimiser = torch.optim.SGD(model.parameters(), 0.1, foreach=True)
    model(given(SMALL, 6)[0]).square().mean().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()


def other_statistics(model):
    model.train()
    model(given(SMALL, 6)[0])
    model.eval()


def written(model):
    with torch.inference_mode():
        model.blocks[1].temporal[2].branches[0].conv.weight.mul_(2)


def replaced(model):
    model.classifier.weight = torch.nn.Parameter(model.classifier.weight.detach() * 2)


def data_replaced(model):
    model.classifier.weight.data = model.classifier.weight.detach() * 2


def layer_replaced(model):
    model.blocks[0].gates.channels_in = made(SMALL, 3).blocks[0].gates.channels_in


@pytest.mark.parametrize(
    "change",
    [
        step,
        other_statistics,
        written,
        replaced,
        data_replaced,
        layer_replaced,
        lambda model: model.load_state_dict(made(SMALL, 1).state_dict()),
        lambda model: torch.nn.init.normal_(model.blocks[0].spatial.mixing),
        lambda model: model.blocks[2].residual.norm.running_mean.add_(1),
    ],
)
def test_a_network_that_changed_is_folded_anew(change):
    model, x = made(SMALL), given(SMALL, 6)
    before = folded([model], 6)(x)[0]
    change(model)
    found = folded([model], 6)(x)[0]
    assert (found - plain([model], x)[0]).abs().max() < 1e-11 * found.abs().max()
    assert (found - before).abs().max() > 1e-6 * before.abs().max()


def test_a_tensor_in_the_place_of_a_freed_one_is_not_taken_for_it():
    model = made(SMALL)
    folded([model], 6)
    places = set()
    for _ in range(5):  # memory that was freed is given out again
        weight = torch.nn.Parameter(torch.randn(model.classifier.weight.shape, dtype=torch.float64))
        model.classifier.weight = weight
        places.add(weight.data_ptr())
        x = given(SMALL, 6)
        assert_same([model], x, 1e-12, folded([model], 6))


def test_another_network_among_several_is_noticed():
    first, second, third = (made(SMALL, seed) for seed in range(3))
    x = given(SMALL, 6, 2)
    for models in ([first, second], [first, third], [first, second]):
        assert_same(models, x, 1e-12, folded(models, 6))


def test_what_is_folded_goes_with_its_network():
    gc.collect()
    before = len(_KEPT)
    model = made(SMALL)
    folded([model], 6)
    assert len(_KEPT) == before + 1
    del model
    gc.collect()
    assert len(_KEPT) == before


def test_a_network_made_in_inference_mode_is_folded_each_time():
    with torch.inference_mode():
        model = made(SMALL)
    assert folded([model], 6) is not folded([model], 6)


def test_training_between_two_calls_of_score_is_seen(monkeypatch):
    from helpers.clips import made_clip

    model = made(replace(SMALL), dtype=torch.float32)
    first = score(model, [made_clip()], "joint", RECIPE).logits
    with torch.no_grad():
        model.classifier.bias.add_(1)
    assert score(model, [made_clip()], "joint", RECIPE).logits == pytest.approx(first + 1, rel=1e-5)


# --- number format


def test_the_quickest_format_is_asked_once_and_only_for_wide_networks(monkeypatch):
    from helpers.clips import made_clip

    import dsta.score

    asked, used = [], []
    monkeypatch.setattr(dsta.score, "quickest_dtype", lambda device: asked.append(device) or "bf16")
    real = dsta.score.folded
    monkeypatch.setattr(dsta.score, "folded", lambda *a, half: used.append(half) or real(*a, half=half))
    small, wide = (made(ModelConfig(3, inner_dim=dim, depth=1), dtype=torch.float32) for dim in (8, 64))
    for model, dtype in ((small, "quickest"), (wide, "fp32"), (wide, "quickest"), (small, "bf16")):
        score(model, [made_clip()], "joint", RECIPE, DeviceSettings(dtype=dtype))
    assert used == [False, False, True, True] and len(asked) == 1


def test_score_says_what_the_network_itself_says(monkeypatch):
    from helpers.clips import made_clip

    model, clips = made(ModelConfig(3, inner_dim=8, depth=1), dtype=torch.float32), [made_clip()] * 2
    found = score(model, clips, "joint", RECIPE)
    inputs = torch.stack([NetworkInputs("joint", RECIPE, clips)[i] for i in range(2)])
    logits, embeddings = score_inputs(model, inputs)
    assert np.abs(found.logits - logits.numpy()).max() < 5e-4
    assert np.abs(found.embeddings - embeddings.numpy()).max() < 5e-4


def test_the_probe_answers_alike_each_time():
    assert quickest_dtype("cpu") == quickest_dtype("cpu") and quickest_dtype("cpu") in ("fp32", "bf16")
