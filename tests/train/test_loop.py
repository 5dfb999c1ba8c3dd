"""The loop: curves that repeat and continue, the choice of the epoch, and what goes wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.scores import logits
from helpers.training import CONFIG, QUIET, RECIPE, clips, log, same, task

from dsta.checkpoint import Checkpoint
from dsta.common import UserError
from dsta.metrics import log_loss, topk
from dsta.model import DSTA, ModelConfig
from dsta.streams import Recipe, Stream
from dsta.train import ReferenceConfig, TrainConfig, fit, state
from dsta.train.loop import Loop, Validation, warmed_up
from dsta.train.state import RESUME_FILE, best_epoch


def stop_after(moment):
    def stop(epoch, model):
        if epoch == moment:
            raise KeyboardInterrupt

    return stop


def stop_within(monkeypatch, after):
    """Interrupts a run after so many steps, in the middle of an epoch."""
    count, step = [0], Loop._step

    def counted(self, *args):
        count[0] += 1
        if count[0] > after:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(Loop, "_step", counted)


@pytest.mark.slow
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_killed_within_an_epoch_and_continued_is_the_same_to_the_bit(tmp_path, average):
    given = task(replace(CONFIG, average=average), val=6)
    with pytest.MonkeyPatch.context() as patch:
        stop_within(patch, 3)  # of 2 steps an epoch
        with pytest.raises(KeyboardInterrupt):
            fit(given, tmp_path / "a", QUIET)
    assert len(log(tmp_path / "a")) == 1
    continued, whole = fit(given, tmp_path / "a", QUIET), fit(given, tmp_path / "b", QUIET)
    assert same(continued, whole) and log(tmp_path / "a") == log(tmp_path / "b")
    assert continued.provenance["selection"] == whole.provenance["selection"]
    assert not (tmp_path / "a" / RESUME_FILE).exists()


@pytest.mark.slow
def test_the_seed_makes_the_curve_dropblock_and_all(tmp_path):
    first, again = fit(task(), tmp_path / "a", QUIET), fit(task(), tmp_path / "b", QUIET)
    fit(task(replace(CONFIG, seed=1)), tmp_path / "c", QUIET)
    assert same(first, again) and log(tmp_path / "a") == log(tmp_path / "b") != log(tmp_path / "c")


def test_workers_do_not_change_the_curve(tmp_path):
    fit(task(), tmp_path / "a", QUIET)
    fit(task(), tmp_path / "b", QUIET, workers=2)
    assert log(tmp_path / "a") == log(tmp_path / "b")


def test_the_first_step_is_sgd_on_the_cross_entropy(tmp_path):
    """One batch, written out with torch's functions."""
    config = replace(CONFIG, epochs=1, schedule=1, batch_size=8)
    given = task(config)
    trained = fit(given, tmp_path, QUIET)
    model = given.network().train()
    frames = module_batch(given)
    loss = F.cross_entropy(model(frames[0]), frames[1])
    loss.backward()
    assert log(tmp_path)[0]["loss"] == pytest.approx(loss.item(), abs=1e-5)
    weight = model.classifier.weight
    expected = weight - 0.01 * 1.9 * (weight.grad + 1e-4 * weight)  # Nesterov's first step
    assert torch.allclose(trained.model.classifier.weight, expected, atol=1e-5)


def module_batch(given):
    from dsta.train.batches import ReferenceBatches, Workers

    label_of = {"down": 0, "up": 1}
    made = ReferenceBatches(given.clips.train, label_of, given.stream, RECIPE, given.config, Workers())
    return next(iter(made.epoch(0)))


def test_the_judge_scores_as_evaluation_does():
    torch.manual_seed(0)
    recipe = Recipe(window=4, bone="direct", normalise="shoulders", views=4)
    model = DSTA(ModelConfig(2, inner_dim=8, depth=2)).eval()
    torch.nn.init.normal_(model.blocks[0].spatial.norm.weight)
    val, label_of = clips(70), {"down": 0, "up": 1}
    line = Validation(val, label_of, Stream.BONE, recipe, QUIET)(model)
    scores = logits(model, [clip.joints for clip in val], Stream.BONE, recipe)
    labels = np.array([label_of[clip.gloss] for clip in val])
    assert line["val_top1"] == pytest.approx(topk(scores, labels, 1).instance)
    assert line["val_loss"] == pytest.approx(log_loss(scores, labels), abs=1e-5)


