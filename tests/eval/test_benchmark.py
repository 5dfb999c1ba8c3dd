"""`eval/benchmark.py`: that its sections run, and that its report is made of what it measured. Speed is not judged."""

import json
import math
import sys
from functools import partial

import numpy as np
import pytest
import torch
from helpers.benchmarks import network

from dsta.common import UserError
from dsta.common.device import DeviceSettings
from dsta.model import ModelConfig
from eval import benchmark, clock, speed
from eval.benchmark import main, report_text
from eval.clip_speed import ClipShare, clip_rows
from eval.clock import Measurements, Peak, seconds_each
from eval.network_speed import in_turns, multiply_adds, write_speed
from leaderboard.results import SPEED_COLUMNS, SPEED_FILE, read_rows

CPU = DeviceSettings("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def ensemble(tmp_path):
    """Weights of two streams."""
    folder = tmp_path / "weights" / "pair"
    fusion = {"joint": 0.7, "bone": 0.3}
    for stream in fusion:
        network(folder / stream, ["a", "b", "c"], stream)
    (folder / "ensemble.json").write_text(json.dumps({"fusion": fusion, "temperature": 1.0, "threshold": 0.0}))
    return folder


class Session:
    """Answers as onnxruntime's session does."""

    def run(self, names, inputs):
        assert inputs["clip"].ndim == 4 and inputs["clip"].dtype == np.float32
        return [np.zeros((1, 3), np.float32)]


def report_of(tmp_path, *arguments):
    out = tmp_path / "report.json"
    assert main(["--quick", "--device", "cpu", "--data", str(tmp_path), "--out", str(out), *arguments]) == 0
    return json.loads(out.read_text())


@pytest.mark.slow
def test_all_sections_run_and_ratios_are_those_of_the_figures(tmp_path, ensemble, monkeypatch, capsys):
    monkeypatch.setattr(speed, "_session", lambda folder: Session())
    report = report_of(tmp_path, "--weights", str(ensemble))
    assert {name: s["status"] for name, s in report["sections"].items()} == {
        "machine": "ok", "infer": "ok", "network": "ok", "train": "ok", "pose": "skipped",
        "clip": "skipped",
    }  # fmt: skip
    figures = {figure["name"]: figure for figure in report["figures"]}
    for name in (
        "machine/matmul/bf16", "machine/memory", "infer/fp32/one", "infer/bf16/many", "infer/pair/prepare",
        "infer/pair/torch_cpu", "infer/pair/onnx_cpu", "train/fp32", "train/bf16",
    ):  # fmt: skip
        assert figures[name]["value"] > 0 and math.isfinite(figures[name]["value"])
    assert len(report["ratios"]) >= 8
    for ratio in report["ratios"]:
        of, to = figures[ratio["of"]], figures[ratio["to"]]
        assert of["unit"] == to["unit"]
        assert ratio["value"] == pytest.approx(of["value"] / to["value"], rel=1e-9)
    for name, factor in (("infer/fp32/many", "infer/work"), ("train/bf16", "train/work")):
        work = figures[name]["value"] * figures[factor]["value"] / 1e3
        assert figures[f"{name}/compute"]["value"] == pytest.approx(work, rel=1e-9)
    printed = capsys.readouterr().out
    assert all(name in printed for name in figures) and "pose is left out: " in printed


def test_report_says_where_it_comes_from(tmp_path):
    where = report_of(tmp_path, "--only", "machine")["provenance"]
    assert where["torch"] == torch.__version__ and where["threads"] == 1 and where["device"] == "cpu"
    assert where["device_name"] and where["quick"] is True and isinstance(where["dirty"], bool)
    assert where["command"].startswith("python eval/benchmark.py --quick --device cpu")
    assert {"commit", "date", "load", "python", "numpy"} <= set(where)


def test_only_what_is_asked_for_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "SECTIONS", {name: lambda bench: None for name in ("machine", "infer", "pose")})
    assert list(report_of(tmp_path, "--only", "pose")["sections"]) == ["pose"]
    assert list(report_of(tmp_path, "--only", "infer")["sections"]) == ["machine", "infer"]  # its shares need it


