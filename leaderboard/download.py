"""What the tab offers as a CSV: the rows of the sheet, a further table, a row's answers clip by clip."""

import csv
import io
from pathlib import Path

import pandas as pd

from dsta.common import UserError
from leaderboard import sheet, table
from leaderboard.address import Filters
from leaderboard.detail import scores_of

TABLES = {"fewshot": table.fewshot, "unknown": table.unknown, "robustness": table.robustness,
          "speed": table.speed}  # fmt: skip
ROWS, ANSWERS = "leaderboard", "answers"
KINDS = (ROWS, ANSWERS, *TABLES)


def csv_of(folder: Path, kind: str, filters: Filters, every: pd.DataFrame) -> str:
    """The text of a file of one of KINDS. every: all rows of the sheet. Raises UserError."""
    if kind in TABLES:
        found = TABLES[kind](folder)
        chosen = table.filtered(found, filters.dataset) if "dataset" in found else found
        return str(chosen.to_csv(index=False, lineterminator="\n"))
    if kind == ANSWERS:
        return _answers(folder, filters.row, every)
    return sheet.csv_text(table.filtered(every, filters.dataset, filters.protocol, filters.search))


def _answers(folder: Path, name: str, every: pd.DataFrame) -> str:
    """A line for each clip: its name (or number), its gloss, the first answer, and the place of the right one."""
    row = next(every[every["id"] == (name or None)].itertuples(), None)
    if row is None:
        raise UserError("The address names no row whose answers could be saved: open one.")
    said = scores_of(folder, row)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("clip", "gloss", "answer", "place_of_gloss"))
    glosses = said.glosses[said.labels], said.glosses[said.predicted]
    writer.writerows(zip(said.names, *glosses, said.rank.astype(int) + 1, strict=True))
    return text.getvalue()
