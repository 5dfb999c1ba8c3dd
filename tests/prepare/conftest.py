"""Data sets made of files that hold no video, the lists of MS-ASL, and a Dask cluster on this machine, started once."""

import csv
import json
import os
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
from helpers.finders import made_up, pose_of

from dsta.data.prepared import Prepared
from dsta.prepare import build_dataset
from dsta.prepare.library import Library
from dsta.prepare.lists import read_table


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed", reason="Dask is optional: pip install distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with distributed.LocalCluster(**options) as cluster:
        yield cluster


class Place:
    """A folder of files that hold no video, and data sets made of them. seen: what was looked at here, run by run."""

    def __init__(self, folder):
        self.folder, self.out, self.videos = folder, folder / "out", folder / "videos"
        self.videos.mkdir()
        self.seen = []
        self.files(*"abcdefg", "bad1", "bad2", "bug", "a-copy")

    def files(self, *names):
        for name in names:
            path = self.videos / f"{name}.mp4"
            path.write_bytes(name.encode())
            os.utime(path, (1, 1))

    def listing(self, *names, glosses=("g",), splits=("train",), signers=("",), benchmark=""):
        """The table of these files; glosses, splits and signers go round. benchmark: of which list it is said to be."""
        rows = zip((f"{name}.mp4" for name in names), cycle(glosses), cycle(splits), cycle(signers))
        with (self.folder / "labels.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("file", "gloss", "split", "signer"), *rows])
        return replace(read_table(self.folder / "labels.csv", Library(self.videos)), name=benchmark)

    def run(self, *names, out=None, find=made_up, fps=25.0, workers=1, scheduler="", **labels):
        looked = []

        def found(item, fps):
            looked.append(item.file.stem)
            return find(item, fps)

        how = {"workers": workers, "scheduler": scheduler, "find": found, "fps": fps}
        try:
            return build_dataset(self.listing(*names, **labels), out or self.out, **how)
        finally:
            self.seen.append("".join(looked))

    def clips(self):
        """What the folder holds, each clip's joints checked to be its own."""
        prepared = Prepared.read(self.out)
        for row, joints in zip(prepared.rows, prepared.clips(prepared.rows), strict=True):
            assert np.array_equal(joints, pose_of(row.clip.removesuffix(".mp4")).clip())
        return "".join(row.clip.removesuffix(".mp4") for row in prepared.rows)

    def unlisted(self):
        path = self.out / "unlisted.csv"
        return "".join(row["clip"][0] for row in csv.DictReader(path.open())) if path.exists() else ""

    def content(self, out=None):
        folder = out or self.out
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def msasl(tmp_path):
    """Writes the lists of MS-ASL and returns their folder: of each split some clips, told by what is changed in one."""
    clip = {
        "url": "https://www.youtube.com/watch?v=aaaaaaaaaaa&t=17s",
        "start_time": 2.5,
        "end_time": 4.0,
        "start": 75,
        "end": 120,
        "fps": 30.0,
        "label": 5,
        "text": "five",
        "clean_text": "fife",
        "box": [0.1, 0.2, 0.9, 0.6],
        "signer_id": 12,
    }

    def write(train=(), val=(), test=()):
        for split, changes in {"train": train, "val": val, "test": test}.items():
            (tmp_path / f"MSASL_{split}.json").write_text(json.dumps([clip | change for change in changes]))
        (tmp_path / "MSASL_classes.json").write_text(json.dumps([f"class {i}" for i in range(1000)]))
        return tmp_path

    return write
