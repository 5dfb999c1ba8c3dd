import pytest

from dsta.common import UserError
from dsta.data import BENCHMARKS, benchmark

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


@pytest.mark.parametrize("size", [100, 200, 500, 1000])
def test_upstreams_spelling_of_msasl(size):
    assert benchmark(f"MLASL{size}") is benchmark(f"MSASL{size}")


def test_unknown_benchmark_is_one_sentence_that_names_the_known_ones():
    with pytest.raises(UserError, match=r"WLASL42.*WLASL100.*NMFs-CSL"):
        benchmark("WLASL42")
