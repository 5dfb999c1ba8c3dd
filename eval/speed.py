"""What `eval/benchmark.py` measures: the machine, inference, training, pose; and the rehearsal of `eval/run_all.py`."""

import importlib.util
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from dsta.checkpoint import ENSEMBLE_FILE, Ensemble
from dsta.common import UserError
from dsta.common.device import DeviceSettings, autocast
from dsta.common.machine import cores
from dsta.data import Clip, DatasetSpec, read_skeletons
from dsta.data.synthetic import RandomClips, wandering_clips
from dsta.model import DSTA, ModelConfig
from dsta.score import score, score_streams
from dsta.skeleton import NUM_JOINTS
from dsta.streams import Recipe, Stream, fuse, prepare, views
from dsta.train import Compute, ReferenceConfig
from dsta.train.batches import ReferenceBatches, Workers
from dsta.train.loop import Loop
from dsta.train.state import RunFiles
from eval.clip_speed import clip_rows, measure_clips, medians
from eval.clock import Measurements, NotMeasurable, Peak, seconds_each
from eval.network_speed import measure_forms, settings_of
from leaderboard.results import write_rows

CPU = DeviceSettings("cpu")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Sizes:
    """How much is measured. `chosen` gives full size for a device; `quick` checks in seconds that everything runs.

    matmul: side of the square matrices. copy: bytes of the array that is copied. network: sizes, window: its frames.
    batch: clips of a large batch in inference; train_batch, train_steps: of one epoch of training. videos: for pose.
    seconds: about how long each timing goes on.
    """

    matmul: int
    copy: int
    network: ModelConfig
    window: int
    batch: int
    train_batch: int
    train_steps: int
    videos: int
    seconds: float
    quick: bool = False

    @classmethod
    def chosen(cls, settings: DeviceSettings, quick: bool) -> "Sizes":
        if quick:
            return cls(128, 2**20, ModelConfig(5, inner_dim=8, depth=2), 12, 2, 4, 2, 2, 0.02, True)
        full = ModelConfig(2000)
        if settings.on_gpu:
            return cls(8192, 2**30, full, 120, 512, 256, 55, 12, 3.0)  # WLASL2000 has 55 such batches
        return cls(2048, 2**28, full, 120, 8, 8, 2, 12, 3.0)


@dataclass(frozen=True)
class Bench:
    """What the sections are given."""

    settings: DeviceSettings
    sizes: Sizes
    weights: Path
    data: Path
    measured: Measurements
    rows: list[dict[str, Any]] = field(default_factory=list)
    """For `speed.csv`, without provenance."""

    def time(self, name: str, work: Callable[[], Any], settings: DeviceSettings) -> None:
        """Adds the milliseconds that `work` takes, which does something with one clip."""
        self.measured.add(name, 1e3 * seconds_each(work, settings, self.sizes.seconds), "ms/clip")


