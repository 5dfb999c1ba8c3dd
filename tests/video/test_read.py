"""A file in, upright frames at the right times out; and one sentence for every file that is no video."""

import os
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from helpers.media import claim_seconds, corners, number_of, numbered, write_sound, write_streams, write_video

from dsta.common import UserError
from dsta.video import read, read_frames
from dsta.video.clock import Clock
from dsta.video.read import probe

KINDS = [(ending, "libx264") for ending in ("mp4", "mov", "mkv", "avi")]
KINDS += [("mp4", "libx265"), ("webm", "libvpx"), ("webm", "libvpx-vp9"), ("webm", "libsvtav1"), ("avi", "mpeg4")]
LIVE = {"live": "1"}  # webm as browsers record it: no duration, no index


@pytest.mark.parametrize(("ending", "codec"), KINDS)
def test_every_kind_is_read(tmp_path, ending, codec):
    path = write_video(tmp_path / f"a.{ending}", numbered(10), codec=codec)
    info, frames = probe(path), list(read_frames(path))
    assert (info.width, info.height) == (96, 64)
    assert info.duration == pytest.approx(0.4, abs=0.05)
    assert [number_of(frame.image) for frame in frames] == list(range(10))
    assert np.allclose([frame.time for frame in frames], np.arange(10) / 25, atol=0.002)
    assert all(frame.image.dtype == np.uint8 and frame.image.shape == (64, 96, 3) for frame in frames)


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
@pytest.mark.parametrize("hflip", [False, True])
def test_turned_and_mirrored_videos_come_upright(tmp_path, ending, rotation, hflip):
    shown = np.rot90(corners(), rotation // 90)
    shown = shown[:, ::-1] if hflip else shown
    path = write_video(tmp_path / f"a.{ending}", [corners()] * 3, rotation=rotation, hflip=hflip)
    frames = list(read_frames(path))
    assert frames[0].image.shape == shown.shape
    assert (probe(path).height, probe(path).width) == shown.shape[:2]
    assert np.abs(frames[0].image.astype(int) - shown).mean() < 8


def test_a_turned_video_is_scaled_the_right_way_round(tmp_path):
    path = write_video(tmp_path / "a.mp4", [corners(192, 128)] * 3, rotation=90)
    assert next(iter(read_frames(path, max_side=96))).image.shape == (96, 64, 3)


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    path = write_video(tmp_path / "a.mkv", numbered(3), pixel_shape=Fraction(4, 3))
    assert (probe(path).width, probe(path).height) == (128, 64)
    assert next(iter(read_frames(path))).image.shape == (64, 128, 3)


def test_a_faster_video_is_thinned_and_a_slower_one_left(tmp_path):
    fast = write_video(tmp_path / "fast.mp4", numbered(15), fps=50)
    slow = write_video(tmp_path / "slow.mp4", numbered(6), fps=10)
    numbers = [number_of(frame.image) for frame in read_frames(fast)]
    assert len(numbers) in (7, 8)
    assert set(np.diff(numbers)) == {2}
    assert [number_of(frame.image) for frame in read_frames(slow)] == list(range(6))
    assert [frame.time for frame in read_frames(slow)] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


VARYING = [0, 100, 200, 210, 220, 230, 240, 250, 260, 360, 460]  # 10 frames a second, 100, and 10 again
JITTER = [0, 45, 76, 125, 155, 206, 237, 284, 325, 357]  # 25 frames a second, up to 6 ms off


@pytest.mark.parametrize(
    ("name", "codec", "times", "picked"),
    [
        ("a.mp4", "libx264", VARYING, [0, 1, 4, 8, 9, 10]),  # middles of steps: 20, 60, 100, 140, 180, 220, 260 … ms
        ("a.webm", "libvpx", VARYING, [0, 1, 4, 8, 9, 10]),
        ("a.mkv", "libx264", JITTER, list(range(10))),
    ],
)
def test_frames_are_picked_by_time_where_the_rate_varies_or_jitters(tmp_path, name, codec, times, picked):
    frames = list(read_frames(write_video(tmp_path / name, numbered(len(times)), times=times, codec=codec)))
    assert [number_of(frame.image) for frame in frames] == picked
    assert [frame.time for frame in frames] == pytest.approx([times[i] / 1000 for i in picked], abs=0.002)


def test_webm_as_browsers_record_it(tmp_path):
    times = [7340 + 33 * i for i in range(12)]  # the clock does not start at 0
    path = write_video(tmp_path / "a.webm", numbered(12), times=times, codec="libvpx", options=LIVE)
    with av.open(str(path)) as container:
        assert container.duration is None, "not the case this test is for"
    frames = list(read_frames(path))
    assert frames[0].time == 0
    assert frames[-1].time == pytest.approx(11 * 0.033, abs=0.03)
    assert probe(path).duration == pytest.approx(11 * 0.033, abs=0.04)


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([5.0, 5.04, 900.0, 900.04, 0.0, 0.04], [0, 0.04, 0.08, 0.12, 0.16, 0.2]),  # jumps, and a clock begun anew
        ([None, None, None], [0, 0.04, 0.08]),
        ([0, 0, 0, 0], [0, 0.04, 0.08, 0.12]),
        ([0, 0, 0.08, 0.08, 0.16, 0.16, 0.24], [0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24]),  # stalls are repaid
        ([0, None, None, 0.12], [0, 0.04, 0.08, 0.12]),
        ([0, 0.001, 0.08, 0.081, 0.16], [0, 0.001, 0.08, 0.081, 0.16]),  # bursts
        ([0, 0, 0, 0.02, 0.04, 0.06, 0.2], [0, 0.04, 0.08, 0.09, 0.1, 0.11, 0.2]),  # ahead, it goes slower
        ([0, 0.04, 0.02, 0.12], [0, 0.04, 0.08, 0.12]),
        ([0, 0.001, 0.002, 0.12, 0.121, 0.122], [0, 0.001, 0.041, 0.12, 0.121, 0.161]),  # bursts of three
        ([0, 0.001, 0.002, 0.003, 0.004], [0, 0.001, 0.041, 0.081, 0.121]),  # stamps that are no time at all
    ],
)
def test_the_clock_rises_whatever_the_stamps_do_and_agrees_with_them_in_the_end(stamps, times):
    clock = Clock(25.0)
    assert [clock.read(stamp) for stamp in stamps] == pytest.approx(times)


