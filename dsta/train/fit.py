"""From a task to a checkpoint: network and batches are made, the loop runs, the best network or the last is kept."""

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
from dsta.train.state import RESUME_FILE, best_epoch, interrupted_note, is_finished, telling_disk_errors


@dataclass(frozen=True)
class TrainingRun:
    """What is to be trained. init: what it begins from, else a fresh network. provenance: for the checkpoint."""

    material: TrainingClips
    stream: Stream
    config: AnyConfig
    recipe: Recipe
    init: Checkpoint | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> str:
        """What the curve depends on, as text."""
        neutral = {"balance": 0.0} if isinstance(self.config, TrainConfig) else {}
        same = asdict(replace(self.config, epochs=self.config.schedule, **neutral))
        material, begun = self.material, self.provenance.get("init")
        clips = [material.glosses, material.fingerprint, material.selection]
        return json.dumps([self.stream, self.recipe.to_dict(), same, clips, begun])

    @property
    def identity(self) -> dict[str, Any]:
        """What the provenance says of a run, by which it is known again: its settings, and a hash of `run`."""
        return {"training": asdict(self.config), "run": hashlib.sha256(self.run.encode()).hexdigest()}

    def network(self) -> DSTA:
        """The network before the first step. Of an `init` the classifier keeps the rows of glosses that both know."""
        torch.manual_seed(self.config.seed)
        glosses, config = self.material.glosses, self.config
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
            config, material = self.config, self.material
            share = sampling_share(material.train, config.per_gloss, config.spread, material.glosses)
            with torch.no_grad():
                plain.classifier.bias -= self.config.balance * torch.from_numpy(np.log(share)).float()
        made_by = {
            **self.provenance,
            **self.identity,
            "clips": len(self.material.train),
            "torch": torch.__version__,
            **provenance,
        }
        material = self.material
        return Checkpoint(plain.eval(), self.stream, self.recipe, material.glosses, material.estimator, made_by)


def fit(
    task: TrainingRun,
    out: str | Path,
    machine: Compute | None = None,
    workers: int = 0,
    judge_every: int = 1,
    usable: bool = False,
    after_epoch: Callable[[int, DSTA], None] | None = None,
) -> Checkpoint:
    """Trains what the task says and writes the checkpoint, of the last epoch or of the one chosen by validation clips.

    usable: whether `out` holds a network from the first epoch on, whose provenance says that it was interrupted.
    A finished run is not trained again. Raises UserError when `out` holds a finished network of another run.
    """
    out, machine, material = Path(out), machine or Compute(), task.material
    finished = machine.group.from_leader(finished_network(task, out) if machine.group.leads else None)
    if finished:
        if machine.group.leads and machine.progress:
            print_notes([f"{out} holds the finished network of this run: nothing is left to do."])
        return finished
    model = task.network()
    label_of = {gloss: i for i, gloss in enumerate(material.glosses)}
    supply = Workers(machine.group, workers, machine.device.type == "cuda")
    of_recipe = ReferenceBatches if isinstance(task.config, ReferenceConfig) else SmallBatches
    batches = of_recipe(material.train, label_of, task.stream, task.recipe, task.config, supply)
    judge = Validation(material.val, label_of, task.stream, task.recipe, machine) if material.val else None
    if machine.group.leads:
        with telling_disk_errors(out):
            out.mkdir(parents=True, exist_ok=True)

    def keep(model: DSTA, finished: int) -> None:
        task.checkpoint(model, state=interrupted_note(finished, task.config.epochs)).save(out)

    keeps = keep if usable or judge else None
    loop = Loop(model, batches, task.config, out, task.run, machine, judge, judge_every, keeps, after_epoch)
    history = loop.run()
    if not judge:
        checkpoint = task.checkpoint(loop.result)
    elif machine.group.leads:
        best = best_epoch(history)
        chosen = f"epoch {best + 1} of {task.config.epochs}: {material.selection}"
        checkpoint = Checkpoint.load(out)
        made_by = {k: v for k, v in checkpoint.provenance.items() if k != "state"}
        made_by |= {"selection": chosen, "val_top1": history[best]["val_top1"]}
        checkpoint = replace(checkpoint, provenance=made_by)
    if machine.group.leads:
        with machine.stop.held(), telling_disk_errors(out):
            checkpoint.save(out)
            (out / RESUME_FILE).unlink(missing_ok=True)
    return checkpoint if machine.group.leads else task.checkpoint(loop.result)


def finished_network(task: TrainingRun, out: Path) -> Checkpoint | None:
    """The network in `out` when this run has made it and is through. Raises UserError when another run has."""
    if not is_finished(out):
        return None
    checkpoint = Checkpoint.load(out)
    if task.identity.items() <= checkpoint.provenance.items():
        return checkpoint
    raise UserError(f"{out} holds a finished network, of other clips or settings: give another --out, or delete it.")
