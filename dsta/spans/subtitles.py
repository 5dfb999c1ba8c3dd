"""Spans and their glosses as files that others read: WebVTT subtitles, and annotations for ELAN."""

import mimetypes
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from dsta.common import UserError
from dsta.spans.motion import Span

Labelled = Iterable[tuple[Span, str]]
"""Spans in order, each with its gloss."""

_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_TIER, _TYPE = "gloss", "default-lt"


def as_vtt(labelled: Labelled) -> str:
    """A WebVTT file (https://www.w3.org/TR/webvtt1/): a cue for each span. Glosses are escaped."""
    escapes = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    cues = [
        f"{_clock(span.start)} --> {_clock(span.end)}\n{_one_line(gloss).translate(escapes)}\n"
        for span, gloss in labelled
    ]
    return "\n".join(["WEBVTT\n", *cues])


def as_eaf(labelled: Labelled, media: str | Path | None = None, beside: str | Path = ".") -> str:
    """An annotation file of ELAN, format 3.0: one tier "gloss", an annotation for each span.

    media: the video, to which the file in the folder `beside` refers; none of a skeleton. Structure:
    https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"AUTHOR": "", "DATE": now, "FORMAT": "3.0", "VERSION": "3.0", "xmlns:xsi": _XSI}
    document = ET.Element("ANNOTATION_DOCUMENT", about | {"xsi:noNamespaceSchemaLocation": _SCHEMA})
    header = ET.SubElement(document, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if media is not None:
        ET.SubElement(header, "MEDIA_DESCRIPTOR", _descriptor(Path(media), Path(beside)))
    order = ET.SubElement(document, "TIME_ORDER")
    tier = ET.SubElement(document, "TIER", LINGUISTIC_TYPE_REF=_TYPE, TIER_ID=_TIER)
    for number, (span, gloss) in enumerate(labelled, 1):
        slots = {"TIME_SLOT_REF1": f"ts{2 * number - 1}", "TIME_SLOT_REF2": f"ts{2 * number}"}
        for slot, seconds in zip(slots.values(), span, strict=True):
            ET.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(round(1000 * seconds)))
        annotation = ET.SubElement(tier, "ANNOTATION")
        part = ET.SubElement(annotation, "ALIGNABLE_ANNOTATION", {"ANNOTATION_ID": f"a{number}"} | slots)
        ET.SubElement(part, "ANNOTATION_VALUE").text = _one_line(gloss)
    last = ET.SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId")
    last.text = str(len(tier))
    kind = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": _TYPE, "TIME_ALIGNABLE": "true"}
    ET.SubElement(document, "LINGUISTIC_TYPE", kind)
    ET.indent(document, " ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(document, encoding="unicode")}\n'


def check_output(name: str | None, ending: str, files: int) -> None:
    """Raises UserError where the spans of so many files could not be written under a name; None is no name."""
    if name is None:
        return
    if files > 1:
        raise UserError(f"{name} can hold the spans of one file, not of {files}: give one file at a time.")
    if Path(name).suffix.lower() != ending:
        raise UserError(f"{name} does not end in {ending}: name the file to write, such as signs{ending}.")
    path = Path(name)
    try:
        in_folder = path.parent.is_dir() and not path.is_dir()
        path.with_name(f"{path.name}.{os.getpid()}.part").exists()  # the longer name under which it is written first
    except OSError as error:
        raise UserError(f"{name} cannot be written ({error.strerror}): name another file.") from error
    if not in_folder:
        raise UserError(f"{name} cannot be written: name a file in a folder that is there.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"{name} cannot be written: name a file in a folder that you may write to.")


def _descriptor(media: Path, beside: Path) -> dict[str, str]:
    """Where a video is. ELAN writes such addresses as they are, without %20."""
    whole = media.resolve()
    try:
        relative = Path(os.path.relpath(whole, beside.resolve())).as_posix()
    except ValueError:  # on another drive of Windows
        relative = whole.name
    kind = mimetypes.guess_type(whole.name)[0] or "unknown"  # ELAN's word for it
    addresses = {"MEDIA_URL": f"file:///{whole.as_posix().lstrip('/')}", "RELATIVE_MEDIA_URL": f"./{relative}"}
    return {name: _NOT_IN_XML.sub("\ufffd", text) for name, text in addresses.items()} | {"MIME_TYPE": kind}


def _one_line(text: str) -> str:
    """A gloss without line breaks and characters that no XML may hold; a question mark for nothing."""
    return " ".join(_NOT_IN_XML.sub("\ufffd", text).split()) or "?"


def _clock(seconds: float) -> str:
    """3725.25 -> '01:02:05.250'."""
    minutes, thousandths = divmod(round(1000 * seconds), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{thousandths // 1000:02}.{thousandths % 1000:03}"
