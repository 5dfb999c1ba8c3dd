import csv
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import gradio as gr
import pytest
from helpers.results import absent, row, sent, write

from dsta.data import BENCHMARKS
from leaderboard import chart, panels, sheet, tab, table
from leaderboard.results import FEWSHOT_COLUMNS

HOSTILE = "<img src=x onerror=alert(1)>"


def view(folder, **parts):
    return tab.view(folder, "?" + urlencode(parts))


def lines(shown):
    """Of each row of the sheet its badge, system and top-1, as they are read."""
    found = []
    for line in re.findall(r"<tr[^>]*><td.*?</tr>", shown["sheet"]):
        cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", line)]
        found.append(tuple(cells[len(cells) > 11 :][place] for place in (1, 0, 2)))
    return found


def ours(shown):
    return [(system.removeprefix("DSTA-SLR, "), top1) for kind, system, top1 in lines(shown) if kind == "measured"]


@pytest.fixture
def folder(tmp_path):
    costs = {"latency_ms": 20, "parameters": 3_400_000}
    rows = [
        row("WLASL100", top1=0.6, **costs, note="tuned on the reported split", fusion_weights='{"bone_motion": 0.25}'),
        row("WLASL100", streams="joint+bone", fusion="equal", top1=0.7, **costs),
        row("WLASL100", "val+test", top1=0.55, **costs, dirty="True"),
        row("asl_everyday", "folds", top1=0.5, **costs),
        absent("SLR500", "no data", "There is no folder data/SLR500."),
    ]
    return write(tmp_path, rows)


def test_with_no_results_it_says_what_to_run_and_shows_what_others_published(tmp_path):
    shown = view(tmp_path / "absent")
    assert "python eval/run_all.py" in shown["status"] and {kind for kind, *_ in lines(shown)} == {
        "published", "withdrawn"
    }  # fmt: skip
    assert tab.names(tmp_path)[0] == "WLASL100"


def test_a_results_file_that_cannot_be_read_is_a_sentence_on_the_page(folder):
    (folder / "results.csv").write_text(f"a,{HOSTILE}\n1\n")
    shown = view(folder)
    assert "lacks the column dataset" in shown["status"] and not ours(shown) and len(lines(shown)) > 50
    assert panels.NO_ROW in view(folder, search="joint equal")["sheet"]  # which no published row has
    write(folder, [row()])
    (folder / "submitted.csv").write_text(f"a,{HOSTILE}\n1\n")
    shown = view(folder, dataset="WLASL100", row="WLASL100:test:joint:none")
    assert "submitted.csv lacks the columns" in shown["status"].replace("column ", "columns ") and shown["sheet"] == ""


def test_the_best_of_each_protocol_or_every_combination(folder):
    assert ours(view(folder)) == [("joint, bone, equal weights", "70.0"), ("joint", "55.0"), ("joint", "50.0")]
    own = view(folder, dataset="WLASL100", rows="every")
    assert ours(own) == [("joint, bone, equal weights", "70.0"), ("joint", "60.0"), ("joint", "55.0")]
    assert ours(view(folder, dataset="WLASL100", protocol="test", search="equal")) == [
        ("joint, bone, equal weights", "70.0")
    ]
    assert ours(view(folder, sort="top1_instance")) == ours(view(folder))[::-1]


def test_measured_submitted_and_published_stand_in_one_sheet_each_with_its_badge(folder):
    write(folder, [sent(top1=0.65)], "submitted.csv")
    shown = lines(view(folder, dataset="WLASL100", sort="-top1_instance"))
    assert ("submitted", "Forest", "65.0") in shown and ("published", "MASA", "83.72") in shown
    assert shown[-1] == ("withdrawn", "PhonSSM", "88.37")
    measured = view(folder, dataset="WLASL100")["plot"]
    assert "MASA" not in measured and "Forest" not in measured


def test_what_a_dataset_is_its_best_rows_and_whether_they_can_be_compared(folder):
    about = view(folder, dataset="WLASL100")["about"]
    for text in ("American", "1442 training + 338 validation + 258 test", "97", "C-UDA", "arxiv.org/abs/1910.11006"):
        assert text in about
    assert "<b>70.0 %</b> (65.0 – 75.0)" in about and "<b>92.64 %</b> – NLA-SLR (2023), rgb+pose" in about
    assert "Nothing was measured here on these clips" in about  # ours are 200
    assert "DSLNet" in about and "no number of hits among so many clips gives it" in about
    write(folder, [row("WLASL100", top1=0.8, n=258)])
    about = view(folder, dataset="WLASL100")["about"]
    assert "MASA (2024), pose" in about and "ours is 80.0 % (75.0 – 85.0), an interval that holds this figure" in about
    assert view(folder)["about"] == ""


