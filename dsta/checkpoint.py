"""Weights on disk: save, load, import from upstream, exchange with the Hub.

    python -m dsta.checkpoint import FILE.pt --dataset WLASL2000 --stream joint --out weights/WLASL2000/joint
    python -m dsta.checkpoint push weights/asl71 user/asl71
    python -m dsta.checkpoint fetch user/asl71

A weights folder of one stream holds `config.json` and `model.safetensors`; an ensemble folder holds one such folder per
stream and `ensemble.json`. Nothing here unpickles more than tensors.
"""

import argparse
import hashlib
import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from dsta.datasets import benchmark, official
from dsta.errors import UserError, exit_code
from dsta.files import replace_files
from dsta.manifest import MANIFEST_FILE, check_files, check_manifest, read_json, write_manifest
from dsta.model import DSTA, ModelConfig
from dsta.order import completed, read_order
from dsta.skeleton import NUM_JOINTS
from dsta.streams import Recipe, Stream
from dsta.upstream import from_upstream, read_upstream

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A network of one stream with all that is needed to use it and to know where it is from.

    glosses: (K) names in the order of the logits. provenance: how it was made: data, epochs, seed, selection, licence.
    """

    model: DSTA
    stream: Stream
    recipe: Recipe
    glosses: tuple[str, ...]
    estimator: str
    provenance: dict[str, Any]

    def save(self, folder: str | Path) -> None:
        """Writes `config.json` and `model.safetensors`; a reader finds the old files or the new ones, never halves."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        weights = save_tensors(tensors)
        config = {
            "model": self.model.config.to_dict(),
            "stream": str(self.stream),
            "recipe": self.recipe.to_dict(),
            "estimator": self.estimator,
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
            "provenance": self.provenance,
            "glosses": list(self.glosses),
        }
        text = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
        replace_files({folder / WEIGHTS_FILE: weights, folder / CONFIG_FILE: text.encode()})

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu") -> "Checkpoint":
        """The network in evaluation mode. Raises UserError when a file is missing, damaged or does not fit."""
        folder = Path(folder)
        config = read_json(folder / CONFIG_FILE)
        try:
            glosses = tuple(config["glosses"])
            model = DSTA(ModelConfig.from_dict(config["model"]))
            recipe, stream = Recipe.from_dict(config["recipe"]), Stream(config["stream"])
            estimator, provenance, sha256 = config["estimator"], config["provenance"], config["weights_sha256"]
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{folder / CONFIG_FILE} is not a configuration of dsta ({error!r}): restore it."
            ) from error
        if len(glosses) != model.config.num_classes:
            raise UserError(
                f"{folder} has {len(glosses)} glosses for {model.config.num_classes} classes: config.json is damaged."
            )
        if recipe.channels != model.config.in_channels:
            raise UserError(f"{folder}: the recipe and the model disagree about channels: config.json is damaged.")
        _load_strictly(model, folder / WEIGHTS_FILE, sha256)
        return cls(model.to(device).eval(), stream, recipe, glosses, estimator, provenance)

    def save_pretrained(self, folder: str | Path) -> None:
        """`save`, by the name that the Hub's libraries use."""
        self.save(folder)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        subfolder: str = "",
        revision: str | None = None,
        local_files_only: bool = False,
        device: str | torch.device = "cpu",
    ) -> "Checkpoint":
        """The network in a local folder, or else in the Hub's repository `user/name`; `subfolder` is a stream of an
        ensemble. Downloaded files are kept in the Hub's cache. Raises UserError."""
        folder = Path(name) if Path(name).is_dir() else fetch(str(name), subfolder, revision, local_files_only)
        return cls.load(folder / subfolder, device)

    def push_to_hub(self, repo: str, private: bool | None = None) -> str:
        """Sends the network with a short card to `user/name` on the Hub, as the user that is logged in there.

        private: of a repository that is made anew. Returns the commit's address. Raises UserError.
        """
        return _hub().upload(self.save, _card(repo, [self]), repo, private, "Weights of one stream")


def _load_strictly(model: DSTA, path: Path, sha256: str) -> None:
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise UserError(f"{path} is not the file that its config.json describes (sha256 differs): restore it.")
        tensors = load_tensors(content)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: a weights folder holds {CONFIG_FILE} and {WEIGHTS_FILE}.") from error
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}): restore it.") from error
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} does not fit its configuration: {reason}") from error


