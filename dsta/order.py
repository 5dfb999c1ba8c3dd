"""The order of classes that `dsta.identify` finds and `dsta.checkpoint import` takes, as a file.

A JSON object with an entry for each class of the network: `{"0": 17, "1": null, …}` says that its class 0 is class 17
of the data, and that nothing is known of its class 1: the data's classes that are left had no clip.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dsta.errors import UserError
from dsta.files import replace_file

_AGAIN = "have python -m dsta.identify write it with --order"


def write_order(path: str | Path, classes: Mapping[int, int], num_classes: int) -> None:
    """Writes what is known of an order: network's class -> data's class. Raises UserError."""
    text = json.dumps({str(own): classes.get(own) for own in range(num_classes)}, indent=1)
    try:
        replace_file(Path(path), f"{text}\n".encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): give another --order.") from error


def read_order(path: str | Path, num_classes: int) -> tuple[int | None, ...]:
    """The data's class of each of the network's `num_classes`, None where unknown. Raises UserError."""
    try:
        pairs = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=tuple)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {_AGAIN}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}): {_AGAIN}.") from error
    fault = _fault(pairs, num_classes)
    if fault:
        raise UserError(f"{path} is not an order of the network's {num_classes} classes, {fault}: {_AGAIN}.")
    order = dict(pairs)
    return tuple(order[str(own)] for own in range(num_classes))


def _fault(pairs: Any, num_classes: int) -> str:
    """What is wrong with a file's content, a tuple of (key, value) where it holds an object; empty if nothing is."""
    if not isinstance(pairs, tuple):
        return "it holds no JSON object"
    if len(pairs) != num_classes:
        return f"it has {len(pairs)} entries"
    if {key for key, _ in pairs} != set(map(str, range(num_classes))):
        return f"its names are not those from 0 to {num_classes - 1}"
    known = [value for _, value in pairs if value is not None]
    wrong = [value for value in known if type(value) is not int or not 0 <= value < num_classes]
    if wrong:
        return f"it has the class {json.dumps(wrong[0])}"
    if not known:
        return "it knows none of them"
    twice = [value for value in known if known.count(value) > 1]
    return f"it has the class {twice[0]} twice" if twice else ""


def completed(order: Sequence[int | None]) -> list[int]:
    """An order with the unknown filled in: a class keeps its number where that is free, the others take what is left.

    That is a guess, and costs nothing where the order was found: of these classes there was no clip.
    """
    free = set(range(len(order))) - set(order)
    kept = {own for own, meant in enumerate(order) if meant is None and own in free}
    left = iter(sorted(free - kept))
    return [meant if meant is not None else own if own in kept else next(left) for own, meant in enumerate(order)]
