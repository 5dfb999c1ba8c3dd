"""What a video's index claims to hold, checked before FFmpeg believes it and makes room for that much."""

import mmap
import re
from pathlib import Path

_NO_BOXES = (b"\x1aE\xdf\xa3", b"RIFF")  # webm, mkv and avi, whose indices take as many bytes as they say
_TABLES = re.compile(rb"stsz.{4}(.{4})(.{4})|trun.(.{3})(.{4})|cmov", re.DOTALL)
_FIELDS = 0xF00  # the bits of a trun's flags that give each of its samples four more bytes


def impossible(path: Path) -> bool:
    """Whether an mp4 or mov claims more samples than the file has bytes for, or hides its index compressed.

    A sample of pictures or sound takes a byte at least. Where all are of one size, their number is a number alone, of
    which FFmpeg makes an entry for each: two kilobytes would take gigabytes.
    """
    with path.open("rb") as file:
        if file.read(4) in _NO_BOXES:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _claimed(data) > len(data)


def _claimed(data: mmap.mmap) -> int:
    """The bytes that the tables outside of pictures and sound claim, the latter being the boxes `mdat`."""
    total, start = 0, 0
    for begin, end in [*_media(data), (len(data), len(data))]:
        for found in _TABLES.finditer(data, start, begin):
            size, count, flags, run = (int.from_bytes(part or b"") for part in found.groups())
            fields = (flags & _FIELDS).bit_count()
            total += size * count + run * max(1, 4 * fields) if found[0] != b"cmov" else len(data) + 1
        start = end
    return total


def _media(data: mmap.mmap) -> list[tuple[int, int]]:
    """Where the outermost boxes `mdat` begin and end; none beyond what cannot be read as boxes."""
    found, place = [], 0
    while place + 8 <= len(data):
        size, head = int.from_bytes(data[place : place + 4]), 8
        if size == 1:
            size, head = int.from_bytes(data[place + 8 : place + 16]), 16
        end = place + size if size else len(data)
        if end < place + head:
            break
        if data[place + 4 : place + 8] == b"mdat":
            found.append((place, min(end, len(data))))
        place = end
    return found