def test_without_onnx_the_rest_of_the_section_is_there(tmp_path, ensemble, monkeypatch):
    def refuse(folder):
        raise UserError("Export needs onnx.")

    monkeypatch.setattr(speed, "_session", refuse)
    report = report_of(tmp_path, "--only", "infer", "--weights", str(ensemble))
    names = {figure["name"] for figure in report["figures"]}
    assert "infer/pair/torch_cpu" in names and "infer/pair/onnx_cpu" not in names
    assert any("Export needs onnx." in note for note in report["notes"])
    assert not any("ONNX" in ratio["name"] for ratio in report["ratios"])


def test_what_does_not_fit_into_memory_is_a_note_and_the_rest_is_there(tmp_path, monkeypatch):
    rate = speed._training_rate

    def small(clips, sizes, settings, dtype, compiled):
        if dtype == "fp32":
            raise UserError("The GPU's memory is too small.")
        return rate(clips, sizes, settings, dtype, compiled)

    monkeypatch.setattr(speed, "_training_rate", small)
    report = report_of(tmp_path, "--only", "train")
    names = {figure["name"] for figure in report["figures"]}
    assert "train/bf16" in names and "train/fp32" not in names
    assert "train/fp32 is not measured: The GPU's memory is too small." in report["notes"]


def test_pose_compares_all_cores_with_one(tmp_path, monkeypatch):
    pytest.importorskip("dsta.prepare")
    from dsta.prepare.build import PoseSpeed

    (tmp_path / "wlasl_clips").mkdir()
    for i in range(4):
        (tmp_path / "wlasl_clips" / f"{i}.mp4").touch()
    calls = []

    def measure(videos, workers):
        calls.append((len(videos), workers))
        return PoseSpeed(frames=100, seconds=8.0 if workers == 1 else 5.0, peak_mb={"a": 300.0, "b": 400.0})

    monkeypatch.setattr("dsta.prepare.measure", measure)
    monkeypatch.setattr(speed.importlib.util, "find_spec", lambda name: name)
    report = report_of(tmp_path, "--only", "pose")
    figures = {figure["name"]: figure["value"] for figure in report["figures"]}
    assert calls[0] == (2, 1) and calls[1][0] == 2 and calls[1][1] >= 2
    assert figures["pose/one"] == 12.5 and figures["pose/all/peak_memory"] == 400
    assert report["ratios"][0]["value"] == pytest.approx(1.6)


def test_missing_libraries_are_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(speed.importlib.util, "find_spec", lambda name: None if name == "av" else name)
    section = report_of(tmp_path, "--only", "pose")["sections"]["pose"]
    assert section["status"] == "skipped" and section["reason"] == "av is not installed."


def test_wrong_arguments_are_a_sentence(tmp_path, capsys):
    assert main(["--quick", "--out", str(tmp_path / "missing" / "x.json")]) == 2
    assert "does not exist" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert main(["--quick", "--device", "cuda"]) == 2
        assert "No GPU" in capsys.readouterr().err


# --- the forms of the network


@pytest.mark.slow
def test_the_forms_of_the_network_become_rows_with_ratios_and_provenance(tmp_path):
    report = report_of(tmp_path, "--only", "network", "--results", str(tmp_path / "results"))
    rows = read_rows(tmp_path / "results" / SPEED_FILE, SPEED_COLUMNS)
    assert {row["size"] for row in rows} == {"tiny"} and {row["what"] for row in rows} == {"network", "fold"}
    assert {row["streams"] for row in rows} == {"1", "4"}
    base = {}
    for row in rows:
        assert row["commit"] and row["date"] and row["torch"] and row["command"].endswith(str(tmp_path / "results"))
        if (row["what"], row["form"], row["dtype"]) == ("network", "plain", "fp32"):
            base[row["streams"], row["batch"], row["frames"]] = float(row["milliseconds"])
    for row in rows:
        if row["what"] == "network":
            expected = base[row["streams"], row["batch"], row["frames"]] / float(row["milliseconds"])
            assert float(row["ratio"]) == pytest.approx(expected, rel=1e-3) and float(row["times_floor"]) > 0
    assert any(ratio["name"].endswith("plain fp32 to folded/bf16") for ratio in report["ratios"])


