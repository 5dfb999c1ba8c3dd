import pytest
from helpers.results import absent, row, write

from dsta.common import UserError
from leaderboard import table
from leaderboard.results import COLUMNS


def keys(rows):
    return [tuple(line) for line in rows[list(table.KEY)].itertuples(index=False)]


@pytest.fixture
def folder(tmp_path):
    rows = [
        row("zoo", "folds", top1=0.99),
        row("NMFs-CSL", "test", top1=0.40),
        row("WLASL100", "val+test", "joint+bone", "equal", 0.71),
        row("WLASL100", "test", "joint", "none", 0.60, latency_ms=20.5, parameters=3_400_000),
        row("WLASL100", "test", "joint+bone", "fitted", 0.80, latency_ms=9.75, parameters=6_800_000),
        row("WLASL100", "test", "bone", "none", 0.80, top1_class=0.7, n=1000),
        row("WLASL100", "test", "bone_motion", "none", 0.09, latency_ms=100),
        absent("SLR500", "no data", "There is no folder data/SLR500."),
        absent("SLR500", "no data", "There is no folder data/SLR500.", streams="bone"),
        absent("WLASL100", "no weights", "There is no weights/WLASL100/bone.", protocol="val+test"),
    ]
    return write(tmp_path, rows)


def good(folder):
    return table.ranked(table.measured(table.results(folder).rows))


# The ranking below is worked out by hand: benchmarks in the registry's order, then other names; in each protocol by
# falling top-1; the two rows of 0.80 by top-1 per class (0.80 before 0.70).
RANKING = [
    ("WLASL100", "test", "joint+bone", "fitted"),
    ("WLASL100", "test", "bone", "none"),
    ("WLASL100", "test", "joint", "none"),
    ("WLASL100", "test", "bone_motion", "none"),
    ("WLASL100", "val+test", "joint+bone", "equal"),
    ("NMFs-CSL", "test", "joint", "none"),
    ("zoo", "folds", "joint", "none"),
]


def test_ranking_and_the_best_of_each_dataset_and_protocol(folder):
    assert keys(good(folder)) == RANKING
    assert keys(table.best(good(folder))) == [RANKING[0], *RANKING[4:]]


def test_of_equal_rows_the_one_of_fewer_streams_leads(tmp_path):
    write(tmp_path, [row(streams="bone+joint_motion", fusion="equal"), row(streams="joint_motion")])
    assert [key[2] for key in keys(good(tmp_path))] == ["joint_motion", "bone+joint_motion"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ((table.ALL,), [0, 1, 2, 3, 4, 5, 6]),
        (("WLASL100",), [0, 1, 2, 3, 4]),
        (("WLASL100", "val+test"), [4]),
        ((table.ALL, "folds"), [6]),
        (("WLASL100", table.ANY, "BONE fitted"), [0]),
        (("WLASL100", table.ANY, "bone motion"), [3]),  # as the table words the stream
        ((table.ALL, table.ANY, "0123456789abcdef nmfs"), [5]),
        ((table.ALL, table.ANY, "no such thing"), []),
        (("SLR500",), []),
    ],
)
def test_filters(folder, filters, expected):
    assert keys(table.filtered(good(folder), *filters)) == [RANKING[place] for place in expected]


def test_what_is_missing_is_summed_up_with_its_sentence(folder):
    summed = table.missing(table.results(folder).rows)
    assert list(summed.itertuples(index=False, name=None)) == [
        ("WLASL100", "no weights", "There is no weights/WLASL100/bone.", 1),
        ("SLR500", "no data", "There is no folder data/SLR500.", 2),
    ]


def test_the_file_is_read_again_once_it_has_changed(tmp_path):
    assert table.results(tmp_path).rows.empty
    assert len(table.results(write(tmp_path, [row()])).rows) == 1
    assert len(table.results(write(tmp_path, [row(), row(streams="bone")])).rows) == 2
    (tmp_path / "results.csv").unlink()
    assert table.results(tmp_path).rows.empty


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "lacks the column"),
        (b"a,b\nc,\x00\n", "lacks the column"),
        (b"\xff\xfe\x00\x9f\x92", "not in UTF-8"),
        (b"dataset,protocol\nWLASL100,test\n", "lacks the column streams and fusion and"),
        ({"top1_instance": "82.4"}, r"results.csv: top1_instance in line 2 is “82.4”, not a fraction"),
        ({"latency_ms": "fast"}, "latency_ms in line 2 is “fast”, not a number"),
        ({"latency_ms": "inf"}, "latency_ms in line 2 is “inf”, not a number"),
        ({"top1_instance_lo": ""}, "lacks its accuracy, its interval or n"),
        ({"top1_instance": "nan"}, "lacks its accuracy, its interval or n"),
    ],
)
def test_a_malformed_file_is_one_sentence(tmp_path, content, sentence):
    if isinstance(content, bytes):
        (tmp_path / "results.csv").write_bytes(content)
    else:
        write(tmp_path, [row() | content])
    with pytest.raises(UserError, match=sentence):
        table.results(tmp_path)


def test_a_row_that_is_cut_short_and_a_row_that_stands_twice(tmp_path):
    path = write(tmp_path, [row(), row(streams="bone")]) / "results.csv"
    path.write_text(path.read_text()[:-40])
    with pytest.raises(
        UserError, match=rf"results.csv has {len(COLUMNS) - 1} cells in line 3 for {len(COLUMNS)} columns"
    ):
        table.results(tmp_path)
    write(tmp_path, [row(), row(top1=0.6)])
    with pytest.raises(UserError, match="two rows for WLASL100 · test · joint · none"):
        table.results(tmp_path)


GLOSSES = [
    ("null", 8, 0, "NA", 5),
    ("NA", 2, 0, "null", 2),
    ("A", 4, 3, "B", 1),
    ("B", 10, 5, "A", 5),
    ("C", 3, 3, "", 0),
]


def test_hardest_glosses_and_most_confused_pairs(tmp_path):
    lines = [
        dict(dataset="WLASL100", protocol="test", streams="joint", fusion="none", gloss=gloss, n=n, hits1=hits,
             hits5=n, confused_with=other, confused_count=count)
        for gloss, n, hits, other, count in GLOSSES
    ]  # fmt: skip
    write(tmp_path, [*lines, lines[0] | {"streams": "bone", "gloss": "D"}], "glosses.csv")
    rows = table.find(table.glosses(tmp_path), ("WLASL100", "test", "joint", "none"))
    assert list(table.hardest(rows)["gloss"]) == ["null", "NA", "B", "A", "C"]  # 0 of 8, 0 of 2, 5/10, 3/4, 3/3
    pairs = table.confused(rows)[["gloss", "confused_with"]]
    assert list(pairs.itertuples(index=False, name=None)) == [("null", "NA"), ("B", "A"), ("NA", "null"), ("A", "B")]


def test_words():
    assert table.stream_label("joint+bone_motion") == "joint, bone motion"
    assert table.stream_label("joint+bone+joint_motion+bone_motion") == "all four"
    assert table.stream_initials("joint+bone+bone_motion") == "J B BM"
    assert table.interval(0.773, 0.8661) == "77.3 – 86.6" and table.interval(float("nan"), 1) == ""
    assert table.number(12345.6) == "12\u202f346" and table.percent(float("nan")) == ""
    shown = [("joints missing", "0.100000", "10%"), ("noise", "2.000000", "2 px"), ("frame rate", "0.500000", "× 0.5")]
    assert [table.level(kind, value) for kind, value, _ in shown] == [text for *_, text in shown]
    assert table.level("fog", "3.50") == "3.5" and table.level("fog", "thick") == "thick"
