"""CSV and JSON that a person may have opened in a spreadsheet or an editor, read in one way.

UTF-8, with a byte-order mark or without; composed (Unicode NFC), so that a word is one word whichever keyboard or file
system wrote it; lines counted as an editor counts them.
"""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dsta.common.errors import UserError
from dsta.common.names import composed

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_RESTORE = "restore it, or give another folder"
_AS_CSV = "save it as CSV in UTF-8, its cells separated by commas"


class CsvRow(NamedTuple):
    """line: on which it begins, the first being 1. cells: by column, without spaces at their ends."""

    line: int
    cells: dict[str, str]


def read_text(path: Path) -> str:
    """A file's text, its line ends as they are. Raises OSError, and UnicodeDecodeError where it is no UTF-8."""
    return composed(path.read_bytes().decode("utf-8-sig"))


def read_csv(path: str | Path, columns: Sequence[str], advice: str = _AS_CSV) -> list[CsvRow]:
    """The rows of a table that has these columns, and perhaps more; those without any content are left out.

    advice: what to do with a file that is no such table, for the sentence. Raises UserError.
    """
    path = Path(path)
    try:
        records = ((line, cells) for line, cells in _records(read_text(path)) if any(map(str.strip, cells)))
        _, head = next(records, (0, []))
        head = [name.strip() for name in head]
        _check_head(head, columns)
        needed = max(map(head.index, columns), default=-1) + 1
        return [CsvRow(line, _cells(line, cells, head, needed)) for line, cells in records]
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: {advice}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}): {advice}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read, as it is not in UTF-8 ({error.reason}): {advice}.") from error
    except _TableFault as fault:
        raise UserError(f"{path} {fault}: {advice}.") from fault


class _TableFault(ValueError):
    """What is wrong with a table, as the rest of a sentence that begins with its name."""


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """The line on which each record begins, and its cells."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begins = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:  # mostly a quote that nothing closes, which takes in all that follows
            raise _TableFault(f"cannot be read from line {begins} on ({error}; is a quote not closed?)") from error
        if cells is None:
            return
        yield begins, cells
        begins = reader.line_num + 1


def _check_head(head: Sequence[str], columns: Sequence[str]) -> None:
    lacking = [column for column in columns if column not in head]
    separator = next((word for mark, word in _SEPARATORS.items() if any(mark in name for name in head)), "")
    if lacking and separator:
        raise _TableFault(f"has its cells separated by {separator}, not by commas")
    if lacking:
        there = f" (its first line: {', '.join(head)[:80]})" if any(head) else ""
        named = lacking if len(lacking) < 4 else [*lacking[:2], f"{len(lacking) - 2} more"]
        raise _TableFault(f"lacks the column {' and '.join(named)}{there}")
    twice = next((name for name in columns if head.count(name) > 1), None)
    if twice:
        raise _TableFault(f"has the column {twice} twice")


def _cells(line: int, cells: Sequence[str], head: Sequence[str], needed: int) -> dict[str, str]:
    """The cells by column. Empty ones beyond the columns, which spreadsheets write, are none."""
    beyond = [cell for cell in cells[len(head) :] if cell.strip()]
    if beyond or len(cells) < needed:
        what = "is cut off" if not beyond else "has a comma too many, or lacks quotes around a cell with one"
        raise _TableFault(f"has {len(cells)} cells in line {line} for {len(head)} columns: the line {what}")
    padded = [*cells, *[""] * (len(head) - len(cells))]
    return {name: cell.strip() for name, cell in zip(head, padded, strict=False)}


def number_in(text: str, kind: Callable[[str], float] = float) -> Any:
    """The number in a cell, of this kind. Raises ValueError, whose words say what is there, NaN and blanks too."""
    try:
        value = kind(text)
    except ValueError as error:
        raise ValueError(f"is {text!r}, which is no {'whole ' if kind is int else ''}number") from error
    if not math.isfinite(value):
        raise ValueError(f"is {text}, which is no number")
    return value


def read_json(path: str | Path, kind: type = dict, advice: str = _RESTORE, **how: Any) -> Any:
    """What a JSON file holds: an object, or what else `kind` says. NaN and infinity, which JSON lacks, are refused.

    advice: what to do with a file that is none, for the sentence. how: of `json.loads`. Raises UserError.
    """
    path = Path(path)
    try:
        text = read_text(path)
        value = json.loads(text, parse_constant=partial(_no_number, text), **how)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: {advice}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}): {advice}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}): {advice}.") from error
    if not isinstance(value, kind):
        wanted = "a list" if kind is list else "an object"
        raise UserError(f"{path} must hold {wanted} in JSON: {advice}.")
    return value


def _no_number(text: str, name: str) -> None:
    found = re.search(rf'"([^"]*)"\s*:\s*{name}', text)
    what = found[1] if found else "a number"
    raise ValueError(f"{what} is {name}, as pandas writes what it does not know; JSON has null for it")
