"""The files of a training run: how far it is, whether it is finished, what an interruption leaves."""

import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dsta.checkpoint import CONFIG_FILE
from dsta.common import UserError, read_json, replace_file

RESUME_FILE, LOG_FILE = "training.pt", "log.jsonl"

EpochLog = dict[str, float]
"""What the log says of an epoch."""


@dataclass(frozen=True)
class RunFiles:
    """What a run keeps in `out` to go on from, and its log. curve: what the curve depends on, as text."""

    out: Path
    curve: str

    def read(self) -> dict[str, Any] | None:
        """The state of an interrupted run; None where there is none. Raises UserError when it is damaged."""
        path = self.out / RESUME_FILE
        if not path.exists():
            return None
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file may raise anything, and each means the same
            raise UserError(f"{path} cannot be read ({error}): delete it to begin anew.") from error

    def check(self, state: Mapping[str, Any]) -> None:
        """Raises UserError when a state is another run's."""
        if state["run"] != self.curve:
            path = self.out / RESUME_FILE
            raise UserError(f"{self.out} holds an unfinished run with other settings: finish it or delete {path}.")

    def write(self, state: Mapping[str, Any], history: Sequence[EpochLog]) -> None:
        """Replaces the state and the log. Raises OSError."""
        content = io.BytesIO()
        torch.save({"run": self.curve, **state, "history": list(history)}, content)
        replace_file(self.out / RESUME_FILE, content.getvalue())
        replace_file(self.out / LOG_FILE, "".join(json.dumps(line) + "\n" for line in history).encode())


def is_finished(out: Path) -> bool:
    """Whether a folder holds a network, and no run that is to go on. Raises UserError when its JSON is damaged."""
    if (out / RESUME_FILE).exists() or not (out / CONFIG_FILE).exists():
        return False
    return "state" not in read_json(out / CONFIG_FILE).get("provenance", {})


def interrupted_note(finished: int, epochs: int) -> str:
    """What the provenance of an unfinished run says."""
    return f"interrupted after epoch {finished} of {epochs}"


def quality(line: EpochLog) -> tuple[float, float]:
    """What networks are compared by: top-1 on the validation clips; of equal ones, the lower log-loss is better."""
    return line["val_top1"], -line["val_loss"]


def best_epoch(history: Sequence[EpochLog]) -> int:
    """The epoch, from 0, that is best on the validation clips."""
    judged = [line for line in history if "val_top1" in line]
    return int(max(judged, key=quality)["epoch"]) if judged else -1


@contextmanager
def telling_disk_errors(out: Path) -> Iterator[None]:
    """Tells a full or read-only disk in a sentence; the files that were there stay as they were."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{out} cannot be written ({error.strerror or error}): make room there and give the same command again. "
            "What was written before is kept."
        ) from error


def tell_stopped(out: Path) -> None:
    """Says what an interrupted run has left, in its checkpoint too."""
    if is_finished(out):
        print(f"Stopped when all was done: {out} holds the finished network.", file=sys.stderr)
        return
    if not (out / RESUME_FILE).exists():
        print("Stopped before the first epoch was finished: nothing is kept.", file=sys.stderr)
        return
    finished = len((out / LOG_FILE).read_text(encoding="utf-8").splitlines())
    config = read_json(out / CONFIG_FILE)
    epochs = config["provenance"]["training"]["epochs"]
    config["provenance"]["state"] = interrupted_note(finished, epochs)
    replace_file(out / CONFIG_FILE, (json.dumps(config, indent=1, ensure_ascii=False) + "\n").encode())
    print(
        f"Stopped after epoch {finished} of {epochs}: {out} holds a network that can be used, and the same command "
        "continues.",
        file=sys.stderr,
    )
