"""Videos that claim more than they hold, or hold more than they claim: refused before memory is taken."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from av.stream import Disposition
from helpers.media import numbered, write_streams, write_video

from dsta.common import UserError
from dsta.video import container, read, read_frames
from dsta.video.claims import impossible
from dsta.video.read import probe

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT.parent / "shared" / "cases"


def box(kind, content):
    return struct.pack(">I", 8 + len(content)) + kind + content


def table(kind, *numbers):
    return box(kind, struct.pack(f">{len(numbers)}I", *numbers))


MOVIE = box(b"ftyp", b"isom\0\0\0\0")


def patched(path, old, new):
    data = path.read_bytes()
    assert data.count(old) == 1 and len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        (table(b"stsz", 0, 1, 20_000_000), True),
        (table(b"stsz", 0, 1, 50), False),
        (table(b"stsz", 0, 0, 20_000_000), False),  # its sizes would follow, and FFmpeg stops where they end
        (table(b"stsz", 0, 4, 10) + table(b"stsz", 0, 4, 60), True),  # together too many
        (table(b"trun", 0, 2**31), True),
        (table(b"trun", 0x300, 20), True),  # eight bytes for each would follow
        (table(b"trun", 0x300, 2), False),
        (box(b"cmov", b""), True),
        (box(b"mdat", table(b"stsz", 0, 1, 20_000_000)), False),  # pictures may look like anything
        (struct.pack(">I", 1) + b"mdat" + struct.pack(">Q", 36) + table(b"stsz", 0, 1, 2**31), False),
        (struct.pack(">I", 0) + b"mdat" + table(b"stsz", 0, 1, 2**31), False),  # to the end of the file
        (struct.pack(">I", 4) + b"mdat" + table(b"stsz", 0, 1, 2**31), True),  # no box, so that all is looked at
    ],
)
def test_what_an_index_may_claim(tmp_path, content, refused):
    path = tmp_path / "a.mp4"
    path.write_bytes(MOVIE + box(b"free", bytes(60)) + content)
    assert impossible(path) == refused


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {}), ("a.mov", "libx264", {}), ("a.mkv", "libx264", {}), ("a.avi", "mpeg4", {}),
        ("a.webm", "libvpx", {}), ("fragments.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("fast.mp4", "libx264", {"movflags": "faststart"}),
    ],
)  # fmt: skip
def test_honest_files_pass(tmp_path, name, codec, options):
    assert not impossible(write_video(tmp_path / name, numbered(20), codec=codec, options=options))


def peak_mb(path):
    """What the command line's reading of a file takes more than loading the program, and its words on stderr."""
    code = (
        "import sys; from dsta.common.machine import peak_mb; from dsta.video import read_frames; before = peak_mb()\n"
    )
    code += "try: list(read_frames(sys.argv[1]))\nexcept ValueError as error: print(error, file=sys.stderr)\n"
    code += "print(peak_mb() - before)"
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return float(run.stdout), run.stderr.strip()


def test_claimed_samples_take_no_memory(tmp_path):
    video = write_video(tmp_path / "a.mp4", numbered(3))
    data = bytearray(video.read_bytes())
    place = data.index(b"stsz")
    data[place + 8 : place + 16] = struct.pack(">II", 1, 20_000_000)
    video.write_bytes(data)
    taken, words = peak_mb(video)
    assert taken < 20 and words.startswith("a.mp4 is damaged: it claims more pictures than it can hold; ")


def smaller_head(path, width, height):
    """Makes an H.264 mov claim another size than its pictures have."""
    data = bytearray(path.read_bytes())
    sample, track = data.index(b"avc1", data.index(b"stsd")), data.index(b"tkhd")
    data[sample + 28 : sample + 32] = struct.pack(">HH", width, height)
    data[track + 80 : track + 88] = struct.pack(">II", width << 16, height << 16)
    path.write_bytes(data)
    return path


def test_large_pictures_under_a_small_head_are_not_decoded(tmp_path):
    blank = [np.zeros((4000, 9000, 3), np.uint8)] * 2
    taken, words = peak_mb(smaller_head(write_video(tmp_path / "a.mov", blank), 640, 480))
    assert taken < 40  # a picture takes 54 MB
    assert words == "a.mov is 9000×4000 pixels, which is too large; scale it down to 1280 or less."


@pytest.mark.parametrize("size", [(100_000, 100_000), (65535, 65535), (8100, 4200)])
def test_a_head_that_claims_pictures_too_large(tmp_path, size):
    still = Disposition(0)
    path = write_streams(tmp_path / "a.avi", ("ffv1", numbered(2), 25, still))
    data = bytearray(path.read_bytes())
    place = data.index(b"strf") + 12
    data[place : place + 8] = struct.pack("<II", *size)
    path.write_bytes(data)
    taken, words = peak_mb(path)
    assert taken < 40 and words.startswith("a.avi is damaged: none of its pictures can be decoded; ")


@pytest.mark.parametrize(
    ("case", "sentence"),
    [("31-claimed-samples/idx_20M_4.mp4", "claims more pictures"), ("33-large-frames/h264.mp4", "8192×8192")],
)
def test_files_that_were_seen(case, sentence):
    if not (CASES / case).exists():
        pytest.skip("the cases are not here")
    taken, words = peak_mb(CASES / case)
    assert taken < 40 and sentence in words


def test_frames_times_pixels_have_a_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "_MOST_DECODED", 10 * 96 * 64)
    assert len(list(read_frames(write_video(tmp_path / "a.mp4", numbered(10))))) == 10
    with pytest.raises(UserError, match="too many frames for 96×64 pixels; scale it down"):
        list(read_frames(write_video(tmp_path / "b.mp4", numbered(11))))
    assert len(list(read_frames(tmp_path / "b.mp4", start=0.1, end=0.3))) == 5  # of a part its own frames count


def test_codecs_that_nobody_films_with_are_refused(tmp_path):
    path = write_video(tmp_path / "a.mkv", numbered(3), codec="snow")
    with pytest.raises(UserError, match=r"a\.mkv uses a codec that cannot be read; convert it"):
        probe(path)


def test_memory_that_runs_out_is_told(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", numbered(3))

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(container, "packet_stamp", full)
    with pytest.raises(UserError, match=r"a\.mp4 takes too much memory; scale it down"):
        probe(path)
