"""What can be known of a GPU without one: where tensors are, what waits, what is compiled, what memory there is."""

import contextlib
import shutil
from collections import namedtuple
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from helpers.scores import logits
from helpers.training import QUIET, clips, log, task
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import dsta.score
import dsta.train.batches
from dsta.common import UserError
from dsta.common.device import DeviceSettings
from dsta.common.machine import with_room
from dsta.model import DSTA, ModelConfig
from dsta.streams import Recipe, Stream
from dsta.train import ReferenceConfig, TrainConfig, fit
from dsta.train import loop as module
from dsta.train.batches import ReferenceBatches, SmallBatches, Workers
from dsta.train.distributed import Group, synchronise
from dsta.train.loop import Loop
from dsta.train.state import RESUME_FILE, RunFiles

SIZES = ModelConfig(2, inner_dim=8, depth=3)
META = torch.device("meta")  # has shapes and no numbers: whoever reads one is told


class Watch(TorchDispatchMode):
    """Notes the devices of all tensors that go into an operation or come out of one."""

    def __init__(self):
        super().__init__()
        self.devices = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        self.devices |= {leaf.device.type for leaf in tree_leaves((args, kwargs, result)) if torch.is_tensor(leaf)}
        return result


@pytest.fixture
def without_autocast(monkeypatch):
    """Autocast does not know the device that has no numbers."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


def step_on(device, tmp_path, config, change=lambda model: None):
    """A training step of the loop on that device: the devices that it met."""
    loop = Loop(DSTA(SIZES), None, config, RunFiles(tmp_path, "run"), replace(QUIET, device=device))
    loop.model.train()
    change(loop.model)
    x, y = torch.empty(4, 3, 12, 27, device=device), torch.zeros(4, dtype=torch.int64, device=device)
    with Watch() as watch:
        loop._step(x, y, torch.empty((), device=device), 0.1)
    return watch.devices


@pytest.mark.parametrize("more", [{}, {"average": 0.9, "clip_norm": 1.0}], ids=["plain", "averaged and clipped"])
def test_a_step_stays_on_its_device_and_waits_for_no_number(tmp_path, without_autocast, more):
    assert step_on(META, tmp_path, ReferenceConfig(**more)) == {"meta"}


@pytest.mark.parametrize("training", [False, True])
def test_several_processes_stay_on_their_device_too(training):
    model = DSTA(SIZES).to(META).train(training)
    synchronise(model, Group())
    with Watch() as watch:
        scores = model(torch.empty(4, 3, 12, 27, device=META), torch.empty((), device=META))
        F.cross_entropy(scores, torch.zeros(4, dtype=torch.int64, device=META)).backward()
    assert watch.devices == {"meta"}


def test_a_tensor_that_was_left_behind_is_found(tmp_path, without_autocast):
    def forget(model):
        model.blocks[2].residual.drop.graph = torch.zeros(27, 27)

    assert step_on(META, tmp_path, ReferenceConfig(), forget) == {"meta", "cpu"}


def test_a_number_that_is_read_is_found(tmp_path, without_autocast, monkeypatch):
    monkeypatch.setattr(DSTA, "forward", lambda self, x, keep: self.classifier(x.mean((1, 2))[:, :8] + x.max().item()))
    with pytest.raises(RuntimeError, match="meta"):
        step_on(META, tmp_path, ReferenceConfig())


# --- compiled


@pytest.fixture
def compiled_strictly(monkeypatch):
    """torch.compile as far as it goes without a compiler; a second graph is an error."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager", fullgraph=True))
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        yield
    torch._dynamo.reset()


@pytest.mark.slow
def test_the_network_is_one_graph_compiled_once_and_learns_the_same(tmp_path, compiled_strictly, capsys, monkeypatch):
    monkeypatch.setattr(Loop, "_rounds_badly", lambda self: False)  # as on a GPU
    given, curves = task(val=3), []
    for compiled in (False, True):
        fit(given, tmp_path / str(compiled), replace(QUIET, compiled=compiled))
        curves.append([line["loss"] for line in log(tmp_path / str(compiled))])
    assert "not be compiled" not in capsys.readouterr().err
    assert len(curves[0]) == 3 and curves[1] == pytest.approx(curves[0], rel=0.01)


@pytest.mark.parametrize("backwards", [False, True])
def test_where_it_cannot_be_compiled_training_goes_on_and_says_so(tmp_path, monkeypatch, capsys, backwards):
    def broken(*_):
        raise torch._dynamo.exc.TorchDynamoException("there is\nno compiler")

    class Broken(torch.autograd.Function):
        forward = staticmethod(lambda context, x: x.clone())
        backward = staticmethod(lambda context, gradient: broken())

    class Compiled(torch.nn.Module):
        def __init__(self, model, dynamic):
            super().__init__()
            self._orig_mod = model

        def forward(self, x, keep):
            return Broken.apply(self._orig_mod(x, keep)) if backwards else broken()

    monkeypatch.setattr(torch, "compile", Compiled)
    fit(task(), tmp_path, replace(QUIET, compiled=True))
    assert len(log(tmp_path)) == 3
    told = capsys.readouterr().err
    assert told.count("could not be compiled, so training is slower: there is no compiler") == 1


