"""A weights folder as one ONNX file: clips in, fused logits out, preprocessing and test-time views included.

The file takes `clip` (N, T, 27, 3) float32 – x, y in pixels of the canvas, score; any N and any T ≥ 1, the same for all
clips of a call – and gives `logits` (N, K) float32, the weighted mean of the streams' raw logits. Its metadata holds
what else is needed: glosses, temperature, threshold, recipes, hashes, licence. All its operators are ONNX's own.
A clip that holds NaN gets NaN for logits.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dsta.checkpoint import CONFIG_FILE, WEIGHTS_FILE, Ensemble
from dsta.common import UserError, file_sha256, replace_file
from dsta.data.synthetic import wandering_clips
from dsta.export.graph import OPSET, NetworkPart, assemble
from dsta.export.prepare import Preparation
from dsta.score import NetworkInputs, score_streams
from dsta.skeleton import CANVAS, JOINTS
from dsta.streams import fuse

TOLERANCE = 1e-3


def export(folder: str | Path, path: str | Path) -> dict[str, Any]:
    """Writes the weights folder of an ensemble, or of one stream, as an ONNX file.

    The file is compared with `dsta.streams`, `dsta.score` and `fuse` before it takes its place. Returns `difference`
    (the largest, of the fused logits or relative of the networks' input), `bytes`, `opset`, `streams` and `classes`.
    Raises UserError when the weights cannot be used, onnx is not installed, the file cannot be written or differs.
    """
    folder, path = Path(folder), Path(path)
    _need("onnx", "onnxscript", "onnxruntime")
    ensemble = Ensemble.load(folder)
    if any(checkpoint.model.config.taught for checkpoint in ensemble.checkpoints.values()):
        raise UserError(f"{folder} was taught by examples, which no file holds yet: export what it was taught from.")
    if not path.parent.is_dir() or path.is_dir():
        raise UserError(f"{path} cannot be written: give a file in a folder that exists with --onnx.")
    content = to_onnx(ensemble, metadata(ensemble, folder))
    difference = float(np.max([logits_difference(content, ensemble), input_difference(content, ensemble)]))
    if not difference <= TOLERANCE:
        raise UserError(
            f"{path} was not written: through onnxruntime its logits differ from these weights' by {difference:.2g}, "
            f"more than {TOLERANCE:g}; try the versions of torch, onnx and onnxruntime in tests/requirements.txt."
        )
    try:
        replace_file(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): choose another place with --onnx.") from error
    streams = list(ensemble.checkpoints)
    classes = len(ensemble.glosses)
    return {
        "difference": difference, "bytes": len(content), "opset": OPSET, "streams": streams, "classes": classes,
    }  # fmt: skip


def metadata(ensemble: Ensemble, folder: Path) -> dict[str, str]:
    """What travels in the file as `metadata_props`: plain text, or JSON where the name says what is in it."""
    checkpoints = ensemble.checkpoints
    single = (folder / CONFIG_FILE).exists()
    files = {stream: folder / ("" if single else stream) / WEIGHTS_FILE for stream in checkpoints}
    made = ensemble.first.provenance
    values = {
        "name": folder.resolve().name,
        "input": "clip: (clips, frames, 27 joints, 3) float32; x and y in pixels of a canvas whose longest side is "
        f"{CANVAS}, y down, and score; a joint that was not found is 0, 0, 0",
        "output": "logits: (clips, glosses) float32; softmax(logits / temperature) are the scores",
        "joints": list(JOINTS),
        "glosses": list(ensemble.glosses),
        "temperature": ensemble.temperature,
        "threshold": ensemble.threshold,
        "fusion": ensemble.fusion,
        "recipe": {stream: checkpoint.recipe.to_dict() for stream, checkpoint in checkpoints.items()},
        "estimator": ensemble.estimator,
        "dataset": made.get("datasets", []),
        "licence": made.get("licence", ""),
        "commit": made.get("commit", ""),
        "weights_sha256": {stream: file_sha256(file) for stream, file in files.items()},
    }
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in values.items()
    }


def to_onnx(ensemble: Ensemble, properties: Mapping[str, str] | None = None) -> bytes:
    """The ONNX model of an ensemble on the CPU, checked, as the bytes of its file."""
    checkpoints = ensemble.checkpoints
    total = sum(ensemble.fusion.values())
    parts = {
        stream: NetworkPart(
            checkpoint.model,
            (checkpoint.model.config, checkpoint.recipe.window),
            checkpoint.recipe.views,
            ensemble.fusion[stream] / total,
        )
        for stream, checkpoint in checkpoints.items()
    }
    preparation = Preparation({stream: checkpoint.recipe for stream, checkpoint in checkpoints.items()})
    example = torch.from_numpy(wandering_clips(2, 37))
    return assemble(preparation, example, parts, len(ensemble.glosses), properties or {})


def logits_difference(content: bytes, ensemble: Ensemble) -> float:
    """Largest between the file's fused logits through onnxruntime and our own, over made-up clips with holes."""
    session = _session(content)
    found = []
    for n, length in ((1, 1), (3, 40), (2, 150), (1, 97)):
        clips = wandering_clips(n, length, seed=length)
        scores = {stream: said.logits for stream, said in score_streams(ensemble, list(clips)).items()}
        (logits,) = session.run(None, {"clip": clips})
        found.append(np.abs(logits - fuse(scores, ensemble.fusion)).max())
    return float(np.max(found))  # NaN if one is


def input_difference(content: bytes, ensemble: Ensemble, lengths: Iterable[int] = range(1, 201)) -> float:
    """Largest between the networks' input that the file makes through onnxruntime and our own, over made-up clips of
    these lengths, on which it depends which frames a view has. Relative to the input's largest number.
    """
    import onnx

    model = onnx.ModelProto.FromString(content)
    names = [f"{stream}/input" for stream in ensemble.checkpoints]
    del model.graph.output[:]  # without the logits, the networks themselves need not run
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = _session(model.SerializeToString())
    found = []
    for length in lengths:
        clips = wandering_clips(1, length, seed=length)
        made = session.run(names, {"clip": clips})
        for (stream, checkpoint), inputs in zip(ensemble.checkpoints.items(), made, strict=True):
            expected = NetworkInputs(stream, checkpoint.recipe, list(clips))[0].numpy()
            found.append(np.abs(inputs - expected).max() / max(1.0, np.abs(expected).max()))
    return float(np.max(found))


def _session(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # spinning threads take the cores from whatever runs beside
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _need(*libraries: str) -> None:
    for library in libraries:
        try:
            __import__(library)
        except ImportError as error:
            raise UserError(
                f"Export needs {library}, which is not installed: pip install onnx onnxscript onnxruntime."
            ) from error
