"""The training loop, on a few clips that a tiny network can tell apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.scores import logits
from helpers.training import log, picture_clip, same

from dsta.checkpoint import Checkpoint
from dsta.common import UserError
from dsta.data import Clip
from dsta.streams import Recipe, Stream
from dsta.train import Compute, TrainConfig, TrainingRun, batches, fit
from dsta.train.splits import TrainingClips
from dsta.train.state import RESUME_FILE

RECIPE = Recipe(window=4, bone="direct", normalise="shoulders")
CONFIG = TrainConfig(epochs=3, schedule=3, batch_size=4, inner_dim=8, depth=1)


def clips(count=8, folds=1):
    pixels = np.array([512, 384, 1], np.float32)
    return [
        Clip(f"c{i}", "set", ("up", "down")[i % 2], "", i // 2 % folds, picture_clip(("up", "down")[i % 2], i) * pixels)
        for i in range(count)
    ]


def run(out, config=CONFIG, given=None, stream=Stream.JOINT, glosses=("down", "up"), provenance=None, **more):
    material = TrainingClips(given or clips(), (), tuple(sorted(glosses)), "mediapipe-holistic")
    return fit(
        TrainingRun(material, stream, config, RECIPE, None, provenance or {}), out, Compute(progress=False), **more
    )


def test_a_separable_problem_is_learned(tmp_path):
    config = replace(CONFIG, epochs=12, schedule=12, learning_rate=0.02)
    checkpoint = run(tmp_path, config)
    losses = [line["loss"] for line in log(tmp_path)]
    assert losses[-1] < 0.75 * losses[0]
    fresh = [c for c in clips(40) if int(c.name[1:]) >= 20]
    predicted = logits(checkpoint.model, [c.joints for c in fresh], Stream.JOINT, RECIPE).argmax(1)
    assert np.mean([checkpoint.glosses[p] == c.gloss for p, c in zip(predicted, fresh, strict=True)]) > 0.9


def test_same_seed_same_numbers_to_the_bit(tmp_path):
    first, again = run(tmp_path / "a"), run(tmp_path / "b")
    other = run(tmp_path / "c", replace(CONFIG, seed=1))
    assert log(tmp_path / "a") == log(tmp_path / "b") and same(first, again)
    assert log(tmp_path / "a") != log(tmp_path / "c") and not same(first, other)


def test_every_epoch_draws_anew(tmp_path, monkeypatch):
    drawn, whole = [], batches.training_batches

    def noted(*args):
        for x, y in whole(*args):
            drawn.append(x)
            yield x, y

    monkeypatch.setattr(batches, "training_batches", noted)
    run(tmp_path, replace(CONFIG, batch_size=8))
    assert len(drawn) == 3
    assert not torch.equal(drawn[0].sort(0).values, drawn[1].sort(0).values)


@pytest.mark.parametrize("moment", [1, 2])
def test_interrupted_and_continued_is_the_same_to_the_bit(tmp_path, moment):
    def stop(epoch, model):
        if epoch == moment:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", after_epoch=stop)
    seen = []
    continued = run(tmp_path / "a", after_epoch=lambda epoch, model: seen.append(epoch))
    assert seen == list(range(moment, 4))  # the finished epochs are not run again
    assert same(continued, run(tmp_path / "b"))
    assert not (tmp_path / "a" / RESUME_FILE).exists()


def test_a_continued_log_has_each_epoch_once(tmp_path):
    def stop(epoch, model):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", after_epoch=stop)
    run(tmp_path / "a")
    run(tmp_path / "b")
    assert log(tmp_path / "a") == log(tmp_path / "b")


def test_balance_takes_the_glosses_shares_out_of_the_logits(tmp_path):
    given = clips(12) + [replace(clip, gloss="up") for clip in clips(12)]  # 18 of 24 are "up"
    plain, half = (run(tmp_path / str(b), replace(CONFIG, balance=b), given).model.state_dict() for b in (0.0, 0.5))
    changed = {name for name in plain if not torch.equal(plain[name], half[name])}
    assert changed == {"classifier.bias"}
    expected = 0.5 * np.log([7 / 26, 19 / 26])  # down, up; one clip is added to each
    assert (plain["classifier.bias"] - half["classifier.bias"]).numpy() == pytest.approx(expected, abs=1e-6)


def test_stopping_early_stays_on_the_curve(tmp_path):
    short = run(tmp_path / "a", replace(CONFIG, epochs=2))
    taken = {}
    run(tmp_path / "b", after_epoch=lambda e, m: taken.setdefault(e, {k: v.clone() for k, v in m.state_dict().items()}))
    assert all(torch.equal(v, taken[2][k]) for k, v in short.model.state_dict().items())


def test_a_begun_run_of_something_else_is_not_continued(tmp_path):
    def stop(epoch, model):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", after_epoch=stop)
    with pytest.raises(UserError):
        run(tmp_path / "a", stream=Stream.BONE)


def test_what_is_written_is_what_was_trained(tmp_path):
    trained = run(tmp_path, provenance={"licence": "mine"})
    loaded = Checkpoint.load(tmp_path)
    assert same(trained, loaded)
    assert loaded.glosses == ("down", "up") and loaded.recipe == RECIPE and loaded.stream == Stream.JOINT
    assert loaded.provenance["licence"] == "mine" and loaded.provenance["clips"] == 8
    assert loaded.provenance["training"]["epochs"] == 3 and not loaded.model.training


def test_a_gloss_without_a_clip_keeps_its_place_and_is_not_predicted(tmp_path):
    config = replace(CONFIG, epochs=8, schedule=8, learning_rate=0.02)
    checkpoint = run(tmp_path, config, glosses=["up", "never", "down"])
    assert checkpoint.glosses == ("down", "never", "up")
    scores = logits(checkpoint.model, [c.joints for c in clips()], Stream.JOINT, RECIPE)
    assert scores.shape == (8, 3) and 1 not in scores.argmax(1)


def test_too_few_clips_for_a_batch_is_a_users_error(tmp_path):
    with pytest.raises(UserError):
        run(tmp_path, replace(CONFIG, batch_size=16))


@pytest.mark.parametrize("epochs", [0, 4])
def test_epochs_must_fit_the_schedule(epochs):
    with pytest.raises(UserError, match="--epochs"):
        replace(CONFIG, epochs=epochs)
