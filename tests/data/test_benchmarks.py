"""The registry of benchmarks, and their official lists."""

from collections import Counter

import pytest

from dsta.common import UserError
from dsta.data import BENCHMARKS, SMALL_SETS, benchmark, clip_key, dataset, official
from dsta.data.benchmarks import spellings

PUBLISHED = """
WLASL2000 1.7 .8 .5 .5 · WLASL1000 1.5 .6 .5 .1 · WLASL300 1.5 .7 .4 .4 · WLASL100 1.7 1.2 .2 .3 ·
SLR500 1.3 1.3 .8 1.0 · MSASL1000 1.5 .6 .3 .8 · MSASL500 1.6 1.2 .6 .9 · MSASL200 1.7 .5 .4 .6 · MSASL100 1.9 1.4 .3 .4
"""  # spec, section 4


@pytest.mark.parametrize("line", PUBLISHED.replace("\n", " ").split("·"))
def test_published_fusion_weights(line):
    name, *weights = line.split()
    assert benchmark(name).fusion == tuple(map(float, weights))
    assert benchmark(name).num_classes == int(name.lstrip("WLASMR"))


def test_nmfs_csl_has_1067_classes_and_no_published_weights():
    assert benchmark("NMFs-CSL").num_classes == 1067 and benchmark("NMFs-CSL").fusion is None
    assert len(BENCHMARKS) == 10


def test_names_of_data_sets():
    for size in (100, 200, 500, 1000):  # upstream's spelling
        assert benchmark(f"MLASL{size}") is dataset(f"MLASL{size}") is benchmark(f"MSASL{size}")
    assert dataset("MLASL100").name == "MSASL100" and dataset("libras11") is SMALL_SETS["libras11"]
    assert spellings("MSASL100") == ("MSASL100", "MLASL100") and spellings("SLR500") == ("SLR500",)
    with pytest.raises(UserError, match=r"WLASL42.*WLASL100.*NMFs-CSL"):
        benchmark("WLASL42")
    with pytest.raises(UserError, match=r"WLASL42.*small sets.*asl_everyday"):
        dataset("WLASL42")


@pytest.mark.parametrize("name", [name for name, spec in BENCHMARKS.items() if spec.facts])
def test_official_lists_have_the_official_sizes(name):
    spec, clips = dataset(name), official(name)
    counts = Counter(entry.split for entry in clips.values())
    found = tuple(counts[split] for split in ("train", "val", "test"))
    # MS-ASL lists some videos twice under one name
    assert all(0 <= size - n <= (0 if "W" in name else 51) for n, size in zip(found, spec.sizes, strict=True))
    assert {entry.label for entry in clips.values()} == set(range(spec.num_classes))
    assert len({(entry.label, entry.gloss) for entry in clips.values()}) == spec.num_classes


def test_sizes_of_protocols():
    assert (dataset("WLASL2000").size("test"), dataset("WLASL2000").size("val+test")) == (2878, 6794)
    assert dataset("NMFs-CSL").size("val+test") is None and dataset("asl_everyday").size("folds") == 5819
    assert sum(spec.size("test") for spec in BENCHMARKS.values()) == 56090


KEYS = {"69241": "69241", "69241.mp4": "69241", "a/b/69241.npy": "69241", "C:\\v\\1.MP4": "1", "-x.y_1_2": "-x.y_1_2"}


@pytest.mark.parametrize("name", KEYS)
def test_clip_key(name):
    assert clip_key(name) == KEYS[name]