B_FRAMES = [("avi", "mpeg4"), ("avi", "libx264"), ("mp4", "libx264"), ("mkv", "libx264")]


@pytest.mark.parametrize(("ending", "codec"), B_FRAMES)
def test_frames_that_were_stored_out_of_order_are_shown_in_order_and_take_their_time(tmp_path, ending, codec):
    path = write_video(tmp_path / f"a.{ending}", numbered(60), codec=codec, b_frames=2)
    frames = list(read_frames(path))
    assert [number_of(frame.image) for frame in frames] == [i % 15 for i in range(len(frames))]
    assert 58 <= len(frames) <= 60
    assert np.diff([frame.time for frame in frames]) == pytest.approx(0.04, abs=0.041)
    assert frames[-1].time == pytest.approx(0.04 * (len(frames) - 1), abs=0.09)
    part = list(read_frames(path, start=1.2, end=2.0))
    assert [number_of(frame.image) for frame in part] == pytest.approx([i % 15 for i in range(30, 50)])
    assert np.ptp([frame.time for frame in part]) == pytest.approx(0.76, abs=0.09)
    assert len(list(read_frames(path, max_seconds=2.5))) == len(frames)


def test_pictures_in_bursts_take_the_time_that_their_stamps_say(tmp_path):
    times = [80 * (i // 2) + i % 2 for i in range(30)]
    path = write_video(tmp_path / "a.webm", numbered(30), times=times, codec="libvpx")
    frames = list(read_frames(path, fps=12.5))
    assert frames[-1].time == pytest.approx(1.12, abs=0.01) and len(frames) in (14, 15)
    assert probe(path, end=1.0).duration == pytest.approx(1.16, abs=0.05)


MAIN, SMALL, BLACK = numbered(12, 128, 96), numbered(12, 64, 48), [np.zeros((96, 128, 3), np.uint8)] * 12
NO, DEFAULT = Disposition(0), Disposition.default
NO, DEFAULT = Disposition(0), Disposition.default
STREAMS = {
    "a cover": ("mp4", ("mjpeg", numbered(2, 256, 192), 25, NO), ("libx264", MAIN, 25, DEFAULT)),
    "a default cover": ("mov", ("mjpeg", BLACK[:2], 1, DEFAULT), ("libx264", MAIN, 25, NO)),
    "a preview": ("mov", ("libx264", numbered(12, 32, 24), 25, DEFAULT), ("libx264", MAIN, 25, NO)),
    "a second default": ("mkv", ("libx264", BLACK, 25, NO), ("libx264", MAIN, 25, DEFAULT)),
    "a smaller one": ("mkv", ("libx264", SMALL, 25, NO), ("libx264", MAIN, 25, NO)),
    "none": ("mp4", ("libx264", MAIN, 25, DEFAULT)),
}


@pytest.mark.parametrize("before", STREAMS)
def test_the_main_stream_is_read_whatever_comes_before_it(tmp_path, before):
    ending, *streams = STREAMS[before]
    frames = list(read_frames(write_streams(tmp_path / f"a.{ending}", *streams)))
    assert [number_of(frame.image) for frame in frames] == list(range(12)) and frames[0].image.shape == (96, 128, 3)


@pytest.mark.parametrize("claimed", [0.1, 7200.0])
def test_what_the_header_claims_of_the_duration_is_not_believed(tmp_path, claimed):
    path = claim_seconds(write_video(tmp_path / "a.mp4", numbered(100)), claimed)
    assert len(list(read_frames(path))) == 100
    part = list(read_frames(path, start=1.2, end=2.0))
    assert [number_of(frame.image) for frame in part] == [i % 15 for i in range(30, 50)]
    with pytest.raises(UserError, match=r"ends before 5 s"):
        read_frames(path, start=5)


def test_a_part_of_a_video_whose_clock_begins_anew_is_where_a_viewer_sees_it(tmp_path):
    times = [40 * i for i in range(50)] + [900_000 + 40 * i for i in range(100)]
    path = write_video(tmp_path / "a.mkv", numbered(150), times=times)
    part = list(read_frames(path, start=3.0, end=3.4))
    assert [number_of(frame.image) for frame in part] == [i % 15 for i in range(75, 85)]
    assert probe(path, start=1).duration == pytest.approx(6, abs=0.05)


def test_frames_are_streamed_and_refusals_come_at_the_call(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(50, 640, 480))
    frames = read_frames(path)
    first = next(frames)
    frames.close()
    assert first.time == 0
    path.unlink()
    with pytest.raises(UserError, match="was not found"):
        read_frames(path)


# Files that are not what they should be.


def _cut(path, keep: float):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def _moving(count: int):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(count)]


def test_the_readable_part_of_a_cut_off_video_is_used(tmp_path, capfd):
    for name, how in (("a.mp4", {"options": {"movflags": "faststart"}}), ("a.webm", {"codec": "libvpx"})):
        path = write_video(tmp_path / name, _moving(40), **how)
        assert 10 <= len(list(read_frames(_cut(path, 0.6)))) < 40
    assert capfd.readouterr().err == ""


def test_damage_in_the_middle_is_survived(tmp_path, capfd):
    path = write_video(tmp_path / "a.mp4", _moving(40))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 5000] = os.urandom(5000)
    path.write_bytes(data)
    assert len(list(read_frames(path))) >= 20
    assert capfd.readouterr().err == ""