def origin(folder: Path) -> dict[str, Any]:
    """What is told of a stream's folder in the provenance of a network that begins from it: hash and provenance."""
    config = read_json(folder / CONFIG_FILE)
    return {"weights_sha256": config["weights_sha256"], **config.get("provenance", {})}


def fetch(repo: str, subfolder: str = "", revision: str | None = None, local_files_only: bool = False) -> Path:
    """Downloads `user/name` from the Hub, one stream or an ensemble: `Recognizer.load(fetch("user/asl71"))`.

    Returns the folder in the Hub's cache; its files are those that its manifest lists. Raises UserError.
    """
    folder = _hub().download(repo, subfolder, revision, local_files_only)
    check_files(folder / MANIFEST_FILE, folder / subfolder if subfolder else folder)
    return folder


def push(folder: str | Path, repo: str, private: bool | None = None) -> str:
    """Sends a weights folder, of one stream or an ensemble, with its card and a manifest to `user/name` on the Hub.

    What does not load is refused; logs and training states stay here. Returns the commit's address. Raises UserError.
    """
    folder = Path(folder)
    check_manifest(folder)
    configs = sorted(folder.glob(f"**/{CONFIG_FILE}"))
    if not configs:
        raise UserError(f"{folder} is no folder with weights: give one with {CONFIG_FILE}, or with a folder a stream.")
    checkpoints = [Checkpoint.load(config.parent) for config in configs]

    def write(target: Path) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and (path.suffix in _PUBLISHED or path.name == "LICENSE"):
                place = target / path.relative_to(folder)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
        write_manifest(target)

    return _hub().upload(write, _card(repo, checkpoints), repo, private, f"Weights: {folder.name}")


_PUBLISHED = (".json", ".safetensors", ".md", ".yml", ".yaml")


def _hub() -> ModuleType:
    try:
        from dsta import hub
    except ModuleNotFoundError as error:
        raise UserError(f"The Hub needs {error.name}: pip install huggingface_hub.") from error
    return hub


def _card(repo: str, checkpoints: Sequence[Checkpoint]) -> str:
    """The README.md of weights that have none."""
    first = checkpoints[0]
    licence = str(first.provenance.get("licence") or "unknown")
    streams = ", ".join(checkpoint.stream for checkpoint in checkpoints)
    data = ", ".join(map(str, first.provenance.get("datasets", ()))) or "data that its configuration does not name"
    return f"""---
license: {"cc-by-nc-4.0" if licence.startswith("CC BY-NC 4.0") else "other"}
library_name: dsta
pipeline_tag: video-classification
tags: [sign-language-recognition, skeleton, dsta-slr]
---
# {repo.rpartition("/")[2]}: {len(first.glosses)} signs from 27 joints

DSTA networks (arXiv 2403.12519) of the stream(s) {streams}, for keypoints of {first.estimator}, trained on {data}.
Licence: {licence}. Each `config.json` holds the recipe, the glosses and where the weights are from.

```python
from dsta.checkpoint import fetch
from dsta.recognize import Recognizer

recognizer = Recognizer.load(fetch("{repo}"))
```
"""


