import io
import math
import re

import pandas as pd
import pytest
from helpers.results import row, sent, write

from leaderboard import sheet, table
from leaderboard.published import FIGURES, published

HOSTILE = '"><img src=x onerror=alert(1)>'


def figures(folder, *lines):
    """published.csv of these lines, each given by what it has beside one of WLASL100's top-1."""
    base = dict.fromkeys((*FIGURES[0], *FIGURES[1]), "") | {"benchmark": "WLASL100", "metric": "top1_instance"}
    write(folder, [base | {"value": "50", "source": "Paper"} | line for line in lines], "published.csv")
    return published(folder / "published.csv")


@pytest.fixture
def rows(tmp_path):
    """Of WLASL100 two measured rows, a submitted, two published and a withdrawn one; and a row of another set."""
    measured = [
        row(top1=0.60, latency_ms=100), row(streams="joint+bone", fusion="fitted", top1=0.80, latency_ms=9.75),
        row("zoo", "folds", top1=0.99),
    ]  # fmt: skip
    write(tmp_path, measured)
    write(tmp_path, [sent(top1=0.7)], "submitted.csv")
    theirs = figures(
        tmp_path,
        {"method": "A", "value": "83.72", "protocol": "test", "n": "258", "year": "2024", "url": "https://a.b/c"},
        {"method": "A", "value": "95.5", "protocol": "test", "n": "258", "year": "2024", "url": "https://a.b/c",
         "metric": "top5_instance"},
        {"method": "B", "value": "93.7", "protocol": "unknown"},
        {"method": "C", "value": "88.37", "protocol": "own split", "status": "withdrawn"},
    )  # fmt: skip
    return sheet.entries(table.results(tmp_path).rows, table.submitted(tmp_path), theirs)


def systems(rows):
    return list(rows["system"])


def html(rows, by="", several=True, address=lambda **changes: "?" + "&".join(f"{k}={v}" for k, v in changes.items())):
    return sheet.sheet_html(rows, sheet.columns(["latency_ms"], several), by, address)


OURS = ["DSTA-SLR, joint, bone, fitted weights", "DSTA-SLR, joint"]


def test_one_sheet_by_dataset_and_protocol_what_cannot_be_compared_last(rows):
    assert systems(rows) == ["A", OURS[0], "Forest", OURS[1], "B", "C", OURS[1]]
    assert list(rows["kind"]) == [
        "published",
        "measured",
        "submitted",
        "measured",
        "published",
        "withdrawn",
        "measured",
    ]


def test_of_the_measured_ones_the_best_of_each_protocol_stay(rows):
    assert systems(sheet.shortened(rows)) == ["A", OURS[0], "Forest", "B", "C", OURS[1]]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("-top1_instance", [OURS[1], "B", "A", OURS[0], "Forest", OURS[1], "C"]),  # what was taken back has no rank
        ("latency_ms", [OURS[0], OURS[1], "A", "Forest", "B", "C", OURS[1]]),  # 9.75 before 100; then those without
        ("-latency_ms", [OURS[1], OURS[0], "A", "Forest", "B", "C", OURS[1]]),
        ("-n", ["A", OURS[0], "Forest", OURS[1], OURS[1], "B", "C"]),
        ("system", ["A", "B", "C", OURS[1], OURS[1], OURS[0], "Forest"]),
        ("source", ["Forest", "A", "B", "C", OURS[0], OURS[1], OURS[1]]),  # empty ones last
        ("-source", ["A", "B", "C", "Forest", OURS[0], OURS[1], OURS[1]]),
    ],
)
def test_sorting_is_numeric_and_what_is_empty_comes_last(rows, by, expected):
    assert systems(sheet.sort(rows, by)) == expected


def test_heads_say_how_it_is_sorted_and_where_a_click_leads(rows):
    plain = html(rows)
    assert 'aria-sort="none" class="num"><a data-lb href="?sort=-top1_instance&amp;page=1">Top-1 %</a>' in plain
    assert 'aria-sort="none" class="who"><a data-lb href="?sort=system&amp;page=1">System</a>' in plain
    falling = html(rows, "-top1_instance")
    assert (
        'aria-sort="descending" class="num"><a data-lb href="?sort=top1_instance&amp;page=1">Top-1 % ▼</a>' in falling
    )


def test_cells_are_badged_numbers_stand_to_the_right_and_a_source_is_a_link(rows):
    first, second, third, *_ = re.findall("<tr><td>.*?</tr>", html(rows))
    cells = re.findall("<td(?: class=[a-z]+)?>(.*?)</td>", first)
    assert (
        'badge published"' in cells[2] and 'href="https://a.b/c"' in cells[1] and cells[3:6] == ["83.72", "–", "95.5"]
    )
    assert cells[9:11] == ["258", "2024"] and cells[-1] == (
        '<a href="https://a.b/c" target="_blank" rel="noopener">Paper</a>'
    )
    cells = re.findall("<td(?: class=[a-z]+)?>(.*?)</td>", second)
    assert 'badge measured"' in cells[2] and "data-row" in cells[1] and cells[3:5] == ["80.0", "75.0 – 85.0"]
    assert cells[10:12] == ["2026", "9.8"] and 'badge submitted"' in third
    assert "<td class=num>83.72</td>" in first and "<s>88.37</s>" in html(rows)


def test_all_text_is_escaped_and_only_the_web_is_linked(tmp_path):
    hostile = {"method": HOSTILE, "protocol": HOSTILE, "source": HOSTILE, "modality": HOSTILE}
    urls = ("javascript:alert(1)", "", "https://a.b/" + HOSTILE)
    theirs = figures(tmp_path, *(hostile | {"url": url} for url in urls))
    write(tmp_path, [sent(system=HOSTILE, origin="javascript:alert(1)", protocol=HOSTILE)], "submitted.csv")
    write(tmp_path, [row(HOSTILE, HOSTILE, HOSTILE, HOSTILE)])
    shown = html(sheet.entries(table.results(tmp_path).rows, table.submitted(tmp_path), theirs))
    assert "<img" not in shown and shown.count('target="_blank"') == 2 and 'href="javascript' not in shown


def test_the_csv_has_every_row_and_no_column_without_content(rows):
    lines = sheet.csv_text(rows)
    back = pd.read_csv(io.StringIO(lines), keep_default_na=False)
    assert len(back) == len(rows) and "peak_memory_mb" not in back and "latency_ms" in back
    assert math.isclose(float(back["top1_instance"][0]), 0.8372) and back["top1_instance"][5] == ""
