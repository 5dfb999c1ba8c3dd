"""The further tables of the tab: a few examples, unknown signs, disturbed clips, speed."""

import re
import shutil
from html import escape
from pathlib import Path
from urllib.parse import urlencode

import pytest
from helpers.results import row, write

from leaderboard import tab, table
from leaderboard.results import FEWSHOT_COLUMNS, SPEED_COLUMNS, UNKNOWN_COLUMNS

HOSTILE = "<img src=x onerror=alert(1)>"


def view(folder, **parts):
    return tab.view(folder, "?" + urlencode(parts))


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path, [row("WLASL100", latency_ms=20), row("asl_everyday", "folds")])


def test_few_shot_and_unknown_signs(folder):
    assert view(folder, dataset="WLASL100")["studies"] == ""
    few = dict.fromkeys(FEWSHOT_COLUMNS, "") | dict(
        dataset="WLASL100", protocol="new signs", examples="other sources", shots=3, system="prototype", ways=20,
        streams="joint", n=51, top1=0.71, top1_lo=0.61, top1_hi=0.81, top5=0.9, draws=20, command="python few.py",
    )  # fmt: skip
    far = dict.fromkeys(UNKNOWN_COLUMNS, "") | dict(
        dataset="WLASL100", protocol="test", score="familiarity", streams="joint", known=200, unknown=58, auroc=0.912,
        auroc_lo=0.9, auroc_hi=0.93, passed=0.89, flagged=0.7, flagged_lo=0.6, flagged_hi=0.8,
    )  # fmt: skip
    write(write(folder, [few], "fewshot.csv"), [far], "unknown.csv")
    shown = view(folder, dataset="WLASL100")["studies"]
    for text in ("new signs", "prototype", "71.0", "61.0 – 81.0", "familiarity", "0.912", "60.0 – 80.0"):
        assert text in shown
    assert shown.count("<pre>") == 1 and "<pre>python few.py</pre>" in shown
    assert view(folder, dataset="asl_everyday")["studies"] == ""


def test_disturbed_clips_are_a_line_for_each_system_and_a_column_for_each_disturbance(folder):
    def disturbed(streams, kind, level, top1):
        key = dict(dataset="WLASL100", protocol="test", streams=streams, fusion="none", n=200)
        rates = dict(zip(table.SHARES[:3], (top1, top1 - 0.1, top1 + 0.1), strict=True))
        return key | dict(disturbance=kind, level=level) | rates

    rows = [disturbed("joint", "none", "0.000000", 0.6), disturbed("joint", "joints missing", "0.100000", 0.45)]
    rows += [disturbed("bone", "none", "0.000000", 0.7), disturbed("bone", HOSTILE, "5.000000", 0.35)]
    write(folder, rows, "robustness.csv")
    shown = view(folder, dataset="WLASL100", rows="every")["studies"]
    lines = [re.findall("<t[dh][^>]*>(.*?)</t[dh]>", line) for line in re.findall("<tr>(.*?)</tr>", shown)]
    assert lines == [
        ["Protocol", "Streams", "Weights", "Clips", "Undisturbed", "joints missing 10%", f"{escape(HOSTILE)} 5"],
        ["test", "bone", "none", "200", "70.0", "", "35.0"],
        ["test", "joint", "none", "200", "60.0", "45.0", ""],
    ]
    assert "python eval/run_all.py --datasets WLASL100 --robustness" in shown
    best = view(folder, dataset="WLASL100")["studies"]
    assert ">bone<" in best and ">joint<" not in best
    assert view(folder, dataset="WLASL100", protocol="val", rows="every")["studies"] == ""


def took(form, dtype, milliseconds, **more):
    """A row of speed.csv: 64 clips of 120 frames at once through one network of the reference's size."""
    cells = dict(
        what="network", size="full", streams=1, batch=64, frames=120, form=form, dtype=dtype, device="A <processor>",
        threads=2, milliseconds=milliseconds, ratio=6400 / milliseconds, load=0.2, torch="2.9", dirty="true",
        commit="0123456789abcdef", date="2026-11-28T01:02:03Z", command="python eval/benchmark.py --only network",
    )  # fmt: skip
    return dict.fromkeys(SPEED_COLUMNS, "") | cells | more


def test_speed_sets_the_forms_side_by_side_machine_by_machine(folder):
    assert view(folder)["speed"] == ""
    rows = [took("plain", "fp32", 6400), took("folded", "fp32", 3200), took("folded", "bf16", 1280)]
    rows += [took("folded", "fp32", 250, what="fold", ratio="")]
    four = dict(streams=4, batch=1, size="compact", frames=16, load=3.0)
    rows += [took("plain", "fp32", 25, **four), took("plain", "fp32", 5, device="A GPU", threads="")]
    whole = dict(what="clip", size="asl118", streams="", batch="", frames="", repeats=158)
    rows += [
        took(part, "", 1, **whole, ratio=ratio) | {"milliseconds": ""}
        for part, ratio in (("joints", 4), ("whole", 2.5))
    ]
    shown = view(write(folder, rows, "speed.csv"))["speed"]
    lines = [re.findall("<td[^>]*>(.*?)</td>", line) for line in re.findall("<tr>(.*?)</tr>", shown)]
    assert [line for line in lines if line] == [
        ["4 streams", "1", "16", "25.0", "", "", "", "", "", "", "40.0", ""],
        ["1 stream", "64", "120", "100", "50.0", "2.00", "20.0", "5.00", "", "", "50.0", "250"],
        ["1 stream", "64", "120", "0.08", "", "", "", "", "", "", "12\u202f800", ""],
    ]
    for text in (
        "A &lt;processor&gt;, 2 threads",
        "<h4>A GPU</h4>",
        "<th>Compact</th>",
        "<th>Reference</th>",
        "commit 0123456789ab+, 2026-11-28",
        "load 3.0",
    ):
        assert text in shown
    assert "<b>0.40</b> of the clip's duration in the median of 158 videos, with weights/asl118 (joints" in shown
    assert shown.count("<pre>") == 1 and view(folder, dataset="WLASL100")["speed"] == shown
    saved = Path(tab.save(folder, "?dataset=WLASL100&file=speed"))
    lines = saved.read_text(encoding="utf-8").splitlines()
    shutil.rmtree(saved.parent)
    assert saved.name == "speed.csv" and len(lines) == 1 + len(rows)


@pytest.mark.parametrize("name", ["speed", "fewshot", "unknown", "robustness"])
def test_a_further_table_that_cannot_be_read_leaves_the_others(folder, name):
    whole = view(folder, dataset="WLASL100")
    (folder / f"{name}.csv").write_text(f"a,{HOSTILE}\n1\n")
    shown = view(folder, dataset="WLASL100")
    assert f"{name}.csv lacks the column" in shown["speed"] + shown["studies"]
    assert all(shown[part] == whole[part] for part in ("status", "sheet", "about", "plot", "missing"))
    (folder / "speed.csv").write_text("\n".join([",".join(SPEED_COLUMNS), "network,full,one" + "," * 16]))
    assert "streams in line 2 is “one”, not a number" in view(folder)["speed"]