def test_the_best_epoch_on_validation_clips_is_what_is_saved(tmp_path, monkeypatch):
    figures = iter([(0.5, 1.0), (0.8, 0.9), (0.8, 0.7), (0.8, 0.8)])
    monkeypatch.setattr(
        Validation, "__call__", lambda self, model: dict(zip(("val_top1", "val_loss"), next(figures), strict=True))
    )
    states = {}

    def remember(epoch, model):
        states[epoch] = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    given = task(replace(CONFIG, epochs=4, schedule=4), val=4)
    checkpoint = fit(given, tmp_path, QUIET, after_epoch=remember)
    assert all(torch.equal(tensor, states[3][name]) for name, tensor in checkpoint.model.state_dict().items())
    assert checkpoint.provenance["selection"] == "epoch 3 of 4: best top-1 on some"
    assert checkpoint.provenance["val_top1"] == 0.8 and "state" not in checkpoint.provenance
    assert same(Checkpoint.load(tmp_path), checkpoint)


def test_validation_clips_are_scored_now_and_then_and_at_the_end(tmp_path):
    fit(task(replace(CONFIG, epochs=5, schedule=5), val=4), tmp_path, QUIET, validate_every=2)
    assert [line["epoch"] for line in log(tmp_path) if "val_top1" in line] == [1, 3, 4]


def test_no_scored_epoch_is_no_best_one():
    assert best_epoch([{"epoch": 0, "loss": 1.0}]) == -1


def test_an_average_of_the_weights_is_what_is_saved(tmp_path):
    states = []
    config = replace(CONFIG, epochs=1, schedule=1, batch_size=8)
    plain = fit(task(config), tmp_path / "a", QUIET)
    averaged = fit(task(replace(config, average=0.75)), tmp_path / "b", QUIET)
    start = task(config).network().state_dict()
    for name, tensor in averaged.model.state_dict().items():
        end = plain.model.state_dict()[name]
        if tensor.is_floating_point():
            states.append(name)
            assert torch.allclose(tensor, 0.1 * start[name] + 0.9 * end, atol=1e-6), name  # the first step's decay
    assert any("running_var" in name for name in states)


def test_an_average_forgets_the_first_weights_while_a_small_set_is_trained():
    left = 1.0
    for step in range(700):  # about 33 epochs of a small set
        left *= warmed_up(0.999, step)
    assert left < 1e-6 < 0.4 < 0.999**700
    assert [warmed_up(0.9, step) for step in (0, 8, 10_000)] == [0.1, 0.5, 0.9]


@pytest.mark.parametrize("better", ["averaged", "plain"])
def test_of_the_weights_and_their_average_the_better_is_saved(tmp_path, monkeypatch, better):
    """In epoch 2 of 3 one of the two is best of all."""
    given, whole, judged = task(replace(CONFIG, average=0.9), val=4), {}, []

    def figures(self, model):
        judged.append(model)
        averaged = len(judged) % 2 == 1
        top1 = 0.9 if len(judged) in (3, 4) and averaged == (better == "averaged") else 0.5 if averaged else 0.4
        whole[len(judged)] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        return {"val_top1": top1, "val_loss": 1.0}

    monkeypatch.setattr(Validation, "__call__", figures)
    saved = fit(given, tmp_path, QUIET)
    expected = whole[3 if better == "averaged" else 4]
    assert all(torch.equal(tensor, expected[name]) for name, tensor in saved.model.state_dict().items())
    assert saved.provenance["selection"].startswith("epoch 2 of 3") and saved.provenance["val_top1"] == 0.9
    assert saved.provenance["averaged"] == (better == "averaged")
    assert [line["averaged"] for line in log(tmp_path)] == [1, int(better == "averaged"), 1]


