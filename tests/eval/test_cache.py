"""Logits once: the network's own, the same however the work is shared, kept until anything that made them changes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.benchmarks import SMALL, network, skeleton_set, upstream_set
from helpers.scores import logits
from test_layering import ROOT, imports

import eval.cache
import eval.clock
import eval.scoring
from dsta.checkpoint import Checkpoint
from dsta.common import UserError
from dsta.common.device import DeviceSettings
from dsta.data import read_clip_set, read_skeletons
from dsta.folded import FoldedNetworks
from dsta.score import score
from eval.cache import ScoringWork
from eval.robustness import DISTURBANCES, Disturbance, Disturbed, disturb
from eval.scoring import ScoringEngine, ScoringPool, batches_of, interleaved, latency

CPU = DeviceSettings("cpu", "fp32", 8, 0)
GLOSSES = ("book", "deaf", "hello")


@pytest.fixture
def folder(tmp_path):
    return skeleton_set(tmp_path / "asl_everyday", folds=2, per_fold=5)


@pytest.fixture
def weights(tmp_path):
    return network(tmp_path / "joint", GLOSSES, "joint", SMALL, "mediapipe-holistic")


@pytest.fixture(scope="module")
def pool():
    """Two worker processes, started once."""
    pool = ScoringPool(2)
    yield pool
    pool.close()


def pooled(pool, settings, cache):
    """An engine that scores in worker processes."""
    engine = ScoringEngine(replace(settings, workers=2), cache)
    engine.pool = pool
    return engine


def work(folder, weights, positions=range(30), disturbance=None):
    checkpoint_hash = json.loads((weights / "config.json").read_text())["weights_sha256"]
    return ScoringWork(folder, weights, checkpoint_hash, tuple(positions), disturbance)


def test_logits_are_those_that_training_sees(tmp_path, folder, weights):
    scored = ScoringEngine(CPU, tmp_path / "cache").score(work(folder, weights))
    clips = [clip.joints for clip in read_skeletons(folder)]
    expected = logits(Checkpoint.load(weights).model, clips, "joint", SMALL)
    assert scored.logits == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert scored.logits.std(0).min() > 1e-3  # the clips do make a difference
    assert scored.parameters == sum(p.numel() for p in Checkpoint.load(weights).model.parameters())
    assert scored.seconds > 0 and scored.latency_ms > 0 and scored.peak_memory_mb > 10


def test_positions_choose_and_order_the_clips(tmp_path, folder, weights):
    engine = ScoringEngine(CPU, tmp_path / "cache")
    every, some = engine.score(work(folder, weights)), engine.score(work(folder, weights, (7, 3, 29)))
    assert some.logits == pytest.approx(every.logits[[7, 3, 29]], rel=1e-4, abs=1e-4)


def test_a_second_time_costs_no_network(tmp_path, folder, weights, monkeypatch):
    first = ScoringEngine(CPU, tmp_path / "cache").score(work(folder, weights))
    monkeypatch.setattr(eval.scoring, "score", None)
    engine = ScoringEngine(CPU, tmp_path / "cache")
    assert engine.cached(work(folder, weights))
    second = engine.score(work(folder, weights))
    assert (second.logits == first.logits).all() and replace(second, logits=0) == replace(first, logits=0)


def test_other_data_weights_clips_format_or_disturbance_are_scored_anew(tmp_path, folder, weights):
    def engine(settings=CPU):
        return ScoringEngine(settings, tmp_path / "cache")

    base = work(folder, weights)
    engine().score(base)
    assert not engine(replace(CPU, dtype="bf16")).cached(base)
    assert not engine().cached(work(folder, weights, range(29)))
    assert not engine().cached(work(folder, weights, disturbance=DISTURBANCES[0]))
    other = network(tmp_path / "other" / "joint", GLOSSES, "joint", SMALL, "mediapipe-holistic", seed=1)
    assert not engine().cached(work(folder, other))
    index = folder / "index.csv"
    index.write_text(index.read_text().replace(",s00,", ",s99,"))
    assert not engine().cached(base)


@pytest.mark.parametrize(("module", "name"), [(eval.cache.torch, "__version__"), (np, "__version__")])
def test_other_libraries_score_anew(tmp_path, folder, weights, monkeypatch, module, name):
    ScoringEngine(CPU, tmp_path / "cache").score(work(folder, weights))
    monkeypatch.setattr(module, name, "0.0")
    assert not ScoringEngine(CPU, tmp_path / "cache").cached(work(folder, weights))


def test_every_room_that_makes_logits_is_in_the_caches_key():
    """What these rooms import of ours is one of them too, or is known to leave logits as they are."""
    named = {path.relative_to(ROOT).as_posix() for path in eval.cache._CODE}
    rooms = {"/".join(name.removesuffix(".py").split("/")[:2]) for name in named}
    assert {"dsta/data/prepared.py", "dsta/score.py", "eval/robustness.py", "dsta/model.py"} <= named
    for path in named:
        for name in imports((ROOT / path).read_text()):
            if name.startswith(("dsta.", "eval.")) and name != "eval.clock":
                assert "/".join(name.split(".")[:2]) in rooms, f"{path} imports {name}"


def test_kept_logits_keep_the_commit_and_date_of_their_scoring(tmp_path, folder, weights, monkeypatch):
    def engine(commit):
        monkeypatch.setattr(eval.scoring, "git_commit", lambda: commit)
        return ScoringEngine(CPU, tmp_path / "cache")

    first = engine("aaaa+").score(work(folder, weights))
    again = engine("bbbb").score(work(folder, weights))
    assert (again.commit, again.date) == ("aaaa+", first.date) and first.date.endswith("Z")


@pytest.mark.slow
def test_memory_is_that_of_the_work_and_not_of_those_before_it(tmp_path, folder, monkeypatch):
    def plain(models, frames, half):  # folded, many take no more than a few
        return lambda inputs: tuple(torch.stack(part) for part in zip(*map(said, models, inputs), strict=True))

    def said(model, inputs):
        embeddings = model.embed(inputs)
        return model.classifier(embeddings), embeddings

    monkeypatch.setattr("dsta.score.folded", plain)
    recipe = replace(SMALL, window=128)  # many clips at once take much more than one
    weights = network(tmp_path / "long" / "joint", GLOSSES, "joint", recipe, "mediapipe-holistic")
    settings = replace(CPU, batch=64)
    engine = ScoringEngine(settings, tmp_path / "cache")
    peaks = [engine.score(work(folder, weights, range(count))).peak_memory_mb for count in (30, 1, 29, 2)]
    assert max(peaks[1::2]) < min(peaks[::2]) - 20


def test_memory_that_is_not_known_is_not_told(tmp_path, folder, weights, monkeypatch):
    monkeypatch.setattr(eval.clock, "_forget_peak", lambda: False)
    scored = ScoringEngine(CPU, tmp_path / "cache").score(work(folder, weights))
    assert scored.peak_memory_mb is None
    assert eval.clock.largest([1.0, 3.0]) == 3.0 and eval.clock.largest([1.0, None]) is None


def test_files_are_hashed_once_a_run_and_anew_in_the_next(tmp_path, folder, monkeypatch):
    engine, clips = ScoringEngine(CPU, tmp_path / "cache"), read_clip_set(folder)
    first = engine.cache.data_sha256(clips)
    index = folder / "index.csv"
    index.write_text(index.read_text().replace(",s00,", ",s99,"))
    assert ScoringEngine(CPU, tmp_path / "cache").cache.data_sha256(clips) != first
    monkeypatch.setattr(eval.cache, "file_sha256", lambda path: pytest.fail("it was hashed before"))
    assert engine.cache.data_sha256(clips) == first


def test_a_damaged_cache_is_no_cache(tmp_path, folder, weights):
    engine = ScoringEngine(CPU, tmp_path / "cache")
    first = engine.score(work(folder, weights))
    for path in (tmp_path / "cache" / "logits").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert (ScoringEngine(CPU, tmp_path / "cache").score(work(folder, weights)).logits == first.logits).all()


@pytest.mark.slow
def test_worker_processes_give_the_same_bits(tmp_path, folder, weights, pool):
    alone, seen = ScoringEngine(CPU, tmp_path / "a").score(work(folder, weights)), []
    together = pooled(pool, CPU, tmp_path / "b").score(work(folder, weights), seen.append)
    assert (together.logits == alone.logits).all() and sum(seen) == 30


def test_few_clips_need_no_worker_processes(tmp_path):
    engine = ScoringEngine(replace(CPU, workers=2), tmp_path)
    engine.expect(10**6)
    assert engine.pooled
    engine.expect(100)
    assert not engine.pooled


@pytest.mark.parametrize(("count", "size", "per_batch"), [(30, 2, 4), (7, 3, 4), (5, 4, 2), (8, 2, 8), (9, 1, 4)])
def test_batches_of_many_processes_go_back_in_order(count, size, per_batch):
    rows = np.arange(count, dtype=np.float32)[:, None]
    parts = [
        np.concatenate([rows[list(batch)] for batch in batches_of(range(count), per_batch)[rank::size]] or [rows[:0]])
        for rank in range(size)
    ]
    assert (interleaved(parts, count, per_batch) == rows).all()


def test_bf16_is_close_and_said(tmp_path, folder, weights):
    exact = ScoringEngine(CPU, tmp_path / "cache").score(work(folder, weights))
    rough = ScoringEngine(replace(CPU, dtype="bf16"), tmp_path / "cache").score(work(folder, weights))
    assert (exact.dtype, rough.dtype) == ("fp32", "bf16")
    assert rough.logits == pytest.approx(exact.logits, rel=0.1, abs=float(exact.logits.std()))
    assert not (rough.logits == exact.logits).all()


def test_arrays_of_doubles_and_halves_are_scored(tmp_path):
    weights = network(tmp_path / "joint", "abc", "joint")
    for kind in (np.float64, np.float16):
        folder = upstream_set(tmp_path / kind.__name__, "xyz", [0, 1, 2], dtype=kind)
        scored = ScoringEngine(CPU, tmp_path / "cache").score(work(folder, weights, range(3)))
        assert scored.logits.dtype == np.float32 and np.isfinite(scored.logits).all()


def test_a_gpu_without_memory_gets_smaller_batches(folder, weights, capsys, monkeypatch):
    checkpoint, clips = Checkpoint.load(weights), [clip.joints for clip in read_skeletons(folder)]
    given = checkpoint.model, clips, checkpoint.stream, checkpoint.recipe, CPU
    expected, real = score(*given).logits, FoldedNetworks.__call__

    def small(networks, inputs):
        if inputs.shape[1] > 4:
            raise torch.cuda.OutOfMemoryError("no room")
        return real(networks, inputs)

    monkeypatch.setattr(FoldedNetworks, "__call__", small)
    assert score(*given).logits == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert "batches of 2 clips" in capsys.readouterr().err


def test_latency_is_of_one_clip(folder, weights):
    assert 0.01 < latency(Checkpoint.load(weights), read_skeletons(folder)[0].joints, CPU) < 5000


def test_settings(monkeypatch):
    assert (DeviceSettings.choose("cpu").dtype, DeviceSettings.choose("cpu", "bf16").dtype) == ("fp32", "bf16")
    assert DeviceSettings.choose("cpu", workers=3).workers == 3 and "cores" in DeviceSettings("cpu").device_name
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert DeviceSettings.choose().device == "cpu"
    with pytest.raises(UserError, match="No GPU"):
        DeviceSettings.choose("cuda")


@pytest.mark.parametrize("disturbance", DISTURBANCES, ids=lambda d: f"{d.kind} {d.level}")
def test_disturbances_do_what_they_say(disturbance):
    clip = np.random.default_rng(0).uniform(50, 400, (40, 27, 3)).astype(np.float32)
    clip[..., 2] = 1
    before = clip.copy()
    other = disturb(clip, disturbance, np.random.default_rng(1))
    assert (clip == before).all() and other.dtype == clip.dtype
    missing = (other[..., 2] == 0).mean()
    if disturbance.kind == "joints missing":
        assert missing == pytest.approx(disturbance.level, abs=0.05)
    elif disturbance.kind == "hands dropped":
        assert missing == pytest.approx(disturbance.level * 20 / 27) and (other[:, :7] == clip[:, :7]).all()
    elif disturbance.kind == "noise":
        assert (other - clip)[..., :2].std() == pytest.approx(disturbance.level, rel=0.1)
    else:
        assert (other == clip[::2]).all()


def test_noise_leaves_missing_joints_alone():
    clip = np.zeros((3, 27, 3), np.float32)
    assert (disturb(clip, Disturbance("noise", 5.0), np.random.default_rng(0)) == 0).all()


def test_a_disturbed_clip_is_the_same_every_time():
    clips = [np.ones((9, 27, 3), np.float32)] * 3
    one, two = Disturbed(clips, DISTURBANCES[0]), Disturbed(clips, DISTURBANCES[0])
    assert (one[1] == two[1]).all() and not (one[1] == one[2]).all() and len(one) == 3