def import_upstream(
    path: str | Path,
    dataset: str,
    stream: Stream | str,
    out: str | Path,
    bone: str = "chained",
    order: str | Path | None = None,
) -> Checkpoint:
    """Writes the weights folder `out` of an upstream checkpoint of one of the benchmarks, and returns what it holds.

    order: the file that `dsta.identify` wrote of it; the classifier's rows are moved to the benchmark's order, so that
    the classes fit those of the other streams and of arrays whose classes have no names. Classes that the file does not
    know are filled in (`dsta.order.completed`), and the provenance lists them as `guessed`.
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
    provenance = {
        "datasets": [spec.name],
        "selection": "unknown; upstream's code keeps the best epoch on the split that it reports",
        "licence": "CC BY-NC 4.0 (upstream's weights, https://github.com/hulianyuyy/DSTA-SLR)",
        "imported": {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "beside": beside},
        "stream_and_bone_rule": "as given at import; the file does not say them",
        "glosses_from": "the official list" if names else "no public list: classes are numbered",
    }
    if order is not None:
        known = read_order(order, spec.num_classes)
        _reorder(model, completed(known))
        provenance["class_order"] = {
            "file": Path(order).name,
            "sha256": hashlib.sha256(Path(order).read_bytes()).hexdigest(),
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
        _check_equal(model, loaded.model)
        replace_files({out / name: (Path(beside_out) / name).read_bytes() for name in (WEIGHTS_FILE, CONFIG_FILE)})
    return loaded


@torch.no_grad()
def _reorder(model: DSTA, meant: Sequence[int]) -> None:
    """Moves each class i of the classifier to place meant[i]."""
    for tensor in (model.classifier.weight, model.classifier.bias):
        tensor[list(meant)] = tensor.clone()


@torch.inference_mode()
def _check_equal(source: DSTA, written: DSTA) -> None:
    """That both networks give the same logits for the same input."""
    x = torch.randn(2, 3, 16, NUM_JOINTS, generator=torch.Generator().manual_seed(0))
    if not torch.equal(source(x), written(x)):
        raise RuntimeError("the written checkpoint gives other logits than the source: nothing was kept")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dsta.checkpoint", description="Import and exchange weights.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    into = commands.add_parser("import", help="a checkpoint of the reference's code becomes a weights folder")
    into.add_argument("file", metavar="FILE", help="torch's file (.pt), .npz or .safetensors, with upstream's names")
    into.add_argument("--dataset", required=True, metavar="NAME", help="the benchmark it is for, such as WLASL2000")
    into.add_argument("--stream", choices=list(Stream), help="the stream it was trained on (dsta.identify finds it)")
    into.add_argument("--bone", choices=("chained", "direct"), default="chained", help="default: upstream's, chained")
    into.add_argument("--order", metavar="FILE.json", help="the order of its classes, as dsta.identify wrote it")
    into.add_argument("--out", required=True, metavar="DIR", help="the folder to write")
    into.set_defaults(work=_import)
    send = commands.add_parser("push", help="send a weights folder to the Hugging Face Hub")
    send.add_argument("folder", metavar="DIR", help="of one stream, or an ensemble")
    send.add_argument("repo", metavar="USER/NAME")
    send.add_argument("--private", action="store_true", default=None, help="if the repository is new, make it private")
    send.set_defaults(work=lambda args: print(push(args.folder, args.repo, args.private)))
    get = commands.add_parser("fetch", help="download weights from the Hub and print their folder")
    get.add_argument("repo", metavar="USER/NAME")
    get.add_argument("--revision", metavar="COMMIT", help="a commit, branch or tag; default: the newest")
    get.set_defaults(work=lambda args: print(fetch(args.repo, revision=args.revision)))
    args = parser.parse_args(arguments)
    return exit_code(lambda: args.work(args))


def import_command(file: str, dataset: str, stream: str, bone: str | None, order: str | None) -> str:
    """The command line that imports a file which is now known to be of that stream, bone rule and order of classes."""
    chosen = [("--dataset", dataset), ("--stream", stream), ("--bone", bone), ("--order", order)]
    options = [word for name, value in chosen if value for word in (name, value)]
    words = ["python", "-m", "dsta.checkpoint", "import", file, *options, "--out", f"weights/{dataset}/{stream}"]
    return shlex.join(words)


def _import(args: argparse.Namespace) -> None:
    if not args.stream:
        raise UserError(
            f"Which stream {args.file} is of is not written in it: give --stream {'|'.join(Stream)}, or find out on "
            f"labelled clips with: python -m dsta.identify {args.file} --data data/{args.dataset}"
        )
    made = import_upstream(args.file, args.dataset, args.stream, args.out, args.bone, args.order)
    order = f", its classes reordered as {args.order} says" if args.order else ""
    print(f"{args.out}: {made.stream}, {len(made.glosses)} classes; its logits are those of {args.file}{order}.")
    guessed = made.provenance.get("class_order", {}).get("guessed")
    if guessed:
        print(
            f"{args.order} does not know which classes {len(guessed)} glosses are, such as {made.glosses[guessed[0]]}: "
            "there was no clip of them, and what stands in their places is a guess."
        )
    if "known" in made.provenance:
        print(made.provenance["known"])


if __name__ == "__main__":
    sys.exit(main())
