"""Which clips an epoch shows."""

from collections import Counter

import numpy as np
import pytest

from dsta.data import Clip
from dsta.train.sampling import capped, drawn, sampling_share

ONE = np.ones((1, 27, 3), np.float32)


def clips(count, gloss="a", source="s", dataset="set"):
    return [Clip(f"{gloss}/{source}/{i}", dataset, gloss, source, 0, ONE) for i in range(count)]


def draw(given, per_gloss=4.0, spread=0.5, seed=0):
    return drawn(given, per_gloss, spread, np.random.default_rng(seed))


def test_capped_keeps_at_most_so_many_of_each_gloss_and_source_in_the_order_given():
    given = clips(8, source="s") + clips(2, source="t") + clips(5, "b", "s")
    kept = capped(given, 3, np.random.default_rng(0))
    assert Counter((c.gloss, c.source) for c in kept) == {("a", "s"): 3, ("a", "t"): 2, ("b", "s"): 3}
    assert [c.name for c in kept] == [c.name for c in given if c in kept]


def test_capped_draws_anew_leaves_clips_without_a_source_and_tells_sets_apart():
    assert len({tuple(c.name for c in capped(clips(9), 2, np.random.default_rng(s))) for s in range(20)}) > 5
    assert len(capped(clips(9, source=""), 2, np.random.default_rng(0))) == 9
    assert len(capped(clips(4) + clips(4, dataset="other"), 3, np.random.default_rng(0))) == 6


def test_a_gloss_of_many_sources_counts_by_the_power_of_their_number():
    given = [c for s in range(16) for c in clips(30, "many", f"s{s}")] + clips(30, "one")
    for spread, many in ((0, 4), (0.5, 16), (1, 64)):
        assert Counter(c.gloss for c in draw(given, spread=spread)) == {"many": many, "one": 4}


def test_sources_of_a_gloss_share_evenly_and_take_turns():
    given = [c for s in range(4) for c in clips(30, source=f"s{s}")]
    shares = [Counter(c.source for c in draw(given, 5, seed=s)) for s in range(40)]  # 10 clips of 4 sources
    assert all(sorted(share.values()) == [2, 2, 3, 3] for share in shares)
    assert len({tuple(sorted(share.items())) for share in shares}) > 2
    assert {c.source for s in range(40) for c in draw(given, 0.5, seed=s)} == {"s0", "s1", "s2", "s3"}


def test_clips_come_again_only_when_a_source_has_no_more():
    assert max(Counter(c.name for c in draw(clips(4), 4)).values()) == 1
    assert sorted(Counter(c.name for c in draw(clips(3), 8)).values()) == [2, 3, 3]


def test_clips_without_a_source_all_stay_and_the_order_is_that_given():
    given = clips(5, source="") + clips(9) + clips(2, source="", dataset="other")
    chosen = draw(given)
    assert sum(not c.source for c in chosen) == 7
    assert [given.index(c) for c in chosen] == sorted(given.index(c) for c in chosen)
    assert [c.name for c in draw(given)] == [c.name for c in chosen] != [c.name for c in draw(given, seed=1)]


def test_shares_are_those_of_an_epoch_with_one_clip_added_to_each_gloss():
    given = [c for s in range(9) for c in clips(3, "a", f"s{s}")] + clips(6, "b") + clips(5, "c", "")
    counts = Counter(c.gloss for c in draw(given))
    share = sampling_share(given, 4.0, 0.5, ["a", "b", "c", "never"])
    expected = np.array([counts["a"] + 1, counts["b"] + 1, counts["c"] + 1, 1])
    assert share == pytest.approx(expected / expected.sum()) and counts == {"a": 12, "b": 4, "c": 5}
