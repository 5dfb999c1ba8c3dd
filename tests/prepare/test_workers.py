"""One function over many items: all are done once, a core for each worker, and a death is told."""

import sys
from functools import partial
from pathlib import Path

import pytest
from helpers.finders import core, made_up

from dsta.common import UserError, machine
from dsta.prepare import workers
from dsta.prepare.library import ListedClip
from dsta.prepare.workers import WorkerLost, run_on_workers


def at_25(find):
    return partial(find, fps=25.0)


def listed(*names):
    return [ListedClip(name, "g", "train", Path(f"{name}.mp4")) for name in names]


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_each_item_is_done_once_and_a_bad_one_is_told(processes):
    clips = listed("a", "bad", "b", "bug", "c", "d")
    done = {one.index: one for one in run_on_workers(at_25(made_up), clips, processes)}
    assert sorted(done) == list(range(6))
    assert done[1].problem == "bad.mp4 is not a video that can be read."
    assert done[3].problem == "RuntimeError: the graph failed"
    assert "Traceback" in done[3].bug
    assert not done[1].bug
    assert all(one.result is not None and not one.problem for i, one in done.items() if i not in (1, 3))
    assert len({one.worker for one in done.values()}) <= processes
    assert all(20 < one.peak_mb < 4000 for one in done.values())


@pytest.mark.slow
@pytest.mark.skipif(machine.cores() < 2 or sys.platform != "linux", reason="needs two cores of a Linux machine")
def test_workers_keep_to_cores_of_their_own():
    done = list(run_on_workers(at_25(core), listed(*"abcdef"), 2))
    assert len({one.worker for one in done}) == 2
    assert all(len(one.result) == 1 for one in done)
    assert len({tuple(one.result) for one in done}) == 2


@pytest.mark.slow
def test_a_dying_worker_is_told_with_what_was_at_work():
    with pytest.raises(WorkerLost, match="A worker process died") as caught:
        list(run_on_workers(at_25(made_up), listed("a", "die", *("b" * 40)), 2))
    assert 1 in caught.value.in_work
    assert len(caught.value.in_work) < 20  # what was done but not yet fetched counts, what was not yet given does not


def test_dask_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match="pip install 'distributed"):
        next(run_on_workers(at_25(made_up), listed("a"), 1, "tcp://127.0.0.1:1"))


def ghost(item, fps):
    return item


@pytest.mark.slow
def test_workers_without_the_code_are_told(cluster, monkeypatch):
    monkeypatch.setitem(sys.modules, "ghost", sys.modules[__name__])
    monkeypatch.setattr(ghost, "__module__", "ghost")  # a module that only this process has
    with pytest.raises(UserError, match=r"cannot run this project .*ghost.* PYTHONPATH"):
        next(run_on_workers(at_25(ghost), listed("a"), 1, cluster.scheduler_address))


def test_a_scheduler_that_does_not_answer_is_told(monkeypatch):
    pytest.importorskip("distributed", reason="Dask is optional: pip install distributed")
    monkeypatch.setattr(workers, "_CONNECT_SECONDS", 0.5)
    with pytest.raises(UserError, match="No Dask scheduler answers"):
        next(run_on_workers(at_25(made_up), listed("a"), 1, "tcp://127.0.0.1:9"))


@pytest.mark.slow
def test_a_clip_that_kills_the_clusters_workers_ends_with_a_sentence(cluster, monkeypatch):
    monkeypatch.setattr(workers, "CLUSTER_PATIENCE", 3.0)
    got = []
    with pytest.raises(WorkerLost, match="No clip has come back") as caught:
        got.extend(run_on_workers(at_25(made_up), listed("a", "die", "b", "c"), 1, cluster.scheduler_address))
    assert 1 in caught.value.in_work
