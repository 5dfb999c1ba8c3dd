"""Networks trained as one: each becomes what it becomes alone."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.training import QUIET, clips

from dsta.checkpoint import Checkpoint
from dsta.common import UserError
from dsta.streams import Recipe, Stream
from dsta.train import TrainConfig, TrainingRun, fit
from dsta.train import stacked as module
from dsta.train.splits import TrainingClips
from dsta.train.stacked import NetworkStack, StackedRun, train_stacked
from dsta.train.state import LOG_FILE, RESUME_FILE, is_finished

RECIPE = Recipe(window=6, bone="direct", normalise="shoulders", hand_local=True, views=2)
CONFIG = TrainConfig(3, 4, batch_size=4, balance=0.5, inner_dim=8, depth=2)
CPU = torch.device("cpu")


def task(count=16, stream=Stream.JOINT, config=CONFIG, **more):
    return TrainingRun(
        TrainingClips(clips(count), (), ("down", "up"), "hrnet-wholebody"), stream, config, RECIPE, **more
    )


def varied_tasks():
    """Networks that differ in whatever may differ: clips and so steps of an epoch, stream, epochs, rate, seed."""
    other = replace(CONFIG, epochs=2, schedule=2, learning_rate=2e-3, seed=3)
    return [task(), task(24, Stream.BONE_MOTION), task(16, Stream.BONE, other), task(12, config=other)]


def said(folder):
    """Logits of made-up input, normalised by itself: a bias before a norm, whose gradient is rounding, adds nothing."""
    x = torch.randn(8, 5, 6, 27, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return Checkpoint.load(folder).model.train()(x)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_each_network_becomes_what_it_becomes_alone(tmp_path, workers):
    tasks = varied_tasks()
    train_stacked([StackedRun(t, tmp_path / f"stacked{i}") for i, t in enumerate(tasks)], CPU, workers, progress=False)
    for i, each in enumerate(tasks):
        fit(each, tmp_path / f"alone{i}", QUIET)
        stacked, alone = (
            [json.loads(line) for line in (tmp_path / f"{way}{i}" / LOG_FILE).read_text().splitlines()]
            for way in ("stacked", "alone")
        )
        assert len(stacked) == each.config.epochs
        for a, b in zip(stacked, alone, strict=True):
            assert a["loss"] == pytest.approx(b["loss"], rel=2e-3)
            assert (a["epoch"], a["rate"]) == (b["epoch"], pytest.approx(b["rate"]))
        found, expected = said(tmp_path / f"stacked{i}"), said(tmp_path / f"alone{i}")
        assert (found - expected).abs().max() < 0.03 * expected.std()
        same = ("stream", "glosses", "estimator", "recipe", "provenance")
        of = [Checkpoint.load(tmp_path / f"{way}{i}") for way in ("stacked", "alone")]
        assert all(getattr(of[0], name) == getattr(of[1], name) for name in same)


def test_the_first_step_is_that_of_one_network_alone(tmp_path):
    """Before rounding has grown: gradients, clipping, decay and rate of each network are its own."""
    rate, clip = 0.003, 0.05
    tasks = [task(config=replace(CONFIG, clip_norm=clip, seed=seed, weight_decay=0.5)) for seed in (0, 1)]
    courses = [StackedRun(t, tmp_path) for t in tasks]
    stack = NetworkStack(courses, CPU)
    batches = [next(iter(course.batches.epoch(0))) for course in courses]
    told = stack.step([x for x, _ in batches], [y for _, y in batches], [rate, 0.0])
    for i, (x, y) in enumerate(batches):
        model = tasks[i].network().train()
        optimizer = tasks[i].config.optimizer(model)
        scores = model(x)
        loss = torch.nn.functional.cross_entropy(scores, y, label_smoothing=CONFIG.label_smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        for group in optimizer.param_groups:
            group["lr"] = (rate, 0.0)[i]
        optimizer.step()
        found = stack.network(i)
        assert told[0, i].item() == pytest.approx(loss.item(), rel=1e-5)
        assert told[1, i].item() == pytest.approx((scores.argmax(1) == y).float().mean().item())
        for name, tensor in model.state_dict().items():
            rounding = 2 * rate if name.endswith("bias") else 2e-5  # as above; Adam's first step is the rate's sign
            assert torch.allclose(found.state_dict()[name].double(), tensor.double(), rtol=1e-4, atol=rounding), name


def test_marks_are_told_with_the_network_of_that_epoch(tmp_path):
    told = []
    course = StackedRun(task(), tmp_path / "a", (1, 3), lambda epoch, model: told.append((epoch, model)))
    train_stacked([course, StackedRun(task(24), tmp_path / "b")], CPU, progress=False)
    assert [epoch for epoch, _ in told] == [1, 3] and not told[0][1].training
    last, whole = told[1][1].state_dict(), Checkpoint.load(tmp_path / "a").model.state_dict()
    assert all(torch.equal(last[name], whole[name]) for name in last if name != "classifier.bias")
    assert not torch.equal(last["classifier.bias"], whole["classifier.bias"])  # balance is taken out at the end
    assert not torch.equal(told[0][1].state_dict()["classifier.weight"], last["classifier.weight"])


@pytest.mark.parametrize(
    ("change", "match"),
    [({"inner_dim": 16}, "shapes"), ({"weight_decay": 0.1}, "weight_decay"), ({"average": 0.9}, "moving average")],
)
def test_what_cannot_be_stacked_is_refused(tmp_path, change, match):
    others = [task(), task(config=replace(CONFIG, **change))]
    with pytest.raises(ValueError, match=match):
        train_stacked([StackedRun(t, tmp_path / str(i)) for i, t in enumerate(others)], CPU, progress=False)


def test_a_network_whose_loss_is_no_number_is_not_written(tmp_path):
    broken = replace(CONFIG, learning_rate=1e30, epochs=4)
    ended = []
    good = StackedRun(task(12, config=replace(CONFIG, epochs=1)), tmp_path / "good", at_end=ended.append)
    bad = StackedRun(task(16, config=broken), tmp_path / "bad", at_end=ended.append)
    with pytest.raises(UserError, match=r"bad is not a number after epoch 1: lower --learning-rate"):
        train_stacked([good, bad], CPU, progress=False)
    assert len(ended) == 1 and Checkpoint.load(tmp_path / "good").provenance == ended[0].provenance
    assert not (tmp_path / "bad" / "config.json").exists()


def test_what_is_through_is_whole_and_stays(tmp_path):
    """Log and checkpoint are there when the end is told; what an unfinished run on a CPU has left is gone."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / RESUME_FILE).write_bytes(b"half a run")

    def end(checkpoint):
        assert is_finished(tmp_path / "a") and len((tmp_path / "a" / LOG_FILE).read_text().splitlines()) == 3
        raise KeyboardInterrupt

    courses = [StackedRun(task(), tmp_path / "a", at_end=end), StackedRun(task(24), tmp_path / "b")]
    with pytest.raises(KeyboardInterrupt):
        train_stacked(courses, CPU, progress=False)
    assert is_finished(tmp_path / "a") and not is_finished(tmp_path / "b")


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "replace_file", full)
    with pytest.raises(UserError, match="cannot be written"):
        train_stacked([StackedRun(task(config=replace(CONFIG, epochs=1)), tmp_path / "a")], CPU, progress=False)


@pytest.mark.gpu
def test_a_recorded_step_is_the_step(tmp_path):
    courses = [StackedRun(t, Path(f"{tmp_path}/{i}")) for i, t in enumerate(varied_tasks())]
    on_cpu, on_gpu = NetworkStack(courses, CPU), NetworkStack(courses, torch.device("cuda"))
    for epoch in range(2):
        batches = [next(iter(course.batches.epoch(epoch))) for course in courses]
        rates = [1e-3] * len(courses)
        expected = on_cpu.step([x for x, _ in batches], [y for _, y in batches], rates)
        found = on_gpu.step([x.cuda() for x, _ in batches], [y.cuda() for _, y in batches], rates)
        assert torch.allclose(found.cpu(), expected, rtol=0.02, atol=0.02)
    x = torch.randn(8, 5, 6, 27, generator=torch.Generator().manual_seed(0))
    for i in range(len(courses)):  # what the warm-up has changed is put back
        a, b = on_cpu.network(i), on_gpu.network(i)
        assert b.input_norm.num_batches_tracked == 2
        assert torch.allclose(a.input_norm.running_var, b.input_norm.running_var, rtol=0.02)
        with torch.no_grad():
            assert torch.allclose(a(x), b(x), rtol=0.05, atol=0.05)
