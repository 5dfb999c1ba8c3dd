"""The same clip in two places, by content: number for number."""

import hashlib
from collections.abc import Hashable, Iterable, Sequence

import numpy as np


def content_hash(joints: np.ndarray) -> int:
    """64 bits of a clip's numbers; equal in every process."""
    return int.from_bytes(hashlib.blake2b(np.ascontiguousarray(joints).data, digest_size=8).digest())


def content_hashes(clips: Iterable[np.ndarray]) -> list[int]:
    """`content_hash` of each clip."""
    return [content_hash(clip) for clip in clips]


def same_clips(a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int]]:
    """(position in a, position in b) of every content hash of `a` that is in `b` too; of several in b, the first."""
    place = {content: j for j, content in reversed(list(enumerate(b)))}
    return [(i, place[content]) for i, content in enumerate(a) if content in place]


def shared_between_groups(hashes: Sequence[int], groups: Sequence[Hashable]) -> int:
    """How many clips have their content in another group too, such as another fold."""
    found: dict[int, set[Hashable]] = {}
    for content, group in zip(hashes, groups, strict=True):
        found.setdefault(content, set()).add(group)
    return sum(len(found[content]) > 1 for content in hashes)