def test_a_quick_run_leaves_the_results_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "OUT", tmp_path / "results")
    monkeypatch.setattr(benchmark, "SECTIONS", {"network": lambda bench: bench.rows.append({"what": "network"})})
    report_of(tmp_path, "--only", "network")
    assert not (tmp_path / "results").exists()


def test_new_rows_take_the_place_of_the_old_ones_of_their_key(tmp_path):
    key = {"what": "network", "size": "full", "streams": 1, "batch": 1, "form": "plain", "dtype": "fp32", "device": "x"}
    write_speed(tmp_path, [key | {"frames": frames, "milliseconds": 5.0} for frames in (120, 30)])
    write_speed(tmp_path, [key | {"frames": 120, "milliseconds": 4.0}, {"what": "pose", "milliseconds": 7.0}])
    rows = read_rows(tmp_path / SPEED_FILE, SPEED_COLUMNS)
    found = {(row["what"], row["frames"], float(row["milliseconds"])) for row in rows}
    assert found == {("network", "30", 5.0), ("network", "120", 4.0), ("pose", "", 7.0)}


def test_a_whole_clip_is_a_row_for_each_part_as_many_times_as_fast_as_it_plays():
    shares = [ClipShare(0.02, 0.2, 0.1, 0.5), ClipShare(0.04, 0.25, 0.2, 0.8), ClipShare(0.05, 0.5, 0.3, 0.6)]
    rows = clip_rows(shares, "asl118", CPU)
    assert {row["form"]: row["ratio"] for row in rows} == pytest.approx(
        {"decode": 25, "joints": 4, "network": 5, "whole": 1 / 0.6}
    )
    assert {(row["what"], row["size"], row["threads"], row["repeats"]) for row in rows} == {("clip", "asl118", 1, 3)}
    assert set(rows[0]) <= set(SPEED_COLUMNS)


def test_the_work_of_the_folded_form_is_half_of_the_plain_ones():
    """The specification says about 3.3 of 6.25 GMAC."""
    assert multiply_adds(ModelConfig(2000), 120) == pytest.approx(3.3e9, rel=0.03)


def test_forms_are_measured_in_turns(monkeypatch):
    calls = []
    times = in_turns({name: partial(calls.append, name) for name in "ab"}, CPU, 0)
    assert "".join(calls) == "ab" * 4 and {name: len(each) for name, each in times.items()} == {"a": 3, "b": 3}


# --- the measuring itself


def test_the_work_of_the_full_size_network_is_the_papers():
    assert speed.gflop(ModelConfig(2000), 120) == pytest.approx(2 * 6.25, rel=0.01)


def test_time_is_the_median_after_warming_up(monkeypatch):
    durations = iter([50.0, 40.0, 1.0, 9.0, 2.0])
    now = [0.0]

    def work():
        now[0] += next(durations)

    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    assert seconds_each(work, CPU, budget=5.0) == 2.0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a part of a process")
def test_peak_memory_is_that_of_the_block():
    with Peak(CPU) as small:
        np.zeros(10)
    if small.mb is None:
        pytest.skip("this system does not reset the peak")
    with Peak(CPU) as large:
        np.ones(2**24)  # 128 MB
    with Peak(CPU) as again:
        np.zeros(10)
    assert 100 < large.mb - small.mb < 200 and large.mb - again.mb > 100


def test_ratios_need_both_figures_and_one_unit():
    measured = Measurements()
    measured.add("a", 6.0, "ms")
    measured.compare("a to b", "a", "b")
    assert measured.ratios == []
    measured.add("b", 2.0, "ms")
    measured.add("c", 2.0, "s")
    measured.compare("a to b", "a", "b")
    assert measured.ratios[0]["value"] == 3.0
    with pytest.raises(ValueError, match="in ms"):
        measured.compare("a to c", "a", "c")


def test_numbers_in_the_table_are_short():
    measured = Measurements()
    measured.add("x", 12345.678, "clips/s")
    measured.add("y", 0.0123456, "s")
    origin = benchmark.provenance(CPU, "python eval/benchmark.py", False)
    report = {
        "provenance": origin, "sections": {}, "notes": [], "ratios": [],
        "figures": [{"name": name, "value": value, "unit": unit} for name, (value, unit) in measured.figures.items()],
    }  # fmt: skip
    assert report_text(report).splitlines()[:2] == ["x  12346 clips/s", "y  0.0123 s"]
