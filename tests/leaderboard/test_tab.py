import csv
import json
import re
from pathlib import Path

import gradio as gr
import pytest
from helpers.results import absent, row, write

from leaderboard import chart, panels, tab, table
from leaderboard.published import published

DEFAULTS = {"dataset": table.OVERVIEW, "protocol": table.ANY, "search": "", "by": "Dataset, then the best"}
DEFAULTS |= {"chosen": list(table.SHOWN), "axis": "Latency (ms)"}
HOSTILE = "<img src=x onerror=alert(1)>"


def view(folder, **filters):
    return tab.view(folder, *(DEFAULTS | filters).values())


def cells(panel):
    return panel.value["data"] if not isinstance(panel, dict) else panel["data"]


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
    assert "python eval/run_all.py" in shown["status"] and shown["measured"].visible is False
    assert "rows" not in shown and len(cells(shown["foreign"])) == len(published())
    assert tab.names(tmp_path)[:3] == [table.OVERVIEW, table.EVERYTHING, "WLASL100"]


def test_a_results_file_that_cannot_be_read_is_a_sentence_on_the_page(tmp_path):
    (tmp_path / "results.csv").write_text(f"a,{HOSTILE}\n1\n")
    shown = view(tmp_path)
    assert "lacks the column dataset" in shown["status"] and shown["measured"].visible is False


def test_overview_has_the_best_of_each_and_a_dataset_has_all_of_its_rows(folder):
    overview = cells(view(folder)["rows"])
    assert [(line[0], line[1], line[5]) for line in overview] == [
        ("WLASL100", pytest.approx(70), "test"),
        ("WLASL100", pytest.approx(55), "val+test"),
        ("asl_everyday", pytest.approx(50), "folds"),
    ]
    assert len(cells(view(folder, dataset="WLASL100")["rows"])) == 3
    assert len(cells(view(folder, dataset="WLASL100", protocol="test", search="equal")["rows"])) == 1
    assert [line[0] for line in cells(view(folder, by="Highest top-1", search="folds")["rows"])] == ["asl_everyday"]
    long = "folds" + " " * table.LONGEST_SEARCH + "no such word"
    assert len(cells(view(folder, search=long)["rows"])) == 1  # what is beyond the limit is not looked at


def test_published_figures_never_stand_among_the_measured_ones(folder):
    shown = view(folder, dataset="WLASL100")
    methods = {line[1] for line in cells(shown["foreign"])}
    assert {"Siformer", "PhonSSM"} <= methods and {line[0] for line in cells(shown["foreign"])} == {"WLASL100"}
    measured = json.dumps(cells(shown["rows"])) + shown["plot"]
    assert not any(method in measured for method in methods)
    assert "not measured here" in panels.PUBLISHED_TEXT and "not ranked" in panels.PUBLISHED_TEXT


def test_what_was_not_measured_is_shown_with_its_sentence(folder):
    assert "There is no folder data/SLR500." in view(folder)["missing"]
    shown = view(folder, dataset="SLR500")
    assert "<details open>" in shown["missing"] and "No measured row" in shown["note"] and not cells(shown["rows"])
    assert view(folder, dataset="asl_everyday")["missing"] == ""


def test_the_detail_of_a_row_names_its_command_and_its_origin(folder):
    picked = tab.pick(folder, ["WLASL100", 60.0, "", "joint", "none", "test", 200])
    for text in ("python eval/run_all.py", "tuned on the reported split", "bone motion 0.25", "0123456789abcdef"):
        assert text in picked
    assert "uncommitted" not in picked and "60.0" in picked and "55.0 – 65.0" in picked
    assert "uncommitted" in tab.pick(folder, ["WLASL100", 55.0, "", "joint", "none", "val+test", 200])
    assert "no longer" in tab.pick(folder, ["WLASL300", 55.0, "", "joint", "none", "test", 200])


