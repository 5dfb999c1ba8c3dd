"""From a `TrainingRun` to a checkpoint: the network and its batches are made, the loop runs, one network is kept."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dsta.checkpoint import Checkpoint
from dsta.common import UserError
from dsta.model import DSTA, ModelConfig
from dsta.streams import Recipe, Stream
from dsta.train.batches import ReferenceBatches, SmallBatches, Workers
from dsta.train.config import AnyConfig, ReferenceConfig, TrainConfig
from dsta.train.loop import Compute, Loop, Validation
from dsta.train.sampling import sampling_share
from dsta.train.splits import TrainingClips, print_notes
from dsta.train.state import RESUME_FILE, RunFiles, best_epoch, interrupted_note, is_finished, telling_disk_errors


@dataclass(frozen=True)
class TrainingRun:
    """What is to be trained. init: what it begins from, else a fresh network. provenance: for the checkpoint."""

    clips: TrainingClips
    stream: Stream
    config: AnyConfig
    recipe: Recipe
    init: Checkpoint | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def curve(self) -> str:
        """What the curve depends on, as text."""
        same = asdict(replace(self.config, epochs=self.config.schedule))
        same |= {"balance": 0.0} if isinstance(self.config, TrainConfig) else {}
        of, begun = self.clips, self.provenance.get("init")
        clips = [of.glosses, of.fingerprint, of.selection]
        return json.dumps([self.stream, self.recipe.to_dict(), same, clips, begun])

    @property
    def identity(self) -> dict[str, Any]:
        """What the provenance says of a run, by which it is known again: its settings, and a hash of `curve`."""
        return {"training": asdict(self.config), "run": hashlib.sha256(self.curve.encode()).hexdigest()}

    def network(self) -> DSTA:
        """The network before the first step. Of an `init` the classifier keeps the rows of glosses that both know.

        Raises UserError where there is one gloss alone.
        """
        torch.manual_seed(self.config.seed)
        glosses, config = self.clips.glosses, self.config
        if len(glosses) < 2:
            raise UserError(f"All clips are of one gloss, {glosses[0]}: a network needs several to tell apart.")
        if self.init is None:
            return DSTA(ModelConfig(len(glosses), self.recipe.channels, config.inner_dim, config.depth))
        model = DSTA(replace(self.init.model.config, num_classes=len(glosses)))
        fresh, state = model.state_dict(), self.init.model.state_dict()
        common = [gloss for gloss in glosses if gloss in self.init.glosses]
        to, of = ([names.index(gloss) for gloss in common] for names in (glosses, self.init.glosses))
        for name in ("classifier.weight", "classifier.bias"):
            fresh[name][to] = state[name][of]
            state[name] = fresh[name]
        model.load_state_dict(state)
        return model

    def checkpoint(self, model: DSTA, **provenance: Any) -> Checkpoint:
        """What is written of a network: without the wrappers of training, and balanced."""
        plain = DSTA(model.config)
        plain.load_state_dict(model.state_dict())
        if isinstance(self.config, TrainConfig) and self.config.balance:
            config, clips = self.config, self.clips
            share = sampling_share(clips.train, config.per_gloss, config.spread, clips.glosses)
            with torch.no_grad():
                plain.classifier.bias.sub_(self.config.balance * torch.from_numpy(np.log(share)).float())
        made_by = {
            **self.provenance,
            **self.identity,
            "clips": len(self.clips.train),
            "torch": torch.__version__,
            **provenance,
        }
        of = self.clips
        seen = of.seen.after(self.init.seen) if self.init else of.seen
        return Checkpoint(plain.eval(), self.stream, self.recipe, of.glosses, of.estimator, made_by, seen)


def fit(
    training: TrainingRun,
    out: str | Path,
    compute: Compute | None = None,
    workers: int = 0,
    validate_every: int = 1,
    usable: bool = False,
    after_epoch: Callable[[int, DSTA], None] | None = None,
) -> Checkpoint:
    """Trains a network and writes the checkpoint, of the last epoch or of the one that validation clips choose.

    usable: whether `out` holds a network from the first epoch on, whose provenance says that it was interrupted.
    A finished run is not trained again. Raises UserError when `out` holds a finished network of another run.
    """
    out, compute, clips = Path(out), compute or Compute(), training.clips
    finished = compute.group.from_leader(finished_network(training, out) if compute.group.leads else None)
    if finished:
        if compute.group.leads and compute.progress:
            print_notes([f"{out} holds the finished network of this run: nothing is left to do."])
        return finished
    model = training.network()
    label_of = {gloss: i for i, gloss in enumerate(clips.glosses)}
    supply = Workers(compute.group, workers, compute.device.type == "cuda")
    of_recipe: Any = ReferenceBatches if isinstance(training.config, ReferenceConfig) else SmallBatches
    batches = of_recipe(clips.train, label_of, training.stream, training.recipe, training.config, supply)
    validation = None
    if clips.val:
        validation = Validation(clips.val, label_of, training.stream, training.recipe, compute, validate_every)
    if compute.group.leads:
        with telling_disk_errors(out):
            out.mkdir(parents=True, exist_ok=True)

    def keep(model: DSTA, finished: int) -> None:
        training.checkpoint(model, state=interrupted_note(finished, training.config.epochs)).save(out)

    keeps = keep if usable or validation else None
    files = RunFiles(out, training.curve)
    loop = Loop(model, batches, training.config, files, compute, validation, keeps, after_epoch)
    history = loop.run()
    if not validation:
        checkpoint = training.checkpoint(loop.result)
    elif compute.group.leads:
        best = best_epoch(history)
        chosen = f"epoch {best + 1} of {training.config.epochs}: {clips.selection}"
        checkpoint = Checkpoint.load(out)
        made_by = {k: v for k, v in checkpoint.provenance.items() if k != "state"}
        made_by |= {"selection": chosen, "val_top1": history[best]["val_top1"]}
        if training.config.average:
            made_by["averaged"] = bool(history[best]["averaged"])
        checkpoint = replace(checkpoint, provenance=made_by)
    if compute.group.leads:
        with compute.stop.held(), telling_disk_errors(out):
            checkpoint.save(out)
            (out / RESUME_FILE).unlink(missing_ok=True)
    return checkpoint if compute.group.leads else training.checkpoint(loop.result)


def finished_network(training: TrainingRun, out: Path) -> Checkpoint | None:
    """The network in `out` when this run has made it and is through. Raises UserError when another run has."""
    if not is_finished(out):
        return None
    checkpoint = Checkpoint.load(out)
    if training.identity.items() <= checkpoint.provenance.items():
        return checkpoint
    raise UserError(f"{out} holds a finished network, of other clips or settings: give another --out, or delete it.")
