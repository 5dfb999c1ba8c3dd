"""Several signs in one video: below the answer a time line of them, from where the player is sent to each."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from dsta.page.find import Found
from dsta.page.panels import data_uri, percent_html
from dsta.recognize import Recognition, Recognizer, SignedSpan
from dsta.spans import Span, as_eaf, as_vtt, find_spans

if TYPE_CHECKING:
    from dsta.video import Progress

_MOST = 40  # spans that are recognised, 33 ms and 77 kB each; a long skeleton file may have thousands


def several_signs_html(
    recognizer: Recognizer, result: Recognition, found: Found, file: str, progress: "Progress"
) -> str:
    """The spans in what was looked at of a video, each recognised alone; where there are too many of them just how
    many, and empty where there is no more than one."""
    count = len(find_spans(result.pose))
    if count < 2:
        return ""
    if count > _MOST:
        return _too_many_html(count)
    said = recognizer.recognize_spans(result.pose, progress)
    start = found.part.start if found.part else 0.0
    return spans_html(said, start, len(result.pose.keypoints) / result.pose.fps, file, bool(found.draw))


def spans_html(said: Sequence[SignedSpan], start: float, seconds: float, file: str, playable: bool) -> str:
    """A time line of spans, of so many seconds, which begins at `start` in the video. playable: whether a
    player can be sent there, which page.js does. Text from files and weights is escaped."""
    mark = '<i style="left:{:.1f}%;width:{:.1f}%">{}</i>'
    marks = [
        mark.format(100 * each.span.start / seconds, 100 * (each.span.end - each.span.start) / seconds, number)
        for number, each in enumerate(said, 1)
    ]
    signs = [_sign_html(number, each, start, playable) for number, each in enumerate(said, 1)]
    labelled = [(Span(*(start + end for end in each.span)), each.gloss) for each in said]
    files = {"subtitles (.vtt)": ("text/vtt", as_vtt(labelled)), "ELAN file (.eaf)": ("text/xml", as_eaf(labelled))}
    links = [
        f'<a download="{escape(Path(file).stem)}{name[-5:-1]}" href="{data_uri(text.encode(), kind)}">{name}</a>'
        for name, (kind, text) in files.items()
    ]
    return f"""<div class="card spans"><h3 aria-level="2">{len(said)} movements of the hands</h3>
<p class="quiet">If they are signs of their own, these are the closest:</p>
<div class="track" aria-hidden="true">{"".join(marks)}</div><ul>{"".join(signs)}</ul>
<p class="quiet small">Save as {" · ".join(links)}</p></div>"""


def _too_many_html(count: int) -> str:
    return f"""<div class="card"><h3 aria-level="2">{count} movements of the hands</h3>
<p class="quiet">These are too many to be looked at one by one here:
<code>python -m dsta.recognize FILE --spans</code> does it.</p></div>"""


def _sign_html(number: int, each: SignedSpan, start: float, playable: bool) -> str:
    best, quality = each.recognition.predictions[0], each.recognition.quality
    begin, end = (start + seconds for seconds in each.span)
    closest = "" if quality["confident"] else "not sure, "
    gloss = escape(best.gloss)
    if quality.get("known_sign") is False:
        gloss, closest = "none known", f"closest: {gloss}, "
    where = f"<span>{begin:.1f}–{end:.1f} s</span>"
    text = f"<i>{number}</i><b>{gloss}</b><small>{closest}{percent_html(best.score)} · {where}</small>"
    if not playable:
        return f"<li>{text}</li>"
    return f'<li><button type="button" data-seek="{begin:.2f}">{text}</button></li>'
