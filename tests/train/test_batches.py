"""Batches for training: equal to `prepare`, and drawn by seed, epoch and clip whoever draws them."""

import gc
import random

import numpy as np
import pytest
import torch

from dsta.common import UserError
from dsta.data import Clip
from dsta.streams import Recipe, Stream, prepare, training_draw
from dsta.train import ReferenceConfig, TrainConfig
from dsta.train.augment import Augmentation, augment
from dsta.train.batches import FAITHFUL_WORKERS, Frames, ReferenceBatches, SmallBatches, Workers, training_batches
from dsta.train.distributed import Group

RECIPE = Recipe(window=4, bone="direct", normalise="shoulders", views=4)
LABELS = {"a": 0, "b": 1}
LENGTHS = (1, 2, 59, 119, 120, 121, 150, 300)


def made_clip(i, length=6, dtype=np.float32):
    joints = np.random.default_rng(i).uniform(0, 512, (length, 27, 3))
    joints[..., 2] = (i + 1) / 20  # the score tells which clip it is
    return Clip(f"c{i}", "set", "ab"[i % 2], "s", 0, joints.astype(dtype))


def clips(count, **more):
    return [made_clip(i, **more) for i in range(count)]


# --- small sets


def batches(given, size, seed=0, part=slice(None)):
    rng, config = np.random.default_rng(seed), TrainConfig(batch_size=size)
    return [(x[0], y) for x, y in training_batches(given, LABELS, [Stream.BONE], RECIPE, config, rng, part)]


def test_batches_are_full_and_shuffled_and_take_each_clip_once():
    made = batches(clips(11), 4)
    assert [tuple(x.shape) for x, _ in made] == [(4, 3, 4, 27)] * 2
    assert all(x.dtype == torch.float32 and y.dtype == torch.int64 for x, y in made)
    scored = torch.cat([x[:, 2].amax((1, 2)) for x, _ in made])
    assert len(scored.unique()) == 8


def test_batches_are_the_varied_clips_with_their_labels():
    given = clips(6)
    rng = np.random.default_rng(3)
    order = rng.permutation(6)
    (x, y), *_ = batches(given, 3, seed=3)
    assert y.tolist() == [int(i % 2) for i in order[:3]]
    for row, i in zip(x, order[:3], strict=True):
        assert np.array_equal(row.numpy(), prepare(augment(given[i].joints, rng, Augmentation()), "bone", RECIPE))


def test_batches_repeat_with_their_generator():
    given = clips(8)
    first, again, other = batches(given, 4), batches(given, 4), batches(given, 4, seed=1)
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], other[0][0])


def test_streams_of_a_batch_see_the_same_varied_clips():
    rng = np.random.default_rng(0)
    config = TrainConfig(batch_size=4)
    ((both, _),) = training_batches(clips(4), LABELS, [Stream.JOINT, Stream.BONE], RECIPE, config, rng)
    assert torch.equal(both[1], batches(clips(4), 4)[0][0])
    rng = np.random.default_rng(0)
    ((joint, _),) = training_batches(clips(4), LABELS, [Stream.JOINT], RECIPE, config, rng)
    assert torch.equal(both[:1], joint)


def test_parts_of_a_batch_are_parts_of_the_whole_one():
    given = clips(9)
    whole, left, right = batches(given, 4), batches(given, 4, part=slice(0, 2)), batches(given, 4, part=slice(2, 4))
    for (x, y), a, b in zip(whole, left, right, strict=True):
        assert torch.equal(torch.cat([a[0], b[0]]), x) and torch.equal(torch.cat([a[1], b[1]]), y)


def small(supply=None, **config):
    config = TrainConfig(batch_size=4, per_gloss=6, **config)
    return SmallBatches(clips(20), LABELS, Stream.BONE, RECIPE, config, supply or Workers())


def test_epochs_of_a_small_set_differ_and_repeat():
    made = small()
    first, second, again = (list(made.epoch(epoch)) for epoch in (0, 1, 0))
    assert made.steps == len(first) == 3  # 6 of each gloss
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], second[0][0])


def test_a_worker_draws_the_same_small_batches():
    here, there = list(small().epoch(2)), list(small(Workers(workers=2)).epoch(2))
    assert len(here) == len(there) and all(torch.equal(a[0], b[0]) for a, b in zip(here, there, strict=True))


# --- the reference recipe


@pytest.mark.parametrize("stream", Stream)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gathered_clips_equal_prepare_to_the_bit(stream, dtype):
    given = [made_clip(i, length, dtype) for i, length in enumerate(LENGTHS)]
    given[2].joints[3, 5] = np.inf, -np.inf, 1
    frames = Frames(given, stream, Recipe())
    for seed in range(4):
        rngs = [random.Random(f"{seed} {i}") for i in range(len(given))]
        draws = [training_draw(len(c.joints), stream, Recipe(), rng) for c, rng in zip(given, rngs, strict=True)]
        gathered = frames.gather(range(len(given)), draws)
        assert gathered.dtype == np.float32 and gathered.shape == (len(given), 3, 120, 27)
        for i, clip in enumerate(given):
            single = prepare(clip.joints, stream, Recipe(), random.Random(f"{seed} {i}")).astype(np.float32)
            assert np.array_equal(single.view(np.int32), gathered[i].view(np.int32)), (clip.name, seed)


