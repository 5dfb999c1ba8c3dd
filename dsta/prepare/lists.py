"""The lists that say what is to be prepared: a table of one's own, or the official lists of WLASL and MS-ASL.

- `LABELS.csv`: columns file, gloss, split[, signer[, source]]; split is train, val or test.
- `WLASL_v0.3.json` (https://github.com/dxli94/WLASL): the first N glosses are WLASLN. Frames are counted from 1 at the
  list's 25 fps, the last one included, -1 is the video's end; boxes are (left, top, right, bottom) in pixels.
- `MSASL_{train,val,test}.json` (https://www.microsoft.com/en-us/research/project/ms-asl/): the labels below N are
  MSASLN. Times are seconds of the YouTube video; boxes are (top, left, bottom, right) in fractions of the picture.

Files are looked up by name, in any folder below the one given. WLASL: `VIDEO_ID.mp4`, as its own scripts name them, or
the YouTube video, `YOUTUBE_ID.mp4`. MS-ASL: `YOUTUBE_ID.mp4`, or a clip that is cut already,
`YOUTUBE_ID_START_END.mp4` with the list's frame numbers. yt-dlp's `Title [YOUTUBE_ID].mp4` is understood too. Keypoint
files (`.npz` of `Pose.save`, `.pose`) of these names serve as well, and before videos.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from dsta.common import UserError, lookalikes_note, read_csv, read_json
from dsta.prepare.library import NO_FILE, SPLITS, Library, ListedBox, ListedClip, Listing

SUBSETS = {"WLASL": (100, 300, 1000, 2000), "MSASL": (100, 200, 500, 1000)}

_COLUMNS = ("file", "gloss", "split")
_AS_TABLE = "save it as CSV in UTF-8 whose first line is file,gloss,split[,signer[,source]]"
_OFFICIAL = "download the official list again"
_YOUTUBE = re.compile(r"(?:v=|youtu\.be/|/embed/|/v/)([\w-]{11})")


def read_table(path: str | Path, library: Library) -> Listing:
    """A table of labels in UTF-8 with the columns file, gloss, split and, if known, signer and source.

    Raises UserError for a table that cannot be read, lacks a column or a value, names another split, or contradicts
    itself.
    """
    path = Path(path)
    clips: dict[Path | str, ListedClip] = {}  # by file, however its name is written; by name where there is none
    again = 0
    for line, row in _table_rows(path):
        name, labels = row["file"], (row["gloss"], row["split"], row["signer"], row["source"])
        file, problem = _file_or_problem(partial(library.find, name))
        which = name if problem else file.resolve()
        again += which in clips
        first = clips.setdefault(which, ListedClip(name, *labels[:2], file, *labels[2:], problem=problem))
        if (first.gloss, first.split, first.signer, first.source) != labels:
            spelt = "" if first.clip == name else f", as {first.clip} too"
            raise UserError(f"{path} labels {name} twice, and differently (line {line}{spelt}): keep one of the lines.")
    notes = [f"{path.name} names {again} files twice, with the same labels: they count once."] if again else []
    glosses = sorted({clip.gloss for clip in clips.values()})
    notes += [note for note in (lookalikes_note(glosses),) if note]
    return Listing(list(clips.values()), glosses, library.unlabelled, notes=notes)


def _table_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The line and the cells of each row, those of the columns that are understood."""
    lines = read_csv(path, _COLUMNS, _AS_TABLE)
    if not lines:
        raise UserError(f"{path} has no rows: write one for each video.")
    for line, cells in lines:
        row = {column: cells.get(column, "") for column in (*_COLUMNS, "signer", "source")}
        empty = next((column for column in _COLUMNS if not row[column]), None)
        if empty:
            raise UserError(f"{path} has no {empty} in line {line}: fill it in, or take the line out.")
        if row["split"] not in SPLITS:
            raise UserError(f"{path} has the split {row['split']!r} in line {line}: it must be train, val or test.")
        yield line, row


def read_wlasl(path: str | Path, subset: int, library: Library) -> Listing:
    """The clips of WLASL{subset}. Raises UserError for a list that is none, or a subset that there is not."""
    path = Path(path)
    _check_subset("WLASL", subset)
    entries = read_json(path, list, _OFFICIAL)
    if len(entries) < subset:
        raise UserError(f"{path} is no list of {subset} glosses: WLASL{subset} is made from WLASL_v0.3.json.")
    clips: list[ListedClip] = []
    for place, entry in enumerate(entries[:subset], 1):
        with _in_the_format("WLASL_v0.3.json", path, f"gloss {place}"):
            gloss, instances = str(entry["gloss"]), list(entry["instances"])
        for i, instance in enumerate(instances, 1):
            with _in_the_format("WLASL_v0.3.json", path, f"clip {i} of the gloss {gloss}"):
                clips.append(_wlasl_clip(gloss, instance, library))
    glosses = [str(entry["gloss"]) for entry in entries[:subset]]
    return Listing(clips, glosses, library.unlabelled, f"WLASL{subset}")


