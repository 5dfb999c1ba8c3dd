"""Speed and memory of inference, training and pose on this machine, as figures and as ratios within one run.

    python eval/benchmark.py [--quick] [--only SECTION …] [--device auto|cpu|cuda] [--out FILE.json]
                             [--results DIR]

What is slow on one machine is fast on another: shares of the measured matrix-product rate, bf16 against fp32, ONNX
against torch, all cores against one are what can be compared. A section whose files or libraries are not here is
skipped with a sentence. The JSON holds figures, ratios and where they come from; what `network` and `clip` measure goes
into leaderboard/results/speed.csv too (not of --quick).
"""

import argparse
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Collection, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from dsta.checkpoint import git_commit
from dsta.common import UserError, exit_code, replace_file
from dsta.common.device import DeviceSettings
from eval.clock import Measurements, NotMeasurable
from eval.network_speed import write_speed
from eval.speed import SECTIONS, Bench, Sizes
from leaderboard.results import OUT, SPEED_FILE, check_writable, made_by, now

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("numpy", "onnxruntime", "ai-edge-litert")


def provenance(settings: DeviceSettings, command: str, quick: bool) -> dict[str, Any]:
    """What the figures depend on, apart from the code that is named by the commit."""
    return {
        **made_by(git_commit(), now()),
        "device": settings.device,
        "device_name": settings.device_name,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: found[0].version for name in LIBRARIES if (found := list(metadata.distributions(name=name)))},
        "load": round(os.getloadavg()[0], 2),
        "quick": quick,
        "command": command,
    }


def run_sections(bench: Bench, only: Collection[str]) -> dict[str, Any]:
    """Runs the sections in their order; the machine's comes first where others are set against it."""
    sections = {}
    for name in (name for name in SECTIONS if name in only):
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        started, reason = time.perf_counter(), ""
        try:
            SECTIONS[name](bench)
        except NotMeasurable as error:
            reason = str(error)
        seconds = round(time.perf_counter() - started, 2)
        sections[name] = {"status": "skipped" if reason else "ok", "reason": reason, "seconds": seconds}
    measured = bench.measured
    return {
        "sections": sections,
        "notes": measured.notes,
        "figures": [{"name": name, "value": value, "unit": unit} for name, (value, unit) in measured.figures.items()],
        "ratios": measured.ratios,
    }


def report_text(report: dict[str, Any]) -> str:
    """The lines that are printed: figures, ratios, what was left out, and where it was."""

    def short(value: float) -> str:
        return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"

    rows = [(figure["name"], f"{short(figure['value'])} {figure['unit']}") for figure in report["figures"]]
    rows += [(ratio["name"], f"× {short(ratio['value'])}") for ratio in report["ratios"]]
    width = max((len(name) for name, _ in rows), default=0)
    left_out = {name: section["reason"] for name, section in report["sections"].items() if section["reason"]}
    where = report["provenance"]
    return "\n".join(
        [
            *(f"{name:<{width}}  {value}" for name, value in rows),
            *(f"{name} is left out: {reason}" for name, reason in left_out.items()),
            *report["notes"],
            f"{where['device_name']}, torch {where['torch']}, {where['threads']} threads, load {where['load']}, commit "
            f"{where['commit']}{'+' * where['dirty']}, {where['date']}",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python eval/benchmark.py", description="Measure speed and memory here.")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows in seconds that everything runs")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default %(default)s)")
    parser.add_argument("--weights", type=Path, default=ROOT / "weights" / "asl118", metavar="DIR", help="an ensemble")
    parser.add_argument("--data", type=Path, default=ROOT / "data", metavar="DIR", help="where wlasl_clips is")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where the report goes")
    parser.add_argument("--results", type=Path, metavar="DIR", help=f"where {SPEED_FILE} is; not of --quick by default")
    args = parser.parse_args(arguments)
    command = shlex.join(["python", "eval/benchmark.py", *(sys.argv[1:] if arguments is None else arguments)])

    def work() -> None:
        settings = DeviceSettings.choose(args.device)
        if args.out and not args.out.parent.is_dir():
            raise UserError(f"{args.out} cannot be written: its folder does not exist; give another --out.")
        only = {*args.only, "machine"} if {"infer", "train"} & set(args.only) else set(args.only)
        origin = provenance(settings, command, args.quick)
        bench = Bench(settings, Sizes.chosen(settings, args.quick), args.weights, args.data, Measurements())
        if origin["load"] > 0.5:
            note = f"Other work ran here (load {origin['load']}): what waits for cores is slower for it."
            bench.measured.notes.append(note)
        report = {"provenance": origin, **run_sections(bench, only)}
        results = args.results or (None if args.quick else OUT)
        if results and bench.rows:
            check_writable(results, "--results")
            write_speed(results, [origin | row for row in bench.rows])
        if args.out:
            try:
                replace_file(args.out, (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode())
            except OSError as error:
                raise UserError(f"{args.out} cannot be written ({error.strerror}).") from error
        print(report_text(report))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
