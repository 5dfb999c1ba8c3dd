"""The vocabularies in `weights/`: what they are called, their cards, and the recogniser of each, loaded once."""

import functools
import logging
import re
import threading
from dataclasses import dataclass
from pathlib import Path

from dsta.checkpoint import CONFIG_FILE, DEFAULT_WEIGHTS, ENSEMBLE_FILE
from dsta.common import UserError, read_json
from dsta.page.lent import LENT, LentRecognizer
from dsta.recognize import Recognizer
from dsta.streams import Stream
from dsta.video import ESTIMATOR

# ISO 639-3 codes, which cards give as `language`, and what comes before "Sign Language"
_LANGUAGES = {"ase": "American", "bzs": "Brazilian", "inl": "Indonesian", "aed": "Argentine", "asf": "Australian"}
_LANGUAGES |= {"bfi": "British", "csl": "Chinese", "dse": "Dutch", "vgt": "Flemish", "fsl": "French", "gsg": "German"}
_LANGUAGES |= {"gss": "Greek", "ins": "Indian", "ise": "Italian", "jsl": "Japanese", "kvk": "Korean", "mfs": "Mexican"}
_LANGUAGES |= {"pso": "Polish", "psr": "Portuguese", "rsl": "Russian", "ssp": "Spanish", "tsm": "Turkish"}


@dataclass(frozen=True)
class Vocabulary:
    """A weights folder. kind: "American" or the like, empty where the card does not say it. label: for a choice."""

    folder: Path
    kind: str
    label: str

    @property
    def card(self) -> str:
        """The folder's card as Markdown, without its front matter; empty where there is none.

        Of its links those to the web remain, as other files are not served; of its pictures and HTML, which might fetch
        something from elsewhere, only the words.
        """
        text = _read(self.folder / "README.md")
        body = text.split("\n---\n", 1)[-1] if text.startswith("---\n") else text
        body = re.sub(r"<(?=[a-zA-Z/!?])(?!https?://)", "< ", body.replace("![", "["))
        return re.sub(r"\[([^\]]*)\]\((?!https?://)[^)]*\)", r"\1", body)

    def recognizer(self) -> Recognizer:
        """Its recogniser, loaded once and shared by everybody, and anew when the folder was published anew.

        Raises UserError where the folder cannot be used, or not for videos.
        """
        try:
            with _lock:  # the cache alone would let two visitors load it at the same time
                loaded = _load(self.folder, _stamp(self.folder))
        except UserError:
            raise
        except Exception as error:  # a folder that anybody may have put there
            logging.exception("%s cannot be loaded", self.folder)
            reason = f"{type(error).__name__}; the log has the details"
            raise UserError(f"The weights in {self.folder} cannot be loaded ({reason}): restore them.") from error
        if loaded.ensemble.estimator != ESTIMATOR:
            raise UserError(
                f"The weights in {self.folder} know the joints of {loaded.ensemble.estimator}, but those of a video are"
                f" found with {ESTIMATOR}: give them keypoint files, by python -m dsta.recognize."
            )
        return loaded


def found(default: Path = DEFAULT_WEIGHTS) -> dict[str, Vocabulary]:
    """The vocabularies beside `default`, that one first and the others by their labels: folder's name -> vocabulary.

    A label is "American (71 signs)", with the folder's name where the language is unknown or there are two of it.
    A folder that cannot be read is left out, which the log says. Where none is left, `default` is there all the same:
    its recogniser raises the reason.
    """
    folders = {folder for folder in default.parent.glob("[!.]*") if any(path.exists() for path in _files(folder))}
    sizes = {}
    for folder in sorted(folders):
        try:
            sizes[folder] = _size(folder)
        except UserError as error:
            logging.warning("%s is left out: %s", folder, error)
    kinds = {folder: _kind(folder) for folder in sizes or [default]}
    known = []
    for folder, kind in kinds.items():
        alone = list(kinds.values()).count(kind) == 1
        name = (kind if alone else f"{kind}, {folder.name}") if kind else folder.name
        size = sizes.get(folder, 0)
        known.append(Vocabulary(folder, kind, f"{name} ({size} sign{'s' * (size > 1)})" if size else name))
    known.sort(key=lambda vocabulary: (vocabulary.folder != default, vocabulary.label.casefold()))
    return {vocabulary.folder.name: vocabulary for vocabulary in known}


def vocabulary(name: str) -> Vocabulary:
    """The vocabulary of the folder `name` in weights/. Raises UserError where there is none."""
    try:
        return found()[name]
    except KeyError as error:
        raise UserError(f"The weights {name} are no longer there: open the page again and choose others.") from error


KIND = LentRecognizer if LENT else Recognizer
"""What recognises on this machine."""
_lock = threading.Lock()


@functools.lru_cache(maxsize=16)
def _load(folder: Path, stamp: int) -> Recognizer:
    return KIND.load(folder)


def _stamp(folder: Path) -> int:
    """Changes when the folder's weights are replaced."""
    return max((path.stat().st_mtime_ns for path in _files(folder) if path.exists()), default=0)


def _files(folder: Path) -> list[Path]:
    """The files of which a weights folder has at least one."""
    return [folder / ENSEMBLE_FILE, folder / CONFIG_FILE, *(folder / stream / CONFIG_FILE for stream in Stream)]


def _size(folder: Path) -> int:
    """How many signs there are, by the first network's configuration. Raises UserError where the folder has none, or
    its ensemble cannot be read."""
    if (folder / ENSEMBLE_FILE).exists():
        read_json(folder / ENSEMBLE_FILE)
    configs = sorted([*folder.glob(CONFIG_FILE), *folder.glob(f"*/{CONFIG_FILE}")])
    glosses = read_json(configs[0]).get("glosses") if configs else None
    if not isinstance(glosses, list) or not glosses:
        raise UserError(f"No network in {folder} names its glosses: restore it.")
    return len(glosses)


def _kind(folder: Path) -> str:
    front = re.match(r"---\n.*?\n---\n", _read(folder / "README.md"), re.DOTALL)
    code = front and re.search(r"^language:[\s\[\-\"']*(\w+)", front[0], re.MULTILINE)  # it may be a list
    return _LANGUAGES.get(code[1], "") if code else ""


def _read(path: Path) -> str:
    """A card's text; a card that cannot be read is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