def test_another_error_of_a_step_is_not_hidden(tmp_path, monkeypatch):
    def wrong(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Loop, "_step", wrong)
    with pytest.raises(RuntimeError, match="a bug"):
        fit(task(), tmp_path, QUIET)


# --- memory


def test_a_batch_too_large_for_the_gpu_is_a_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(Loop, "_step", full)
    with pytest.raises(UserError, match="too small for a batch of 4: lower --batch-size"):
        fit(task(), tmp_path, QUIET)


@pytest.fixture
def shared(monkeypatch):
    """Sets how many bytes of shared memory are free, None for a system without."""

    def set_free(free):
        def usage(path):
            if free is None:
                raise FileNotFoundError(path)
            return namedtuple("Usage", "free")(free)

        monkeypatch.setattr(shutil, "disk_usage", usage)

    return set_free


@pytest.mark.parametrize(
    ("free", "processes", "expected"),
    [
        (10**9, 1, (4, 8)),
        (10**9, 8, (4, 1)),
        (200 * 10**6, 1, (4, 2)),
        (64 * 10**6, 1, (3, 1)),
        (64 * 10**6, 8, None),
        (0, 1, None),
        (None, 1, (4, 8)),
    ],
)
def test_workers_keep_to_half_of_the_shared_memory(shared, monkeypatch, free, processes, expected):
    shared(free)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    each = 10 * 10**6  # a batch of 256
    found = with_room(4, 8, each)
    assert found == (dict(zip(("num_workers", "prefetch_factor"), expected, strict=True)) if expected else {})
    if free and found:
        assert found["num_workers"] * found["prefetch_factor"] * each * processes <= free / 2
    assert with_room(0, 8, each) == {}


def test_without_shared_memory_the_batches_are_the_same(shared):
    def loaded(free):
        shared(free)
        label_of = {"up": 0, "down": 1}
        given = clips(8), label_of, Stream.JOINT, Recipe(window=8), ReferenceConfig(batch_size=4), Workers(workers=2)
        made = ReferenceBatches(*given)
        return made.loader.num_workers, [x for x, _ in made.epoch(0)]

    (many, one), (none, other) = loaded(10**9), loaded(0)
    assert (many, none) == (2, 0) and all(map(torch.equal, one, other))


@pytest.mark.parametrize(("count", "workers"), [(3, 1), (9, 3), (100, 6)])
def test_scoring_on_a_gpu_starts_no_more_workers_than_batches(monkeypatch, count, workers):
    asked = []

    class Loader:
        def __init__(self, inputs, batch, **how):
            asked.append(how)

        __iter__ = staticmethod(lambda: iter(()))

    monkeypatch.setattr(dsta.score, "DataLoader", Loader)
    inputs = dsta.score._StreamsInputs([Stream.JOINT], Recipe(window=8), [None] * count)
    list(dsta.score._batches(inputs, DeviceSettings("cuda:0", "bf16", 4, 6), 4, on_gpu=True))
    assert asked[0]["num_workers"] == workers and asked[0]["pin_memory"]


# --- how numbers lie


def test_channels_last_weights_are_the_same_network():
    torch.manual_seed(0)
    model, given = DSTA(SIZES).eval(), [clip.joints for clip in clips(4)]
    torch.nn.init.normal_(model.blocks[0].spatial.norm.weight)
    before = logits(model, given, Stream.JOINT, Recipe(window=8))
    flags = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    try:
        module.speed_up(model)
    finally:
        torch.set_float32_matmul_precision(flags[0])
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = flags[1:]
    weight = model.blocks[0].temporal[0].branches[0].conv.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    assert logits(model, given, Stream.JOINT, Recipe(window=8)) == pytest.approx(before, abs=1e-5)


def test_a_run_begun_elsewhere_goes_on_with_momentum_laid_out_as_the_weights(tmp_path):
    """A fused step on a GPU refuses others: a run that began on a CPU has none of its own."""
    given = task()

    def begin(epoch, model):
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(given, tmp_path, QUIET, after_epoch=lambda epoch, model: begin(epoch - 1, model))
    model = given.network().to(memory_format=torch.channels_last)
    loop = Loop(model, None, given.config, RunFiles(tmp_path, given.curve), QUIET)
    kept = {parameter: state["momentum_buffer"] for parameter, state in loop.optimizer.state.items()}
    assert len(kept) == len(list(model.parameters())) and any(value.abs().max() > 0 for value in kept.values())
    assert all(value.stride() == parameter.stride() for parameter, value in kept.items())
    state = torch.load(tmp_path / RESUME_FILE, weights_only=True)["optimizer"]["state"]
    assert all(torch.equal(value, state[i]["momentum_buffer"]) for i, value in enumerate(kept.values()))


def test_small_sets_have_one_worker_however_many_are_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(dsta.train.batches, "DataLoader", lambda data, batch, **how: asked.append(how) or [])
    given = clips(8), {"up": 0, "down": 1}, Stream.JOINT, Recipe(window=8), TrainConfig(batch_size=4)
    for workers in (0, 4):
        list(SmallBatches(*given, Workers(workers=workers)).epoch(0))
    assert [how.get("num_workers", 0) for how in asked] == [0, 1]
