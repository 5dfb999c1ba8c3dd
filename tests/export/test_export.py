"""The ONNX file: its torch form of the preparation against `dsta.streams`, its logits against ours."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.benchmarks import network
from helpers.scores import logits

from dsta.checkpoint import DEFAULT_WEIGHTS, Checkpoint, Ensemble
from dsta.common import UserError
from dsta.data import read_skeletons
from dsta.data.synthetic import wandering_clips
from dsta.export import file
from dsta.export import prepare as torch_form
from dsta.export.__main__ import main
from dsta.export.file import metadata, to_onnx
from dsta.export.prepare import batch_views, network_input, sample_frames
from dsta.model import DSTA, ModelConfig
from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND
from dsta.streams import Recipe, Stream, fuse, prepare
from dsta.streams import views as our_views
from dsta.train import SMALL_RECIPE

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "asl_everyday"
SHOULDERS = {"bone": "direct", "normalise": "shoulders"}
RECIPES = {
    "upstream": Recipe(),
    "upstream, direct, 4 views": Recipe(window=33, bone="direct", views=4),
    "small": SMALL_RECIPE,
    "shoulders alone": Recipe(window=24, views=2, **SHOULDERS),
    "one frame": Recipe(window=1, handless="drop", hand_local=True, **SHOULDERS),
}
BOTH_SHOULDERS = [INDEX["left_shoulder"], INDEX["right_shoulder"]]


def difference(clips, stream, recipe):
    """Largest difference between the torch form of a batch and `prepare` of each view of each clip, relative."""
    made = network_input(*sample_frames(*batch_views(torch.from_numpy(clips), recipe), recipe), stream, recipe).numpy()
    ours = np.stack([[prepare(view, stream, recipe) for view in our_views(clip, recipe)] for clip in clips], 1)
    ours = ours.reshape(-1, *ours.shape[2:])
    assert made.shape == ours.shape and made.dtype == ours.dtype
    return np.abs(made - ours).max() / max(1, np.abs(ours).max())


def holed(n, length, seed=0):
    """Clips of which a third of the joints and a third of the frames' hands are gone, differently in each clip."""
    rng = np.random.default_rng(seed)
    clips = wandering_clips(n, length, seed)
    clips[rng.random(clips.shape[:3]) < 0.3] = 0
    for clip in clips:
        clip[np.ix_(rng.random(length) < 0.35, LEFT_HAND + RIGHT_HAND)] = 0
    return clips


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("stream", list(Stream))
def test_preparation_is_that_of_streams(name, stream):
    for length in (1, 2, 3, 10, 29, 30, 31, 70, 119, 120, 121, 200):
        assert difference(holed(3, length, seed=length), stream, RECIPES[name]) < 1e-5, length


@pytest.mark.parametrize("name", ["upstream", "upstream, direct, 4 views", "small"])
def test_every_length_samples_the_same_frames(name):
    for length in range(1, 201):
        assert difference(holed(1, length, seed=length), "joint", RECIPES[name]) < 1e-5, length


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("stream", list(Stream))
def test_odd_clips_are_prepared_alike(name, stream):
    clips = holed(7, 41)
    clips[0][:, BOTH_SHOULDERS] = 0
    clips[1][:, LEFT_HAND + RIGHT_HAND] = 0
    clips[2] = 0
    clips[3][:, BOTH_SHOULDERS, :2] = (200, 200)  # narrower than anyone is
    clips[4][5:9, 3, 0], clips[4][7, :, 2] = np.inf, -np.inf
    clips[5][1:, LEFT_HAND + RIGHT_HAND] = 0
    clips[6][:, BOTH_SHOULDERS, 2] = np.arange(41)[:, None] % 2  # an odd number of widths here, an even one elsewhere
    assert difference(clips, stream, RECIPES[name]) < 1e-5


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data are not here")
@pytest.mark.parametrize("name", ["upstream", "small"])
def test_real_clips_are_prepared_alike(name):
    for clip in read_skeletons(SHARED)[::12]:
        for stream in Stream:
            assert difference(clip.joints[None], stream, RECIPES[name]) < 1e-5, clip.name


def test_the_comparison_can_fail(monkeypatch):
    monkeypatch.setattr(torch_form, "PARENTS", np.arange(27))
    assert difference(holed(1, 20), "bone", RECIPES["small"]) > 1e-2


