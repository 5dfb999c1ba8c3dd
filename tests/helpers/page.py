"""The page, served, and stand-ins for its vocabularies and their recognisers."""

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from helpers.clips import signer
from helpers.teaching import ESTIMATOR, take

import app
from dsta.common import UserError
from dsta.keypoints import POSE_SUFFIXES, Pose
from dsta.page import draw, runs
from dsta.page.find import Found, Pictures, found_in
from dsta.recognize import Prediction, Recognition
from dsta.skeleton import LEFT_HAND, NUM_JOINTS, RIGHT_HAND
from dsta.video import read_frames

GLOSSES = ("book", "<b>drink</b>", "no", "yes", "help", "later")
ANSWER = "Best match among 6 American signs. book. 90%."  # what is announced of `recognition`


def recognition(confident: bool = True) -> Recognition:
    keypoints = np.random.default_rng(0).uniform(1, 100, (12, NUM_JOINTS, 3)).astype(np.float32)
    keypoints[..., 2] = 1
    ranked = tuple(map(Prediction, GLOSSES, (0.9, 0.05, 0.03, 0.01, 0.005, 0.005)))
    quality = {"frames": 12, "seconds": 0.48, "body": 1.0, "left_hand": 0.25, "right_hand": 0.999, "known_sign": None}
    quality |= {"certainty": None}
    quality |= {"confident": confident, "notes": [] if confident else ["No hand was seen in 3 < 4 frames."]}
    pose = Pose(keypoints, 25.0, 160, 120, "mediapipe-holistic")
    streams = dict.fromkeys(("joint", "bone", "joint_motion", "bone_motion"), ranked)
    return Recognition(ranked, streams, quality, {"joints": 2.13, "network": 0.1}, pose, keypoints[:8])


def outcome(uploads, run, name, progress=lambda *_: None) -> dict[str, Any]:
    """What a run comes to in the end."""
    said: dict[str, Any] = {}
    for each in runs.outcomes(uploads, run, name, progress):
        said |= each
    return said


class FakeRecognizer:
    """Answers, or fails, as it is told."""

    def __init__(self, answer: Recognition | Exception, glosses: tuple[str, ...] = GLOSSES) -> None:
        self.answer, self.glosses = answer, glosses
        self.ensemble = SimpleNamespace(averages=None, familiar=None, threshold=0.5)

    def recognize(self, source, progress=None, find=None) -> Recognition:
        if find:
            find(source)
        if progress:
            progress("Running the network", 0.5)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class WaitingRecognizer(FakeRecognizer):
    """Answers when it is let go."""

    def __init__(self, answer: Recognition | Exception | None = None) -> None:
        super().__init__(answer or recognition())
        self.begun, self.go_on = threading.Event(), threading.Event()

    def recognize(self, source, progress=None, find=None):
        self.begun.set()
        assert self.go_on.wait(600)
        return super().recognize(source, progress, find)


class FakeFinder:
    """In place of a process that looks for joints: whatever a video shows, it finds those of `recognition`."""

    def begin(self) -> None: ...

    def forget(self) -> None: ...

    def find(self, path, fps, asked, progress, check) -> Found:
        if path.suffix in POSE_SUFFIXES:
            return Found(Pose.load(path))
        frames = []
        for frame in read_frames(path):
            check()
            progress("Finding joints", frame.time)
            frames.append(frame.image)
        return Found(recognition().pose, None, lambda: Pictures(draw.to_webp(frames[:1]), draw.to_webp(frames)))


class TakesFinder(FakeFinder):
    """Finds in each video another take of the same sign; skeleton files are read."""

    def __init__(self) -> None:
        self.number = itertools.count()

    def find(self, path, fps, asked, progress, check) -> Found:
        found = super().find(path, fps, asked, progress, check)
        if path.suffix == ".npz":
            return found
        return Found(Pose(take(0, next(self.number)), 15, 512, 512, ESTIMATOR), None, found.draw)


class HereFinder(FakeFinder):
    """Looks for joints in this process."""

    def find(self, path, fps, asked, progress, check) -> Found:
        def told(step, share):
            check()
            progress(step, share)

        return found_in(path, fps, asked, told)


class FakeEye:
    """In place of a process that looks at a camera's pictures: sees hands that go up for a second and rest for two."""

    closed = 0

    def __init__(self) -> None:
        self.asked = []

    def look(self, jpeg, seconds, first):
        if jpeg == b"bad":
            raise UserError("This is no JPEG.")
        self.asked.append(first)
        joints = signer(1)[0]
        joints[[*LEFT_HAND, *RIGHT_HAND], 1] -= 150 * min(seconds % 3, 1.0)
        return joints.astype(np.float32), (512, 512)

    def close(self) -> None:
        FakeEye.closed += 1


def offered(name: str, kind: str, recognizer: FakeRecognizer | UserError, card: str = "") -> SimpleNamespace:
    def loaded():
        if isinstance(recognizer, Exception):
            raise recognizer
        return recognizer

    label = f"{kind or name} (6 signs)"
    return SimpleNamespace(folder=Path("weights") / name, kind=kind, label=label, card=card, recognizer=loaded)


@contextmanager
def on_the_loopback() -> Iterator[str]:
    """The address of a page of this process, while it is served.

    gradio gives a server five seconds to begin, which are short while other tests run; its own further tries fail.
    """
    for last in (False, False, True):
        blocks = app.build()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        try:
            address = app.launch(blocks, server_port=port, prevent_thread_lock=True, quiet=True)
        except OSError:
            if last:
                raise
        else:
            break
    yield address
    blocks.close()