def reference(stream=Stream.JOINT, count=20, supply=None, **config):
    config = ReferenceConfig(batch_size=4, **config)
    return ReferenceBatches(clips(count, length=30), LABELS, stream, Recipe(window=8), config, supply or Workers())


def epoch(batches, number):
    made = list(batches.epoch(number))
    return torch.cat([x for x, _ in made]), torch.cat([y for _, y in made])


def test_an_epoch_has_each_clip_once_with_its_label_and_its_own_draws():
    made = reference(count=22, seed=3)
    x, y = epoch(made, 5)
    which = [round(float(score) * 20) - 1 for score in x[:, 2, 0, 0]]
    assert made.steps == 5 and len(set(which)) == 20 and y.tolist() == [i % 2 for i in which]
    for row, i in zip(x, which, strict=True):
        single = prepare(made_clip(i, 30).joints, "joint", Recipe(window=8), random.Random(f"3 5 {i}"))
        assert np.array_equal(row.numpy(), single)


def test_epochs_and_seeds_draw_anew_and_repeat():
    first, again = epoch(reference(), 0), epoch(reference(), 0)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], epoch(reference(), 1)[0])
    assert not torch.equal(first[0], epoch(reference(seed=1), 0)[0])


@pytest.mark.parametrize("faithful", [False, True])
def test_workers_and_processes_do_not_change_what_is_drawn(faithful):
    x, y = epoch(reference(faithful=faithful), 1)
    with_workers = epoch(reference(faithful=faithful, supply=Workers(workers=2)), 1)
    assert torch.equal(x, with_workers[0]) and torch.equal(y, with_workers[1])
    parts = [epoch(reference(faithful=faithful, supply=Workers(Group(rank, 2))), 1)[0] for rank in range(2)]
    halves = [part.view(5, 2, *x.shape[1:]) for part in parts]
    assert torch.equal(torch.cat(halves, 1).flatten(0, 1), x)


def test_persistent_workers_learn_of_the_next_epoch():
    made = reference(supply=Workers(workers=2))
    for number in (0, 1, 4):
        assert torch.equal(epoch(made, number)[0], epoch(reference(), number)[0])


@pytest.fixture
def without_collector():
    gc.disable()
    yield
    gc.enable()


def test_workers_end_at_once_when_the_batches_are_no_longer_needed(without_collector):
    made = reference(supply=Workers(workers=2))
    epoch(made, 0)
    workers = made.loader._iterator._workers
    assert len(workers) == 2 and all(worker.is_alive() for worker in workers)
    del made  # were it in a circle, the garbage collector would come later; it waits five seconds for each and kills it
    assert [worker.exitcode for worker in workers] == [0, 0]


def drawn_frames(batches, number):
    """(clips, window) frame indices of an epoch, in the order in which clips come."""
    return [draw.frames for items in _ordered(batches, number) for _, _, draw in items]


def _ordered(batches, number):
    batches.order.epoch = number
    return list(batches.order)


def test_faithful_is_the_references_bug_of_equally_seeded_workers():
    made = reference(count=36, faithful=True)
    first = drawn_frames(made, 0)
    assert first == drawn_frames(made, 7)  # every epoch the same
    rows = [first[i : i + 4] for i in range(0, len(first), 4)]
    assert rows[0] == rows[FAITHFUL_WORKERS - 1] and rows[0] != rows[FAITHFUL_WORKERS]  # the workers' first batches
    rng = random.Random(1)
    single = [training_draw(30, Stream.JOINT, Recipe(window=8), rng).frames for _ in range(8)]
    assert single == rows[0] + rows[FAITHFUL_WORKERS]  # a worker goes on with its one generator
    mended = reference(count=36)
    assert mended.draws.draw(0, 1) != mended.draws.draw(7, 1) and mended.draws.draw(0, 1) != mended.draws.draw(0, 2)


@pytest.mark.parametrize("stream", Stream)
def test_only_the_faithful_shift_the_motion_of_joints(stream):
    shifts = {
        faithful: reference(stream, faithful=faithful).draws.draw(0, 3).shift != (0, 0) for faithful in (True, False)
    }
    assert shifts == {True: not stream.is_bone, False: stream == Stream.JOINT}


def test_a_clip_with_nan_is_named():
    given = clips(4)
    given[2].joints[0, 0, 0] = np.nan
    with pytest.raises(UserError, match="c2"):
        Frames(given, Stream.JOINT, Recipe())


def test_other_input_has_no_draws_of_the_reference():
    with pytest.raises(UserError, match="--recipe small"):
        Frames(clips(4), Stream.JOINT, RECIPE)


def test_too_few_clips_for_a_batch():
    with pytest.raises(UserError, match="do not fill a batch"):
        ReferenceBatches(clips(3), LABELS, Stream.JOINT, Recipe(), ReferenceConfig(), Workers())
    with pytest.raises(UserError, match="do not fill a batch"):
        SmallBatches(clips(1), LABELS, Stream.JOINT, RECIPE, TrainConfig(), Workers())


def test_the_networks_random_numbers_are_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    epoch(reference(), 0)
    list(small().epoch(0))
    assert torch.equal(torch.get_rng_state(), before)
