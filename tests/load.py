"""Visitors of the page, many at a time, over the loopback: everybody must be answered or clearly refused.

    python tests/load.py data/wlasl_clips                     # 60 visitors in three minutes, then on to 100 answers
    python tests/load.py VIDEOS --visitors 10 --seconds 20 --answers 10

Starts the page, sends a fifth of the visitors with bad files, each visitor from an address of their own (as a proxy on
this machine would say), and reports how long they waited, the memory of the page and of the processes that look for
joints, and what is left on the disk. Exit code 1 where somebody was not answered, a file is left, or memory grew.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
API = "/gradio_api"
MOST_PAGE_MB = 1200.0  # after all answers
MOST_GROWTH = 0.10  # after the first twenty
# gradio looks whether it can be reached, and gives up after seconds on a machine that is busy otherwise.
PAGE = "import runpy; from gradio import networking; networking.url_ok = lambda url: True\n"
PAGE += "runpy.run_path('app.py', run_name='__main__')"
PATIENCE = 600.0  # seconds that a visitor waits


@dataclass
class Visit:
    """What became of a visitor. kind: answer, sentence, refused or lost. seconds: from the upload's begin on."""

    kind: str
    seconds: float
    words: str = ""


@dataclass
class Memory:
    """Resident megabytes through the test: (answers so far, the page, the processes it started)."""

    process: int
    samples: list[tuple[int, float, float]] = field(default_factory=list)

    def sample(self, answers: int) -> None:
        children = Path(f"/proc/{self.process}/task/{self.process}/children").read_text().split()
        for task in Path(f"/proc/{self.process}/task").iterdir():  # each thread has children of its own
            with_children = task / "children"
            if with_children.exists():
                children += with_children.read_text().split()
        self.samples.append((answers, resident(self.process), sum(resident(int(child)) for child in set(children))))

    def peak(self, first: int, last: int, which: int) -> float:
        """The most of the page (1) or its processes (2), or of both (0), between so many answers."""
        chosen = [sample for sample in self.samples if first <= sample[0] <= last]
        return max((page + rest if which == 0 else (page, rest)[which - 1] for _, page, rest in chosen), default=0.0)