def test_glosses_and_robustness_of_a_row(folder):
    key = dict(dataset="WLASL100", protocol="test", streams="joint", fusion="none")
    gloss = dict(gloss="NULL", n=4, hits1=1, hits5=3, confused_with=HOSTILE, confused_count=3)
    write(folder, [key | gloss], "glosses.csv")
    level = dict(disturbance="joints_missing", level="10 %", n=200)
    write(folder, [key | level | dict(zip(table.SHARES[:3], (0.4, 0.3, 0.5), strict=True))], "robustness.csv")
    picked = tab.pick(folder, ["WLASL100", 60.0, "", "joint", "none", "test", 200])
    assert "NULL" in picked and "1 of 4" in picked and "3 of 4" in picked
    assert "&lt;img" in picked and HOSTILE not in picked
    assert "joints missing" in picked and "10 %: 40.0 % (30.0 – 50.0)" in picked


def test_all_text_from_files_is_escaped(tmp_path):
    said = dict.fromkeys(table.TEXTS[6:], HOSTILE)  # all but the key, status and reason
    rows = [row(HOSTILE, HOSTILE, HOSTILE, HOSTILE, latency_ms=5, parameters=1, **said)]
    write(tmp_path, [*rows, absent(HOSTILE, HOSTILE, HOSTILE)])
    shown = view(tmp_path, dataset=table.EVERYTHING)
    picked = tab.pick(tmp_path, cells(shown["rows"])[0])
    texts = [text for text in (*shown.values(), picked) if isinstance(text, str)]
    assert sum(text.count("&lt;img") for text in texts) > 12
    assert not any("<img" in text for text in texts)
    kinds = shown["rows"].datatype
    assert set(kinds) == {"str", "number"}  # never html or markdown, which the table would render


def test_the_download_holds_what_the_filters_leave_and_can_be_read_back(folder):
    path = Path(tab.save(folder, "WLASL100", "test", ""))
    try:
        with path.open(encoding="utf-8", newline="") as file, (folder / "results.csv").open(newline="") as whole:
            assert list(csv.DictReader(file)) == list(csv.DictReader(whole))[:2]
        assert path.name == "leaderboard-WLASL100.csv"
        assert path.is_relative_to(gr.HTML(render=False).GRADIO_CACHE)  # where gradio deletes it in time
    finally:
        path.unlink()
        path.parent.rmdir()


def test_the_plot_draws_each_interval_where_it_lies(folder):
    plot = view(folder, dataset="asl_everyday", axis="Parameters (millions)")["plot"]
    wide = plot[plot.index("<svg") : plot.index("</svg>")]
    low, high = map(float, re.search(r'y1="([\d.]+)" y2="([\d.]+)"', wide).groups())
    # 45 … 55 percent on an axis from 44 to 56, drawn between 340 and 14 pixels
    levels = [float(text) for text in re.findall(r'text-anchor="end">([\d.]+)<', wide)]
    assert (min(levels), max(levels)) == (44, 56)
    assert low == pytest.approx(340 - (340 - 14) / 12, abs=0.1) and high == pytest.approx(14 + (340 - 14) / 12, abs=0.1)
    assert "No row here" in view(folder, dataset="SLR500")["plot"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 100, [0, 20, 40, 60, 80, 100]), (45.2, 54.9, [44, 46, 48, 50, 52, 54, 56]), (3, 3, [3, 3 + 2e-10])],
)
def test_ticks_are_round_and_enclose_the_data(low, high, expected):
    assert chart.ticks(low, high) == pytest.approx(expected)


def test_two_thousand_rows_load(tmp_path):
    streams = ["joint", "bone", "joint_motion", "bone_motion"]
    rows = [row(f"set{n // 4}", streams=streams[n % 4], top1=0.1 + n / 4000, latency_ms=n + 1) for n in range(2000)]
    shown = view(write(tmp_path, rows), dataset=table.EVERYTHING, by="Highest top-1")
    values = [line[1] for line in cells(shown["rows"])]
    assert len(values) == 2000 and values == sorted(values, reverse=True)


def test_it_fits_into_a_page_and_names_nothing_foreign(tmp_path):
    with gr.Blocks(analytics_enabled=False) as page:
        tab.build_tab(tmp_path)
    said = json.dumps(page.get_config_file()["components"], default=str)
    style, script = (path.read_text(encoding="utf-8") for path in (tab.STYLE, tab.SCRIPT))
    assert "Leaderboard" in said and style and "url(" not in style
    assert "http" not in style + script + panels.NOTHING + panels.FUSIONS_TEXT + panels.PUBLISHED_TEXT
