"""Upstream's checkpoint → a weights folder; and the order of its classes, where that is another one, as a file.

An order is a JSON object with an entry for each class of the network: `{"0": 17, "1": null, …}` says that its class 0
is class 17 of the data, and that nothing is known of its class 1: the data's classes that are left had no clip.
`dsta.identify` finds it.
"""

import json
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dsta.checkpoint.folder import CONFIG_FILE, WEIGHTS_FILE, Checkpoint
from dsta.checkpoint.upstream import from_upstream, read_upstream
from dsta.common import UserError, file_sha256, read_json, replace_file, replace_files
from dsta.data import benchmark, official
from dsta.skeleton import NUM_JOINTS
from dsta.streams import BoneRule, Recipe, Stream


def import_upstream(
    path: str | Path,
    dataset: str,
    stream: Stream | str,
    out: str | Path,
    bone: BoneRule = "chained",
    order: str | Path | None = None,
) -> Checkpoint:
    """Writes the weights folder `out` of an upstream checkpoint of one of the benchmarks, and returns what it holds.

    order: the file that `dsta.identify` wrote of it; the classifier's rows are moved to the benchmark's order, so that
    the classes fit those of the other streams and of arrays whose classes have no names. Classes that the file does not
    know are filled in (`completed`), and the provenance lists them as `guessed`.
    Before `out` appears, the folder was written elsewhere and loaded, and its logits were those of the source.
    Raises UserError when a file is no checkpoint or order of that benchmark, or `out` holds weights already.
    """
    path, out, spec = Path(path), Path(out), benchmark(dataset)
    if (out / CONFIG_FILE).exists():
        raise UserError(f"{out} holds weights already: give another --out, or delete it.")
    state, beside = read_upstream(path)
    model = from_upstream(state)
    if model.config.num_classes != spec.num_classes:
        raise UserError(
            f"{path} tells {model.config.num_classes} classes apart, but {spec.name} has {spec.num_classes}: give its "
            "own --dataset."
        )
    names = {entry.label: entry.gloss for entry in official(spec.name).values()}
    glosses = tuple(names.get(label, f"class {label}") for label in range(spec.num_classes))
    provenance: dict[str, Any] = {
        "datasets": [spec.name],
        "selection": "unknown; upstream's code keeps the best epoch on the split that it reports",
        "licence": "CC BY-NC 4.0 (upstream's weights, https://github.com/hulianyuyy/DSTA-SLR)",
        "imported": {"file": path.name, "sha256": file_sha256(path), "beside": beside},
        "stream_and_bone_rule": "as given at import; the file does not say them",
        "glosses_from": "the official list" if names else "no public list: classes are numbered",
    }
    if order is not None:
        known = read_order(order, spec.num_classes)
        for tensor in (model.classifier.weight.data, model.classifier.bias.data):
            tensor[completed(known)] = tensor.clone()
        provenance["class_order"] = {
            "file": Path(order).name,
            "sha256": file_sha256(order),
            "guessed": sorted(set(range(spec.num_classes)) - set(known)),
        }
    elif spec.name == "WLASL2000":
        provenance["known"] = (
            "The one published file gives wrong results for people (DSTA-SLR issues 4 and 6): it may be of another "
            "stream or class order. python -m dsta.identify tells."
        )
    made = Checkpoint(model, Stream(stream), Recipe(bone=bone), glosses, "hrnet-wholebody", provenance)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be made ({error.strerror}): give another --out.") from error
    with tempfile.TemporaryDirectory(prefix=".import", dir=out) as beside_out:
        made.save(beside_out)
        loaded = Checkpoint.load(beside_out)
        x = torch.randn(2, 3, 16, NUM_JOINTS, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            if not torch.equal(model(x), loaded.model(x)):
                raise RuntimeError("the written checkpoint gives other logits than the source: nothing was kept")
        replace_files({out / name: (Path(beside_out) / name).read_bytes() for name in (WEIGHTS_FILE, CONFIG_FILE)})
    return loaded


def import_command(file: str, dataset: str, stream: str, bone: str | None, order: str | None) -> str:
    """The command line that imports a file which is now known to be of that stream, bone rule and order of classes."""
    options = {"dataset": dataset, "stream": stream, "bone": bone, "order": order, "out": f"weights/{dataset}/{stream}"}
    words = [word for name, value in options.items() if value for word in (f"--{name}", value)]
    return shlex.join(["python", "-m", "dsta.checkpoint", "import", file, *words])


def write_order(path: str | Path, classes: Mapping[int, int], num_classes: int) -> None:
    """Writes what is known of an order: network's class -> data's class. Raises UserError."""
    text = json.dumps({str(own): classes.get(own) for own in range(num_classes)}, indent=1)
    try:
        replace_file(Path(path), f"{text}\n".encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): give another --order.") from error


def read_order(path: str | Path, num_classes: int) -> tuple[int | None, ...]:
    """The data's class of each of the network's `num_classes`, None where unknown. Raises UserError."""
    advice = "have python -m dsta.identify write it with --order"
    pairs = read_json(path, tuple, advice, object_pairs_hook=tuple)
    fault = _fault(pairs, num_classes)
    if fault:
        raise UserError(f"{path} is not an order of the network's {num_classes} classes, {fault}: {advice}.")
    return tuple(dict(pairs)[str(own)] for own in range(num_classes))


def _fault(pairs: tuple[tuple[str, Any], ...], num_classes: int) -> str:
    """What is wrong with the entries of a file, (key, value) of each; empty if nothing is."""
    if len(pairs) != num_classes:
        return f"it has {len(pairs)} entries"
    if {key for key, _ in pairs} != set(map(str, range(num_classes))):
        return f"its names are not those from 0 to {num_classes - 1}"
    known = [value for _, value in pairs if value is not None]
    for value in known:
        if type(value) is not int or not 0 <= value < num_classes:
            return f"it has the class {json.dumps(value)}"
        if known.count(value) > 1:
            return f"it has the class {value} twice"
    return "" if known else "it knows none of them"


def completed(order: Sequence[int | None]) -> list[int]:
    """An order with the unknown filled in: a class keeps its number where that is free, the others take what is left.

    That is a guess, and costs nothing where the order was found: of these classes there was no clip.
    """
    free = set(range(len(order))) - set(order)
    kept = {own for own, meant in enumerate(order) if meant is None and own in free}
    left = iter(sorted(free - kept))
    return [meant if meant is not None else own if own in kept else next(left) for own, meant in enumerate(order)]
