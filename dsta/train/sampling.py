"""Which clips of a small set an epoch shows: takes repeat within a source, and few glosses have most of the sources."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from dsta.data import Clip

Groups = dict[tuple[str, str], dict[str, list[int]]]


def capped(clips: Sequence[Clip], most: int, rng: np.random.Generator) -> list[Clip]:
    """At most `most` random clips of each gloss and source, in the order given; clips without a source all stay."""
    kept, groups = _grouped(clips)
    for sources in groups.values():
        for members in sources.values():
            kept += rng.permutation(members)[:most].tolist()
    return [clips[i] for i in sorted(kept)]


def drawn(clips: Sequence[Clip], per_gloss: float, spread: float, rng: np.random.Generator) -> list[Clip]:
    """The clips of an epoch, in the order given: of each set and gloss as many as `_quota` says, spread evenly over its
    sources; a clip may come twice. Clips without a source all stay.

    The number does not depend on `rng`.
    """
    kept, groups = _grouped(clips)
    for sources in groups.values():
        quota = _quota(len(sources), per_gloss, spread)
        names = rng.permutation(list(sources))
        for place, name in enumerate(names):
            share = len(range(place, quota, len(names)))
            members = sources[str(name)]
            rounds = [rng.permutation(members) for _ in range(-(-share // len(members)))]
            kept += np.concatenate([*rounds, []])[:share].astype(int).tolist()
    return [clips[i] for i in sorted(kept)]


def sampling_share(clips: Sequence[Clip], per_gloss: float, spread: float, glosses: Sequence[str]) -> np.ndarray:
    """(K,) share of each gloss in an epoch that `drawn` gives, with one clip added to each gloss; sums to 1."""
    counts = dict.fromkeys(glosses, 1.0)
    kept, groups = _grouped(clips)
    for i in kept:
        counts[clips[i].gloss] += 1
    for (_, gloss), sources in groups.items():
        counts[gloss] += _quota(len(sources), per_gloss, spread)
    share = np.array([counts[gloss] for gloss in glosses])
    return share / share.sum()


def _quota(sources: int, per_gloss: float, spread: float) -> int:
    """Clips of a gloss in an epoch: `per_gloss` for one source, growing with their number to the power `spread`."""
    return max(1, round(per_gloss * sources**spread))


def _grouped(clips: Sequence[Clip]) -> tuple[list[int], Groups]:
    """Places of the clips without a source, and of the others by set, gloss and source."""
    groups: Groups = defaultdict(lambda: defaultdict(list))
    alone = []
    for i, clip in enumerate(clips):
        if clip.source:
            groups[clip.dataset, clip.gloss][clip.source].append(i)
        else:
            alone.append(i)
    return alone, groups
