"""Which device a command line means."""

import re

import torch

from dsta.errors import UserError


def chosen_device(asked: str, gpus: int | None = None) -> str:
    """`cpu`, `cuda` or `cuda:N`, as asked for; `auto` is a GPU where there is one.

    gpus: how many there are; by default those that can be used here.
    Raises UserError for any other name, and for a GPU that is not there.
    """
    if gpus is None:
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked == "auto":
        return "cuda" if gpus else "cpu"
    found = re.fullmatch(r"cpu|cuda(?::(\d+))?", asked)
    if not found:
        raise UserError(f"--device {asked} is not known: give auto, cpu, cuda or cuda:1.")
    if asked != "cpu" and not gpus:
        raise UserError("No GPU was found: run with --device cpu.")
    if found[1] and int(found[1]) >= gpus:
        raise UserError(f"There is no GPU {asked}: the last one here is cuda:{gpus - 1}.")
    return asked
