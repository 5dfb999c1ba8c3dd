"""A row of the leaderboard from predictions that another program made: scored here, on the official clips.

    python eval/submit.py PREDICTIONS --dataset WLASL100 --protocol test --system NAME --origin URL
        --trained-on "the training split" [--input pose] [--out leaderboard/results]

PREDICTIONS is a CSV with a column `clip` and one for each gloss, named by it, or an .npz with `clips` (n,), `glosses`
(K,) and `scores` (n, K): a score for each gloss, the higher the likelier; logits, or probabilities that sum to 1. Its
clips must be those of the official list, each once. See docs/submit.md.
"""

import argparse
import csv
import shlex
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from dsta.checkpoint import git_commit
from dsta.common import UserError, composed, exit_code, file_sha256, write_npz
from dsta.data import benchmark, clip_key, official
from dsta.data.benchmarks import Official
from dsta.metrics import figures, ranks
from eval.doctor import verdict
from leaderboard import results
from leaderboard.results import OUT, SCORES_FOLDER, check_writable
from leaderboard.scores import kept_arrays, submitted_file

MOST_MB = 256
LEAST_PROBABILITY = 1e-6  # what is less likely counts as this likely: log-loss knows no impossible answer
SPLITS = {"test": ("test",), "val": ("val",), "val+test": ("val", "test")}


class Submission(NamedTuple):
    """clips: (n,) names as the official list has them; glosses: (K,); scores: (n, K)."""

    clips: list[str]
    glosses: list[str]
    scores: np.ndarray


