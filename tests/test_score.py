"""The one path from clips to logits and embeddings."""

import numpy as np
import pytest
import torch
from helpers.clips import made_clip
from helpers.oracle import SHARED, needs_data
from helpers.scores import logits

from dsta.checkpoint import Checkpoint, Ensemble
from dsta.common.device import DeviceSettings
from dsta.common.files import WEIGHTS
from dsta.data import read_clip_set
from dsta.model import DSTA, ModelConfig
from dsta.score import score, score_inputs, score_streams
from dsta.streams import Recipe, Stream, fuse, mirror, prepare

RECIPE = Recipe(window=4, bone="direct", normalise="shoulders", views=4)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = DSTA(ModelConfig(3, inner_dim=8, depth=2)).eval()
    torch.nn.init.normal_(model.blocks[0].spatial.norm.weight)
    return model


@pytest.fixture(scope="module")
def given():
    whole = made_clip()
    return [whole[: 20 + 4 * i] * np.float32(1 + 0.1 * i) for i in range(5)]


def test_logits_are_the_mean_over_the_views(model, given):
    clip = given[-1]
    cut = round(0.05 * len(clip))
    variants = [clip, mirror(clip), clip[cut:-cut], mirror(clip)[cut:-cut]]
    with torch.inference_mode():
        each = [model(torch.from_numpy(prepare(v, "joint", RECIPE))[None])[0].numpy() for v in variants]
    scored = score(model, [clip], "joint", RECIPE).logits
    assert scored.dtype == np.float32 and scored.shape == (1, 3)
    assert np.abs(scored[0] - np.mean(each, 0)).max() < 1e-5 * np.abs(each).max()
    assert np.ptp(each, axis=0).max() > 1e-3  # the views do differ


@pytest.mark.parametrize("stream", list(Stream))
def test_clips_are_scored_as_one_by_one(model, given, stream):
    expected = logits(model, given, stream, RECIPE)
    told = []
    for batch in (4, 8, 64):
        found = score(model, given, stream, RECIPE, DeviceSettings(batch=batch), told.append).logits
        assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    assert told == [1, 1, 1, 1, 1, 2, 2, 1, 5]
    assert np.abs(expected[0] - expected[1]).max() > 1e-5


def test_the_classifier_makes_the_logits_of_the_embedding(model, given):
    logits, embeddings = score(model, given, "bone", RECIPE)
    assert embeddings.shape == (5, model.classifier.in_features) and embeddings.dtype == np.float32
    weight, bias = (tensor.detach().numpy() for tensor in (model.classifier.weight, model.classifier.bias))
    assert logits == pytest.approx(embeddings @ weight.T + bias, rel=1e-5, abs=1e-4)
    assert np.ptp(embeddings, axis=0).max() > 1e-3


def test_scoring_leaves_the_random_numbers_of_training_alone(model, given):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    score(model, given, "joint", RECIPE)
    assert torch.equal(torch.rand(3), expected)


def test_half_precision_is_near_and_comes_back_as_float32(model, given):
    inputs = torch.stack([torch.from_numpy(prepare(clip, "joint", RECIPE)).float()[None] for clip in given])
    exact, rough = (score_inputs(model, inputs, dtype)[0] for dtype in ("fp32", "bf16"))
    assert rough.dtype == torch.float32 and not torch.equal(exact, rough)
    assert (exact - rough).abs().max() < 0.05 * exact.abs().max()


def test_each_stream_of_an_ensemble_is_scored_by_its_own_network(model, given):
    networks = {
        str(stream): Checkpoint(model, stream, RECIPE, ("a", "b", "c"), "mediapipe-holistic", {})
        for stream in (Stream.JOINT, Stream.BONE_MOTION)
    }
    found = score_streams(Ensemble(networks, dict.fromkeys(networks, 1.0)), given)
    assert list(found) == ["joint", "bone_motion"]
    for stream, said in found.items():
        assert said.logits == pytest.approx(logits(model, given, stream, RECIPE), rel=1e-5, abs=1e-5)


@needs_data
@pytest.mark.slow
def test_half_precision_gives_real_clips_the_same_gloss():
    clips = read_clip_set(SHARED / "data" / "WLASL100", "val").joints
    shipped, best = Ensemble.load(WEIGHTS / "WLASL100"), {}
    for dtype in ("fp32", "bf16"):
        said = score_streams(shipped, clips, DeviceSettings(dtype=dtype))
        best[dtype] = {stream: scores.logits.argmax(1) for stream, scores in said.items()}
        best[dtype]["fused"] = fuse({s: scores.logits for s, scores in said.items()}, shipped.fusion).argmax(1)
    same = {name: np.mean(best["fp32"][name] == best["bf16"][name]) for name in best["fp32"]}
    assert same.pop("fused") >= 0.995 and min(same.values()) >= 0.99
