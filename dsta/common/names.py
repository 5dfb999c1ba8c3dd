"""Names as people write them: one form of Unicode, and which of them look alike."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable


def composed(text: str) -> str:
    """A text in Unicode's form NFC: é is one character and not e with an accent after it, as macOS writes it."""
    return unicodedata.normalize("NFC", text)


def lookalikes(names: Iterable[str]) -> list[list[str]]:
    """The names, each once and sorted, that differ from another one in case or spaces only: group by group."""
    groups: dict[str, set[str]] = defaultdict(set)
    for name in names:
        groups[" ".join(name.casefold().split())].add(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def lookalikes_note(glosses: Iterable[str]) -> str:
    """A sentence on glosses that are classes of their own, though they differ in case or spaces only; empty if none."""
    groups = lookalikes(glosses)
    if not groups:
        return ""
    such = "; ".join(", ".join(map(repr, group)) for group in groups[:3])
    more = f" and {len(groups) - 3} more groups" if len(groups) > 3 else ""
    return f"The glosses {such}{more} differ in case or spaces only, and each is a class of its own: write them alike."