@pytest.mark.parametrize("dataset", BENCHMARKS)
def test_a_benchmark_without_data_says_how_to_get_it(tmp_path, dataset):
    about = view(tmp_path, dataset=dataset)["about"]
    assert "its data are not here" in about and f"--out data/{dataset}</pre>" in about


def test_what_was_not_measured_is_shown_with_its_sentence(folder):
    assert "There is no folder data/SLR500." in view(folder)["missing"]
    shown = view(folder, dataset="SLR500")
    assert "<details open>" in shown["missing"] and not ours(shown)
    assert "Not measured" not in view(folder, dataset="asl_everyday")["missing"]
    assert view(folder, dataset="asl_everyday")["plotted"].visible and not shown["plotted"].visible


def test_what_changed_is_told_by_date_and_commit(tmp_path):
    old, new = (
        dict(date="2026-01-02T03:04:05Z"),
        dict(date="2026-03-04T05:06:07Z", commit="fedcba9876543210", dirty="true"),
    )
    rows = [row(**old), row(streams="bone", **old), row("zoo", **new), row("zoo", streams="bone", date="", commit="")]
    write(tmp_path, [*rows, absent("SLR500", "no data", "There is no folder data/SLR500.")])
    write(tmp_path, [sent(date="2026-02-01T00:00:00Z", commit="aa")], "submitted.csv")
    told = view(tmp_path)["missing"].split("What changed")[1]
    assert [re.findall("<td[^>]*>(.*?)</td>", line) for line in re.findall("<tr><td.*?</tr>", told)] == [
        ["2026-03-04", "zoo", "1", "measured", "fedcba987654+"],
        ["2026-02-01", "WLASL100", "1", "submitted", "aa"],
        ["2026-01-02", "WLASL100", "2", "measured", "0123456789ab"],
    ]
    assert view(tmp_path, dataset="zoo")["missing"].count("<tr><td") == 1
    assert "What changed" not in view(tmp_path / "absent")["missing"]


def test_an_address_that_names_nothing_is_harmless_and_told(folder):
    shown = view(folder, dataset=HOSTILE, protocol="nope", sort="drop table", row="no:such:row:here", columns="x,ece")
    assert "dataset=&lt;img" in shown["status"] and "protocol=nope" in shown["status"]
    assert lines(shown) == lines(view(folder, columns="ece")) and "not, or no longer," in shown["detail"]
    assert not any("<img" in text for text in shown.values() if isinstance(text, str))
    assert panels.NO_ROW in view(folder, search="no such words")["sheet"]


def test_the_controls_follow_the_address(folder):
    dataset, *others = tab.controls(folder, "?dataset=WLASL100&protocol=test&search=bone&rows=every&columns=ece,date")
    assert dataset.value == "WLASL100" and others == ["test", "bone", "every", ["ece", "date"], "latency_ms"]
    assert ("WLASL300", "WLASL300") in dataset.choices


def test_the_detail_of_a_row_names_its_command_and_its_origin(folder):
    picked = view(folder, row="WLASL100:test:joint:none")["detail"]
    for text in ("python eval/run_all.py", "tuned on the reported split", "bone motion 0.25", "0123456789abcdef"):
        assert text in picked
    assert "uncommitted" not in picked and "60.0" in picked and "55.0 – 65.0" in picked
    assert "uncommitted" in view(folder, row="WLASL100:val+test:joint:none")["detail"]


def test_glosses_and_robustness_of_a_row_of_which_no_scores_are_kept(folder):
    key = dict(dataset="WLASL100", protocol="test", streams="joint", fusion="none")
    gloss = dict(n=4, hits1=1, hits5=3, confused_with=HOSTILE, confused_count=3)
    write(folder, [key | {"gloss": name} | gloss for name in ("NULL", *map(str, range(20)))], "glosses.csv")
    level = dict(disturbance="joints_missing", level="10 %", n=200)
    write(folder, [key | level | dict(zip(table.SHARES[:3], (0.4, 0.3, 0.5), strict=True))], "robustness.csv")
    picked = view(folder, row="WLASL100:test:joint:none")["detail"]
    assert "All 21 glosses" in picked and "NULL" in picked and picked.count("1 of 4") == 21
    assert "&lt;img" in picked and HOSTILE not in picked and "data-lb-search" in picked
    assert "joints missing" in picked and "10 %: 40.0 % (30.0 – 50.0)" in picked


