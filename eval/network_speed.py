"""The network's forms set against each other: as it trains, and folded, in float32 and bfloat16; and `speed.csv`.

Each pair of forms is measured in turns, so that what else the machine does meets both. A row is one form:
what: `network` (prepared inputs to logits) or `fold` (once for a network). size: of the network. streams: networks that
score an input each. batch: inputs of each network. form: `plain` or `folded`. milliseconds: median of a call. ratio:
how many times as fast as plain fp32 in the same run. times_floor: milliseconds in those that the folded form's
multiply-adds take (`multiply_adds`, whose convolutions are direct ones) at the machine's rate of large matrix products
in that number format, measured in between. Rows of `clip` are those of eval/clip_speed.py.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dsta.common.device import DeviceSettings, autocast
from dsta.folded import FoldedNetworks
from dsta.model import DSTA, ModelConfig
from dsta.skeleton import NUM_JOINTS
from eval.clock import wait_for_gpu
from leaderboard.results import SPEED_COLUMNS, SPEED_FILE, SPEED_KEY, read_rows, write_rows

Work = Callable[[], Any]
_TAPS = 19  # frames that the three convolutions of a block see as one
_BASE = ("plain", "fp32")


@dataclass(frozen=True)
class Setting:
    """So many networks of a size, and what goes through each in one call."""

    size: str
    config: ModelConfig
    streams: int
    batch: int
    frames: int


def settings_of(sizes: Mapping[str, tuple[ModelConfig, int]], quick: bool) -> list[Setting]:
    """Of each size, which has its own number of frames: four streams of one input; batches; numbers of frames."""
    found = []
    for size, (config, own) in sizes.items():
        if quick:
            found += [Setting(size, config, 4, 1, own), Setting(size, config, 1, 2, own - 1)]
            continue
        found += [Setting(size, config, 4, batch, own) for batch in (1, 4)]
        found += [Setting(size, config, 1, batch, own) for batch in (1, 4, 16, 64, 256)]
        found += [Setting(size, config, 1, 1, frames) for frames in (30, 60, 120, 240, 480) if frames != own]
    return found


def multiply_adds(config: ModelConfig, frames: int) -> int:
    """Of the folded form for one input, a block's chain counted as one direct convolution."""
    total = 0
    for i, (c_in, c, c_out) in enumerate(config.blocks):
        first = c_in * c if c_in != c else 0  # the map beside the spatial part
        linear = c_in * c + first + 2 * c * c + 2 * c * config.edge_features + 2 * config.mlp_ratio * c * c
        by_joint = 3 * NUM_JOINTS * c  # graph, its use, and mixing
        total += frames * NUM_JOINTS * (linear + by_joint)
        frames = -(-frames // 2) if i else frames
        total += frames * NUM_JOINTS * (_TAPS * c * c_out + (c_in * c_out if i else 0))
    return total + config.blocks[-1][2] * config.num_classes


def measure_forms(setting: Setting, settings: DeviceSettings, seconds: float, side: int) -> list[dict[str, Any]]:
    """The rows of a setting, without provenance. side: of the square matrices whose product tells the rate here."""
    torch.manual_seed(0)
    models = [DSTA(setting.config).eval().to(settings.device) for _ in range(setting.streams)]
    shape = (setting.streams, setting.batch, setting.config.in_channels, setting.frames, NUM_JOINTS)
    inputs, square = torch.randn(shape, device=settings.device), torch.randn(side, side, device=settings.device)
    rows: list[dict[str, Any]] = []
    works: dict[tuple[str, str], Work] = {}
    for dtype in ("fp32", "bf16"):
        started = time.perf_counter()
        networks = FoldedNetworks(models, setting.frames, half=dtype == "bf16")
        wait_for_gpu(settings)
        rows.append(_row("fold", setting, settings, ("folded", dtype), 1e3 * (time.perf_counter() - started)))
        works["plain", dtype] = _plain(models, inputs, settings, dtype)
        works["folded", dtype] = partial(networks, inputs)
        works["matmul", dtype] = partial(torch.matmul, *[square.bfloat16() if dtype == "bf16" else square] * 2)
    times = in_turns(works, settings, seconds)
    work = setting.streams * setting.batch * multiply_adds(setting.config, setting.frames)
    base = statistics.median(times[_BASE])
    for (form, dtype), each in times.items():
        if form != "matmul":
            floor = work / side**3 * statistics.median(times["matmul", dtype])
            figures = {"ratio": base / statistics.median(each), "times_floor": statistics.median(each) / floor}
            row = _row("network", setting, settings, (form, dtype), 1e3 * statistics.median(each))
            rows.append(row | figures | {"repeats": len(each)})
    return rows


def in_turns(works: Mapping[Any, Work], settings: DeviceSettings, seconds: float) -> dict[Any, list[float]]:
    """Seconds of each call of each work, in rounds until the time is up, three at least. The first round warms up and
    does not count, unless it alone takes several times as long as there is time."""
    times: dict[Any, list[float]] = {name: [] for name in works}

    def one_round() -> float:
        began = time.perf_counter()
        for name, work in works.items():
            started = time.perf_counter()
            work()
            wait_for_gpu(settings)
            times[name].append(time.perf_counter() - started)
        return time.perf_counter() - began

    if one_round() > 5 * seconds > 1:
        return times
    times = {name: [] for name in works}
    ends, rounds = time.perf_counter() + seconds, 0
    while rounds < 3 or time.perf_counter() < ends:
        one_round()
        rounds += 1
    return times


def write_speed(out: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Puts new rows in the place of the old ones of the same key."""
    path = Path(out) / SPEED_FILE
    new = {speed_key(row) for row in rows}
    kept = [row for row in read_rows(path, SPEED_COLUMNS) if speed_key(row) not in new]
    write_rows(path, sorted((*kept, *rows), key=_order), SPEED_COLUMNS)


def speed_key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row.get(column, "")) for column in SPEED_KEY)


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    numbers = [int(row.get(column) or 0) for column in ("streams", "batch", "frames")]
    names = {column: str(row.get(column, "")) for column in SPEED_KEY}
    place = [names[column] for column in ("device", "threads", "what", "size")]
    return *place, *numbers, names["form"], names["dtype"]


def _row(
    what: str, setting: Setting, settings: DeviceSettings, form: tuple[str, str], milliseconds: float
) -> dict[str, Any]:
    return {
        "what": what,
        "size": setting.size,
        "streams": setting.streams,
        "batch": setting.batch,
        "frames": setting.frames,
        "form": form[0],
        "dtype": form[1],
        "device": settings.device_name,
        "threads": "" if settings.on_gpu else torch.get_num_threads(),
        "milliseconds": milliseconds,
    }


def _plain(models: Sequence[DSTA], inputs: torch.Tensor, settings: DeviceSettings, dtype: str) -> Work:
    @torch.inference_mode()
    def work() -> list[torch.Tensor]:
        with autocast(settings.device, dtype):
            return [model(own) for model, own in zip(models, inputs, strict=True)]

    return work