def _file(content: bytes):
    def make(folder):
        write_video(folder / "real.mp4", numbered(5))  # to which the content may point
        (folder / "a.mp4").write_bytes(content)
        return folder / "a.mp4"

    return make


def _folder(folder):
    (folder / "videos.mp4").mkdir()
    return folder / "videos.mp4"


def _hour(ending, **more):
    return lambda folder: write_video(folder / f"a.{ending}", numbered(3), times=[0, 1_800_000, 3_600_000], **more)


def _long_live(folder):
    times = [1000 * i for i in range(70)]
    return write_video(folder / "a.webm", numbered(70), times=times, codec="libvpx", options=LIVE)


BAD = {
    "missing": (lambda folder: folder / "nowhere.mp4", "was not found"),
    "folder": (_folder, "is a folder"),
    "empty": (_file(b""), "is empty"),
    "random bytes": (_file(bytes(np.random.default_rng(1).integers(0, 255, 20000, np.uint8))), "not a video"),
    "text": (_file(b"This is only text.\n" * 300), "not a video"),
    "playlist": (_file(b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nreal.mp4\n#EXT-X-ENDLIST\n"), "not a video"),
    "concat list": (_file(b"ffconcat version 1.0\nfile real.mp4\n"), "not a video"),
    "mp4 without index": (lambda d: _cut(write_video(d / "a.mp4", _moving(40)), 0.6), "cut off or damaged"),
    "webm header only": (lambda d: _cut(write_video(d / "a.webm", _moving(40), codec="libvpx"), 0.01), "is damaged"),
    "sound in RIFF": (_file(b"RIFF\x24\x08\x00\x00WAVEfmt " + bytes(200)), "only sound"),
    "picture in RIFF": (_file(b"RIFF\x24\x08\x00\x00WEBPVP8 " + bytes(200)), "is a picture"),
    "picture of a phone": (_file(b"\x00\x00\x00\x18ftypheic" + bytes(200)), "is a picture"),
    "another RIFF": (_file(b"RIFF\x24\x08\x00\x00RMIDdata" + bytes(200)), "not a video"),
    "half an avi": (_file(b"RIFF\x24\x08\x00\x00AVI LIST" + bytes(200)), "cut off or damaged"),
    "sound only": (lambda d: write_sound(d / "a.mp4"), "no pictures"),
    "too long a name": (lambda folder: folder / f"{'x' * 300}.mp4", "cannot be opened (File name too long)"),
    "one frame": (lambda d: write_video(d / "a.mp4", numbered(1)), "only one readable frame; a sign needs several"),
    "tiny": (lambda d: write_video(d / "a.mp4", numbered(5, 16, 16)), "only 16×16 pixels"),
    "huge": (lambda d: write_video(d / "a.mp4", numbered(2, 8256, 64)), "too large"),
    "an hour, mp4": (_hour("mp4"), "longer than 60 seconds"),
    "an hour, mkv": (_hour("mkv"), "longer than 60 seconds"),
    "long, no duration": (_long_live, "longer than 60 seconds"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_sentence(tmp_path, capfd, case):
    make, words = BAD[case]
    path = make(tmp_path)
    with pytest.raises(UserError) as caught:
        list(read_frames(path))
    message = str(caught.value)
    assert words in message and path.name in message
    assert "\n" not in message and message.endswith(".")
    assert str(tmp_path) not in message
    assert capfd.readouterr().err == ""


def test_two_frames_that_are_shown_too_briefly_are_not_called_one(tmp_path):
    with pytest.raises(UserError, match=r"^a\.mp4 is too short; a sign needs several frames\.$"):
        list(read_frames(write_video(tmp_path / "a.mp4", numbered(2)), fps=10))


def test_a_duration_that_lies_does_not_help(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mkv", numbered(10), times=[1000 * i for i in range(10)])
    monkeypatch.setattr(read, "_claimed_duration", lambda *_: 1.0)
    frames = read_frames(path, max_seconds=5)
    with pytest.raises(UserError, match="longer than 5 seconds"):
        list(frames)


def test_a_name_is_never_taken_for_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "real.mp4", numbered(3)).rename("pipe:0")
    assert len(list(read_frames("pipe:0"))) == 3


PARTS = [*(kind for kind in KINDS if kind[1] not in ("libx265", "libsvtav1")), ("webm", "live"), ("avi", "B")]


@pytest.mark.parametrize(("ending", "codec"), PARTS)
def test_a_part_is_read_to_the_frame_wherever_it_lies(tmp_path, ending, codec):
    odd = {"live": {"codec": "libvpx", "options": LIVE}, "B": {"codec": "mpeg4", "b_frames": 2}}
    how = odd.get(codec, {"codec": codec})
    path = write_video(tmp_path / f"a.{ending}", numbered(400), **how)
    for first, end in [(0, 5), (3, 9), (120, 140), (251, 300), (390, 400), (395, 999)]:
        frames = list(read_frames(path, start=first / 25, end=end / 25))
        assert [number_of(frame.image) for frame in frames] == [i % 15 for i in range(first, min(end, 400))]
        assert np.allclose([frame.time for frame in frames], np.arange(len(frames)) / 25, atol=0.002)
    assert len(list(read_frames(path, start=4.0))) == 300


def test_of_an_hour_a_part_is_read_without_decoding_the_rest(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", numbered(3600), fps=1)
    decoded, real = [], read.decoded

    def counted(*args, **how):
        for frame in real(*args, **how):
            decoded.append(frame)
            yield frame

    monkeypatch.setattr(read, "decoded", counted)
    frames = list(read_frames(path, start=3000, end=3010))
    assert [number_of(frame.image) for frame in frames] == [i % 15 for i in range(3000, 3010)]
    assert len(decoded) < 300
    for part in ({"start": 1000, "end": 1100}, {"start": 100}):
        with pytest.raises(UserError, match="longer than 60 seconds"):
            list(read_frames(path, **part))


def test_a_part_beyond_the_end_is_told(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(50))
    with pytest.raises(UserError, match=r"ends before 2\.5 s"):
        read_frames(path, start=2.5, end=4)
    with pytest.raises(UserError, match="only one readable frame"):
        list(read_frames(path, start=1.96, end=4))


@pytest.mark.parametrize("rotation", [0, 90])
@pytest.mark.parametrize("max_side", [960, 48])
def test_a_box_is_cut_out_of_the_upright_picture(tmp_path, rotation, max_side):
    path = write_video(tmp_path / "a.mp4", [corners(192, 128)] * 3, rotation=rotation)
    shown = np.rot90(corners(192, 128), rotation // 90)
    box = (16, 8, 112, 104)
    image = next(iter(read_frames(path, box=box, max_side=max_side))).image
    step = 96 // min(96, max_side)
    assert image.shape == (96 // step, 96 // step, 3)
    assert np.abs(image.astype(int) - shown[8:104:step, 16:112:step]).mean() < 12
