"""From a task to a checkpoint: what a run is known by, and what happens to a run that is begun again."""

from dataclasses import replace

import numpy as np
import pytest

from dsta.checkpoint import Checkpoint
from dsta.common import UserError
from dsta.data import Clip
from dsta.streams import Recipe, Stream
from dsta.train import Compute, TrainConfig, TrainingRun, fit
from dsta.train.splits import TrainingClips

RECIPE = Recipe(window=4, bone="direct", normalise="shoulders")
CONFIG = TrainConfig(epochs=2, schedule=2, batch_size=4, inner_dim=8, depth=1)


def clips(seed=0, fold=0):
    rng = np.random.default_rng(seed)
    return [
        Clip(f"c{i}", "set", "ab"[i % 2], "", fold, rng.uniform(100, 400, (5, 27, 3)).astype("f4")) for i in range(8)
    ]


def task(train=None, val=(), config=CONFIG, stream=Stream.JOINT, selection="last epoch"):
    return TrainingRun(
        TrainingClips(train or clips(), val, ("a", "b"), "mediapipe-holistic", selection), stream, config, RECIPE
    )


def run(out, given, after_epoch=None):
    return fit(given, out, Compute(progress=False), after_epoch=after_epoch)


def stop(epoch, model):
    if epoch == 2:
        raise KeyboardInterrupt


def test_a_run_is_known_by_its_clips_and_settings():
    changed = clips()
    changed[3] = replace(changed[3], joints=changed[3].joints + np.float32(1e-3))
    others = [
        task(clips(seed=1)),
        task(clips(fold=1)),
        task(changed),
        task(clips()[::-1]),
        task(val=clips()),
        task(stream=Stream.BONE),
        task(config=replace(CONFIG, seed=1)),
        task(selection="best top-1 on folds [2]"),
    ]
    assert task().curve == task().curve == task(config=replace(CONFIG, epochs=1)).curve
    assert len({other.curve for other in others} | {task().curve}) == len(others) + 1


def test_an_unfinished_run_of_other_folds_is_not_continued(tmp_path):
    """As many clips of the same glosses: only which they are differs."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, task(clips(fold=0)), stop)
    with pytest.raises(UserError, match="other settings"):
        run(tmp_path, task(clips(fold=1)))


def test_a_finished_run_is_not_trained_again(tmp_path, capsys):
    made = run(tmp_path, task())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    again = fit(task(), tmp_path, after_epoch=lambda *_: pytest.fail("it was trained again"))
    assert again.provenance == made.provenance and "nothing is left to do" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.parametrize("other", [task(stream=Stream.BONE), task(clips(1)), task(config=replace(CONFIG, epochs=1))])
def test_a_finished_network_is_not_overwritten_by_another_run(tmp_path, other):
    run(tmp_path, task())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match="finished network"):
        run(tmp_path, other)
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


def test_weights_that_somebody_else_made_are_not_overwritten(tmp_path):
    stranger = run(tmp_path / "a", task())
    Checkpoint(*(getattr(stranger, f) for f in ("model", "stream", "recipe", "glosses", "estimator")), {}).save(
        tmp_path / "b"
    )
    with pytest.raises(UserError, match="finished network"):
        run(tmp_path / "b", task())


def test_clips_of_one_gloss_are_refused(tmp_path):
    given = task([replace(clip, gloss="a") for clip in clips()])
    with pytest.raises(UserError, match="of one gloss, a:"):
        run(tmp_path / "out", replace(given, clips=replace(given.clips, glosses=("a",))))
    assert not (tmp_path / "out").exists()
