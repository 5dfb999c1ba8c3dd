"""The page in a process of its own, with a stand-in recogniser: `python -m helpers.serve PORT GO`, from the root, with
`tests` on the path. A video whose name begins with "held" is answered only once there is a file GO."""

import sys
import time
from pathlib import Path

from helpers.page import FakeFinder, FakeRecognizer, offered, recognition

import app
from dsta.page import line, vocabularies
from dsta.page.find import Found
from dsta.page.line import Line


class HeldFinder(FakeFinder):
    def __init__(self, go: Path) -> None:
        self.go = go

    def find(self, path, fps, asked, progress, check) -> Found:
        while path.name.startswith("held") and not self.go.exists():
            check()
            time.sleep(0.05)
        return super().find(path, fps, asked, progress, check)


if __name__ == "__main__":
    there = {"a": offered("a", "American", FakeRecognizer(recognition()))}
    vocabularies.found = lambda: there
    line.LINE = Line([HeldFinder(Path(sys.argv[2]))])
    app.launch(app.build(), server_port=int(sys.argv[1]))