# --- the file


@pytest.fixture(scope="module")
def runtime():
    pytest.importorskip("onnxscript")
    return pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(runtime, tmp_path_factory):
    """The file of weights/asl118, made by the command line, and how it found its network input to differ."""
    path, told, compare = tmp_path_factory.mktemp("onnx") / "asl118.onnx", [], file.input_difference
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file, "input_difference", lambda *given: told.append(compare(*given)) or told[-1])
        assert main(["asl118", "--onnx", str(path)]) == 0
    return path, *told


@pytest.fixture(scope="module")
def shipped(exported):
    return exported[0]


def answers(content, clips, runtime):
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # spinning threads take the cores from whatever runs beside
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return [session.run(["logits"], {"clip": batch})[0] for batch in clips]


def ours(ensemble, clips):
    scores = {
        stream: logits(checkpoint.model, clips, stream, checkpoint.recipe)
        for stream, checkpoint in ensemble.checkpoints.items()
    }
    return fuse(scores, ensemble.fusion)


@pytest.mark.slow
def test_shipped_weights_answer_the_same_for_any_number_of_clips_and_frames(shipped, runtime):
    ensemble = Ensemble.load(DEFAULT_WEIGHTS)
    batches = [holed(n, length, seed=length) for n, length in ((1, 1), (1, 2), (5, 16), (2, 17), (1, 64), (3, 301))]
    batches[2][0, :, LEFT_HAND + RIGHT_HAND] = 0
    for batch, found in zip(batches, answers(shipped.read_bytes(), batches, runtime), strict=True):
        assert found.shape == (len(batch), 118) and found.dtype == np.float32
        np.testing.assert_allclose(found, ours(ensemble, batch), atol=1e-3, rtol=0)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="the shared data are not here")
def test_shipped_weights_answer_the_same_for_real_clips(shipped, runtime):
    ensemble = Ensemble.load(DEFAULT_WEIGHTS)
    clips = [clip.joints[None] for clip in read_skeletons(SHARED)[::80]]
    for clip, found in zip(clips, answers(shipped.read_bytes(), clips, runtime), strict=True):
        np.testing.assert_allclose(found, ours(ensemble, clip), atol=1e-3, rtol=0)


@pytest.mark.slow
def test_the_file_itself_makes_the_networks_input_for_every_length(exported):
    """At 10, 50, 90 … frames a twentieth lies halfway: a constant that was rounded to float32 cut there otherwise."""
    assert exported[1] < 1e-5


@pytest.mark.slow
def test_a_file_that_cuts_views_otherwise_is_found(shipped, monkeypatch):
    real = file.NetworkInputs

    class CutByOne(real):
        def __getitem__(self, i):
            self.clips = [clip[1:] if len(clip) == 50 else clip for clip in self.clips]
            return super().__getitem__(i)

    monkeypatch.setattr(file, "NetworkInputs", CutByOne)
    content, ensemble = shipped.read_bytes(), Ensemble.load(DEFAULT_WEIGHTS)
    assert (
        file.input_difference(content, ensemble, [49, 51])
        < 1e-5
        < 1e-2
        < file.input_difference(content, ensemble, [50])
    )


@pytest.mark.slow
def test_nan_is_answered_with_nan_for_its_clip_alone(shipped, runtime):
    clips = holed(2, 20)
    clips[1, 3, 4, 0] = np.nan
    (found,) = answers(shipped.read_bytes(), [clips], runtime)
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()


@pytest.mark.slow
def test_file_is_small_standard_and_says_what_it_is(shipped):
    import onnx

    model = onnx.load(shipped)
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)] and not model.functions
    weights = sum(path.stat().st_size for path in DEFAULT_WEIGHTS.glob("*/model.safetensors"))
    assert shipped.stat().st_size < 1.25 * weights
    assert str(Path(file.__file__).parent).encode() not in shipped.read_bytes()
    said = {prop.key: prop.value for prop in model.metadata_props}
    config = json.loads((DEFAULT_WEIGHTS / "joint" / "config.json").read_text())
    ensemble = json.loads((DEFAULT_WEIGHTS / "ensemble.json").read_text())
    assert json.loads(said["glosses"]) == config["glosses"]
    assert json.loads(said["recipe"])["joint"] == config["recipe"]
    assert json.loads(said["weights_sha256"])["joint"] == config["weights_sha256"]
    assert {name: json.loads(said[name]) for name in ("temperature", "threshold", "fusion")} == {
        name: ensemble[name] for name in ("temperature", "threshold", "fusion")
    }
    assert said["licence"] == config["provenance"]["licence"]
    assert json.loads(said["dataset"]) == config["provenance"]["datasets"]