def resident(process: int) -> float:
    try:
        status = Path(f"/proc/{process}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 2**10
    except (OSError, StopIteration):  # it has just ended
        return 0.0


@contextmanager
def served(folder: Path):
    """The page's address and its process, while it runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = os.environ | {"GRADIO_SERVER_PORT": port, "PORT": port, "GRADIO_TEMP_DIR": str(folder)}
    with (folder.parent / "log").open("w") as log:
        page = subprocess.Popen([sys.executable, "-c", PAGE], cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}", page.pid
            if page.poll() is not None:
                print(f"The page ended by itself, with the code {page.returncode}.")
        finally:
            page.terminate()
            page.wait()
            print((folder.parent / "log").read_text()[-3000:], end="")


@dataclass(frozen=True)
class Page:
    """What a visitor's browser knows of the page: the numbers of four events, and the vocabulary that is chosen."""

    claim: int
    recognise: int
    draw: int
    forget: int
    vocabulary: str


def opened(site: str) -> Page:
    """Waits until the page is there."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            config = httpx.get(f"{site}/config", timeout=30).raise_for_status().json()
            break
        except httpx.HTTPError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
    own = [one for one in config["dependencies"] if one["api_visibility"] == "private" and one["backend_fn"]]
    names = ("claim", "draw", "forget_answer")
    claim, draw, forget = (next(one["id"] for one in own if one["api_name"] == name) for name in names)
    (recognise,) = (one["id"] for one in own if one["queue"] is not False and len(one["inputs"]) == 3)
    (choice,) = (one["props"] for one in config["components"] if one["props"].get("elem_id") == "choice")
    return Page(claim, recognise, draw, forget, choice["value"])


def visit(site: str, number: int, file: Path, of: Page) -> Visit:
    """One visitor, as the browser does it: upload, claim, ask, and listen until the answer."""
    begun, session = time.monotonic(), f"session{number}x{time.monotonic_ns()}"
    head = {"X-Forwarded-For": f"10.0.{number // 250}.{number % 250 + 1}"}

    def end(kind: str, words: str = "") -> Visit:
        return Visit(kind, time.monotonic() - begun, words)

    try:
        with httpx.Client(base_url=site, headers=head, timeout=PATIENCE) as client:
            answer = client.post(f"{API}/upload", files={"files": (file.name, file.read_bytes())})
            if answer.status_code != 200:
                return end("refused", answer.text)
            run = Path(answer.json()[0]).parent.name
            event = {"session_hash": session, "trigger_id": None, "event_data": None}
            client.post(f"{API}/run/predict", json=event | {"fn_index": of.claim, "data": [run]}).raise_for_status()
            asked = client.post(
                f"{API}/queue/join", json=event | {"fn_index": of.recognise, "data": [run, of.vocabulary, ""]}
            )
            if asked.status_code != 200:
                return end("refused", asked.text)
            said = listen(client, session)
            client.post(f"{API}/queue/join", json=event | {"fn_index": of.draw, "data": [run]}).raise_for_status()
            listen(client, session)
            client.post(f"{API}/run/predict", json=event | {"fn_index": of.forget, "data": [None]}).raise_for_status()
    except httpx.HTTPError as error:
        return end("lost", repr(error))
    if said is None or said.get("run") != run:
        return end("lost", str(said)[:200])
    if "answer" in said:
        return end("answer")
    return end("refused" if "oo many people" in said["problem"] else "sentence", said["problem"])


def listen(client: httpx.Client, session: str) -> dict | None:
    """What the page says at last of a visitor's run."""
    with client.stream("GET", f"{API}/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            if message.get("msg") == "process_completed":
                return message["output"]["data"][0] if message["success"] else None
    return None


def bad_files(folder: Path, good: Path) -> list[Path]:
    """What is no video, is cut off, and claims what it does not hold."""
    claims = struct.pack(">I", 20) + b"stsz" + struct.pack(">III", 0, 1, 20_000_000)
    contents = {
        "text.mp4": b"no video " * 100,
        "cut.mp4": good.read_bytes()[:3000],
        "empty.webm": b"",
        "noise.avi": os.urandom(50_000),
    }
    contents["claims.mp4"] = struct.pack(">I", 12) + b"ftypisom" + claims
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


class Test:
    """The visits to one page, its memory meanwhile."""

    def __init__(self, site: str, process: int, good: list[Path], bad: list[Path]) -> None:
        self.site, self.good, self.bad, self.memory = site, good, bad, Memory(process)
        self.page, self.visits, self.ended = opened(site), [], threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def answers(self) -> int:
        return sum(one.kind == "answer" for one in self.visits)

    def _watch(self) -> None:
        while not self.ended.wait(0.5):
            self.memory.sample(self.answers)

    def one(self, number: int, spread: float = 0.0) -> None:
        time.sleep(spread * number)
        file = self.bad[number // 5 % len(self.bad)] if number % 5 == 4 else self.good[number % len(self.good)]
        self.visits.append(visit(self.site, number, file, self.page))

    def crowd(self, visitors: int, seconds: float) -> list[Visit]:
        with ThreadPoolExecutor(visitors) as pool:
            list(pool.map(lambda number: self.one(number, seconds / visitors), range(visitors)))
        return self.visits.copy()

    def until(self, answers: int, end: float) -> None:
        """Further visitors, three at a time, until so many are answered or it is that late."""
        with ThreadPoolExecutor(3) as pool:
            for first in range(1000, 1000 + 4 * answers, 3):
                if self.answers >= answers or time.monotonic() > end:
                    return
                list(pool.map(self.one, range(first, first + 3)))


def report_waits(crowd: list[Visit], args: argparse.Namespace) -> None:
    kinds = Counter(one.kind for one in crowd)
    waits = sorted(one.seconds for one in crowd if one.kind == "answer")
    print(f"{args.visitors} visitors in {args.seconds:.0f} s: {dict(kinds)}")
    for words, count in Counter(one.words[:120] for one in crowd if one.words).most_common():
        print(f"  {count} × {words}")
    if len(waits) > 1:
        p95 = statistics.quantiles(waits, n=20)[-1]
        print(f"wait for an answer: median {waits[len(waits) // 2]:.1f} s, p95 {p95:.1f} s, longest {waits[-1]:.1f} s")
    told = sorted(one.seconds for one in crowd if one.kind in ("sentence", "refused"))
    if told:
        print(f"wait for a refusal: median {told[len(told) // 2]:.1f} s, longest {told[-1]:.1f} s")
    print(f"load average: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)


def report_memory(test: Test, left: list[Path]) -> bool:
    """Prints the figures; whether all is as it must be."""
    memory, last = test.memory, test.answers
    steady, end = memory.peak(15, 20, 0), memory.peak(max(last - 5, 0), last, 0)
    growth = end / steady - 1 if steady and last > 25 else 0.0
    page = memory.peak(max(last - 5, 0), last, 1)
    print(f"memory: the page {memory.peak(15, 20, 1):.0f} MB at 20 answers, {page:.0f} MB at {last};")
    print(f"  with the processes that look for joints {steady:.0f} MB and {end:.0f} MB ({growth:+.1%})")
    print(f"files left: {len(left)}")
    lost = sum(one.kind == "lost" for one in test.visits)
    return not lost and not left and growth <= MOST_GROWTH and page < MOST_PAGE_MB


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("videos", type=Path, help="a folder of short videos with a signer")
    parser.add_argument("--visitors", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--answers", type=int, default=100, help="go on, three visitors at a time, to so many in all")
    parser.add_argument("--minutes", type=float, default=15.0, help="but no longer than that")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and the page with it
    good = sorted(args.videos.glob("*.mp4"))[:20]
    with tempfile.TemporaryDirectory() as folder:
        uploads, files = Path(folder) / "uploads", Path(folder) / "bad"
        uploads.mkdir()
        files.mkdir()
        with served(uploads) as (site, process):
            test = Test(site, process, good, bad_files(files, good[0]))
            crowd = test.crowd(args.visitors, args.seconds)
            left = [path for path in uploads.rglob("*") if path.is_file()]
            report_waits(crowd, args)
            test.until(args.answers, time.monotonic() + 60 * args.minutes)
            test.ended.set()
            left += [path for path in uploads.rglob("*") if path.is_file()]
        fine = report_memory(test, left)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