def test_a_loss_that_is_no_number_stops_and_keeps_what_there_was(tmp_path, monkeypatch):
    rate = ReferenceConfig.rate
    monkeypatch.setattr(ReferenceConfig, "rate", lambda self, e, d: float("inf") if e == 1 else rate(self, e, d))
    with pytest.raises(UserError, match="epoch 2 is not a number"):
        fit(task(), tmp_path, QUIET, usable=True)
    assert len(log(tmp_path)) == 1
    kept = Checkpoint.load(tmp_path)
    assert kept.provenance["state"] == "interrupted after epoch 1 of 3"
    assert all(tensor.isfinite().all() for tensor in kept.model.state_dict().values())


def test_a_full_disk_keeps_the_old_state(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        fit(task(), tmp_path, QUIET, after_epoch=stop_after(2))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(path, content):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(state, "replace_file", full)
        with pytest.raises(UserError, match="No space left on device"):
            fit(task(), tmp_path, QUIET)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(fit(task(), tmp_path, QUIET).glosses) == 2


def test_a_damaged_state_is_told(tmp_path):
    (tmp_path / RESUME_FILE).write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(UserError, match="delete it"):
        fit(task(), tmp_path, QUIET)


def test_half_precision_learns_too(tmp_path):
    config = TrainConfig(epochs=4, schedule=4, batch_size=4, inner_dim=8, depth=1)
    recipe = Recipe(window=4, bone="direct", normalise="shoulders")
    for precision in ("fp32", "bf16"):
        fit(task(config, recipe=recipe), tmp_path / precision, replace(QUIET, precision=precision))
    full, half = ([line["loss"] for line in log(tmp_path / name)] for name in ("fp32", "bf16"))
    assert full != half and half == pytest.approx(full, rel=0.2) and half[-1] < half[0]


def test_curves_for_tensorboard(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    machine = replace(QUIET, tensorboard=True)
    with pytest.raises(KeyboardInterrupt):
        fit(task(val=4), tmp_path, machine, after_epoch=stop_after(2))
    fit(task(val=4), tmp_path, machine)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    curve = {event.step: event.value for event in events.Scalars("loss")}
    assert curve == pytest.approx({line["epoch"]: line["loss"] for line in log(tmp_path)}, rel=1e-6)
    assert {"accuracy", "val_top1", "rate"} <= set(events.Tags()["scalars"])


def test_tensorboard_that_is_not_installed_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        fit(task(), tmp_path, replace(QUIET, tensorboard=True))


def test_dropblock_at_batch_one_gives_a_number(tmp_path):
    config = replace(CONFIG, epochs=2, schedule=2, batch_size=1, learning_rate=1e-4)
    fit(task(config), tmp_path, QUIET)
    assert all(np.isfinite(line["loss"]) for line in log(tmp_path))


# --- beginning from weights that are there


def trained(glosses=("down", "up")):
    torch.manual_seed(5)
    model = DSTA(ModelConfig(len(glosses), inner_dim=16, depth=2)).eval()
    return Checkpoint(model, Stream.JOINT, RECIPE, glosses, "hrnet-wholebody", {})


def test_fine_tuning_begins_from_the_weights_and_their_size():
    init = trained()
    assert same(replace(init, model=task(init=init).network()), init)


def test_another_vocabulary_keeps_the_rows_of_common_glosses():
    init = trained(("up", "away"))
    model, before = task(init=init).network(), init.model.state_dict()
    assert torch.equal(model.classifier.weight[1], before["classifier.weight"][0])
    assert torch.equal(model.classifier.bias[1], before["classifier.bias"][0])
    assert not torch.equal(model.classifier.weight[0], before["classifier.weight"][1])
    others = [name for name in before if not name.startswith("classifier")]
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in others)


def test_keep_may_be_a_tensor_so_that_a_compiled_network_is_compiled_once():
    torch.manual_seed(0)
    model, x = DSTA(ModelConfig(2, inner_dim=8, depth=3)).train(), torch.randn(2, 3, 16, 27)
    seen = []
    for keep in (0.6, torch.tensor(0.6), 1.0, torch.tensor(1.0)):
        torch.manual_seed(3)
        seen.append(model(x, keep))
    assert torch.allclose(seen[0], seen[1], atol=1e-5) and torch.allclose(seen[2], seen[3], atol=1e-5)
    assert not torch.allclose(seen[0], seen[2], atol=1e-2)