def read_submission(path: Path) -> Submission:
    """A file of predictions as it stands. Raises UserError."""
    try:
        size = path.stat().st_size
        if path.suffix.lower() == ".npz" and size <= MOST_MB << 20:
            with zipfile.ZipFile(path) as file:
                size = max(size, sum(part.file_size for part in file.infolist()))
        if size > MOST_MB << 20:
            raise UserError(
                f"{path} holds {size >> 20} MB, more than the {MOST_MB} MB that are read: keep only the scores."
            )
        found = _from_npz(path) if path.suffix.lower() == ".npz" else _from_csv(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from error
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is no .npz file, or is cut off: save it again with numpy.savez.") from error
    clips, glosses = [clip_key(name) for name in found.clips], [composed(gloss) for gloss in found.glosses]
    return Submission(clips, glosses, found.scores)


def _from_npz(path: Path) -> Submission:
    try:
        with np.load(path, allow_pickle=False) as saved:
            clips, glosses, scores = (saved[name] for name in ("clips", "glosses", "scores"))
            return Submission(clips.astype(str).tolist(), glosses.astype(str).tolist(), scores.astype(np.float64))
    except KeyError as error:
        raise UserError(f"{path} lacks an array: it must have clips (n,), glosses (K,) and scores (n, K).") from error
    except (ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read ({error}): save plain arrays with numpy.savez.") from error


def _from_csv(path: Path) -> Submission:
    """Row by row, since the scores of a large benchmark as text would fill the memory."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            head = [cell.strip() for cell in next(reader, [])]
            if head[:1] != ["clip"]:
                raise UserError(f"{path} must begin with a column `clip`, and have one for each gloss after it.")
            clips, scores = [], []
            for cells in filter(any, reader):
                if len(cells) != len(head):
                    raise UserError(f"{path} has {len(cells)} cells in line {reader.line_num}, not {len(head)}.")
                clips.append(cells[0].strip())
                scores.append(np.array(cells[1:], dtype=np.float64))
    except UserError:  # which is a ValueError too
        raise
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no CSV in UTF-8 ({error}).") from error
    except ValueError as error:
        raise UserError(f"{path} has a score in line {reader.line_num} that is no number ({error}).") from error
    return Submission(clips, head[1:], np.array(scores).reshape(len(clips), len(head) - 1))


def in_official_order(found: Submission, wanted: dict[str, Official], glosses: Sequence[str]) -> np.ndarray:
    """(n, K) the scores with clips in the order of `wanted` and classes in that of `glosses`. Raises UserError."""
    _same(found.glosses, glosses, "glosses", "column")
    _same(found.clips, wanted, "clips of the official list", "row")
    if found.scores.shape != (len(found.clips), len(found.glosses)):
        shape = f"{len(found.clips)} clips × {len(found.glosses)} glosses"
        raise UserError(f"The scores have the shape {found.scores.shape}, but there are {shape}.")
    bad = ~np.isfinite(found.scores).all(1)
    if bad.any():
        first = found.clips[int(np.flatnonzero(bad)[0])]
        raise UserError(
            f"The scores of {bad.sum()} clips, the first being {first}, hold NaN or infinity: give numbers."
        )
    rows = {clip: place for place, clip in enumerate(found.clips)}
    columns = {gloss: place for place, gloss in enumerate(found.glosses)}
    return found.scores[[rows[clip] for clip in wanted]][:, [columns[gloss] for gloss in glosses]]


def _same(found: Sequence[str], wanted: Iterable[str], what: str, each: str) -> None:
    """Raises UserError where names are doubled, missing or foreign."""
    there, needed = Counter(found), list(wanted)
    twice = [name for name, count in there.items() if count > 1]
    if twice:
        raise UserError(
            f"{len(twice)} of the {what}, such as {twice[0]}, have more than one {each}: give each one once."
        )
    missing = [name for name in needed if name not in there]
    foreign = sorted(set(there) - set(needed))
    if missing or foreign:
        lack = f"{len(missing)} of {len(needed)} {what} are missing, such as {missing[0]}" if missing else ""
        strange = f"{len(foreign)} are none of the {what}, such as {foreign[0]}" if foreign else ""
        raise UserError(f"{'; '.join(filter(None, (lack, strange)))}: give exactly the {len(needed)} {what}.")


def as_logits(scores: np.ndarray) -> tuple[np.ndarray, str]:
    """Scores (n, K) as logits, and a note if they were probabilities."""
    if (scores >= 0).all() and np.allclose(scores.sum(1), 1, atol=1e-3):
        return np.log(
            np.maximum(scores, LEAST_PROBABILITY)
        ), f"Probabilities; below {LEAST_PROBABILITY:g} they count as that."
    return scores, ""


def clusters_of(folder: Path, clips: Sequence[str]) -> tuple[np.ndarray, str]:
    """(n,) whose take each clip is, as the measured rows' kept scores say, and what that is; empty if they do not."""
    try:
        kept = kept_arrays(folder)
    except UserError:  # nothing was measured here of this data set
        return np.array([]), ""
    place = {name: i for i, name in enumerate(kept.get("names", []))}
    if not len(kept["clusters"]) or not all(clip in place for clip in clips):
        return np.array([]), ""
    return kept["clusters"][[place[clip] for clip in clips]], str(kept["kind"])


def submit(args: argparse.Namespace, command: str) -> None:
    """Scores a file of predictions, and writes its row and what it said of each clip. Raises UserError."""
    check_writable(args.out)
    name = benchmark(args.dataset).name
    known = official(name)
    if not known:
        raise UserError(f"There is no official list of {name} here, so a file of its predictions cannot be checked.")
    wanted = {clip: entry for clip, entry in known.items() if entry.split in SPLITS[args.protocol]}
    glosses = [gloss for _, gloss in sorted({(entry.label, entry.gloss) for entry in known.values()})]
    scores, note = as_logits(in_official_order(read_submission(args.predictions), wanted, glosses))
    labels = np.array([entry.label for entry in wanted.values()])
    trouble = verdict(scores, labels)
    if trouble.endswith("another order."):
        raise UserError(f"{trouble} Put the glosses into the order of their scores.")
    clusters, kind = clusters_of(args.out / SCORES_FOLDER / name, list(wanted))
    found = figures(scores, labels, ranks(scores, labels), clusters if kind else None)
    row: dict[str, Any] = {
        "dataset": name,
        "protocol": args.protocol,
        "system": args.system,
        "input": args.input,
        "trained_on": args.trained_on,
        "origin": args.origin,
        **found,
        "interval": _interval(clusters, kind),
        "note": " ".join(filter(None, (note, trouble))),
        "predictions_sha256": file_sha256(args.predictions),
        "command": command,
        **results.made_by(git_commit(), results.now()),
    }
    write_npz(
        submitted_file(args.out, row),
        names=np.array(list(wanted)),
        labels=labels.astype(np.int16),
        scores=scores.astype(np.float16),
        glosses=np.array(glosses),
        clusters=clusters,
        kind=np.array(kind),
        predictions_sha256=np.array(row["predictions_sha256"]),
    )
    results.write_submitted(args.out, [row])
    top1, low, high = (row[f"top1_instance{end}"] for end in ("", "_lo", "_hi"))
    print(f"{args.system}: top-1 {top1:.1%} [{low:.1%}, {high:.1%}], n = {row['n']}, {name} {args.protocol}, submitted")


def _interval(clusters: np.ndarray, kind: str) -> str:
    if not kind:
        return "Wilson; per class: bootstrap, glosses"
    return f"bootstrap over {len(np.unique(clusters))} {kind}, Wilson at least"


def named(text: str) -> str:
    """A name or an origin: one line of 1 to 200 characters."""
    words = " ".join(text.split())
    if not 0 < len(words) <= 200:
        raise argparse.ArgumentTypeError("give 1 to 200 characters")
    return words


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python eval/submit.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("predictions", type=Path, metavar="PREDICTIONS", help=".csv or .npz")
    add("--dataset", required=True, metavar="NAME", help="a benchmark with an official list")
    add("--protocol", choices=list(SPLITS), default="test", help="default: test")
    add("--system", required=True, type=named, help="its name in the table")
    add("--origin", required=True, type=named, help="an address or a sentence: where the predictions come from")
    add("--trained-on", required=True, type=named, help="the data that the system has learned and was chosen from")
    add("--input", default="pose", type=named, help="pose, rgb, rgb+pose … (default: pose)")
    add("--out", type=Path, default=OUT, metavar="DIR", help="default: leaderboard/results")
    args = parser.parse_args(arguments)
    command = shlex.join(["python", "eval/submit.py", *(sys.argv[1:] if arguments is None else arguments)])
    return exit_code(lambda: submit(args, command))


if __name__ == "__main__":
    sys.exit(main())