@contextmanager
def _in_the_format(name: str, path: Path, entry: str) -> Iterator[None]:
    """Tells which entry of an official list is not as all are."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        why = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise UserError(f"{path} is not in the format of {name} ({entry}: {why}): {_OFFICIAL}.") from error


def _wlasl_clip(gloss: str, instance: dict[str, Any], library: Library) -> ListedClip:
    name, fps = str(instance["video_id"]), float(instance.get("fps") or 25)
    first, last = int(instance["frame_start"]), int(instance["frame_end"])
    file, problem = _file_or_problem(lambda: library.find_stem(name) or library.find_stem(_youtube_id(instance)))
    if instance["split"] not in SPLITS:
        raise ValueError(f"its split is {instance['split']!r}")
    if not 1 <= fps <= 240:
        raise ValueError(f"its fps is {fps:g}")
    if 0 < last < max(1, first):
        raise ValueError(f"it ends with frame {last}, before it begins with frame {first}")
    box = instance.get("bbox")
    return ListedClip(
        clip=name,
        gloss=gloss,
        split=instance["split"],
        file=file,
        signer=_signer(instance.get("signer_id")),
        source=str(instance.get("source") or ""),
        start=max(0, first - 1) / fps,
        end=last / fps if last > 0 else None,
        box=_box(box) if box else None,
        box_in_pixels=True,
        problem=problem,
    )


def read_msasl(folder: str | Path, subset: int, library: Library) -> Listing:
    """The clips of MSASL{subset}, from the folder with `MSASL_train.json`, `MSASL_val.json` and `MSASL_test.json`.

    Raises UserError for lists that are none, or a subset that there is not.
    """
    folder = Path(folder)
    _check_subset("MSASL", subset)
    clips: list[ListedClip] = []
    names: dict[int, str] = {}
    for split in SPLITS:
        path = folder / f"MSASL_{split}.json"
        entries = read_json(path, list, _OFFICIAL)
        for i, entry in enumerate(entries, 1):
            with _in_the_format("MS-ASL", path, f"entry {i}"):
                label = int(entry["label"])
                if label < subset:
                    gloss = names.setdefault(label, str(entry["text"]))
                    clips.append(_msasl_clip(gloss, split, entry, library))
    glosses = _msasl_glosses(folder / "MSASL_classes.json", names, subset)
    again = sum(count - 1 for count in Counter(clip.clip for clip in clips if not clip.problem).values())
    notes = [f"The lists hold {again} clips twice; they stay so, as in the official counts."] if again else []
    return Listing(clips, glosses, library.unlabelled, f"MSASL{subset}", notes)


def _msasl_clip(gloss: str, split: str, entry: dict[str, Any], library: Library) -> ListedClip:
    youtube = _youtube_id(entry)
    name = f"{youtube}_{int(entry['start'])}_{int(entry['end'])}"  # as `dsta.data.official` has it
    file, problem = _file_or_problem(lambda: library.find_stem(name) or library.find_stem(youtube))
    cut_already = file.stem == name
    times = None if cut_already else _msasl_times(entry)
    if not (problem or cut_already or times):
        problem = "The list tells neither the times of this clip nor the frame rate: download the full list of MS-ASL."
    start, end = times or (0.0, None)
    box = entry.get("box")
    top, left, bottom, right = _box(box) if box else (0.0, 0.0, 1.0, 1.0)
    return ListedClip(
        clip=name,
        gloss=gloss,
        split=split,
        file=file,
        signer=_signer(entry.get("signer_id")),
        source=youtube,
        start=start,
        end=end,
        box=(left, top, right, bottom) if box else None,
        problem=problem,
    )


def _msasl_times(entry: dict[str, Any]) -> tuple[float, float] | None:
    """The seconds of the YouTube video from and to which the sign goes; None where the list does not tell."""
    start, end = entry.get("start_time"), entry.get("end_time")
    fps = float(entry.get("fps") or 0)
    if start is None or end is None:
        if not fps:
            return None
        start, end = int(entry["start"]) / fps, int(entry["end"]) / fps
    if not 0 <= float(start) < float(end):
        raise ValueError(f"it goes from {start} to {end} s")
    return float(start), float(end)


def _msasl_glosses(path: Path, names: dict[int, str], subset: int) -> list[str]:
    """The names of the classes: those that the clips have; of a class without clips, that in the list of classes."""
    if len(names) < subset:
        classes = read_json(path, list, _OFFICIAL)
        if len(classes) < subset:
            raise UserError(f"{path} is no list of {subset} glosses: download it again.")
        names = dict(enumerate(map(str, classes[:subset]))) | names
    return [names[label] for label in range(subset)]


def _file_or_problem(find: Callable[[], Path | None]) -> tuple[Path, str]:
    """A clip's file; or none, and the sentence why."""
    try:
        file = find()
    except UserError as error:
        return Path(), str(error)
    return (file, "") if file else (Path(), NO_FILE)


def _check_subset(family: str, subset: int) -> None:
    if subset not in SUBSETS[family]:
        raise UserError(f"There is no {family}{subset}: --subset is one of {', '.join(map(str, SUBSETS[family]))}.")


def _youtube_id(entry: dict[str, Any]) -> str:
    found = _YOUTUBE.search(str(entry["url"]))
    return found[1] if found else ""


def _signer(number: Any) -> str:
    return "" if number is None or int(number) < 0 else str(int(number))  # MS-ASL writes -1 where it does not know


def _box(numbers: Sequence[Any]) -> ListedBox:
    a, b, c, d = (float(number) for number in numbers)
    return a, b, c, d
