"""What is looked at, as the page's address says it: `?tab=leaderboard&dataset=WLASL100&sort=-top5_instance&…`.

A part of an address that names nothing is left out, and told.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from leaderboard.results import PROTOCOLS
from leaderboard.sheet import CHOICES, COLUMNS
from leaderboard.table import ALL, ANY, AXES, LONGEST_SEARCH

BEST, EVERY = "best", "every"
TAB = ("tab", "leaderboard")


@dataclass(frozen=True)
class Filters:
    """rows: BEST of each protocol or EVERY one. sort: a column, with `-` before it for falling; empty for the table's
    own order. row, other: ids of two rows, the second to be compared with the first. page: of the sheet, from 1 on."""

    dataset: str = ALL
    protocol: str = ANY
    search: str = ""
    rows: str = BEST
    columns: tuple[str, ...] = ()
    axis: str = next(iter(AXES))
    sort: str = ""
    row: str = ""
    other: str = ""
    page: int = 1


def parse(query: str, datasets: Collection[str]) -> tuple[Filters, list[str]]:
    """An address' query -> what it asks for, and what of it names nothing."""
    said = {name: text for name, text in parse_qsl(query.lstrip("?")[:4000]) if name in vars(Filters())}
    wanted: dict[str, Any] = {name: text[:LONGEST_SEARCH] for name, text in said.items()}
    allowed: dict[str, Collection[str]] = {
        "dataset": [ALL, *datasets],
        "protocol": [ANY, *PROTOCOLS],
        "rows": (BEST, EVERY),
        "axis": AXES,
        "sort": [sign + column.name for column in COLUMNS for sign in ("", "-")],
    }
    strange = [f"{name}={wanted.pop(name)}" for name in allowed if name in wanted and wanted[name] not in allowed[name]]
    if not re.fullmatch("[1-9][0-9]{0,5}", wanted.get("page", "1")):
        strange.append(f"page={wanted.pop('page')}")
    wanted["page"] = int(wanted.get("page", 1))
    columns = said.get("columns", "").split(",")
    wanted["columns"] = tuple(name for name in CHOICES if name in columns)
    strange += [f"columns={name}" for name in columns if name and name not in CHOICES]
    wanted |= {name: said[name][:400] for name in ("row", "other") if name in said}
    return Filters(**wanted), strange


def link(filters: Filters, **changes: Any) -> str:
    """The address of what is looked at, with changes; what is as by default is left out."""
    default, parts = vars(Filters()), [TAB]
    for name, value in vars(replace(filters, **changes)).items():
        if value != default[name]:
            parts.append(
                (name, ",".join(value) if isinstance(value, Sequence) and not isinstance(value, str) else value)
            )
    return "?" + urlencode(parts, safe=",:")
