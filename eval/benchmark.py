"""Speed and memory of inference, training and pose on this machine, as figures and as ratios within one run.

    python eval/benchmark.py [--quick] [--only SECTION …] [--device auto|cpu|cuda] [--out FILE.json]

What is slow on one machine is fast on another: shares of the measured matrix-product rate, bf16 against fp32, ONNX
against torch, all cores against one are what can be compared. A section whose files or libraries are not here is
skipped with a sentence. The JSON holds figures, ratios and where they come from.
"""

import argparse
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from dsta.checkpoint import git_commit
from dsta.common import UserError, exit_code, replace_file
from dsta.common.device import DeviceSettings
from eval.clock import Sheet, Skipped
from eval.speed import SECTIONS, Bench, Sizes

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("numpy", "onnxruntime", "mediapipe")


def provenance(settings: DeviceSettings, command: str, quick: bool) -> dict[str, Any]:
    """What the figures depend on, apart from the code that is named by the commit."""
    commit = git_commit()
    versions = {name: _version(name) for name in LIBRARIES}
    return {
        "commit": commit.rstrip("+"),
        "dirty": commit.endswith("+"),
        "device": settings.device,
        "device_name": settings.device_name,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version for name, version in versions.items() if version},
        "load": round(os.getloadavg()[0], 2),
        "quick": quick,
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": command,
    }


def run_sections(bench: Bench, only: Collection[str]) -> dict[str, Any]:
    """Runs the sections in their order; the machine's comes first where others are set against it."""
    sections = {}
    for name, measure in SECTIONS.items():
        if name not in only:
            continue
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        started, reason = time.perf_counter(), ""
        try:
            measure(bench)
        except Skipped as skip:
            reason = str(skip)
        seconds = round(time.perf_counter() - started, 2)
        sections[name] = {"status": "skipped" if reason else "ok", "reason": reason, "seconds": seconds}
    sheet = bench.sheet
    return {
        "sections": sections,
        "notes": sheet.notes,
        "figures": [asdict(figure) for figure in sheet.figures.values()],
        "ratios": [asdict(ratio) for ratio in sheet.ratios],
    }


def report_text(report: dict[str, Any]) -> str:
    """The lines that are printed: figures, ratios, what was left out, and where it was."""
    rows = [(figure["name"], f"{_short(figure['value'])} {figure['unit']}") for figure in report["figures"]]
    rows += [(ratio["name"], f"× {_short(ratio['value'])}") for ratio in report["ratios"]]
    width = max((len(name) for name, _ in rows), default=0)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    for name, section in report["sections"].items():
        if section["reason"]:
            lines.append(f"{name} is left out: {section['reason']}")
    where = report["provenance"]
    dirty = "+" if where["dirty"] else ""
    return "\n".join(
        [
            *lines,
            *report["notes"],
            f"{where['device_name']}, torch {where['torch']}, {where['threads']} threads, load {where['load']}, commit "
            f"{where['commit']}{dirty}, {where['date']}",
        ]
    )


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python eval/benchmark.py", description="Measure speed and memory here.")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows in seconds that everything runs")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default %(default)s)")
    parser.add_argument("--weights", type=Path, default=ROOT / "weights" / "asl71", metavar="DIR", help="an ensemble")
    parser.add_argument("--data", type=Path, default=ROOT / "data", metavar="DIR", help="where wlasl_clips is")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where the report goes")
    args = parser.parse_args(arguments)
    command = shlex.join(["python", "eval/benchmark.py", *(sys.argv[1:] if arguments is None else arguments)])

    def work() -> None:
        settings = DeviceSettings.choose(args.device)
        if args.out and not args.out.parent.is_dir():
            raise UserError(f"{args.out} cannot be written: its folder does not exist; give another --out.")
        only = {*args.only, "machine"} if {"infer", "train"} & set(args.only) else set(args.only)
        origin = provenance(settings, command, args.quick)
        bench = Bench(settings, Sizes.chosen(settings, args.quick), args.weights, args.data, Sheet())
        if origin["load"] > 0.5:
            bench.sheet.notes.append(
                f"Other work ran here (load {origin['load']}): what waits for cores is slower for it."
            )
        report = {"provenance": origin, **run_sections(bench, only)}
        print(report_text(report))
        if args.out:
            try:
                replace_file(args.out, (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode())
            except OSError as error:
                raise UserError(f"{args.out} cannot be written ({error.strerror}).") from error

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
