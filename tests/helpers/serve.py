"""The page in a process of its own, with a stand-in recogniser: `python -m helpers.serve PORT GO`, from the root, with
`tests` on the path. A video whose name begins with "held" is answered only once there is a file GO."""

import sys
import time
from pathlib import Path

from helpers.page import FakeRecognizer, offered, recognition

import app
from dsta.page import vocabularies
from dsta.video import read_frames


class HeldRecognizer(FakeRecognizer):
    def __init__(self, go: Path) -> None:
        super().__init__(recognition())
        self.go = go

    def recognize(self, source, progress=None, on_frame=None):
        while source.name.startswith("held") and not self.go.exists():
            on_frame(next(read_frames(source)))
            time.sleep(0.05)
        return super().recognize(source, progress, on_frame)


if __name__ == "__main__":
    there = {"a": offered("a", "American", HeldRecognizer(Path(sys.argv[2])))}
    vocabularies.found = lambda: there
    app.build().launch(**app.LAUNCH, server_port=int(sys.argv[1]))