@pytest.mark.slow
def test_a_network_of_full_width_with_upstreams_recipe_answers_the_same(runtime):
    ensemble = full_width("bone_motion")
    batches = [holed(1, 120, seed=1), holed(2, 45, seed=2)]
    for batch, found in zip(batches, answers(to_onnx(ensemble), batches, runtime), strict=True):
        expected = ours(ensemble, batch)
        assert expected.std() > 0.5
        np.testing.assert_allclose(found, expected, atol=1e-3, rtol=0)


@torch.no_grad()
def full_width(stream):
    """A network of the paper's width of which no part is idle, as some are after initialisation; logits of spread 4.

    Of its blocks the last two are left out, which are like the second, as tracing takes long: asl118 has such a third.
    """
    torch.manual_seed(0)
    model = DSTA(ModelConfig(num_classes=100, depth=2)).eval()
    for name, value in model.named_parameters():
        if name.endswith("norm.weight") or "down.1.weight" in name:
            torch.nn.init.uniform_(value, 0.5, 1.5)
        elif name.endswith("edge_weight"):
            torch.nn.init.ones_(value)
    model.input_norm.running_var.fill_(1e4)
    x = torch.from_numpy(np.stack([prepare(clip, stream) for clip in wandering_clips(2, 60)]))
    model.classifier.weight.mul_(4 / model(x).std())
    glosses = tuple(map(str, range(100)))
    checkpoint = Checkpoint(model, Stream(stream), Recipe(), glosses, "hrnet-wholebody", {})
    return Ensemble({stream: checkpoint}, {stream: 1.0})


# --- what goes wrong


@pytest.fixture
def tiny(tmp_path):
    return network(tmp_path / "tiny", ["a", "b"], "joint", licence="CC0", datasets=["made up"])


@pytest.fixture
def untraced(monkeypatch):
    """Without torch's exporter, which takes its time; what it makes does not differ."""
    monkeypatch.setattr(file, "_need", lambda *libraries: None)
    monkeypatch.setattr(file, "to_onnx", lambda ensemble, properties: b"new")
    for name in ("logits_difference", "input_difference"):
        monkeypatch.setattr(file, name, lambda content, ensemble: 5e-4)


def test_one_stream_says_what_it_is(tiny):
    said = metadata(Ensemble.load(tiny), tiny)
    sha256 = json.loads((tiny / "config.json").read_text())["weights_sha256"]
    assert (said["name"], said["licence"], json.loads(said["fusion"])) == ("tiny", "CC0", {"joint": 1.0})
    assert json.loads(said["weights_sha256"]) == {"joint": sha256}


@pytest.mark.parametrize(
    ("compared", "wrong"),
    [("logits_difference", 2e-3), ("logits_difference", float("nan")), ("input_difference", 2e-3)],
)
def test_a_file_that_differs_is_not_written(tiny, untraced, monkeypatch, tmp_path, capsys, compared, wrong):
    path = tmp_path / "x.onnx"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(file, compared, lambda content, ensemble: wrong)
        assert main([str(tiny), "--onnx", str(path)]) == 2
    assert "differ" in capsys.readouterr().err and path.read_bytes() == b"old"
    assert main([str(tiny), "--onnx", str(path)]) == 0
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_libraries_it_says_what_to_install(tiny, monkeypatch, tmp_path, capsys, library):
    monkeypatch.setitem(sys.modules, library, None)
    assert main([str(tiny), "--onnx", str(tmp_path / "x.onnx")]) == 2
    assert f"Export needs {library}" in capsys.readouterr().err and not (tmp_path / "x.onnx").exists()


def test_wrong_places_are_one_sentence(tiny, untraced, tmp_path, capsys):
    assert main(["no_such_weights", "--onnx", str(tmp_path / "x.onnx")]) == 2
    assert "no weights folder" in capsys.readouterr().err
    for place in (tmp_path / "missing" / "x.onnx", tmp_path):
        with pytest.raises(UserError, match="cannot be written"):
            file.export(tiny, place)
