import re
from urllib.parse import urlsplit

import pytest

from dsta.data import BENCHMARKS
from leaderboard import table
from leaderboard.published import FIGURES, PUBLISHED, WITHDRAWN, by_method, published


def share_of(value: str, n: int) -> bool:
    """Whether some number of hits among n clips gives this percentage as it is written."""
    digits = len(value.partition(".")[2])
    return float(value) in {round(100 * k / n, digits) for k in range(n + 1)}


@pytest.fixture(scope="module")
def lines():
    """The file's rows, each cell as it is written."""
    return list(table.read(PUBLISHED, *FIGURES).text.itertuples())


def test_figures_are_complete_named_and_never_ranked():
    rows = published()
    assert set(rows["benchmark"]) <= set(BENCHMARKS) and set(rows["metric"]) <= set(table.RATES)
    assert set(rows["reading"]) == {"read", "second-hand"} and set(rows["status"]) == {"", WITHDRAWN}
    assert rows["value"].between(1, 100).all() and (rows[["method", "protocol", "source"]] != "").all(axis=None)
    assert not rows.duplicated(["method", "benchmark", "metric", "status"]).any()
    first = rows[rows["benchmark"] == "WLASL100"]
    assert list(first["method"])[:2] == ["BEST", "DSLNet"]  # by name, although DSLNet's figure is the higher one
    own = rows[(rows["method"] == "DSTA-SLR (4 streams)") & (rows["benchmark"] == "WLASL2000")]
    assert list(own["value"]) == [53.70] and list(own["reading"]) == ["second-hand"]


def test_addresses_and_years(lines):
    for line in lines:
        assert line.url == "" or (line.url.startswith("https://") and "." in urlsplit(line.url).netloc), line
        assert line.year == "" or 2018 <= int(line.year) <= 2030, line  # WLASL and MS-ASL are of 2019
        if month := re.search(r"arxiv\.org/abs/(\d\d)\d\d\.\d{4,5}$", line.url):  # an arXiv number begins with its year
            assert abs(2000 + int(month[1]) - int(line.year)) <= 2, line
    origins = {(line.source, line.url, line.year) for line in lines}
    assert len(origins) == len({source for source, _, _ in origins})


def test_clips_fit_the_protocol_and_hits_among_them_give_the_figure(lines):
    for line in lines:
        protocol, _, marked = line.protocol.partition(", not possible")
        size = BENCHMARKS[line.benchmark].size(protocol)
        if line.n and size:
            assert int(line.n) == size, line
        if not line.metric.endswith("instance"):
            continue
        if line.n:
            assert share_of(line.value, int(line.n)), line
        if size:
            assert share_of(line.value, size) == (not marked), line
        for n in re.findall(r"n=(\d+)", marked):
            assert not share_of(line.value, int(n)), line


@pytest.mark.parametrize(
    ("method", "benchmark", "metric", "value", "n", "reading", "said"),
    [
        ("Siformer", "WLASL100", "top1_instance", "86.50", "800", "read", "oversampled"),
        ("SAM-SLR-v2 (all)", "WLASL2000", "top1_instance", "58.73", "6794", "read", "others quote 59.39"),
        ("SAM-SLR-v2 (keypoints)", "WLASL2000", "top1_instance", "51.50", "6794", "read", "ensemble.py"),
        ("Sigma", "WLASL2000", "top1_instance", "64.40", "", "second-hand", "also read as 64.54"),
        ("PhonoGraph (4 seeds, 27 joints)", "WLASL100", "top1_instance", "83.33", "258", "read", "test"),
        ("GSP-MC (4 streams)", "SLR500", "top1_instance", "97.1", "37500", "read", "15 signers"),
        ("KDG-SLR", "SLR500", "top1_instance", "98.30", "", "read", "12 500 videos of 5 signers"),
        ("NLA-SLR", "MSASL1000", "top1_class", "70.95", "4172", "read", "README"),
        ("LA-Sign", "WLASL300", "top1_instance", "88.66", "", "second-hand", "2603.29057"),
    ],
)
def test_how_a_figure_was_read_and_what_it_is_of(lines, method, benchmark, metric, value, n, reading, said):
    (line,) = [line for line in lines if (line.method, line.benchmark, line.metric) == (method, benchmark, metric)]
    assert (line.value, line.n, line.reading) == (value, n, reading)
    assert said in line.protocol + line.source


def test_the_measures_of_a_method_stand_in_one_row_and_none_is_lost():
    rows, wide = published(), by_method(published())
    own = wide[(wide["system"] == "NLA-SLR") & (wide["dataset"] == "WLASL100")]
    assert len(own) == 1 and own["top1_instance"].iloc[0] == pytest.approx(0.9264)
    assert own["top5_class"].iloc[0] == pytest.approx(0.9717) and own["n"].iloc[0] == 258
    assert wide[[rate for rate in table.RATES if rate in wide]].notna().sum().sum() == len(rows)
    assert set(wide["status"]) == {"", WITHDRAWN}
