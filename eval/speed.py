"""What `eval/benchmark.py` measures: the machine, inference, training, pose. Each section adds to a sheet."""

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from dsta.checkpoint import Ensemble
from dsta.common import UserError
from dsta.common.device import DeviceSettings
from dsta.data import Clip, read_skeletons
from dsta.data.prepared import UPSTREAM_FRAMES
from dsta.data.synthetic import wandering_clips
from dsta.model import DSTA, ModelConfig
from dsta.score import score_streams
from dsta.skeleton import NUM_JOINTS
from dsta.streams import Recipe, Stream, fuse, prepare, views
from dsta.train import Compute, ReferenceConfig
from dsta.train.batches import ReferenceBatches, Workers
from dsta.train.loop import Loop
from eval.clock import Peak, Sheet, Skipped, seconds_each

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

    @classmethod
    def chosen(cls, settings: DeviceSettings, quick: bool) -> "Sizes":
        if quick:
            return cls(128, 2**20, ModelConfig(5, inner_dim=8, depth=2), 12, 2, 4, 2, 2, 0.02)
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
    sheet: Sheet


def machine(bench: Bench) -> None:
    """Rate of large square matrix products (fp32 without TF32), and of copying memory."""
    side, device = bench.sizes.matmul, bench.settings.device
    for name, dtype in DTYPES.items():
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        seconds = seconds_each(lambda a=a, b=b: a @ b, bench.settings, bench.sizes.seconds)
        bench.sheet.add(f"machine/matmul/{name}", 2 * side**3 / seconds / 1e12, "TFLOP/s")
    source = torch.zeros(bench.sizes.copy, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = seconds_each(lambda: target.copy_(source), bench.settings, bench.sizes.seconds)
    bench.sheet.add("machine/memory", 2 * bench.sizes.copy / seconds / 1e9, "GB/s")


def gflop(config: ModelConfig, window: int) -> float:
    """Thousand million floating-point operations (two to a multiply-add) of one clip through the network."""
    with torch.device("meta"):
        model, x = DSTA(config).eval(), torch.empty(1, config.in_channels, window, NUM_JOINTS)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return counter.get_total_flops() / 1e9


def infer(bench: Bench) -> None:
    """The full-size network on prepared input, and an ensemble from the joints of one clip to fused logits."""
    sheet, sizes, settings = bench.sheet, bench.sizes, bench.settings
    work = gflop(sizes.network, sizes.window)
    sheet.add("infer/work", work, "GFLOP/clip")
    torch.manual_seed(0)
    model = DSTA(sizes.network).eval().to(settings.device)
    for dtype in DTYPES:
        for label, batch in (("one", 1), ("many", sizes.batch)):
            x = torch.randn(batch, sizes.network.in_channels, sizes.window, NUM_JOINTS, device=settings.device)
            with Peak(settings) as peak:
                seconds = seconds_each(lambda x=x, d=dtype: _scores(model, x, d, settings), settings, sizes.seconds)
            _clips(sheet, f"infer/{dtype}/{label}", batch / seconds, work, peak)
            sheet.add(f"infer/{dtype}/{label}/latency", 1e3 * seconds / batch, "ms/clip")
        _share(sheet, f"infer/{dtype}/many", dtype)
        sheet.compare(f"infer/{dtype}: many clips at once to one", f"infer/{dtype}/many", f"infer/{dtype}/one")
    sheet.compare("infer: bf16 to fp32, many clips", "infer/bf16/many", "infer/fp32/many")
    _ensemble(bench)


@torch.inference_mode()
def _scores(model: DSTA, x: torch.Tensor, dtype: str, settings: DeviceSettings) -> torch.Tensor:
    with torch.autocast(settings.device.split(":")[0], torch.bfloat16, enabled=dtype == "bf16"):
        return model(x)


def _clips(sheet: Sheet, name: str, rate: float, work: float, peak: Peak) -> None:
    sheet.add(name, rate, "clips/s")
    sheet.add(f"{name}/compute", rate * work / 1e3, "TFLOP/s")
    if peak.mb is not None:
        sheet.add(f"{name}/peak_memory", peak.mb, "MB")


def _share(sheet: Sheet, name: str, dtype: str) -> None:
    sheet.compare(f"{name}: share of the matmul rate", f"{name}/compute", f"machine/matmul/{dtype}")


def _ensemble(bench: Bench) -> None:
    """Four streams, views and fusion of one clip: torch on the CPU and the device, ONNX on the CPU."""
    sheet, folder = bench.sheet, bench.weights
    if not (folder / "ensemble.json").exists():
        sheet.notes.append(f"infer: no ensemble is measured, for {folder} holds none.")
        return
    name, clip = folder.name, _one_clip(bench.data)
    ensemble = Ensemble.load(folder)

    def prepared() -> list[np.ndarray]:
        each = ensemble.checkpoints.items()
        return [prepare(view, stream, c.recipe) for stream, c in each for view in views(clip, c.recipe)]

    def fused() -> np.ndarray:
        logits = {stream: said.logits for stream, said in score_streams(ensemble, [clip]).items()}
        return fuse(logits, ensemble.fusion)

    def time_of(label: str, work: Callable[[], Any], settings: DeviceSettings) -> None:
        sheet.add(f"infer/{name}/{label}", 1e3 * seconds_each(work, settings, bench.sizes.seconds), "ms/clip")

    cpu = DeviceSettings("cpu")
    sheet.add(f"infer/{name}/frames", len(clip), "frames")
    time_of("prepare", prepared, cpu)
    time_of("torch_cpu", fused, cpu)
    expected = fused()
    try:
        session = _session(folder)
    except UserError as error:
        sheet.notes.append(f"infer: the ONNX file is not measured: {error}")
    else:
        found = session.run(None, {"clip": clip[None]})[0]
        sheet.add(f"infer/{name}/onnx_difference", float(np.abs(found - expected).max()), "logits")
        time_of("onnx_cpu", lambda: session.run(None, {"clip": clip[None]}), cpu)
        sheet.compare(f"infer/{name}: torch's time to ONNX's, CPU", f"infer/{name}/torch_cpu", f"infer/{name}/onnx_cpu")
    sheet.compare(
        f"infer/{name}: share of preparation, torch on CPU", f"infer/{name}/prepare", f"infer/{name}/torch_cpu"
    )
    if bench.settings.on_gpu:
        for checkpoint in ensemble.checkpoints.values():
            checkpoint.model.to(bench.settings.device)
        time_of("torch_gpu", fused, bench.settings)


def _one_clip(data: Path) -> np.ndarray:
    """A real clip of wlasl50 where that is at hand, else a made-up one; (T, 27, 3)."""
    if (data / "wlasl50" / "clips.npz").exists():
        clips = sorted(read_skeletons(data / "wlasl50"), key=lambda clip: len(clip.joints))
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
    sheet, sizes, settings = bench.sheet, bench.sizes, bench.settings
    work = 3 * gflop(sizes.network, sizes.window)  # forward, and twice that backward
    sheet.add("train/work", work, "GFLOP/clip")
    sheet.add("train/batch", sizes.train_batch, "clips")
    every = _made_up_set(sizes)
    few = every[: sizes.train_batch * max(2, sizes.train_steps // 8)]
    for dtype, compiled in (("fp32", False), ("bf16", False), *([("bf16", True)] if settings.on_gpu else [])):
        name = f"train/{dtype}" + ("+compile" if compiled else "")
        clips = every if compiled or not settings.on_gpu else few
        try:
            with Peak(settings) as peak:
                rate = _training_rate(clips, sizes, settings, dtype, compiled)
        except UserError as error:  # a GPU without enough memory
            sheet.notes.append(f"{name} is not measured: {error}")
            continue
        _clips(sheet, name, rate, work, peak)
        _share(sheet, name, dtype)
        if name != "train/fp32":
            sheet.compare(f"{name} to fp32", name, "train/fp32")


def _made_up_set(sizes: Sizes) -> list[Clip]:
    rng = np.random.default_rng(0)
    scale, classes = np.array([512, 512, 1], np.float32), sizes.network.num_classes
    joints = rng.random((sizes.train_batch * sizes.train_steps, UPSTREAM_FRAMES, NUM_JOINTS, 3), np.float32) * scale
    return [Clip(str(i), "made up", str(i % classes), "", -1, clip) for i, clip in enumerate(joints)]


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
        history = Loop(DSTA(sizes.network), batches, config, Path(out), "benchmark", where).run()
    return len(clips) * (len(history) - 1) / sum(line["seconds"] for line in history[1:])


def pose(bench: Bench) -> None:
    """Joints from videos: one process against one on every core."""
    missing = [name for name in ("mediapipe", "av", "joblib") if importlib.util.find_spec(name) is None]
    if missing:
        raise Skipped(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed.")
    videos = sorted((bench.data / "wlasl_clips").glob("*.mp4"))[: bench.sizes.videos]
    if not videos:
        raise Skipped(f"there are no videos in {bench.data / 'wlasl_clips'}.")
    from dsta.common.machine import cores
    from dsta.prepare import measure

    sheet, many = bench.sheet, max(2, cores())
    for label, workers in (("one", 1), ("all", many)):
        speed = measure(videos, workers)
        sheet.add(f"pose/{label}", speed.fps, "frames/s")
        sheet.add(f"pose/{label}/peak_memory", max(speed.peak_mb.values()), "MB/worker")
    sheet.add("pose/workers", many, "processes")
    sheet.compare("pose: all cores to one process", "pose/all", "pose/one")


SECTIONS: dict[str, Callable[[Bench], None]] = {"machine": machine, "infer": infer, "train": train, "pose": pose}
