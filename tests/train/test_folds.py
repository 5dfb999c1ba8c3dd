"""The networks of a cross-validation: in processes or side by side the same, and interrupted anywhere they go on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.crossval import SETS, SMALL, scores_of, tiny, write_set

from dsta.checkpoint import Checkpoint
from dsta.common import UserError
from dsta.data import read_skeletons
from dsta.streams import Stream
from dsta.train import folds as module
from dsta.train.runs import Choice, CrossValidation, MissingResult, held_out


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return [write_set(folder / name, glosses) for name, glosses in SETS.items()]


def failing_rename(name):
    """Path.replace that dies when a file of that name is to appear."""
    whole = Path.replace

    def replace(path, target):
        if Path(target).name == name:
            raise OSError("killed")
        return whole(path, target)

    return replace


@pytest.mark.parametrize("schedule", [1, 2, 3, 5])
def test_short_schedules_judge_each_epoch_once(data, tmp_path, schedule):
    config = tiny(epochs=schedule, schedule=schedule)
    module.train_and_score(module.FoldRun(Stream.JOINT, (0, 1), tmp_path / "joint", tuple(data), config))
    epochs = {round(share * schedule) for share in (0.8, 0.9, 1.0)}
    assert set(scores_of(tmp_path / "joint")) == {"names"} | {f"epoch{epoch}" for epoch in epochs}


def test_a_run_killed_after_training_goes_on(data, tmp_path):
    config = tiny(epochs=2, schedule=2)
    job = module.FoldRun(Stream.JOINT, (0,), tmp_path / "joint", tuple(data), config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", failing_rename("scores.npz"))
        with pytest.raises(OSError, match="killed"):
            module.train_and_score(job)
    assert not (tmp_path / "joint" / "scores.npz").exists()
    module.train_and_score(job)
    assert len(scores_of(tmp_path / "joint")["names"]) == 12


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_on_one_device_all_at_once_the_networks_become_the_same(data, tmp_path, monkeypatch, workers):
    """What a GPU does, done on a CPU: the same networks, scores and files, up to rounding."""
    monkeypatch.setattr(module, "SMALL_RECIPE", SMALL)
    config = tiny(epochs=2, schedule=2, batch_size=8)
    settings = [(Stream.JOINT, (0, 1)), (Stream.BONE, (2,)), (Stream.JOINT, ())]

    def jobs(way):
        return [module.FoldRun(s, w, tmp_path / way / str(i), tuple(data), config) for i, (s, w) in made]

    made = list(enumerate(settings))
    for job in jobs("alone"):
        module.train_and_score(job)
    module.train_folds_beside(jobs("beside"), torch.device("cpu"), workers)
    for i, (_, without) in made:
        alone, beside = (tmp_path / way / str(i) for way in ("alone", "beside"))
        assert {path.name for path in alone.iterdir()} == {path.name for path in beside.iterdir()}
        a, b = Checkpoint.load(alone).provenance, Checkpoint.load(beside).provenance
        assert a == b and a["without_folds"] == list(without)
        if without:
            expected, found = scores_of(alone), scores_of(beside)
            assert expected.keys() == found.keys() and expected["names"].tolist() == found["names"].tolist()
            for name in expected.keys() - {"names"}:
                assert found[name] == pytest.approx(expected[name], abs=0.1 * float(expected[name].std()))
    module.train_folds_beside(
        [job for job in jobs("beside") if not job.done], torch.device("cpu"), 0
    )  # nothing is left


@pytest.mark.slow
def test_a_run_side_by_side_that_was_killed_goes_on_with_what_is_left(data, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SMALL_RECIPE", SMALL)
    config, whole, trained = tiny(epochs=1, schedule=1, batch_size=8), module.train_side_by_side, []
    # The first has fewer epochs than the second; the third was trained before, but killed before it had scored.
    configs = [config, replace(config, epochs=2, schedule=2), config]
    jobs = [
        module.FoldRun(Stream.JOINT, (fold,), tmp_path / str(fold), tuple(data), c) for fold, c in enumerate(configs)
    ]

    def spy(courses, *args, **options):
        trained.append([course.out.name for course in courses])
        whole(courses, *args, **options)

    def run(*, killed_at=None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "train_side_by_side", spy)
            if killed_at:
                patch.setattr(Path, "replace", failing_rename(killed_at))
            module.train_folds_beside([job for job in jobs if not job.done], torch.device("cpu"), 0)

    with pytest.raises(OSError, match="killed"):
        jobs, every = jobs[2:], jobs
        run(killed_at="scores.npz")
    jobs = every[:2]
    with pytest.raises(UserError, match="not a number"):
        jobs[1] = replace(jobs[1], config=replace(jobs[1].config, learning_rate=1e30))
        run()
    jobs = every
    run()
    assert trained == [["2"], ["0", "1"], ["1"]]
    assert all(job.done for job in jobs)


# --- what a cross-validation has on disk


def test_each_network_has_a_place(tmp_path):
    run = CrossValidation(tmp_path)
    places = {run.network(without, "bone").relative_to(tmp_path).as_posix() for without in ((), (3,), (1, 0))}
    assert places == {"all/bone", "fold3/bone", "without01/bone"}


def test_choices_come_back_and_what_is_none_is_told(tmp_path):
    run = CrossValidation(tmp_path)
    with pytest.raises(MissingResult, match="no fusion was fitted"):
        run.choices()
    choices = {0: Choice(3, 1, 0.2, {"a": {"joint": 1.0}}, {"a": 2.0}), 1: Choice(4)}
    run.write_choices(choices)
    assert run.choices() == choices
    run.choices_file.write_text('{"0": {"epochs": 3}}')
    with pytest.raises(UserError, match="restore it"):
        run.choices()


def test_held_out_scores_are_those_of_the_fold_within_the_clips_glosses(data, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SMALL_RECIPE", SMALL)
    run = CrossValidation(tmp_path)
    for stream in ("joint", "bone"):
        folder = run.network((0, 1), stream)
        module.train_and_score(module.FoldRun(Stream(stream), (0, 1), folder, tuple(data), tiny(1, 1)))
    networks = {stream: run.network((0, 1), stream) for stream in ("joint", "bone")}
    beta = read_skeletons(data[1])
    held = held_out(networks, 1, beta, 1)
    assert held.glosses == list("bcd") and [held.glosses[label] for label in held.labels] == list("bcdbcd")
    assert (held.sets == "beta").all() and (held.stands_for == 1).all()
    saved = scores_of(networks["bone"])
    rows = [list(saved["names"]).index(name) for name in held.names]
    assert (held.logits["bone"] == saved["epoch1"][rows][:, 1:]).all()
    assert run.judge("beta", 0, 1, "bone") == run.judge("beta", 1, 0, "bone") == networks["bone"]
    for wrong in (lambda: held_out(networks, 2, beta, 1), lambda: run.judge("beta", 0, 2, "bone")):
        with pytest.raises(MissingResult):
            wrong()
    np.savez(networks["bone"] / "scores.npz", **{name: array[1:] for name, array in saved.items()})
    assert held_out(networks, 1, beta, 1).names.tolist() == held.names.tolist()  # an alpha clip of fold 0 is gone
    np.savez(networks["bone"] / "scores.npz", **{name: array[:-1] for name, array in saved.items()})
    with pytest.raises(UserError, match="judged on different clips"):
        held_out(networks, 1, beta, 1)