def test_all_text_from_files_is_escaped(tmp_path):
    said = dict.fromkeys(table.TEXTS[6:], HOSTILE)  # all but the key, status and reason
    rows = [row(HOSTILE, HOSTILE, HOSTILE, HOSTILE, latency_ms=5, parameters=1, **said)]
    write(tmp_path, [*rows, absent(HOSTILE, HOSTILE, HOSTILE)])
    write(tmp_path, [sent(HOSTILE, HOSTILE, HOSTILE, trained_on=HOSTILE, note=HOSTILE)], "submitted.csv")
    for name in (":".join([HOSTILE] * 4), f"{HOSTILE}:{HOSTILE}:submitted:{HOSTILE}"):
        shown = view(tmp_path, row=name, columns=",".join(sheet.CHOICES))
        texts = [text for text in shown.values() if isinstance(text, str)]
        assert HOSTILE[1:4] in shown["detail"] and sum(text.count("&lt;img") for text in texts) > 12
        assert not any("<img" in text for text in texts)


@pytest.fixture(autouse=True)
def downloads(tmp_path, monkeypatch):
    """Where downloads are written."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "downloads"))
    return tmp_path / "downloads"


def saved(folder, query):
    """The name and the lines of a download."""
    path = Path(tab.save(folder, query))
    assert path.is_relative_to(gr.HTML(render=False).GRADIO_CACHE)  # where gradio deletes it in time
    with path.open(encoding="utf-8", newline="") as file:
        return path.name, list(csv.DictReader(file))


def test_the_same_download_again_is_the_same_file_with_a_new_time(folder, downloads):
    path = Path(tab.save(folder, "?dataset=WLASL100"))
    os.utime(path, (0, 0))
    with ThreadPoolExecutor(8) as visitors:
        again = list(visitors.map(lambda _: tab.save(folder, "?dataset=WLASL100"), range(40)))
    assert set(again) == {str(path)} and path.stat().st_mtime > 0
    assert [file for file in downloads.rglob("*") if file.is_file()] == [path]
    assert Path(tab.save(folder, "?dataset=WLASL100&protocol=test")).parent != path.parent


def test_the_download_holds_what_the_filters_leave(folder):
    name, found = saved(folder, "?dataset=WLASL100&protocol=test&search=python&file=")
    assert [(line["kind"], line["streams"], float(line["top1_instance"])) for line in found] == [
        ("measured", "joint+bone", 0.7), ("measured", "joint", 0.6),
    ]  # fmt: skip
    assert name == "leaderboard-WLASL100.csv"
    assert saved(folder, f"?dataset=WLASL100&protocol=test&search=python&file={HOSTILE}") == (name, found)


def test_each_further_table_can_be_downloaded(folder):
    few = dict.fromkeys(FEWSHOT_COLUMNS, "") | dict(dataset="WLASL100", streams="joint", shots=3, n=5, ways=2, top1=0.7)
    write(folder, [few, few | dict(dataset="zoo", shots=1)], "fewshot.csv")
    assert 'data-lb-file="fewshot"' in view(folder, dataset="WLASL100")["studies"]
    name, found = saved(folder, "?dataset=WLASL100&search=nothing&file=fewshot")
    assert name == "fewshot-WLASL100.csv" and [(line["shots"], line["top1"]) for line in found] == [("3.0", "0.7")]


def test_the_plot_draws_each_interval_where_it_lies(folder):
    plot = view(folder, dataset="asl_everyday", axis="parameters")["plot"]
    wide = plot[plot.index("<svg") : plot.index("</svg>")]
    low, high = map(float, re.search(r'y1="([\d.]+)" y2="([\d.]+)"', wide).groups())
    # 45 … 55 percent on an axis from 44 to 56, drawn between 340 and 14 pixels
    levels = [float(text) for text in re.findall(r'text-anchor="end">([\d.]+)<', wide)]
    assert (min(levels), max(levels)) == (44, 56)
    assert low == pytest.approx(340 - (340 - 14) / 12, abs=0.1) and high == pytest.approx(14 + (340 - 14) / 12, abs=0.1)


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (4, 90, 9, [5, 10, 20, 50]),
        (4, 2900, 9, [5, 10, 20, 50, 100, 200, 500, 1000, 2000]),
        (4, 2900, 6, [10, 30, 100, 300, 1000]),
        (0.004, 2900, 6, [0.01, 0.1, 1, 10, 100, 1000]),
        (0.13, 0.17, 9, [0.14, 0.16]),
    ],
)
def test_ticks_of_an_axis_of_ratios(low, high, most, expected):
    assert chart.log_ticks(low, high, most) == pytest.approx(expected)


def test_one_very_slow_row_does_not_squeeze_the_others(tmp_path):
    rows = [row(streams=name, latency_ms=ms) for name, ms in (("joint", 5), ("bone", 20), ("joint+bone", 2800))]
    plot = view(write(tmp_path, rows), dataset="WLASL100", rows="every")["plot"]
    wide = plot[plot.index("<svg") : plot.index("</svg>")]
    fast, slower, _ = sorted(float(x) for x in re.findall(r'<circle cx="([\d.]+)"', wide))
    assert slower - fast > 100  # of 900 pixels


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 100, [0, 20, 40, 60, 80, 100]), (45.2, 54.9, [44, 46, 48, 50, 52, 54, 56]), (3, 3, [3, 3 + 2e-10])],
)
def test_ticks_are_round_and_enclose_the_data(low, high, expected):
    assert chart.ticks(low, high) == pytest.approx(expected)


def test_of_two_thousand_rows_a_page_is_shown_with_the_way_to_the_others(tmp_path):
    streams = ["joint", "bone", "joint_motion", "bone_motion"]
    rows = [row(f"set{n // 4}", streams=streams[n % 4], top1=0.1 + n / 4000, latency_ms=n + 1) for n in range(2000)]
    write(tmp_path, rows)
    shown = view(tmp_path, rows="every", sort="-latency_ms")
    assert len(lines(shown)) == sheet.PAGE_ROWS and lines(shown)[0][2] == "60.0"
    ask = dict(rows="every", sort="-top1_instance", search="run_all")
    pages = [view(tmp_path, **ask, page=page) for page in range(1, 21)]
    values = [float(top1) for shown in pages for *_, top1 in lines(shown)]
    assert len(values) == 2000 and values == sorted(values, reverse=True)
    ways = [re.findall(r'data-page="(\w+)"', shown["sheet"]) for shown in pages]
    assert ways[0] == ["next", "last"] and ways[-1] == ["first", "previous"] and len(ways[5]) == 4
    assert "Rows 1\u202f901 – 2\u202f000 of 2\u202f000" in pages[-1]["sheet"] and not pages[-1]["status"].count("note")
    beyond = view(tmp_path, **ask, page=21)
    assert lines(beyond) == lines(pages[-1]) and "names nothing by page=21" in beyond["status"]


def test_what_the_browser_has_is_not_sent_again(folder):
    closed = view(folder, dataset="WLASL100")
    sent_now, has = tab.unlike(closed, "")
    assert sent_now == closed
    opened = view(folder, dataset="WLASL100", row="WLASL100:test:joint:none")
    changed, has = tab.unlike(opened, has)
    assert set(changed) == {"detail"} and changed["detail"] == opened["detail"]
    assert set(tab.unlike(closed, has)[0]) == {"detail"}  # what was emptied is sent too
    assert {"save", "plotted"} <= set(tab.unlike(view(folder, dataset="SLR500"), has)[0])


def test_the_sheet_is_the_same_whichever_row_is_open(folder):
    opened = view(folder, dataset="WLASL100", row="WLASL100:test:joint:none", other="WLASL100:test:joint+bone:equal")
    assert opened["sheet"] == view(folder, dataset="WLASL100")["sheet"]
    assert "tab=leaderboard&amp;dataset=WLASL100" in re.search("<a class=.close.*?>", opened["detail"]).group()
    assert "row=" not in re.search("<a class=.close.*?>", opened["detail"]).group()
    lost = view(folder, row="WLASL100:test:joint:none", other="no:such")["detail"]
    assert "not, or no longer," in lost and "60.0" in lost


def test_it_fits_into_a_page_and_names_nothing_foreign(tmp_path):
    with gr.Blocks(analytics_enabled=False) as page:
        tab.build_tab(tmp_path)
    said = json.dumps(page.get_config_file()["components"], default=str)
    style = "".join(path.read_text(encoding="utf-8") for path in tab.STYLES)
    script = tab.SCRIPT.read_text(encoding="utf-8")
    assert "Leaderboard" in said and style and "url(" not in style
    assert "http" not in style + script + panels.NOTHING + panels.SHEET_TEXT
