"""Networks trained side by side: each becomes what it becomes alone."""

import json
from dataclasses import replace

import pytest
import torch
from helpers.training import QUIET, clips

from dsta.checkpoint import Checkpoint
from dsta.common import UserError
from dsta.streams import Recipe, Stream
from dsta.train import TrainConfig, TrainingRun, fit
from dsta.train import beside as module
from dsta.train.beside import NetworkRun, RecordedNetwork, train_side_by_side
from dsta.train.splits import TrainingClips
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


def said(checkpoint):
    """Logits of made-up input, normalised by itself: a bias before a norm, whose gradient is rounding, adds nothing."""
    x = torch.randn(8, 5, 6, 27, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return checkpoint.model.train()(x)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_each_network_becomes_what_it_becomes_alone(tmp_path, workers):
    tasks = varied_tasks()
    runs = [NetworkRun(t, tmp_path / f"beside{i}") for i, t in enumerate(tasks)]
    train_side_by_side(runs, CPU, workers, progress=False)
    for i, each in enumerate(tasks):
        fit(each, tmp_path / f"alone{i}", QUIET)
        of = [tmp_path / f"{way}{i}" for way in ("beside", "alone")]
        beside, alone = ([json.loads(line) for line in (f / LOG_FILE).read_text().splitlines()] for f in of)
        assert len(beside) == each.config.epochs
        for a, b in zip(beside, alone, strict=True):
            assert a == {name: pytest.approx(b[name], rel=1e-4) for name in a}
        a, b = (Checkpoint.load(folder) for folder in of)
        assert all(getattr(a, name) == getattr(b, name) for name in ("stream", "glosses", "recipe", "provenance"))
        found, expected = said(a), said(b)
        assert (found - expected).abs().max() < 0.01 * expected.std()


def test_marks_are_told_with_the_network_of_that_epoch(tmp_path):
    told = []
    course = NetworkRun(task(), tmp_path / "a", (1, 3), lambda epoch, model: told.append((epoch, model)))
    train_side_by_side([course, NetworkRun(task(24), tmp_path / "b")], CPU, progress=False)
    assert [epoch for epoch, _ in told] == [1, 3] and not told[0][1].training
    last, whole = told[1][1].state_dict(), Checkpoint.load(tmp_path / "a").model.state_dict()
    assert all(torch.equal(last[name], whole[name]) for name in last if name != "classifier.bias")
    assert not torch.equal(last["classifier.bias"], whole["classifier.bias"])  # balance is taken out at the end
    assert not torch.equal(told[0][1].state_dict()["classifier.weight"], last["classifier.weight"])


def test_a_moving_average_is_refused(tmp_path):
    with pytest.raises(ValueError, match="moving average"):
        train_side_by_side([NetworkRun(task(config=replace(CONFIG, average=0.9)), tmp_path)], CPU, progress=False)


def test_nothing_to_train_is_nothing_to_do_and_one_gloss_is_told(tmp_path):
    train_side_by_side([], CPU, progress=False)
    alone = TrainingRun(TrainingClips(clips(8), (), ("up",), "hrnet-wholebody"), Stream.JOINT, CONFIG, RECIPE)
    with pytest.raises(UserError, match="All clips are of one gloss, up"):
        RecordedNetwork(NetworkRun(alone, tmp_path), CPU)


def test_a_network_whose_loss_is_no_number_is_not_written(tmp_path):
    broken = replace(CONFIG, learning_rate=1e30, epochs=4)
    ended = []
    good = NetworkRun(task(12, config=replace(CONFIG, epochs=1)), tmp_path / "good", at_end=ended.append)
    bad = NetworkRun(task(16, config=broken), tmp_path / "bad", at_end=ended.append)
    with pytest.raises(UserError, match=r"bad is not a number after epoch 1: lower --learning-rate"):
        train_side_by_side([good, bad], CPU, progress=False)
    assert len(ended) == 1 and Checkpoint.load(tmp_path / "good").provenance == ended[0].provenance
    assert not (tmp_path / "bad" / "config.json").exists()


def test_what_is_through_is_whole_and_stays(tmp_path):
    """Log and checkpoint are there when the end is told; what an unfinished run on a CPU has left is gone."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / RESUME_FILE).write_bytes(b"half a run")

    def end(checkpoint):
        assert is_finished(tmp_path / "a") and len((tmp_path / "a" / LOG_FILE).read_text().splitlines()) == 3
        raise KeyboardInterrupt

    courses = [NetworkRun(task(), tmp_path / "a", at_end=end), NetworkRun(task(24), tmp_path / "b")]
    with pytest.raises(KeyboardInterrupt):
        train_side_by_side(courses, CPU, progress=False)
    assert is_finished(tmp_path / "a") and not is_finished(tmp_path / "b")


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "replace_file", full)
    with pytest.raises(UserError, match="cannot be written"):
        train_side_by_side([NetworkRun(task(config=replace(CONFIG, epochs=1)), tmp_path / "a")], CPU, progress=False)


@pytest.mark.gpu
def test_recorded_steps_are_the_steps(tmp_path):
    """On streams side by side; what the warm-up has changed is put back."""
    runs = [NetworkRun(t, tmp_path / str(i)) for i, t in enumerate(varied_tasks())]
    on_cpu, on_gpu = ([RecordedNetwork(run, torch.device(device)) for run in runs] for device in ("cpu", "cuda"))
    for step in range(2):
        for run, a, b in zip(runs, on_cpu, on_gpu, strict=True):
            x, y = next(iter(run.batches.epoch(step)))
            a.step(x, y, step)
            b.step(x.cuda(), y.cuda(), step)
    torch.cuda.synchronize()
    x = torch.randn(8, 5, 6, 27, generator=torch.Generator().manual_seed(0))
    for a, b in zip(on_cpu, on_gpu, strict=True):
        assert torch.allclose(a.told[:2], b.told[:2].cpu(), rtol=0.02, atol=0.02)
        assert b.copy().input_norm.num_batches_tracked == 2
        with torch.no_grad():
            assert torch.allclose(a.copy()(x), b.copy()(x), rtol=0.05, atol=0.05)