def machine(bench: Bench) -> None:
    """Rate of large square matrix products (fp32 without TF32), and of copying memory."""
    side, device = bench.sizes.matmul, bench.settings.device
    for name, dtype in DTYPES.items():
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        seconds = seconds_each(partial(torch.matmul, a, b), bench.settings, bench.sizes.seconds)
        bench.measured.add(f"machine/matmul/{name}", 2 * side**3 / seconds / 1e12, "TFLOP/s")
    source = torch.zeros(bench.sizes.copy, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = seconds_each(lambda: target.copy_(source), bench.settings, bench.sizes.seconds)
    bench.measured.add("machine/memory", 2 * bench.sizes.copy / seconds / 1e9, "GB/s")


def gflop(config: ModelConfig, window: int) -> float:
    """Thousand million floating-point operations (two to a multiply-add) of one clip through the network."""
    with torch.device("meta"):
        model, x = DSTA(config).eval(), torch.empty(1, config.in_channels, window, NUM_JOINTS)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return counter.get_total_flops() / 1e9


def infer(bench: Bench) -> None:
    """The full-size network on prepared input, and an ensemble from the joints of one clip to fused logits."""
    measured, sizes, settings = bench.measured, bench.sizes, bench.settings
    work = gflop(sizes.network, sizes.window)
    measured.add("infer/work", work, "GFLOP/clip")
    torch.manual_seed(0)
    model = DSTA(sizes.network).eval().to(settings.device)
    for dtype in DTYPES:
        for label, batch in (("one", 1), ("many", sizes.batch)):
            x = torch.randn(batch, sizes.network.in_channels, sizes.window, NUM_JOINTS, device=settings.device)
            with Peak(settings) as peak:
                seconds = seconds_each(partial(_scores, model, x, dtype, settings), settings, sizes.seconds)
            _clips(measured, f"infer/{dtype}/{label}", batch / seconds, work, peak)
            measured.add(f"infer/{dtype}/{label}/latency", 1e3 * seconds / batch, "ms/clip")
        _share(measured, f"infer/{dtype}/many", dtype)
        measured.compare(f"infer/{dtype}: many clips at once to one", f"infer/{dtype}/many", f"infer/{dtype}/one")
    measured.compare("infer: bf16 to fp32, many clips", "infer/bf16/many", "infer/fp32/many")
    _ensemble(bench)


@torch.inference_mode()
def _scores(model: DSTA, x: torch.Tensor, dtype: str, settings: DeviceSettings) -> torch.Tensor:
    with autocast(settings.device, dtype):
        return model(x)


def _clips(measured: Measurements, name: str, rate: float, work: float, peak: Peak) -> None:
    measured.add(name, rate, "clips/s")
    measured.add(f"{name}/compute", rate * work / 1e3, "TFLOP/s")
    if peak.mb is not None:
        measured.add(f"{name}/peak_memory", peak.mb, "MB")


def _share(measured: Measurements, name: str, dtype: str) -> None:
    measured.compare(f"{name}: share of the matmul rate", f"{name}/compute", f"machine/matmul/{dtype}")


def _ensemble(bench: Bench) -> None:
    """Four streams, views and fusion of one clip: torch on the CPU and the device, ONNX on the CPU."""
    measured, folder = bench.measured, bench.weights
    if not (folder / ENSEMBLE_FILE).exists():
        measured.notes.append(f"infer: no ensemble is measured, for {folder} holds none.")
        return
    name, clip, ensemble = f"infer/{folder.name}", _one_clip(bench.data), Ensemble.load(folder)

    def prepared() -> list[np.ndarray]:
        each = ensemble.checkpoints.items()
        return [prepare(view, stream, c.recipe) for stream, c in each for view in views(clip, c.recipe)]

    def fused() -> np.ndarray:
        logits = {stream: said.logits for stream, said in score_streams(ensemble, [clip]).items()}
        return fuse(logits, ensemble.fusion)

    measured.add(f"{name}/frames", len(clip), "frames")
    bench.time(f"{name}/prepare", prepared, CPU)
    bench.time(f"{name}/torch_cpu", fused, CPU)
    _onnx(bench, name, clip, fused())
    measured.compare(f"{name}: torch's time to ONNX's, CPU", f"{name}/torch_cpu", f"{name}/onnx_cpu")
    measured.compare(f"{name}: share of preparation, torch on CPU", f"{name}/prepare", f"{name}/torch_cpu")
    if bench.settings.on_gpu:
        for checkpoint in ensemble.checkpoints.values():
            checkpoint.model.to(bench.settings.device)
        bench.time(f"{name}/torch_gpu", fused, bench.settings)


def _onnx(bench: Bench, name: str, clip: np.ndarray, expected: np.ndarray) -> None:
    """The same through onnxruntime, and how far its logits are from torch's; a note where it cannot be exported."""
    try:
        session = _session(bench.weights)
    except UserError as error:
        bench.measured.notes.append(f"infer: the ONNX file is not measured: {error}")
        return
    found = session.run(None, {"clip": clip[None]})[0]
    bench.measured.add(f"{name}/onnx_difference", float(np.abs(found - expected).max()), "logits")
    bench.time(f"{name}/onnx_cpu", lambda: session.run(None, {"clip": clip[None]}), CPU)


def network(bench: Bench) -> None:
    """The network as it trains against its folded form, at full size and that of the weights that come along."""
    sizes, measured = bench.sizes, bench.measured
    asked = {"tiny" if sizes.quick else "full": (sizes.network, sizes.window)}
    if not sizes.quick and (bench.weights / ENSEMBLE_FILE).exists():
        first = Ensemble.load(bench.weights).first
        asked["compact"] = first.model.config, first.recipe.window
    for setting in settings_of(asked, sizes.quick):
        rows = measure_forms(setting, bench.settings, sizes.seconds, sizes.matmul)
        bench.rows.extend(rows)
        name = f"network/{setting.size}/{setting.streams} x {setting.batch} x {setting.frames}"
        for row in rows:
            if row["what"] == "network":
                measured.add(f"{name}/{row['form']}/{row['dtype']}", row["milliseconds"], "ms")
        for other in ("folded/fp32", "plain/bf16", "folded/bf16"):
            measured.compare(f"{name}: plain fp32 to {other}", f"{name}/plain/fp32", f"{name}/{other}")


def _one_clip(data: Path) -> np.ndarray:
    """A real clip of asl_everyday where that is at hand, else a made-up one; (T, 27, 3)."""
    if (data / "asl_everyday" / "clips.npz").exists():
        clips = sorted(read_skeletons(data / "asl_everyday"), key=lambda clip: len(clip.joints))
        return clips[len(clips) // 2].joints
    return wandering_clips(1, 60)[0]


def _session(folder: Path) -> Any:
    """The ensemble through onnxruntime, with as many threads as torch has. Raises UserError."""
    from dsta.export import export

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "ensemble.onnx"
        export(folder, path)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


def train(bench: Bench) -> None:
    """The reference recipe's own loop and loader on made-up clips; the first epoch warms up and is not counted.

    On a GPU what is not compiled, and slower, goes through a part of them only.
    """
    measured, sizes, settings = bench.measured, bench.sizes, bench.settings
    work = 3 * gflop(sizes.network, sizes.window)  # forward, and twice that backward
    measured.add("train/work", work, "GFLOP/clip")
    measured.add("train/batch", sizes.train_batch, "clips")
    joints, classes = RandomClips(sizes.train_batch * sizes.train_steps), sizes.network.num_classes
    every = [Clip(str(i), "made up", str(i % classes), "", -1, joints[i]) for i in range(len(joints))]
    few = every[: sizes.train_batch * max(2, sizes.train_steps // 8)]
    for dtype, compiled in (("fp32", False), ("bf16", False), *([("bf16", True)] if settings.on_gpu else [])):
        name = f"train/{dtype}" + ("+compile" if compiled else "")
        clips = every if compiled or not settings.on_gpu else few
        try:
            with Peak(settings) as peak:
                rate = _training_rate(clips, sizes, settings, dtype, compiled)
        except UserError as error:  # a GPU without enough memory
            measured.notes.append(f"{name} is not measured: {error}")
            continue
        _clips(measured, name, rate, work, peak)
        _share(measured, name, dtype)
        if name != "train/fp32":
            measured.compare(f"{name} to fp32", name, "train/fp32")


def _training_rate(clips: Sequence[Clip], sizes: Sizes, settings: DeviceSettings, dtype: str, compiled: bool) -> float:
    """Clips a second, loader included, over the epochs after the first, most of which drop blocks."""
    config = ReferenceConfig(
        epochs=3, schedule=3, batch_size=sizes.train_batch, inner_dim=sizes.network.inner_dim, depth=sizes.network.depth
    )
    label_of = {str(i): i for i in range(sizes.network.num_classes)}
    workers = settings.workers if settings.on_gpu else 0
    recipe, supply = Recipe(window=sizes.window), Workers(workers=workers, pin=settings.on_gpu)
    batches = ReferenceBatches(clips, label_of, Stream.JOINT, recipe, config, supply)
    torch.manual_seed(0)
    where = Compute(torch.device(settings.device), dtype, compiled, progress=False)
    with tempfile.TemporaryDirectory() as out:
        history = Loop(DSTA(sizes.network), batches, config, RunFiles(Path(out), "benchmark"), where).run()
    return len(clips) * (len(history) - 1) / sum(line["seconds"] for line in history[1:])


def pose(bench: Bench) -> None:
    """Joints from videos: one process against one on every core."""
    videos = _videos(bench)[: bench.sizes.videos]
    from dsta.prepare import measure

    measured, many = bench.measured, max(2, cores())
    for label, workers in (("one", 1), ("all", many)):
        speed = measure(videos, workers)
        measured.add(f"pose/{label}", speed.fps, "frames/s")
        measured.add(f"pose/{label}/peak_memory", max(speed.peak_mb.values()), "MB/worker")
    measured.add("pose/workers", many, "processes")
    measured.compare("pose: all cores to one process", "pose/all", "pose/one")


def clip(bench: Bench) -> None:
    """From the file to the gloss: medians over the videos, as multiples of the clips' durations."""
    videos = _videos(bench)
    shares = measure_clips(videos if not bench.sizes.quick else videos[:2], bench.weights)
    if not shares:
        raise NotMeasurable(f"in no video of {videos[0].parent} a signer was found.")
    bench.measured.add("clip/videos", len(shares), "videos")
    for part, share in medians(shares)._asdict().items():
        bench.measured.add(f"clip/{part}", share, "of the clip's duration")
    bench.rows.extend(clip_rows(shares, bench.weights.name, bench.settings))


def _videos(bench: Bench) -> list[Path]:
    """All that can be looked at; raises NotMeasurable where there are none, or a library is missing."""
    missing = [name for name in ("ai_edge_litert", "cv2", "av", "joblib") if importlib.util.find_spec(name) is None]
    if missing:
        raise NotMeasurable(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed.")
    videos = sorted((bench.data / "wlasl_clips").glob("*.mp4"))
    if not videos:
        raise NotMeasurable(f"there are no videos in {bench.data / 'wlasl_clips'}.")
    return videos


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "machine": machine,
    "infer": infer,
    "network": network,
    "train": train,
    "pose": pose,
    "clip": clip,
}


def rehearse(
    specs: Sequence[DatasetSpec],
    streams: Sequence[str],
    settings: DeviceSettings,
    out: Path,
    origin: Mapping,
    most: int,
) -> str:
    """Times made-up arrays of each benchmark's test size through untrained networks; writes `out/rehearsal.csv`.

    origin: columns that say where the figures are from. most: clips of a benchmark at most; 0 is all. Returns a
    sentence with the totals. Nothing is scored, and nothing of it goes into the table.
    """
    rows: list[dict[str, Any]] = []
    for spec, stream in product(specs, streams):
        rows.append(_rehearsed(spec, stream, min(spec.size("test") or 0, most or 10**9), settings) | dict(origin))
        write_rows(out / "rehearsal.csv", rows, tuple(rows[0]))
    seconds, clips = (sum(row[name] for row in rows) for name in ("seconds", "n"))
    memory = max(row["peak_memory_mb"] or 0.0 for row in rows)
    return (
        f"rehearsal: {clips} forward passes in {seconds:.1f} s ({clips / seconds:.0f} a second, {settings.dtype}"
        f"{f', at most {memory:.0f} MB' if memory else ''}) on {settings.device_name}"
    )


def _rehearsed(spec: DatasetSpec, stream: str, count: int, settings: DeviceSettings) -> dict[str, Any]:
    torch.manual_seed(0)
    model = DSTA(ModelConfig(spec.num_classes)).eval().to(settings.device)
    name = f"rehearsal {spec.name} {stream}"
    with tqdm(total=count, desc=name, unit="clip", mininterval=1) as bar, Peak(settings) as peak:
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
