"""Damaged videos and skeleton files, one after another, through the page's whole path from an upload to its outcome.

    python tests/fuzz.py                        # 2000 files, some twenty minutes
    python tests/fuzz.py --count 100 --seed 7

Each must come to an answer or to a sentence. Exit code 1 where the program itself failed; the first such files are then
kept in --keep.
"""

import argparse
import io
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from av.stream import Disposition
from helpers.media import numbered, write_sound, write_streams, write_video
from helpers.page import recognition

from dsta.checkpoint import DEFAULT_WEIGHTS
from dsta.common.machine import peak_mb
from dsta.page import runs
from dsta.page.uploads import Uploads

ROOT = Path(__file__).resolve().parents[1]
CODECS = [("mp4", "libx264"), ("mov", "libx264"), ("avi", "mpeg4"), ("mkv", "libx264"), ("webm", "libvpx")]
CODECS += [("webm", "libvpx-vp9"), ("mp4", "libx265"), ("mp4", "libsvtav1")]
EXTREMES = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x100000, 0x7FFFFFFF, 0xFFFFFFFF]


def sources(folder: Path) -> list[tuple[str, bytes]]:
    """Whole files of every kind that is read: (name, content). With a signer where the folder `data` has one."""
    pictures = numbered(6, 96, 96)
    videos = [write_video(folder / f"{i}.{ending}", pictures, codec=codec) for i, (ending, codec) in enumerate(CODECS)]
    fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    videos.append(write_video(folder / "fragments.mp4", pictures, options=fragments))
    videos.append(write_video(folder / "live.webm", pictures, codec="libvpx", options={"live": "1"}))
    still = Disposition(0)
    videos.append(write_streams(folder / "camera.avi", ("mjpeg", pictures, 25, still)))
    videos.append(write_sound(folder / "sound.mp4"))
    for ending in ("npz", "pose"):
        recognition().pose.save(folder / f"a.{ending}")
        videos.append(folder / f"a.{ending}")
    videos += sorted((ROOT / "data" / "wlasl_clips").glob("*.mp4"))[1:2]
    return [(path.name, path.read_bytes()) for path in videos]


def damaged(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """Another file, made of this one by one to four changes, most of them near its head or its end."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place = min(int(chance.choice([chance.random(), chance.random() ** 4, 1 - chance.random() ** 4]) * len(data)),
                    max(0, len(data) - 1))  # fmt: skip
        length = chance.choice([1, 2, 4, 8, 64, 1024])
        kind = chance.choice(["bits", "number", "number", "noise", "cut", "twice", "without", "foreign"])
        if kind == "bits" and data:
            data[place] ^= 1 << chance.randrange(8)
        elif kind == "number":
            data[place : place + 4] = chance.choice(EXTREMES).to_bytes(4, chance.choice(["big", "little"]))
        elif kind == "noise":
            data[place : place + length] = chance.randbytes(length)
        elif kind == "cut":
            del data[max(place, 16) :]
        elif kind == "twice":
            data[place:place] = data[place : place + length]
        elif kind == "without":
            del data[place : place + length]
        else:
            data[place : place + length] = other[place : place + length]
    return bytes(data)


def fuzz(count: int, seed: int, keep: Path | None = None) -> Counter[str]:
    """How often each kind of outcome came: `answer`, `sentence`, `broke off` (the process that looks for joints died),
    `memory`, `too long`, and `failed`, which must not be."""
    chance, outcomes = random.Random(seed), Counter()
    with tempfile.TemporaryDirectory() as folder:
        uploads, whole = Uploads(lambda: folder), sources(Path(folder))
        for number in range(count):
            (name, content), (_, other) = chance.choice(whole), chance.choice(whole)
            content = damaged(content, other, chance)
            path = uploads.keep(io.BytesIO(content), name)
            said: dict[str, Any] = {}
            for each in runs.outcomes(uploads, path.parent.name, DEFAULT_WEIGHTS.name, lambda *_: None):
                said |= each
            kind = outcome_kind(said)
            outcomes[kind] += 1
            if kind in ("failed", "broke off", "too long"):
                print(f"{number}: {name}: {kind}", flush=True)
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{kind.replace(' ', '-')}-{seed}-{number}-{name}").write_bytes(content)
            assert not path.exists()
            if number % 100 == 99:
                print(f"{number + 1}: {dict(outcomes)}, this process {peak_mb():.0f} MB", flush=True)
    return outcomes


def outcome_kind(said: dict) -> str:
    problem = said.get("problem", "")
    if not problem:
        return "answer"
    for words, kind in (("broke off", "broke off"), ("took longer", "too long"), ("more memory than", "memory")):
        if words in problem:
            return kind
    return "failed" if "went wrong in the program" in problem else "sentence"


def main() -> int:
    parser = argparse.ArgumentParser(description="Damaged files through the page's whole path.")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for files at which a process died or the program failed")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    begun = time.monotonic()
    outcomes = fuzz(args.count, args.seed, args.keep)
    print(f"{args.count} files in {time.monotonic() - begun:.0f} s: {dict(outcomes)}")
    return 1 if outcomes["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
