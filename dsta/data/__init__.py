"""Datasets on disk as clips with labels, and the registry of benchmarks with their official lists. No torch."""

from dsta.data.benchmarks import (
    BENCHMARKS,
    SMALL_SETS,
    DatasetSpec,
    benchmark,
    clip_key,
    dataset,
    find_spec,
    official,
)
from dsta.data.clips import Clip, ClipSet, SelectedClips
from dsta.data.read import MissingSplit, read_clip_set, read_skeletons

__all__ = [
    "BENCHMARKS", "SMALL_SETS", "Clip", "ClipSet", "DatasetSpec", "MissingSplit", "SelectedClips", "benchmark",
    "clip_key", "dataset", "find_spec", "official", "read_clip_set", "read_skeletons",
]  # fmt: skip
