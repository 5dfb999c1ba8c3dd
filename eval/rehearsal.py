"""A rehearsal: made-up arrays of each benchmark's full size through untrained networks, to learn time and memory.

Nothing is scored, and nothing of it goes into the table: `rehearsal.csv` says how long each stream took.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dsta.common.device import DeviceSettings
from dsta.data import DatasetSpec
from dsta.data.synthetic import RandomClips
from dsta.model import DSTA, ModelConfig
from dsta.score import score
from dsta.streams import Recipe
from eval.clock import Peak
from leaderboard.results import write_rows

REHEARSAL_COLUMNS = (
    "dataset", "stream", "n", "num_classes", "seconds", "clips_per_second", "peak_memory_mb", "parameters", "device",
    "dtype", "torch", "commit", "dirty", "date", "command",
)  # fmt: skip


def rehearse(
    specs: Sequence[DatasetSpec],
    streams: Sequence[str],
    settings: DeviceSettings,
    out: Path,
    provenance: Mapping[str, Any],
    most: int = 0,
) -> str:
    """Times the test split of each benchmark through each stream, and writes `out/rehearsal.csv`.

    most: clips of a benchmark at most; 0 is all. Returns a sentence with the totals.
    """
    counts = {spec.name: min(spec.size("test") or 0, most or 10**9) for spec in specs}
    rows = []
    with tqdm(total=sum(counts.values()) * len(streams), unit="clip", mininterval=1) as bar:
        for spec in specs:
            for stream in streams:
                bar.set_description(f"rehearsal {spec.name} {stream}")
                rows.append(_timed(spec, stream, counts[spec.name], settings, bar) | dict(provenance))
                write_rows(out / "rehearsal.csv", rows, REHEARSAL_COLUMNS)
    seconds, clips = sum(row["seconds"] for row in rows), sum(row["n"] for row in rows)
    memory = max(row["peak_memory_mb"] or 0.0 for row in rows)
    return (
        f"rehearsal: {clips} forward passes in {seconds:.1f} s ({clips / seconds:.0f} a second, {settings.dtype}"
        f"{f', at most {memory:.0f} MB' if memory else ''}) on {settings.device_name}"
    )


def _timed(spec: DatasetSpec, stream: str, count: int, settings: DeviceSettings, bar: tqdm) -> dict[str, Any]:
    torch.manual_seed(0)
    model = DSTA(ModelConfig(spec.num_classes)).eval().to(settings.device)
    with Peak(settings) as peak:
        started = time.perf_counter()
        score(model, RandomClips(count), stream, Recipe(), settings, bar.update)
        seconds = time.perf_counter() - started
    return {
        "dataset": spec.name,
        "stream": stream,
        "n": count,
        "num_classes": spec.num_classes,
        "seconds": seconds,
        "clips_per_second": count / seconds,
        "peak_memory_mb": peak.mb,
        "parameters": sum(p.numel() for p in model.parameters()),
        "device": settings.device_name,
        "dtype": settings.dtype,
        "torch": torch.__version__,
    }
